"""The loader of the user's file on anything at all: a project, or one error in three parts."""

from __future__ import annotations

import datetime
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from emobench.catalogue.goals import find_goals
from emobench.catalogue.limits import find_limits
from emobench.catalogue.model_rows import MODELS
from emobench.catalogue.overrides import find_overrides
from emobench.catalogue.profiles import find_profile
from emobench.catalogue.project import MOST_SEEDS, Project, load_project
from emobench.catalogue.row_numbers import LARGEST
from emobench.catalogue.toml_file import DEEPEST
from emobench.errors import EmoBenchError, SpecError
from emobench.specs import Profile, TrainSettings

T = TypeVar("T")

NAMES = (
    *("profile", "seeds", "silence", "train", "targets", "price", "gates", "run", "models", "datasets"),
    *("name", "path", "text", "label", "labels", "label_map", "drop", "where", "like", "hub_id", "context", "config"),
    *("learning_rates", "lora_targets", "head_modules", "padding_side", "encoding", "mine", "tickets", "full"),
    *(name for name in Profile.model_fields if name != "id"),
    *TrainSettings.model_fields,
    *("hidden_size", "num_attention_heads", "accuracy", "markers", "cases"),
)
TEXTS = ("quick", "roberta-base", "data/x.csv", "linear", "utf-8", "base64", "\0", "~nobody/x", "1pt", "", "a\nb")
NUMBERS = (0, -1, 10**30, 2**63, float("inf"), float("-inf"), float("nan"), 1e308, -0.0, True)

keys = st.one_of(st.sampled_from(NAMES), st.text(max_size=5))
scalars = st.one_of(
    st.sampled_from(TEXTS),
    st.sampled_from(NUMBERS),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.text(max_size=8),
    st.dates(),
    st.datetimes(timezones=st.just(datetime.UTC)),
    st.times(),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=5)),
    max_leaves=12,
)
tables = st.dictionaries(keys, values, max_size=6)
near_misses = st.fixed_dictionaries(
    {},
    optional={
        "profile": st.one_of(st.just("quick"), tables),
        "train": st.dictionaries(st.sampled_from(list(TrainSettings.model_fields)), values, max_size=4),
        "seeds": scalars,
        "silence": values,
        "extend": st.dictionaries(st.sampled_from(["modules", "module"]), st.lists(st.sampled_from(TEXTS), max_size=2)),
        "models": st.fixed_dictionaries(
            {
                "mine": st.fixed_dictionaries(
                    {"like": st.sampled_from(["roberta-base", "tinyllama-1.1b", "x"]), "path": st.just("a")},
                    optional={
                        "config": tables,
                        "learning_rates": tables,
                        "lora_targets": tables,
                        "context": scalars,
                        "labels": values,
                        "head_modules": values,
                    },
                )
            }
        ),
        "datasets": st.dictionaries(
            keys,
            st.fixed_dictionaries(
                {"path": st.sampled_from(TEXTS), "labels": st.one_of(st.just(["a", "b"]), values)},
                optional={"encoding": scalars, "label_map": values, "where": values, "drop": values},
            ),
            max_size=2,
        ),
    },
)


def toml(value: Any) -> str:
    """A value as TOML; tables are inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, int | float):
        text = repr(value)
        return text if isinstance(value, int) or any(mark in text for mark in ".in") else f"{text.replace('e', '.0e')}"
    return quoted(value)


def quoted(text: str) -> str:
    return json.dumps(text).replace("\x7f", "\\u007f")


def answered(call: Callable[[], T]) -> T | EmoBenchError:
    """What a call gives, or the error of three parts that it raises; any other exception is a failure."""
    try:
        return call()
    except EmoBenchError as raised:
        error = raised
    assert all((error.problem, error.why, error.fix))
    return error


def loaded(content: bytes) -> Project | EmoBenchError:
    """The project of a file, or the error with which it is refused; any other exception is a failure."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "emobench.toml").write_bytes(content)
        return answered(lambda: load_project(Path(folder)))


def check(found: Project | EmoBenchError) -> None:
    """An error has three parts on one line that is not endless; a project only numbers that can be used."""
    if isinstance(found, EmoBenchError):
        assert isinstance(found, SpecError)
        assert len(str(found).splitlines()) == 1
        assert len(found.problem) < 1000
        return
    settings = found.settings
    assert 1 <= settings.get("seeds", 1) <= MOST_SEEDS
    for name, value in {**settings.get("sizes", {}), **settings.get("train", {})}.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert 0 <= value <= LARGEST, name
    for row in found.models.values():
        assert 1 <= row.context <= LARGEST
        assert all(0 < rate < float("inf") for rate in row.learning_rates.model_dump().values())
        for name, usual in MODELS["roberta-base"].config.items():
            if row.family == "roberta" and isinstance(usual, int) and not name.endswith("_id"):
                assert 1 <= row.config[name] <= LARGEST


@given(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))))
@example(b"seeds = " + b"9" * 5000)
@example(b"seeds = 0x" + b"f" * 5000)
@example(b"train = " + b"[" * 5000)
@example(b"\xef\xbb\xbfseeds = 1")
@example(b"\x00")
@example(b"profile = {name = []}")
@example(b"profile = {name = {}}")
@example(b"profile = 1979-05-27")
@example(b'[datasets."a\\nb"]\npath = "x"\nlabels = ["a", "b"]')
@example(b'[datasets.a]\npath = "\\u0000"\nlabels = ["a", "b"]')
@example(b'[datasets.a]\npath = "~nobody-at-all/x"\nlabels = ["a", "b"]')
@example(b'[datasets.a]\npath = 1979-05-27\nlabels = ["a", "b"]')
@example(b'[datasets.a]\npath = "x"\nencoding = "base64"\nlabels = ["a", "b"]')
@example(b"a." * 3000 + b"b = 1")
def test_any_bytes_are_a_project_or_an_error(content: bytes) -> None:
    """Whatever lies in emobench.toml, the loader answers with a project or with one line."""
    check(loaded(content))


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(tables, near_misses))
def test_any_tables_are_a_project_or_an_error(content: dict[str, Any]) -> None:
    """Tables with the right names and wrong values, of any depth and size, are a project or one line."""
    text = "\n".join(f"{quoted(key)} = {toml(value)}" for key, value in content.items())
    check(loaded(text.encode("utf-8", "replace")))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("seeds = 10_000_000", ("seeds = 10000000 in FILE cannot be used", "less than or equal to 1000", "correct")),
        (
            f"[profile]\ntrain = {10**15}",
            ("train = 1000000000000000 in [profile]", "a whole number above 0", "correct"),
        ),
        ("[profile]\nepochs = 0", ("epochs = 0 in [profile]", "a whole number above 0", "correct")),
        ("[profile]\nmax_length = -5", ("max_length = -5 in [profile]", "a whole number above 0", "correct")),
        ("[profile]\nlatency_seconds = inf", ("latency_seconds = inf in [profile]", "a number above 0", "correct")),
        ("[train]\nbatch_size = 0", ("batch_size = 0 in [train]", "greater than or equal to 1", "correct")),
        ("[train]\nlearning_rate = inf", ("learning_rate = inf in [train]", "a number above 0 or none", "correct")),
        ("[train]\nbatch_size = 1e3", ("batch_size = 1000.0 in [train]", "valid integer", "correct")),
        ("[train]\nbatch_size = [8]", ("batch_size = [8] in [train]", "valid integer", "correct")),
        (f"[train]\nbatch_size = {10**30}", ("'train.batch_size' in FILE", "100 bits", "have 64 at most", "correct")),
        (
            "[train]\nbatch_size = 1979-05-27",
            ("'train.batch_size' in FILE is the date 1979-05-27", "no setting takes one", "correct"),
        ),
        ("train." + "a." * 40 + "b = 1", ("nested 17 levels deep or more", "no setting is", f"at most {DEEPEST}")),
        ("profile = " + "[" * 3000, ("FILE cannot be read", "nested too deeply", f"at most {DEEPEST}")),
        ("seeds = " + "7" * 5000, ("FILE cannot be read", "it is not TOML", "correct it")),
        (
            '[models.mine]\nlike = "roberta-base"\npath = "a"\nconfig = { hidden_size = -768 }',
            ("config.hidden_size = -768 in [models.mine]", "a whole number from 1 to 1000000000", "correct"),
        ),
        (
            '[models.mine]\nlike = "roberta-base"\npath = "a"\nconfig = { layer_norm_eps = nan }',
            ("config.layer_norm_eps = nan in [models.mine]", "a number of at least 0", "correct"),
        ),
        (
            '[models.mine]\nlike = "roberta-base"\npath = "a"\nconfig = { hidden_act = 3 }',
            ("config.hidden_act = 3 in [models.mine]", "it takes a text", "correct"),
        ),
        (
            '[models.mine]\nlike = "roberta-base"\npath = "a"\nconfig = { something = 07:32:00 }',
            ("'models.mine.config.something' in FILE is the time 07:32:00", "no setting takes one", "in quotes"),
        ),
        (
            '[models.mine]\nlike = "roberta-base"\npath = "a"\nlabels = ["one"]',
            ("labels = ['one'] in [models.mine]", "two classes or more", "name every class once"),
        ),
        (
            '[datasets.mine]\npath = "a"\nlabels = ["a", "b"]\nencoding = "klingon"',
            ("encoding = 'klingon' in [datasets.mine]", "no such encoding of text", "correct"),
        ),
        (
            '[datasets.mine]\npath = "a\\u0000b"\nlabels = ["a", "b"]',
            ("path 'a\\x00b' in FILE", "null byte", "correct the path"),
        ),
    ],
)
def test_impossible_values_are_answered_in_three_parts(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    """Negative, zero, infinite and gigantic numbers, wrong types and depths name key, reason and remedy."""
    file = tmp_path / "emobench.toml"
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        load_project(tmp_path)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value).replace(str(file), "FILE")


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A permission that is missing is one line, not a traceback."""
    (tmp_path / "emobench.toml").write_text("seeds = 1")

    def refuse(*arguments: Any, **keywords: Any) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SpecError, match=r"emobench.toml cannot be read; Permission denied; make it readable"):
        load_project(tmp_path)


@given(
    st.lists(st.one_of(st.text(max_size=20), st.builds("{}={}".format, st.sampled_from(NAMES), scalars)), max_size=3)
)
@example(["train=" + "9" * 5000])
@example(["learning_rate=1e400"])
@example(["max_length=1000000000000"])
def test_any_override_is_taken_or_an_error(pairs: list[str]) -> None:
    """Whatever stands after --emo-set becomes a setting that can be used, or one line."""
    found = answered(lambda: find_overrides(pairs, find_profile("quick"), TrainSettings()))
    if isinstance(found, EmoBenchError):
        return
    for value in (*found.profile.model_dump().values(), *found.train.model_dump().values()):
        if isinstance(value, int | float) and not isinstance(value, bool):
            assert 0 <= value <= LARGEST


@pytest.mark.slow
@given(st.dictionaries(st.one_of(st.sampled_from(["accuracy", "train_seconds", "cuda"]), keys), values, max_size=4))
def test_any_targets_prices_and_gates_are_taken_or_an_error(table: dict[str, Any]) -> None:
    """The tables that others check are checked without any other exception too."""
    for read in (
        lambda: find_goals(table, {}),
        lambda: find_goals({}, table),
        lambda: find_limits(table),
        lambda: find_limits({"markers": {"cuda": table}}),
    ):
        answered(read)

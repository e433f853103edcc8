"""Settings of a session: resolved once of options and the project's file, without a pytest session."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emobench.errors import SpecError
from emobench.kinds import FINETUNE, INFERENCE, KINDS
from emobench.session.settings import Settings, resolve

DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(
        (
            *("emo_profile", "emo_seeds", "emo_price", "emo_batch_sizes", "emo_lengths", "emo_backends"),
            *("emo_processes", "emo_accelerate", "emo_sweep"),
        )
    ),
    "emo_weights": "pretrained",
    "emo_silence": [],
    "emo_set": [],
    "emo_target": [],
    "emo_reruns": 2,
    "keyword": "",
}


def settings(folder: Path, file: str = "", **options: Any) -> Settings:
    (folder / "emobench.toml").write_text(file)
    given = {**DEFAULTS, **options}
    config: Any = SimpleNamespace(
        rootpath=folder, args=[], getoption=lambda name, default=None: given.get(name, default)
    )
    return resolve(config)


def test_an_option_wins_over_the_file_and_the_file_over_what_is_usual(tmp_path: Path) -> None:
    """Profile and seeds from each of the three places."""
    assert settings(tmp_path).profile.id == "quick"
    assert settings(tmp_path, 'profile = "smoke"\nseeds = 3').profile.id == "smoke"
    assert settings(tmp_path, 'profile = "smoke"\nseeds = 3').seeds == (0, 1, 2)
    found = settings(tmp_path, 'profile = "smoke"\nseeds = 3', emo_profile="full", emo_seeds=1)
    assert (found.profile.id, found.seeds) == ("full", (0,))


def test_seeds_are_rounds_of_kinds_that_train_once_a_seed(tmp_path: Path) -> None:
    """A fine-tuning case has them all, a latency case one; sizes that were set are in both."""
    found = settings(tmp_path, emo_seeds=2, emo_set=["prompt_tokens=16"])
    names = {"model": "all-minilm-l6-v2", "precision": "fp32", "device": "cpu"}
    trained = found.case(FINETUNE, **names, dataset="imdb", method="lora")
    timed = found.case(INFERENCE, **names, batch_size=4)
    assert (trained.seeds, timed.seeds) == ((0, 1), (0,))
    assert trained.profile.prompt_tokens == timed.profile.prompt_tokens == 16


def test_random_weights_take_few_rows(tmp_path: Path) -> None:
    """Speed needs no more rows than a few steps, whatever the profile says of data."""
    usual, random = settings(tmp_path), settings(tmp_path, emo_weights="random")
    assert random.profile.train is not None
    assert usual.profile.train is not None
    assert random.profile.train < usual.profile.train


def test_they_do_not_change(tmp_path: Path) -> None:
    """Whoever holds them may rely on them."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings(tmp_path).reruns = 1  # type: ignore[misc]


@pytest.mark.parametrize("count", [0, 1001])
def test_impossible_seeds_are_an_error_in_three_parts(tmp_path: Path, count: int) -> None:
    """None, and more than anybody could run."""
    with pytest.raises(SpecError, match=rf"--emo-seeds {count}; .*; give 1 or more, up to 1000"):
        settings(tmp_path, emo_seeds=count)


def test_kinds_of_the_project_stand_beside_the_known(tmp_path: Path) -> None:
    """Rows of ``[extend]`` are joined here; without any the kinds are EmoBench's own."""
    assert settings(tmp_path).kinds == KINDS
    (tmp_path / "own_rows_here.py").write_text(
        "from emobench.kinds import Kind, Work\n"
        "KINDS = (Kind(name='mine', meaning='m', title='Mine', work=(Work(does='forward'),),\n"
        "              profile_fields=(), headline='latency_p50_seconds'),)\n"
    )
    assert list(settings(tmp_path, '[extend]\nmodules = ["own_rows_here"]').kinds) == [*KINDS, "mine"]

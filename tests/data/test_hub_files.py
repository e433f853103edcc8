"""A hub data set outside the table: which of its files are taken, fetched from a stand-in hub and read again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from emobench.catalogue.datasets import DATASETS
from emobench.cli import app
from emobench.data.document_sources import find_source
from emobench.data.documents import open_documents
from emobench.data.hub_files import data_files, fetch_files, fetched_files, is_hub_name
from emobench.errors import FetchError, NotOnMachineError
from tests.data.test_fetch import parquet, quiet
from tests.hub_stand_in import HubStandIn

FILES = {
    "data/train-00000-of-00001.parquet": parquet(["a fine film", "a dull film", "a film"], [1, 0, 1]),
    "data/test-00000-of-00001.parquet": parquet(["another film"], [0]),
    "raw/train.csv": b"text,label\nthe same again,1\n",
    "dataset_infos.json": b"{}",
    "README.md": b"# Films",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A running stand-in that the environment names, and an empty cache."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    with HubStandIn() as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.address)
        yield stand_in


def analyze(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["analyze", *arguments, "--no-language"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (FILES, ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"]),
        (["a.csv", "b.tsv", "c.json", "d.csv.gz"], ["a.csv", "b.tsv", "d.csv.gz"]),
        (["a.jsonl", "b.ndjson", "a.csv", ".hidden/c.jsonl"], ["a.jsonl", "b.ndjson"]),
        (["dataset_infos.json", "rows.json", "README.txt"], ["rows.json"]),
        (["a.txt", "load.py", "notes.md", "LICENSE.txt"], ["a.txt"]),
        (["load.py", "README.md", "dataset_dict.json", "a.zip"], []),
    ],
)
def test_files_of_one_kind_are_taken(names: list[str], taken: list[str]) -> None:
    """The same rows are often there in several kinds; what only describes data, and code, is none."""
    assert data_files(names) == taken


def test_names_are_told_from_paths() -> None:
    """One slash, and nothing that begins or ends as a path does."""
    assert is_hub_name("owner/name")
    assert is_hub_name("owner/name.v2")
    assert not any(map(is_hub_name, ("name", "./name", "/name", "~/name", "a/b/c", "owner/")))


def test_what_was_fetched_is_read_from_the_cache(hub: HubStandIn) -> None:
    """Both splits, with guessed columns; the hub is not asked again."""
    hub.add("owner/films", FILES)
    with pytest.raises(NotOnMachineError, match=r"run: emobench analyze owner/films --download, or take"):
        find_source("owner/films", {})
    fetch_files("owner/films", progress=quiet)
    asked = len(hub.requests)
    source = find_source("owner/films", {})
    found = [(one.text, one.label, one.place) for batch in open_documents(source) for one in batch]
    assert found == [
        ("another film", "0", "data/test-00000-of-00001.parquet:1"),
        ("a fine film", "1", "data/train-00000-of-00001.parquet:1"),
        ("a dull film", "0", "data/train-00000-of-00001.parquet:2"),
        ("a film", "1", "data/train-00000-of-00001.parquet:3"),
    ]
    assert (source.dataset, source.guessed) == ("owner/films", ("text", "label"))
    assert len(hub.requests) == asked
    assert not any("raw/train.csv" in path for _, path, _ in hub.requests)


def test_half_a_download_is_none(hub: HubStandIn) -> None:
    """A file of another size than the record has: the data set counts as absent."""
    hub.add("owner/films", FILES)
    fetch_files("owner/films", progress=quiet)
    fetched = fetched_files("owner/films")
    assert fetched is not None
    fetched[1][0].write_bytes(b"")
    assert fetched_files("owner/films") is None
    assert fetched_files("owner--films") is None


@pytest.mark.slow
def test_analyze_asks_the_hub_only_when_told_to(hub: HubStandIn, tmp_path: Path) -> None:
    """Without --download not one request; with it the data set is fetched and analyzed, and the next time is here."""
    hub.add("owner/films", FILES)
    refused = analyze("owner/films")
    assert refused.exit_code == 1
    assert refused.stderr == (
        "'owner/films' is neither a file nor a data set of the table; if it is one of the hub, no whole download of it "
        "is in the cache, and none is made unasked; run: emobench analyze owner/films --download, or take one of "
        "emobench datasets\n"
    )
    assert not hub.requests
    result = analyze("owner/films", "--download", "--json", str(tmp_path / "a.json"))
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "a.json").read_bytes())
    assert content["source"]["documents"] == 4
    assert content["source"]["dataset"] == "owner/films"
    assert [entry["label"] for entry in content["sections"]["labels"]["classes"]] == ["0", "1"]
    asked = len(hub.requests)
    for again in ((), ("--download",)):
        assert analyze("owner/films", *again).exit_code == 0
    assert len(hub.requests) == asked


@pytest.mark.slow
@pytest.mark.parametrize("hub_id", [False, True])
def test_a_data_set_of_the_table_is_downloaded_too(hub: HubStandIn, hub_id: bool) -> None:
    """By its id or its id on the hub; its own splits and label names count."""
    row = DATASETS["imdb"]
    files = {
        pattern.replace("*", "00000"): FILES["data/train-00000-of-00001.parquet"] for pattern in row.files.values()
    }
    hub.add(row.location, files)
    result = analyze(row.location if hub_id else "imdb", "--download")
    assert result.exit_code == 0, result.output
    assert f"imdb: {3 * len(files)} documents" in result.stdout
    assert "positive" in result.stdout


def test_what_the_hub_does_not_have_is_said(hub: HubStandIn) -> None:
    """No such data set; one without a file that can be read."""
    missing = analyze("owner/nothing", "--download")
    assert missing.exit_code == 1
    assert f"{hub.address} has no dataset 'owner/nothing' (404); it does not exist, or it is private" in missing.stderr
    hub.add("owner/script", {"load.py": b"", "README.md": b""})
    with pytest.raises(FetchError) as caught:
        fetch_files("owner/script", progress=quiet, pause_seconds=0)
    assert str(caught.value) == (
        "no file of 'owner/script' can be read; it has README.md, load.py; take another repository or revision"
    )

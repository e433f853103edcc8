"""Results as bytes: they come back equal or not at all."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.errors import BrokenFileError
from emobench.executors.parcel import MAGIC, pack, unpack


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


NAMES = st.sampled_from(["journal-a.jsonl", "outputs/a/stdout.txt", "predictions/x.parquet", "b", "c/d/e"])


@pytest.mark.slow
@given(st.dictionaries(NAMES, st.binary(max_size=200)))
def test_what_was_packed_comes_back(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> None:
    """Every file is there again with its content, and the same files give the same bytes."""
    source = fill(tmp_path_factory.mktemp("source"), files)
    data = pack(source)
    assert data == pack(source)
    target = tmp_path_factory.mktemp("target")
    unpack(data, target, source="a job")
    assert content(target) == files


def test_folders_are_left_out(tmp_path: Path) -> None:
    """Those that are named, and no others of that name deeper down."""
    fill(tmp_path, {"checkpoints/k/weights": b"w", "a/checkpoints": b"x", "b": b"y"})
    unpack(pack(tmp_path, without=("checkpoints",)), tmp_path / "new", source="a job")
    assert content(tmp_path / "new") == {"a/checkpoints": b"x", "b": b"y"}


@given(st.data())
def test_a_changed_byte_is_found(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Bytes cut or changed anywhere are refused, and nothing is written."""
    packed = pack(fill(tmp_path_factory.mktemp("source"), {"journal-a.jsonl": b"line\n" * 20}))
    place = data.draw(st.integers(0, len(packed) - 1))
    changed = data.draw(st.sampled_from(["cut", "flip"]))
    broken = packed[:place] if changed == "cut" else packed[:place] + bytes([packed[place] ^ 1]) + packed[place + 1 :]
    target = tmp_path_factory.mktemp("target")
    with pytest.raises(BrokenFileError, match="their checksum is wrong"):
        unpack(broken, target, source="a job")
    assert content(target) == {}


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b"])
def test_files_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    """A valid archive that names a file outside the folder is refused whole."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("fine", b"1")
        archive.writestr(name, b"2")
    data = MAGIC + hashlib.sha256(stream.getvalue()).digest() + stream.getvalue()
    with pytest.raises(BrokenFileError, match="lies elsewhere"):
        unpack(data, tmp_path / "in", source="a job")
    assert content(tmp_path) == {}


def test_a_file_that_is_there_stays(tmp_path: Path) -> None:
    """Results never overwrite what other cases left."""
    source = fill(tmp_path / "source", {"a": b"new", "b": b"new"})
    target = fill(tmp_path / "target", {"b": b"old"})
    with pytest.raises(BrokenFileError) as caught:
        unpack(pack(source), target, source="job 7")
    assert str(caught.value) == (
        "the results of job 7 are unusable; they name the file 'b', which is there already; run its cases again"
    )
    assert content(target) == {"b": b"old"}

"""Parcel: a folder of results as bytes with a digest, to be handed from one machine to another. No pickle.

It does not know what the files mean, and unpacks nothing whose digest is wrong.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from emobench.errors import BrokenFileError
from emobench.files import write_bytes

MAGIC = b"emobench1"
_DIGEST = 32
_EARLIEST = (1980, 1, 1, 0, 0, 0)


def pack(folder: Path, *, without: Collection[str] = ()) -> bytes:
    """All files of a folder as one zip archive behind its SHA-256; equal files give equal bytes.

    ``without`` names folders directly in it that are left out.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            if path.relative_to(folder).parts[0] in without:
                continue
            # The time of an entry would differ at every packing.
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EARLIEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())
    content = stream.getvalue()
    return MAGIC + hashlib.sha256(content).digest() + content


def unpack(data: bytes, folder: Path, *, source: str) -> None:
    """Write the files of :func:`pack` into ``folder``; ``source`` says in errors where the bytes are from.

    Raises:
        BrokenFileError: the bytes were cut or changed, or name a file outside the folder or one that is there already;
            nothing is written then.
        OSError: the disk is full or the folder not writable.
    """
    start = len(MAGIC) + _DIGEST
    content = data[start:]
    if not data.startswith(MAGIC) or hashlib.sha256(content).digest() != data[len(MAGIC) : start]:
        raise _broken(source, f"their checksum is wrong ({len(data)} bytes)")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
        for name in names:
            if name.is_absolute() or ".." in name.parts or "\\" in str(name):
                raise _broken(source, f"they name the file {str(name)!r}, which lies elsewhere")
        for name in names:
            if (folder / name).exists():
                raise _broken(source, f"they name the file {str(name)!r}, which is there already")
        # Journals last: what a journal tells of is there then.
        for name in sorted(names, key=lambda name: name.suffix == ".jsonl" and len(name.parts) == 1):
            write_bytes(folder / name, archive.read(str(name)))


def _broken(source: str, why: str) -> BrokenFileError:
    return BrokenFileError(f"the results of {source} are unusable", why=why, fix="run its cases again")

"""Kaggle archives: downloaded, or taken from a file the user has, and unpacked into the cache."""

from __future__ import annotations

import base64
import http.client
import os
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

from emobench.errors import FetchError, NotOnMachineError
from emobench.files import cache_folder, sha256_of, write_bytes
from emobench.hub import InterruptedFetchError, matching, with_retries, write_fetched
from emobench.specs import DatasetSpec

SERVER = "https://www.kaggle.com"
TIMEOUT_SECONDS = 60.0
"""Longest wait for the server's next bytes."""


def fetch_archive(
    spec: DatasetSpec,
    *,
    endpoint: str | None,
    retries: int,
    progress: Callable[[str], None],
    from_file: Path | None,
    pause_seconds: float,
) -> Path:
    """Bring a Kaggle data set into the cache and return its folder; see :func:`emobench.data.fetch.fetch_dataset`."""
    if from_file is not None:
        if not from_file.is_file():
            raise NotOnMachineError(
                f"no file {str(from_file)!r}", why="it was given as the data set's archive", fix="correct the path"
            )
        return _unpack(spec, from_file, from_file.name, progress)
    server = (endpoint or os.environ.get("KAGGLE_ENDPOINT") or SERVER).rstrip("/")
    version = "" if spec.revision == "main" else f"?datasetVersionNumber={urllib.parse.quote(spec.revision)}"
    address = f"{server}/api/v1/datasets/download/{urllib.parse.quote(spec.location)}{version}"
    if urllib.parse.urlsplit(address).scheme not in {"http", "https"}:
        raise FetchError(
            f"{server!r} is no web address", why="Kaggle is reached over https", fix="correct KAGGLE_ENDPOINT"
        )

    def attempt() -> Path:
        with tempfile.TemporaryDirectory() as temporary:
            archive = Path(temporary, "archive.zip")
            progress(f"{spec.id}: downloading {address}")
            _download(spec, address, archive)
            return _unpack(spec, archive, address, progress)

    return with_retries(attempt, retries=retries, progress=progress, pause_seconds=pause_seconds)


def _download(spec: DatasetSpec, address: str, path: Path) -> None:
    request = urllib.request.Request(address)
    user, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if user and key:
        # Kaggle redirects to a storage host, which must not see the key.
        credentials = base64.b64encode(f"{user}:{key}".encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {credentials}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response, path.open("wb") as stream:
            shutil.copyfileobj(response, stream)
            expected = response.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        error.close()
        raise _explain(spec, address, error.code) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException) as error:
        raise _interrupted(spec, address, f"no connection ({getattr(error, 'reason', error)})") from error
    if expected is not None and path.stat().st_size != int(expected):
        raise _interrupted(spec, address, f"{path.stat().st_size} of {expected} bytes arrived")
    if not zipfile.is_zipfile(path):
        raise _interrupted(spec, address, "what arrived is no archive")


def _explain(spec: DatasetSpec, address: str, status: int) -> Exception:
    if status in {401, 403}:
        return FetchError(
            f"no permission for {spec.location!r} ({status})",
            why="Kaggle wants an account that has accepted the data set's terms",
            fix="set KAGGLE_USERNAME and KAGGLE_KEY, or download the archive by hand and "
            f"run: emobench fetch {spec.id} --from-file archive.zip",
        )
    if status == 404:
        return FetchError(
            f"Kaggle has no data set {spec.location!r} at version {spec.revision!r}",
            why=f"{address} answered 404",
            fix="correct owner/name and revision in the data set's row",
        )
    if status >= 500 or status == 429:
        return _interrupted(spec, address, f"{address} answered {status}")
    return FetchError(f"Kaggle refused {spec.location!r}", why=f"{address} answered {status}", fix="look at its page")


def _interrupted(spec: DatasetSpec, address: str, why: str) -> InterruptedFetchError:
    return InterruptedFetchError(
        FetchError(
            f"{spec.location!r} could not be fetched from {address}",
            why=why,
            fix="check the network, or download the archive by hand and "
            f"run: emobench fetch {spec.id} --from-file archive.zip",
        )
    )


def _unpack(spec: DatasetSpec, archive: Path, origin: str, progress: Callable[[str], None]) -> Path:
    """Store the files that the spec asks for, under their bare names; paths in an archive are not trusted."""
    checksum = sha256_of(archive)
    folder = cache_folder("datasets", spec.id, f"sha256-{checksum[:16]}")
    if not zipfile.is_zipfile(archive):
        names = _wanted(spec, [archive.name])
        write_bytes(folder / archive.name, archive.read_bytes())
    else:
        names = _unpack_members(spec, archive, origin, folder)
    # A file given by hand counts as the revision the row names.
    commit = f"sha256:{checksum}"
    write_fetched(folder, names, source=spec.source, location=spec.location, revision=spec.revision, commit=commit)
    progress(f"{spec.id}: stored in {folder}")
    return folder


def _unpack_members(spec: DatasetSpec, archive: Path, origin: str, folder: Path) -> list[str]:
    try:
        with zipfile.ZipFile(archive) as opened:
            members = {PurePosixPath(item.filename).name: item for item in opened.infolist() if not item.is_dir()}
            names = _wanted(spec, list(members))
            for name in names:
                write_bytes(folder / name, opened.read(members[name]))
    except zipfile.BadZipFile as error:
        raise FetchError(f"{origin} is no whole archive", why=str(error), fix="download it again") from error
    return names


def _wanted(spec: DatasetSpec, names: Sequence[str]) -> list[str]:
    """Names that the spec's splits ask for; a split for which there is none is an error."""
    for split, pattern in spec.files.items():
        if not matching([pattern], names):
            raise FetchError(
                f"data set {spec.id!r}: no file of {spec.location!r} matches {pattern!r} of split {split!r}",
                why=f"it has {', '.join(sorted(names)[:20]) or 'no files'}",
                fix="correct `files` in the data set's row",
            )
    return matching(list(spec.files.values()), names)

"""A Hugging Face hub: files of one commit brought into a folder, whole and with the commit recorded, or a clear error.

Its attempts and its record of a complete download are those of other servers too. Knows nothing of models or data
sets; asked for anything only by a fetch.
"""

from __future__ import annotations

import fnmatch
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from emobench.errors import FetchError
from emobench.files import sha256_of, write_bytes

SERVER = "https://huggingface.co"
FETCHED_FILE = "fetched.json"
"""Marker of a complete download, written last: a folder without it is half a download."""
ANSWER_SECONDS = 30.0
"""Wait for a server to say what a repository holds; the hub's client itself waits without an end."""
FIRST_PAUSE_SECONDS = 1.0
"""Wait before the second attempt; it doubles with each further one."""

Fetched = TypeVar("Fetched")


class InterruptedFetchError(Exception):
    """An attempt that may succeed if made again; ``reason`` is the final error where it does not."""

    def __init__(self, reason: FetchError) -> None:
        super().__init__(str(reason))
        self.reason = reason


def download_snapshot(
    repo_id: str,
    *,
    repo_type: Literal["model", "dataset"],
    revision: str,
    patterns: Sequence[str] | Callable[[Iterable[str]], Sequence[str]],
    folder: Callable[[str], Path],
    again: str,
    endpoint: str | None = None,
    token: str | None = None,
    retries: int = 3,
    progress: Callable[[str], None],
    pause_seconds: float = FIRST_PAUSE_SECONDS,
) -> str:
    """Bring the files that match ``patterns`` at a revision into ``folder(commit)``; return the commit.

    ``patterns`` may be a function that chooses among the names of all files.

    Sizes and checksums are those the hub lists. ``endpoint`` is the server's base address, else ``HF_ENDPOINT``, else
    the public one; ``token`` or ``HF_TOKEN`` opens gated repositories. ``retries`` counts attempts after the first,
    which a busy server, a broken connection and a damaged file are given. ``again`` is the command to make it with.

    Raises:
        FetchError: no permission, no such repository, revision or file, or no connection after the last attempt.
    """
    server = endpoint or os.environ.get("HF_ENDPOINT") or None
    secret = token or os.environ.get("HF_TOKEN") or None
    return with_retries(
        lambda: _attempt(repo_id, repo_type, revision, patterns, folder, again, server, secret, progress),
        retries=retries,
        progress=progress,
        pause_seconds=pause_seconds,
    )


def with_retries(
    attempt: Callable[[], Fetched], *, retries: int, progress: Callable[[str], None], pause_seconds: float
) -> Fetched:
    """What ``attempt`` returns, made again after :class:`InterruptedFetchError` up to ``retries`` times.

    Raises:
        FetchError: the reason of the last attempt.
    """
    for count in range(retries + 1):
        try:
            return attempt()
        except InterruptedFetchError as error:
            if count == retries:
                raise error.reason from error
            pause = pause_seconds * 2**count
            progress(f"attempt {count + 1} of {retries + 1} failed ({error.reason.why}); trying again in {pause:g} s")
            time.sleep(pause)
    raise AssertionError("unreachable: the last attempt returns or raises")


def matching(patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    """Names that match one of the patterns, sorted; ``*`` stays inside a folder, as in a shell."""
    return sorted(
        name
        for name in names
        if any(name.count("/") == pattern.count("/") and fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
    )


def read_fetched(folder: Path) -> Mapping[str, Any] | None:
    """The record of a complete download whose files all have the recorded sizes; None for anything else."""
    try:
        record: Mapping[str, Any] = json.loads((folder / FETCHED_FILE).read_bytes())
        whole = all((folder / name).stat().st_size == item["bytes"] for name, item in record["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # A marker that cannot be read, or a file it names that is gone: the download counts as not made.
        return None
    return record if whole else None


def write_fetched(
    folder: Path, names: Sequence[str], *, source: str, location: str, revision: str, commit: str
) -> None:
    """Write the record of a complete download; revisions that it already names stay."""
    before = read_fetched(folder)
    record = {
        "source": source,
        "location": location,
        "revisions": sorted({revision, *(before["revisions"] if before else ())}),
        "commit": commit,
        "fetched_at": datetime.now(UTC).isoformat(),
        "files": {
            name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_of(folder / name)} for name in names
        },
    }
    write_bytes(folder / FETCHED_FILE, json.dumps(record, indent=2, sort_keys=True).encode())


def fetched_below(parent: Path, location: str) -> list[tuple[Path, Mapping[str, Any]]]:
    """Folders of complete downloads of a location in ``parent``, with their records; the newest is the first."""
    folders = sorted((marker.parent for marker in parent.glob(f"*/{FETCHED_FILE}")), reverse=True)
    found = [(folder, record) for folder in folders if (record := read_fetched(folder)) is not None]
    here = [one for one in found if one[1].get("location") == location]
    return sorted(here, key=lambda one: str(one[1]["fetched_at"]), reverse=True)


def _attempt(
    repo_id: str,
    repo_type: Literal["model", "dataset"],
    revision: str,
    patterns: Sequence[str] | Callable[[Iterable[str]], Sequence[str]],
    folder_of: Callable[[str], Path],
    again: str,
    endpoint: str | None,
    token: str | None,
    progress: Callable[[str], None],
) -> str:
    from huggingface_hub import HfApi, snapshot_download

    # HTTPError is the base of transport errors, of httpx or httpx2 as the hub's version has it, and is not re-exported.
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
    )

    progress(f"asking for {repo_id} at {revision}")
    try:
        api = HfApi(endpoint=endpoint, token=token)
        # Its type is a union with a kind of repository that has no files listed.
        info: Any = api.repo_info(
            repo_id, repo_type=repo_type, revision=revision, files_metadata=True, timeout=ANSWER_SECONDS
        )
        commit, listed = str(info.sha), {item.rfilename: item for item in info.siblings or []}
        names = list(patterns(listed)) if callable(patterns) else matching(patterns, listed)
        if not names:
            wanted = "can be read" if callable(patterns) else f"matches {', '.join(patterns)}"
            raise FetchError(
                f"no file of {repo_id!r} {wanted}",
                why=f"it has {', '.join(sorted(listed)[:20]) or 'no files'}",
                fix="take another repository or revision",
            )
        folder = folder_of(commit)
        progress(f"commit {commit}, {len(names)} files, {sum(listed[n].size or 0 for n in names) / 1e6:.1f} MB")
        snapshot_download(
            repo_id,
            repo_type=repo_type,
            revision=commit,
            allow_patterns=names,
            local_dir=folder,
            endpoint=endpoint,
            token=token,
            # The hub's client trusts what it once stored, whatever became of it since.
            force_download=any(_has_other_size(folder / name, listed[name].size) for name in names),
        )
    except (HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise _explain(error, repo_id, repo_type, revision, endpoint) from error
    for name in names:
        _verify(folder / name, listed[name], again)
    write_fetched(folder, names, source="hub", location=repo_id, revision=revision, commit=commit)
    progress(f"stored in {folder}")
    return commit


def _has_other_size(path: Path, size: int | None) -> bool:
    return path.is_file() and path.stat().st_size != size


def _verify(path: Path, listed: Any, again: str) -> None:
    if not path.is_file():
        wrong = "it was not stored"
    elif listed.size is not None and path.stat().st_size != listed.size:
        wrong = f"it has {path.stat().st_size} of {listed.size} bytes"
    elif listed.lfs is not None and sha256_of(path) != listed.lfs.sha256:
        wrong = "its SHA-256 is not the one the hub lists"
    else:
        return
    path.unlink(missing_ok=True)
    raise InterruptedFetchError(FetchError(f"{path.name!r} arrived broken", why=wrong, fix=again))


def _explain(
    error: BaseException, repo_id: str, repo_type: Literal["model", "dataset"], revision: str, endpoint: str | None
) -> Exception:
    """Turn an error of the hub's client into ours; :class:`InterruptedFetchError` where another attempt may help."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The client wraps what happened in "not found in the cache" errors; the cause is what a user can act on.
    chain = _chain(error)
    cause = next((item for item in chain if isinstance(item, HfHubHTTPError | OfflineModeIsEnabled)), chain[-1])
    server = endpoint or SERVER
    page = f"{server}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    if isinstance(cause, OfflineModeIsEnabled):
        return FetchError(f"{repo_id!r} was not fetched", why="HF_HUB_OFFLINE forbids it", fix="unset HF_HUB_OFFLINE")
    if isinstance(cause, GatedRepoError) or status == 403:
        return FetchError(
            f"no permission for {repo_id!r} ({status})",
            why="it is gated, and the token was not given or has no access",
            fix=f"accept its licence at {page} and set HF_TOKEN to a token that may read it",
        )
    if isinstance(cause, RevisionNotFoundError):
        return FetchError(
            f"{repo_id!r} has no revision {revision!r}",
            why=f"{server} answered {status}",
            fix=f"take one that is listed at {page}",
        )
    if isinstance(cause, RepositoryNotFoundError) or status in {401, 404}:
        return FetchError(
            f"{server} has no {repo_type} {repo_id!r} ({status})",
            why="it does not exist, or it is private and the token was not given or is not valid",
            fix="correct the hub id, or set HF_TOKEN to a token that may read it",
        )
    if status is not None and status < 500 and status != 429:
        return FetchError(f"{server} refused {repo_id!r}", why=f"it answered {status}", fix=f"look at {page}")
    return InterruptedFetchError(
        FetchError(
            f"{repo_id!r} could not be fetched from {server}",
            why=f"it answered {status}" if status else f"no connection ({type(cause).__name__}: {cause})",
            fix="check the network, or set HF_ENDPOINT to a mirror, and fetch again",
        )
    )


def _chain(error: BaseException) -> list[BaseException]:
    found = [error]
    while (below := found[-1].__cause__ or found[-1].__context__) is not None:
        found.append(below)
    return found

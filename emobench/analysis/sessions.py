"""Sessions: where, when and with what each run was made. Only fields named here reach a report.

A list of what is shown, and not of what is hidden: other tools may put anything into a run's machine and commit info.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emobench.analysis.rows import SavedRun
from emobench.analysis.sweep import Result


@dataclass(frozen=True, kw_only=True)
class Session:
    """One run's surroundings as name and text; what is unknown is left out."""

    run: str
    facts: tuple[tuple[str, str], ...]


def sessions(runs: Mapping[str, SavedRun]) -> list[Session]:
    """The surroundings of every run."""
    return [Session(run=name, facts=tuple(_facts(run))) for name, run in runs.items()]


def _facts(run: SavedRun) -> list[tuple[str, str]]:
    machine, commit, settings = run.machine_info, run.commit_info, run.settings
    processor = _mapping(machine.get("cpu"))
    shared = [result.environment for result in run.records]
    found = [
        ("saved", run.datetime[:19].replace("T", " ") + (" UTC" if run.datetime else "")),
        ("commit", str(commit.get("id") or "")),
        ("branch", str(commit.get("branch") or "")),
        ("uncommitted changes", {True: "yes", False: "no"}.get(commit.get("dirty"), "")),  # type: ignore[arg-type]  # any other value is unknown
        ("devices", _distinct(shared, "device_name")),
        ("processor", str(processor.get("brand_raw") or machine.get("processor") or "")),
        ("cores", str(processor.get("count") or "")),
        ("threads of torch", _distinct(shared, "threads")),
        (
            "system",
            _distinct(shared, "platform") or f"{machine.get('system', '')} {machine.get('release', '')}".strip(),
        ),
        ("Python", str(machine.get("python_version") or "")),
        *((name, text) for name, text in _versions(run.records).items()),
        ("profile", str(settings.get("profile") or "")),
        ("seeds", ", ".join(map(str, settings.get("seeds") or ()))),
        ("weights", str(settings.get("weights") or "")),
        ("price of a device hour", _prices(run.records)),
        ("pytest arguments", " ".join(map(str, settings.get("arguments") or ()))),
        *(("note", str(note)) for note in run.notes),
    ]
    return [(name, text) for name, text in found if text]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _distinct(environments: list[Mapping[str, Any]], name: str) -> str:
    values = [str(found[name]) for found in environments if found.get(name) not in (None, "")]
    return ", ".join(dict.fromkeys(values))


def _versions(results: Sequence[Result]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for result in results:
        for name, text in _mapping(result.environment.get("versions")).items():
            found.setdefault(str(name), {})[str(text)] = None
    return {name: ", ".join(texts) for name, texts in found.items()}


def _prices(results: Sequence[Result]) -> str:
    found = [_mapping(result.details.get("price")) for result in results]
    texts = [f"{price['per_hour']} {price.get('currency') or ''}".strip() for price in found if "per_hour" in price]
    return ", ".join(dict.fromkeys(texts))

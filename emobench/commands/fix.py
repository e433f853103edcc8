"""``emobench check --fix``: what changes no result goes into the project's file; what does is printed to be copied.

Safe are two things: settings that leave what a case computes as it is up to rounding, in ``[train]``; and taking out of
``[run]`` what none of its cases can do here. Checks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from emobench.commands.project_place import find_benchmarks, find_place
from emobench.commands.settings_file import change_settings
from emobench.preflight.grouped import emobench_form, grouped
from emobench.preflight.planned import Finding, Fix
from emobench.specs import CaseSpec, Profile

if TYPE_CHECKING:
    from emobench.commands.check import Checked

OF_THE_PLAN = frozenset({"does-not-fit", "precision", "quantization"})
"""Checks whose stop says that a case asks too much of this machine. Data and rows of a table that are wrong are
mended, not left out."""
AXES: Mapping[str, Callable[[CaseSpec], object]] = MappingProxyType(
    {
        "models": lambda case: case.model.id,
        "methods": lambda case: case.method.id if case.method is not None else None,
        "precisions": lambda case: case.precision,
        "batch_sizes": lambda case: case.batch_size,
    }
)
"""Lists of ``[run]`` to what a case has there."""
SHOWN_UNSAFE = 8
"""Ways out that change results which are printed; more stand with the findings."""


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """What became of the fixes."""

    text: str
    changed: bool


def fix_project(checked: Checked, *, given: Sequence[str] = ()) -> Fixed:
    """Put the safe fixes of the findings into the project's file, which is made where there is none.

    ``given`` are ``key=value`` settings of the command line, which win over the file: their keys are left alone.
    """
    place = find_place(find_benchmarks())
    kept = {pair.partition("=")[0].strip() for pair in given}
    train = {key: value for key, value in safe_changes(checked.findings).items() if key not in kept}
    run = without_hopeless(place.project.settings.get("run", {}), checked) if checked.whole else {}
    tables = {name: table for name, table in (("train", train), ("run", run)) if table}
    file = place.project.file or place.root / "emobench.toml"
    unsafe = list(unsafe_lines(checked.findings, file.name))
    if not tables:
        text = "no safe fix to apply: what is left changes results, and is yours to choose"
        return Fixed(text="\n".join([text, *unsafe]), changed=False)
    diff = change_settings(file, tables)
    told = [f"applied to {file.name}, for every case of the project:"]
    told += [f"  [{name}] {key} = {shown(value)}" for name, table in tables.items() for key, value in table.items()]
    rest = ["", "what is left changes results, and is yours to choose:", *unsafe] if unsafe else []
    return Fixed(text="\n".join([*told, diff, *rest]), changed=True)


def safe_changes(findings: Sequence[Finding]) -> dict[str, Any]:
    """The first safe fix of each finding, together: the smallest number, and true over false."""
    found: dict[str, Any] = {}
    for finding in findings:
        first = next((fix for fix in finding.fixes if fix.safe), None)
        for key, value in (first.changes if first is not None else {}).items():
            old = found.get(key, value)
            found[key] = (old or value) if isinstance(value, bool) else min(old, value)
    return found


def without_hopeless(run: Mapping[str, Any], checked: Checked) -> dict[str, list[Any]]:
    """Lists of ``[run]`` without what no case can do here; they stay as they are where no case would be left.

    A case that a safe fix mends is not given up, and neither is one of a device that is not here.
    """
    hopeless = {
        item.case_id
        for item in checked.findings
        if item.level == "stop" and item.check in OF_THE_PLAN and not any(fix.safe for fix in item.fixes)
    }
    if hopeless.issuperset(spec.id for spec in checked.specs):
        return {}
    found: dict[str, list[Any]] = {}
    for axis, value_of in AXES.items():
        listed = run.get(axis, [])
        left = [value for value in listed if not _all_of(value, value_of, checked.specs, hopeless)]
        if left and len(left) < len(listed):
            found[axis] = left
    return found


def _all_of(
    value: object, value_of: Callable[[CaseSpec], object], specs: Sequence[CaseSpec], hopeless: set[str]
) -> bool:
    those = [spec.id for spec in specs if value_of(spec) == value]
    return bool(those) and hopeless.issuperset(those)


def unsafe_lines(findings: Sequence[Finding], file: str) -> Iterator[str]:
    """The fixes that a setting does and that change results: what, at what price, and the lines to copy."""
    found: dict[str, tuple[str, Fix]] = {}
    for group in grouped(findings):
        for fix in group.finding.fixes:
            if not fix.safe and fix.changes and fix.setting:
                found.setdefault(fix.setting, (group.finding.check, fix))
    for check, fix in list(found.values())[:SHOWN_UNSAFE]:
        yield f"  {check}: {fix.text} ({fix.trade_off})"
        yield f"      {emobench_form(fix.setting or '')}"
        yield f"      in {file}: {', '.join(toml_form(key, value) for key, value in fix.changes.items())}"
    if len(found) > SHOWN_UNSAFE:
        yield f"  and {len(found) - SHOWN_UNSAFE} more, which stand with the findings"


def toml_form(key: str, value: Any) -> str:
    """A setting as the project's file has it."""
    table = "profile" if key in Profile.model_fields else "train"
    return f"no {key} in [{table}]" if value is None else f"[{table}] {key} = {shown(value)}"


def shown(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()

"""Findings of many cases as text: equal ones once with a count, each check's worst first. Checks nothing."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from emobench.preflight.planned import LEVELS, Finding, Fix

WIDTH = 100
SHOWN = 4
"""Different problems of one check that are shown in full; the rest is counted."""
SHOWN_CASES = 2

_OPTION = re.compile(r"--emo-(set|seeds|profile|slow|weights|download|silence)\b")
"""The plugin's options that the verbs have under a shorter name."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """One finding and the cases that have it."""

    finding: Finding
    cases: tuple[str, ...]


def grouped(findings: Iterable[Finding]) -> list[Group]:
    """Findings with the same text together; stops first, then by how many cases have them."""
    found: dict[tuple[str, ...], list[Finding]] = {}
    for item in findings:
        found.setdefault((item.check, item.level, item.problem), []).append(item)
    groups = [
        Group(finding=items[0], cases=tuple(dict.fromkeys(item.case_id for item in items))) for items in found.values()
    ]
    return sorted(groups, key=lambda group: (LEVELS.index(group.finding.level), -len(group.cases)))


def finding_lines(findings: Sequence[Finding], *, indent: str = "", full: bool = True) -> list[str]:
    """A block for each check and level, with lines to copy for the command line of ``emobench``.

    ``full`` False gives one line a problem with its first fix, as options of pytest: it is told at the end of its run.
    """
    groups = grouped(findings)
    blocks = dict.fromkeys((group.finding.level, group.finding.check) for group in groups)
    lines: list[str] = []
    for level, check in blocks:
        members = [group for group in groups if (group.finding.level, group.finding.check) == (level, check)]
        cases = len({case for group in members for case in group.cases})
        if full:
            lines += [f"{indent}{level}: {check} ({_count(cases)})"]
        shown = members[:SHOWN]
        for group in shown:
            lines += _full(group, indent + "  ") if full else _short(group, indent)
        if len(members) > SHOWN:
            more = sum(len(group.cases) for group in members[SHOWN:])
            where = "; -k narrows, --json FILE has all" if full else ""
            lines.append(f"{indent}  and {len(members) - SHOWN} more of {check} ({_count(more)}){where}")
        if full:
            lines += [f"{indent}  silence with {emobench_form(members[0].finding.silence)}", ""]
    return lines


def emobench_form(setting: str) -> str:
    """Options of pytest as ``emobench check`` and ``emobench run`` take them; what these do not have follows ``--``.

    Lines that are no options stay as they are.
    """
    own = _OPTION.sub(r"--\1", setting)
    return f"-- {setting}" if own.startswith(("--emo-", "--benchmark-")) or " --emo-" in own else own


def _full(group: Group, indent: str) -> list[str]:
    finding = group.finding
    lines = _wrapped(finding.problem, indent)
    lines += _wrapped(f"why: {finding.why}", indent + "  ")
    for fix in finding.fixes:
        lines += _wrapped(f"fix: {fix.text} ({fix.trade_off})", indent + "  ")
        if fix.setting:
            # Not wrapped: it is there to be copied.
            lines.append(f"{indent}       {emobench_form(fix.setting)}")
    names = ", ".join(group.cases[:SHOWN_CASES])
    more = f" and {len(group.cases) - SHOWN_CASES} more" if len(group.cases) > SHOWN_CASES else ""
    return [*lines, *_wrapped(f"in: {names}{more}", indent + "  ")]


def _short(group: Group, indent: str) -> list[str]:
    finding = group.finding
    way = next((_way(fix) for fix in finding.fixes), "")
    text = f"{finding.level}, {finding.check}, {_count(len(group.cases))}: {finding.problem}{way}"
    return _wrapped(text, indent)


def _way(fix: Fix) -> str:
    return f"; {fix.text}" + (f": {fix.setting}" if fix.setting else "")


def _count(cases: int) -> str:
    return f"{cases} case{'' if cases == 1 else 's'}"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent + "  ",
        break_long_words=False,
        break_on_hyphens=False,
    )

"""Run summary: what the terminal shows after the run. It decides and writes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emobench.session.place import shown

if TYPE_CHECKING:
    import pytest

    from emobench.session.run import Session

WRITTEN_BY_THEM = ("json", "save", "autosave", "histogram", "compare_fail")
"""Options of pytest-benchmark that it heeds itself."""


def summarize(session: Session, reporter: pytest.TerminalReporter) -> None:
    """Our table, what was skipped and why, and where the run is."""
    if not (session.records or session.skips or (session.gate and session.gate.found)):
        return
    from emobench.cases.checks import kept_lines
    from emobench.reports.tables import results_table, skip_lines, target_lines

    reporter.section("EmoBench", sep="=")
    if session.records:
        reporter.write_line(results_table(session.records))
        for line in target_lines(session.records):
            reporter.write_line(line)
    for line in skip_lines(session.skips):
        reporter.write_line(line)
    for line in kept_lines(session.records):
        reporter.write_line(line)
    if session.interrupted:
        again = "go on with --emo-resume, or emobench run --resume"
        reporter.write_line(f"interrupted ({session.interrupted}); {again}", yellow=True)
    if session.saved:
        number = session.saved.name.partition("_")[0]
        reporter.write_line(f"saved: {shown(session.saved)} (compare with --benchmark-compare={number})")
    ignored = unheeded(session)
    if ignored:
        said = f"not heeded where cases run in other processes: {', '.join(ignored)}; the saved run has it all"
        reporter.write_line(f"{said}, and --emo-gate decides", red=True)
    for line in comparisons(session):
        reporter.write_line(line)
    if session.problem:
        reporter.write_line(session.problem, red=True, bold=True)


def unheeded(session: Session) -> list[str]:
    """Options of pytest-benchmark that need its own measurements, and where other processes run cases have none."""
    if not (session.measures_elsewhere or session.config.pluginmanager.has_plugin("emobench-controller")):
        return []
    given = ((name, session.config.getoption(f"benchmark_{name}", None)) for name in WRITTEN_BY_THEM)
    return [f"--benchmark-{name.replace('_', '-')}" for name, value in given if value]


def comparisons(session: Session) -> list[str]:
    """What ``--emo-baseline``, the gates and ``--benchmark-compare`` ask for."""
    wanted = session.config.getoption("benchmark_compare", False)
    lines: list[str] = []
    if session.saved and session.gate is not None and session.gate.base is not None:
        from emobench.records.index import read_index
        from emobench.session.gate import comparison_lines

        lines += comparison_lines(session.gate.base.indexes, session.gate.name, read_index(session.saved))
    if session.saved and wanted:
        from emobench.session.gate import compared_with

        lines += ["", *compared_with(wanted, session.saved, session.storage)]
    return lines + (session.gate.lines() if session.gate else [])

"""Run gate: the gate that one session's options ask for, and its decision at the end; see ``gate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emobench.session.facts import ours

if TYPE_CHECKING:
    from emobench.session.gate import Gate
    from emobench.session.run import Session


def find_run_gate(session: Session) -> Gate | None:
    """The gate that the options and the table ``[gates]`` ask for.

    Raises:
        SpecError: a limit that cannot be read.
        BaselineError: the baseline cannot be used.
    """
    asked, baseline = session.config.getoption("emo_gate"), session.config.getoption("emo_baseline")
    table = session.project.settings.get("gates", {})
    if not (asked or table) and baseline is None:
        return None
    from emobench.session.gate import find_gate

    choice = session.config.getoption("emo_inconclusive")
    return find_gate(table, asked, baseline, session.storage, inconclusive=choice)


def gate_ended(session: Session) -> int:
    """Decide everything that was gated, of the saved run; returns an exit code, 0 where nothing is wrong."""
    option = session.config.getoption
    if session.gate is None or session.gate.plan is None or option("collectonly") or option("benchmark_disable", False):
        return 0
    from emobench.records.index import read_index
    from emobench.session.gate import index_of_session

    index = read_index(session.saved) if session.saved else index_of_session(session.storage, ours(session))
    return session.gate.ended(index)

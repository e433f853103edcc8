"""Run gate: what the gate of one session decides at its end; see ``gate``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emobench.session.facts import ours

if TYPE_CHECKING:
    from emobench.session.run import Session


def gate_ended(session: Session) -> int:
    """Decide everything that was gated, of the saved run; returns an exit code, 0 where nothing is wrong."""
    option = session.config.getoption
    if session.gate is None or session.gate.plan is None or option("collectonly") or option("benchmark_disable", False):
        return 0
    from emobench.records.index import read_index
    from emobench.session.gate import index_of_session

    index = read_index(session.saved) if session.saved else index_of_session(session.storage, ours(session))
    return session.gate.ended(index)

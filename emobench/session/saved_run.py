"""Saved run: the journal that a session begins, and the run that is folded of it at the end."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emobench.cases.names import forget_originals
from emobench.session.facts import end, head, saved_content
from emobench.session.interrupts import ends_on_terminate, signals_wait

if TYPE_CHECKING:
    import pytest

    from emobench.session.run import Session


def open_journal(session: Session) -> None:
    """Begin the journal. A run without a head in it cannot be gone on with, so it comes before any case.

    Raises:
        OSError: the storage cannot be written to; a head that could not be written is owed.
    """
    if "journal" in session.__dict__:
        return
    ends_on_terminate(session.config)
    role = "worker" if session.place.worker else "main"
    # No journal without a head, and no import cut short, of which Python makes another error in a class body.
    with signals_wait():
        content = head(session)
        session.journal.head(content, generation=session.place.generation, role=role)


def begin(session: Session, item: pytest.Item) -> None:
    """Begin the journal, or end the session where the storage cannot be written to."""
    try:
        open_journal(session)
    except OSError as error:
        session.stop(item, f"no case can be kept in {session.storage}: {error}; give a --benchmark-storage to write to")


def save(session: Session) -> bool:
    """Save the run, if any case ran; False where it could not be saved. The journal has the records then."""
    option = session.config.getoption
    if not session.began or option("benchmark_disable", False) or option("collectonly"):
        return True
    from emobench.records import fold as records

    try:
        with signals_wait():
            open_journal(session)
            session.journal.settle()
            session.journal.ended(end(session))
            if session.place.worker is None:
                folded = records.fold(session.storage, [session.folder])
                session.records = list(folded.records)
                if session.records:
                    content = saved_content(session, folded)
                    session.saved = records.save(session.storage, replace(folded, content=content))
                    if session.interrupted is None:
                        forget_originals(session.folder)
    except OSError as error:
        session.problem = f"the run could not be saved: {error}; its records are in {session.folder}"
    return session.problem is None

"""How a case starts: what it needs is fetched, it gets the session's options, and the journal a line.

How it ended is told in ``ending``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emobench.cases.case import Case
from emobench.collector import leave_imports_alone
from emobench.errors import UnsupportedError
from emobench.outcomes import Status
from emobench.session.place import plain_node_id
from emobench.session.saved_run import begin

if TYPE_CHECKING:
    import pytest

    from emobench.session.run import Session
    from emobench.specs import CaseSpec


def start(session: Session, item: pytest.Item, benchmark: Any) -> Case:
    """The running case of a test; with ``--emo-download`` what it needs is fetched first."""
    spec = session.spec_of(item)
    session.progress.start(spec.id)
    begin(session, item)
    if session.config.getoption("emo_download"):
        fetch_missing(session, spec)
    if session.config.getoption("benchmark_cprofile", None) and spec.kind.timed is None:
        raise UnsupportedError(
            f"--benchmark-cprofile with a case of {spec.kind.name}",
            why="it would do the work once more, and add a round to the results",
            fix="leave it out, or take inference cases",
        )
    saving = bool(session.config.getoption("emo_save_models"))
    made = Case(
        spec,
        benchmark,
        folder=session.folder,
        progress=session.progress,
        save_models=saving,
        tracing=bool(session.config.getoption("emo_trace")),
        goals=session.settings.goals,
        plan_key=session.plan_keys.key(spec),
        home=session.place.home,
        lease=session.place.lease,
        silenced=session.settings.silenced,
        kept_model=session.kept_model,
    )
    benchmark.fullname = plain_node_id(item)
    session.froze = leave_imports_alone() or session.froze
    made.release_memory()
    described = {**spec.summary(), "plan_key": made.plan_key}
    session.journal.started(spec.id, key=made.plan_key, node=benchmark.fullname, case=described)
    return made


def put_down(session: Session, case: Case) -> None:
    """Note of a case that ends without a record, as one that skips itself does, that it is not lost."""
    if session.kept_model is not None and not (case.kept and session.records[-1].status is Status.OK):
        # What a case that broke left of its model is not known; one that is measured again loads it again.
        session.kept_model.let_go()
    if not case.kept:
        session.journal.dropped(case.spec.id, node=case.benchmark.fullname)


def fetch_missing(session: Session, spec: CaseSpec) -> None:
    """Download what the case needs and this machine lacks."""
    from emobench.data.fetch import fetch_dataset
    from emobench.data.sources import is_here
    from emobench.models.download import fetch_model
    from emobench.models.locate import absent_reason as weights_absent

    if session.settings.weights == "pretrained" and weights_absent(spec.model):
        fetch_model(spec.model, progress=session.progress.note)
    if spec.dataset and is_here(spec.dataset):
        fetch_dataset(spec.dataset, progress=session.progress.note)

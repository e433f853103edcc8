"""Skips: why a case cannot or should not run here, and the end of its test then. They are shown by ``reports``."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from emobench.catalogue.backends import backend_absent_reason
from emobench.catalogue.combinations import NEEDS
from emobench.devices import absent_reason, find_device, installed
from emobench.estimate.slow import why_slow

if TYPE_CHECKING:
    from emobench.reports.tables import Skip
    from emobench.session.run import Session
    from emobench.specs import CaseSpec


def refuse_or_skip(session: Session, item: pytest.Item) -> None:
    """Skip a case that cannot run here, stop where none can; the reasons are kept for the summary."""
    refused = session.place.why_refused()
    if refused is not None:
        session.stop(item, refused)
    spec = session.spec_of(item)
    if session.kept_model is not None:
        session.kept_model.let_go_unless_of(spec)
    wanted = slow_asked_for(session) or (session.settings.picked is not None and session.settings.picked.has(spec))
    skip = why_skip(session, spec, with_slow=wanted)
    if skip is not None:
        session.skips.append(skip)
        item.user_properties.append(("emobench_skip", [skip.case_id, skip.reason, skip.fix, skip.subject]))
        pytest.skip(f"{skip.text}; {skip.remedy}" if skip.fix else skip.text)


def why_skip(session: Session, spec: CaseSpec, *, with_slow: bool) -> Skip | None:
    """Why a case cannot or should not run here, or None."""
    from emobench.cases.checks import first_way_out, stopped
    from emobench.data.sources import is_here
    from emobench.models.locate import absent_reason as weights_absent
    from emobench.reports.tables import Skip

    def skip(reason: str, fix: str = "", subject: str = "") -> Skip:
        return Skip(case_id=spec.id, reason=reason, fix=fix, subject=subject)

    absent = absent_reason(spec.device)
    if absent:
        return skip(absent)
    need = NEEDS.get(spec.precision)
    if need and not installed(need.package):
        return skip(f"precision {spec.precision} needs {need.package}", f'run: pip install "emobench[{need.extra}]"')
    lacks = backend_absent_reason(spec.backend, spec.device)
    if lacks:
        return skip(*lacks)
    downloading = session.config.getoption("emo_download")
    if session.settings.weights == "pretrained" and not downloading and weights_absent(spec.model):
        return skip("weights of {subject} are not on this machine", "run: emobench fetch {subject}", spec.model.id)
    missing = is_here(spec.dataset) if spec.dataset else None
    if spec.dataset and missing and spec.dataset.source in ("file", "package"):
        return skip(missing)
    if spec.dataset and missing and not downloading:
        return skip("data set {subject} is not on this machine", "run: emobench fetch {subject}", spec.dataset.id)
    slow = None if with_slow else why_slow(spec)
    if slow:
        return skip(slow, "add --emo-slow or -m slow")
    if session.measures_elsewhere:
        return None  # the case's own process looks at the device: what this one held of it would be missing there
    if find_device(spec.device) is None:
        return skip(f"torch cannot use {spec.device} here", "install a torch build for this device")
    stop = stopped(spec, storage=session.storage, silenced=session.settings.silenced)
    return None if stop is None else skip(f"{stop.problem} ({stop.why})", first_way_out(stop))


def slow_asked_for(session: Session) -> bool:
    """``--emo-slow``, or a mark expression that selects slow cases."""
    return bool(session.config.getoption("emo_slow")) or asks_for(session.config, "slow")


def asks_for(config: pytest.Config, mark: str) -> bool:
    """Whether the mark expression asks for ``mark`` somewhere, rather than for what does not have it."""
    expression = str(config.getoption("markexpr", "") or "")
    try:
        tree: ast.AST = ast.parse(expression.strip() or "none", mode="eval").body
    except SyntaxError:  # names of marks that are none of Python's
        return mark in expression.split() and "not" not in expression.split()

    def asked(node: ast.AST, wanted: bool) -> bool:
        if isinstance(node, ast.Name):
            return wanted and node.id == mark
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return asked(node.operand, not wanted)
        return isinstance(node, ast.BoolOp) and any(asked(value, wanted) for value in node.values)

    return asked(tree, True)

"""What a run is: where runs lie, what a session was, and what its saved run holds beside the benchmarks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from emobench import __version__
from emobench.records.store import plain_or_text

if TYPE_CHECKING:
    from emobench.records.fold import Folded
    from emobench.reports.tables import Skip
    from emobench.session.run import Session

RUN_SCHEMA = 1


def head(session: Session) -> dict[str, Any]:
    """What the session is, for the head of its journal."""
    from pytest_benchmark import __version__ as version
    from pytest_benchmark.utils import get_machine_id

    from emobench.records.secrets import redacted

    hook, config = session.config.hook, session.config
    commit = redacted(hook.pytest_benchmark_generate_commit_info(config=config))
    hook.pytest_benchmark_update_commit_info(config=config, commit_info=commit)
    found: dict[str, Any] = plain_or_text(
        {
            "machine_info": {} if session.place.is_on_its_machine() else session.machine_info,
            "commit_info": commit,
            "machine_id": get_machine_id(),
            "version": version,
            "run": facts(session),
            "manifest": session.manifest,
        },
        "head",
        [],
    )
    return found


def end(session: Session) -> dict[str, Any]:
    """How the session ended, for the end of its journal."""
    found: dict[str, Any] = {"skipped": grouped(session.skips)}
    return found | ({"interrupted": session.interrupted} if session.interrupted else {})


def saved_content(session: Session, folded: Folded) -> dict[str, Any]:
    """The folded run, as hooks of pytest-benchmark's users change it."""
    content = folded.content
    ours_part = content.pop("emobench")
    hook, config = session.config.hook, session.config
    hook.pytest_benchmark_update_json(config=config, benchmarks=session.benchmarks, output_json=content)
    content["emobench"] = ours_part
    return content


def ours(session: Session) -> dict[str, Any]:
    """Our part of the saved run."""
    return {
        "schema": RUN_SCHEMA,
        "run": facts(session),
        "unmeasured": [record.to_json() for record in session.unmeasured],
        "skipped": grouped(session.skips),
        "manifest": session.manifest,
    }


def facts(session: Session) -> dict[str, Any]:
    """What the session was."""
    from emobench.records.secrets import redacted

    found: dict[str, Any] = {
        "version": __version__,
        "folder": str(session.folder.relative_to(session.storage)) if session.began else "",
        "profile": session.settings.profile.id,
        "seeds": list(session.settings.seeds),
        "weights": session.settings.weights,
        "arguments": redacted(list(session.config.invocation_params.args)),
    }
    if session.place.anew:
        found["resume"] = "no run had begun"
    if session.config.getoption("emo_shard", None):
        found["shard"] = session.config.getoption("emo_shard").strip()
    # What was left out on purpose is not missing at a gate, there and later.
    left_out, selection = session.deselected_ids(), session.selection()
    found |= {"deselected": left_out} if left_out else {}
    found |= {"selection": selection} if selection != "whole" else {}
    limited = session.gate.limits.markers if session.gate else {}
    noted = {name: [case for case, names in session.markers.items() if name in names] for name in limited}
    return found | ({"markers": noted} if noted else {})


def grouped(skips: Iterable[Skip]) -> list[dict[str, Any]]:
    """Skipped cases by reason, as plain values."""
    found: dict[str, list[str]] = {}
    for skip in skips:
        found.setdefault(skip.text, []).append(skip.case_id)
    return [{"reason": reason, "count": len(cases), "cases": cases} for reason, cases in found.items()]

"""A case's record: metrics folded over seeds, with prediction, cost and environment; made, and kept in the journal.

Which status it has is decided in ``ending``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emobench.cases.environment import environment
from emobench.cases.keys import deciding_versions
from emobench.cases.prediction import predicted_memory
from emobench.catalogue.goals import costs, judged
from emobench.outcomes import Status, metric
from emobench.records.record import Record, checked, flat_mirrors, mean_over_seeds
from emobench.records.store import plain_or_text

if TYPE_CHECKING:
    from emobench.cases.case import Case
    from emobench.session.run import Session


def keep(session: Session, case: Case, status: Status) -> Record:
    """Publish, journal and remember the record of a case."""
    record = record_of(case, status)
    session.records.append(record)
    case.kept = True
    stats, row = case.benchmark.stats, None
    replaced: list[str] = []
    if case.settled and stats is not None:
        publish(case, record)
        session.benchmarks.append(stats)
        row, replaced = row_of(session, stats)
    try:
        session.journal.append(record.to_json(), benchmark=row, replaced=replaced, node=case.benchmark.fullname)
    except OSError as error:
        session.problem = f"{record.id} could not be written to {session.journal.path}: {error}"
        raise
    if status is not Status.INTERRUPTED:
        case.forget_checkpoints()
    return record


def record_of(case: Case, status: Status) -> Record:
    """The case's record as it stands; metrics that are not finite turn an ok case invalid."""
    summary = case.spec.summary()
    summary["key"] = case.spec.key(
        data_fingerprint=case.data_fingerprint,
        model_revision=case.model_revision,
        versions=deciding_versions(case.spec),
    )
    summary["plan_key"] = case.plan_key or None
    summary["data_fingerprint"] = case.data_fingerprint or None
    summary["model_revision"] = case.model_revision or None
    summary["data_revision"] = _data_revision(case) or None
    per_seed = [case.per_seed[seed] for seed in case.spec.seeds if seed in case.per_seed]
    details = dict(case.details)
    if len(per_seed) > 1:
        details["per_seed"] = [{item.name: item.value for item in metrics} for metrics in per_seed]
    metrics = tuple(mean_over_seeds(per_seed)) if per_seed else ()
    details["estimate"] = predicted = predicted_memory(case.spec, metrics, **_as_it_ran(case))
    if metrics and "total_bytes" in predicted:
        metrics = (*metrics, metric("memory_estimate_bytes", predicted["total_bytes"]))
    price = case.goals.prices.get(case.spec.device)
    if price is not None:
        metrics = (*metrics, *costs(metrics, per_hour=price))
        details["price"] = {"per_hour": price, "currency": case.goals.currency}
    if found := judged(metrics, case.goals.targets):
        details["targets"] = found
    details["spec"] = case.spec.model_dump(mode="json", include={"profile", "train", "method"})
    return checked(
        Record(
            case=summary,
            metrics=metrics,
            status=status,
            reasons=tuple(case.reasons),
            artifacts=dict(case.artifacts),
            environment=environment(case.spec, case.lease),
            details=details,
        )
    )


def _data_revision(case: Case) -> str:
    from emobench.data.sources import taken_revision

    data = case.spec.dataset
    read = data is not None and case.data_fingerprint and case.spec.weights != "random"
    return taken_revision(data) if data is not None and read else ""


def _as_it_ran(case: Case) -> dict[str, Any]:
    """What is known of the run that the memory estimate would else assume."""
    material = getattr(case, "encoded", None)
    trained = case.details.get("training")
    return {
        "longest": int(material.train.lengths.max()) if material is not None and len(material.train) else None,
        "attention": trained[-1].get("kernel") if isinstance(trained, list) and trained else None,
    }


def publish(case: Case, record: Record) -> None:
    """Put the record and its flat mirrors where pytest-benchmark saves them."""
    case.benchmark.extra_info.update(flat_mirrors(record))
    case.benchmark.extra_info["emobench"] = record.to_json()


def row_of(session: Session, stats: Any) -> tuple[dict[str, Any] | None, list[str]]:
    """pytest-benchmark's row of a timed case as its own hook makes it, without the record; None where it drops it.

    Also the places of values that were no plain ones.
    """
    hook, config = session.config.hook, session.config
    output = hook.pytest_benchmark_generate_json(
        config=config, benchmarks=[stats], include_data=True, machine_info={}, commit_info={}
    )
    if not output["benchmarks"]:
        return None, []
    (row,) = output["benchmarks"]
    row = {**row, "extra_info": {name: value for name, value in row["extra_info"].items() if name != "emobench"}}
    replaced: list[str] = []
    plain = {name: plain_or_text(value, name, replaced) for name, value in row.items()}
    return plain, replaced

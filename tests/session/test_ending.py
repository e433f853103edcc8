"""The largest batch that fitted: of which cases, and in whose process."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.kinds import GENERATION
from emobench.outcomes import Status
from emobench.records.journal import Journal
from emobench.records.record import Record
from emobench.session.ending import largest_that_fitted
from emobench.specs import CaseSpec


def spec(batch_size: int | None, **changes: Any) -> CaseSpec:
    return CaseSpec(
        kind="inference",
        model=find_model("distilbert-base"),
        precision="fp32",
        device="cpu",
        batch_size=batch_size,
        profile=find_profile("quick"),
    ).model_copy(update=changes)


def record(batch_size: int, status: Status = Status.OK, **changes: Any) -> Record:
    return Record(case=spec(batch_size, **changes).summary(), status=status, environment={})


MEASURED = [
    record(8),
    record(4),
    record(16, Status.INVALID),
    record(32, precision="int8"),
    record(64, length=16),
    record(128, kind=GENERATION),
]


def session(records: list[Record], folder: Path | None = None, *, worker: str | None = None) -> Any:
    place = SimpleNamespace(worker=worker)
    return SimpleNamespace(records=records, folder=folder, place=place, measures_elsewhere=False)


def test_it_is_of_cases_that_differ_in_nothing_else() -> None:
    """Another precision, length, kind or status does not count; where nothing fitted there is none."""
    assert largest_that_fitted(session(MEASURED), spec(512)) == 8
    assert largest_that_fitted(session(MEASURED[2:]), spec(512)) is None
    assert largest_that_fitted(session(MEASURED), spec(None)) is None


def test_a_worker_knows_what_others_of_its_run_measured(tmp_path: Path) -> None:
    """A process that runs one case has no records but its own: those of the run are in the journals beside its own."""
    for number, item in enumerate(MEASURED[:2]):
        Journal(tmp_path, f"job-{number}").append(item.to_json())
    assert largest_that_fitted(session([], tmp_path, worker="job-9"), spec(512)) == 8
    assert largest_that_fitted(session([], tmp_path), spec(512)) is None


@pytest.mark.parametrize("elsewhere", [True, False])
def test_who_waits_for_processes_reads_the_journals(tmp_path: Path, elsewhere: bool) -> None:
    """So does the session that started them, for a case that the kernel killed for want of memory."""
    Journal(tmp_path, "job-0").append(MEASURED[0].to_json())
    waiting = session([], tmp_path)
    waiting.measures_elsewhere = elsewhere
    assert largest_that_fitted(waiting, spec(512)) == (8 if elsewhere else None)

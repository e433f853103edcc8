"""What keeping a case costs, and how long a resume of 10,000 finished cases takes to decide.

It is slow and no case of its own: run it with ``pytest benchmarks/test_journal_speed.py --emo-slow``.
"""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from emobench.catalogue.methods import find_method
from emobench.catalogue.model_rows import find_model
from emobench.catalogue.profiles import find_profile
from emobench.outcomes import metric
from emobench.records.record import Record
from emobench.specs import CaseSpec, DatasetSpec
from fixtures.say import Say

pytestmark = pytest.mark.slow

CASES, ROUNDS = 10_000, 100
COST_SECONDS, DECIDE_SECONDS = 0.005, 3.0
HEAD = {"machine_info": {"node": "n"}, "commit_info": {}, "machine_id": "m", "version": "5", "run": {}, "manifest": []}


def record_of(spec: CaseSpec, key: str) -> dict[str, Any]:
    """A record as large as a fine-tuning case's."""
    metrics = tuple(metric(name, 0.5, ci=(0.4, 0.6), n=1000) for name in ("accuracy", "f1_macro", "train_seconds"))
    details = {"losses": [1 / (step + 3) for step in range(ROUNDS)], "spec": spec.model_dump(mode="json")}
    return Record(case={**spec.summary(), "plan_key": key}, metrics=metrics, details=details).to_json()


def row_of(name: str) -> dict[str, Any]:
    return {"name": name, "extra_info": {}, "stats": {"data": [1 / (number + 7) for number in range(ROUNDS)]}}


def specs(count: int, folder: Path) -> list[CaseSpec]:
    rows = folder / "rows.csv"
    rows.write_text("text,label\ngood,positive\n")
    model = find_model("all-minilm-l6-v2")
    mine = DatasetSpec(id="mine", title="mine", license="mit", source="file", location=str(rows))
    shared = {"model": model, "dataset": mine, "method": find_method("lora"), "profile": find_profile("quick")}
    return [
        CaseSpec(kind="finetune", precision="fp32", device="cpu", batch_size=size, **shared)  # type: ignore[arg-type]
        for size in range(1, count + 1)
    ]


def test_keeping_a_case(benchmark: Any, say: Say, tmp_path: Path) -> None:
    """A start and a synced record: under 5 ms at the median, beside plain code that writes the same bytes."""
    from emobench.records.journal import create

    journal = create(tmp_path)
    journal.head(HEAD)
    (spec,) = specs(1, tmp_path)
    record, row = record_of(spec, "k"), row_of("t")
    bare: list[float] = []

    def keep() -> None:
        journal.started(spec.id, key="k", node="t", case=spec.summary())
        journal.append(record, benchmark=row, node="t")

    keep()
    begin, end = journal.path.read_bytes().splitlines(keepends=True)[-2:]

    def alone() -> None:
        began = time.perf_counter()
        for line, sync in ((begin, False), (end, True)):
            with (tmp_path / "bare").open("ab") as stream:
                stream.write(line)
                stream.flush()
                if sync:
                    os.fsync(stream.fileno())
        bare.append(time.perf_counter() - began)

    benchmark.pedantic(keep, setup=alone, rounds=200)
    found, plain = statistics.median(benchmark.stats.stats.data), statistics.median(bare)
    benchmark.extra_info.update({"seconds_per_case": found, "plain_seconds": plain})
    size = f"two lines of {len(begin)} and {len(end)} bytes, one of them synced"
    say(f"{found * 1e3:.2f} ms a case; the same writes by plain code {plain * 1e3:.2f} ms ({size})")
    assert found < COST_SECONDS


def test_deciding_what_is_left(benchmark: Any, say: Say, tmp_path: Path) -> None:
    """10,000 finished cases: plan keys, journal and comparison in under 3 s; the fold of them is timed beside it."""
    from emobench.cases.keys import PlanKeys
    from emobench.records.fold import fold, standing
    from emobench.records.journal import Journal, _line

    folder = tmp_path / "runs" / "one"
    folder.mkdir(parents=True)
    wanted = specs(CASES, tmp_path)
    keys = PlanKeys()
    lines = [_line({"event": "head", "generation": 1, "role": "main"}, {"head": HEAD})]
    for spec in wanted:
        key = keys.key(spec)
        head = {"event": "finished", "id": spec.id, "key": key, "node": "t", "status": "ok"}
        lines.append(_line(head, {"record": record_of(spec, key), "benchmark": row_of(spec.id)}))
    Journal(folder).path.write_bytes(b"\n".join(lines) + b"\n")

    def decide() -> int:
        fresh, done = PlanKeys(), standing(folder, before=2)
        return sum(done.get((spec.id, "t")) == (fresh.key(spec), "ok") for spec in wanted)

    assert benchmark.pedantic(decide, rounds=3) == CASES
    seconds = statistics.median(benchmark.stats.stats.data)
    began = time.perf_counter()
    assert len(fold(tmp_path, [folder]).records) == CASES
    folded = time.perf_counter() - began
    size = Journal(folder).path.stat().st_size / 1e6
    say(f"{CASES:,} cases ({size:.0f} MB) decided in {seconds:.2f} s; folding all of them takes {folded:.1f} s")
    assert seconds < DECIDE_SECONDS

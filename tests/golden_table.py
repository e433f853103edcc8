"""The golden table: what users see of every case of ``benchmarks`` at every profile, on one made machine.

A row is a case at a profile: its name, markers, keys, plan, predicted bytes and seconds, operations, the reason it is
skipped, and the columns of the tables that show its record. Two commits with equal tables show users the same. It runs,
loads and measures no case. The columns of tables are those of a made record that has every metric, once for each
kind and set of axes; tests of ``benchmarks`` that are no case, options other than the profile, and texts that need the
data itself are not in it. An ``emobench.toml`` beside ``benchmarks`` adds its own rows, as in any session.

    python -m tests.golden_table write FILE     the whole table, a row a line
    python -m tests.golden_table diff OLD NEW   what differs between two such files; exits with 1 where anything does
    python -m tests.golden_table renew          writes the digests in tests/golden.json anew

What asks the real machine is replaced wherever a module holds it, so that a module that is moved needs its line in the
imports below and no other change.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeAlias

import pytest

from emobench.analysis.rows import Row
from emobench.cases.checks import machine_of
from emobench.cases.keys import PlanKeys, installed_version
from emobench.catalogue.profiles import PROFILES
from emobench.data.sources import is_here, source_digest
from emobench.devices import Device, absent_reason, cpu_has_fast_bf16, find_device, free_memory_bytes, installed
from emobench.errors import UnsupportedError
from emobench.estimate.flops import case_flops
from emobench.estimate.memory import estimate_memory
from emobench.estimate.plan import MemoryPlan, plan_of
from emobench.estimate.time import Rates, case_seconds, work_of
from emobench.models.locate import absent_reason as weights_absent
from emobench.models.locate import planned_revision
from emobench.outcomes import METRICS, metric
from emobench.preflight.planned import Disk, Machine
from emobench.records.record import Record
from emobench.reports.case_table import case_tables
from emobench.reports.tables import results_table
from emobench.session.lookup import has_case, session_of
from emobench.session.skips import why_skip
from emobench.specs import CaseSpec, DatasetSpec, DeviceKind, ModelSpec, Spec
from tests.hermetic import settle

ROOT = Path(__file__).parents[1]
DIGESTS = Path(__file__).with_name("golden.json")
DIGITS = 12
"""Significant digits of a number that is no whole one."""
SHOWN = 5
"""Rows that differ, shown in full."""

Collected: TypeAlias = tuple[str, str, CaseSpec, list[str]]
"""A collected case: profile, node id, what it is, names of its markers."""
TableRow: TypeAlias = dict[str, Any]
"""Column to plain value; ``kind`` and ``profile`` say which digests it is part of."""

WEIGHTS_ABSENT = {"phi-3-mini", "gemma-3-270m"}
DATA_ABSENT = {"yelp_polarity", "disneyland", "imdb-train"}
PACKAGES = {"bitsandbytes"}
"""What the made machine has of what a precision needs."""

RATES: Mapping[DeviceKind, Rates] = {
    "cpu": Rates(
        flops_per_second=2e11,
        bytes_per_second=2e10,
        seconds_per_operator=1.5e-6,
        forward=((1, 5e9), (64, 1e11), (1024, 1.8e11)),
        backward_inputs=((384, 8e10), (2048, 1.5e11)),
        backward_weights=9e10,
        seconds_per_random_number=1e-9,
    ),
    "cuda": Rates(flops_per_second=5e13, bytes_per_second=1e12, seconds_per_operator=5e-6),
    "mps": Rates(flops_per_second=4e12, bytes_per_second=2e11, seconds_per_operator=1e-5, backward_weights=3e12),
}

DEVICES: Mapping[DeviceKind, Device | None] = {
    "cpu": Device(kind="cpu", name="made CPU", memory_bytes=32 << 30, fast_bf16=False, threads=2),
    "cuda": Device(kind="cuda", name="made GPU", memory_bytes=16 << 30, fast_bf16=False),
    "mps": None,
}
"""Of each kind: no fast bf16, too old a GPU for int8-bnb, and a torch that cannot use mps."""


def made_machine_of(kind: DeviceKind, **_: Any) -> Machine | None:
    """The facts that checks are given."""
    device = DEVICES[kind]
    if device is None:
        return None
    places = frozenset({"results", "cache", "temporary"})
    return Machine(
        kind=kind,
        name=device.name,
        memory_bytes=device.memory_bytes,
        free_memory_bytes=device.memory_bytes // 2,
        fast_bf16=device.fast_bf16,
        capability=(7, 0) if kind == "cuda" else None,
        disks=(Disk(holds=places, folder="/made", free_bytes=12_000_000_000),),
        packages=frozenset(PACKAGES),
    )


def lacks(row: ModelSpec | DatasetSpec) -> str | None:
    """Why weights or data cannot be used, as the made machine says it."""
    return f"{row.id} is not on the made machine" if row.id in WEIGHTS_ABSENT | DATA_ABSENT else None


MADE: Sequence[tuple[Callable[..., Any], Callable[..., Any]]] = (
    (absent_reason, lambda kind: None),
    (find_device, lambda kind: DEVICES[kind]),
    (free_memory_bytes, lambda kind: 8 << 30),
    (installed, lambda package: package in PACKAGES),
    (cpu_has_fast_bf16, lambda: False),
    (machine_of, made_machine_of),
    (weights_absent, lambda row: lacks(row)),
    (is_here, lambda row: lacks(row)),
    (planned_revision, lambda row: f"weights of {row.id}"),
    (source_digest, lambda row: f"rows of {row.id}"),
    (installed_version, lambda package: f"made {package}"),
)
"""Each function that asks the real machine, and what answers in its place."""


@contextmanager
def made_machine() -> Iterator[None]:
    """While it lasts every module of the product finds the made machine."""
    replace_everywhere(MADE)
    try:
        yield
    finally:
        replace_everywhere([(made, real) for real, made in MADE])


def replace_everywhere(pairs: Iterable[tuple[Callable[..., Any], Callable[..., Any]]]) -> None:
    """Put the second of each pair wherever a module of the product holds the first, under whatever name."""
    instead = {id(old): new for old, new in pairs}
    ours = [module for name, module in list(sys.modules.items()) if name.split(".")[0] in ("emobench", "fixtures")]
    for module in ours:
        for name, value in list(vars(module).items()):
            if id(value) in instead:
                setattr(module, name, instead[id(value)])


class Catch:
    """A plugin that keeps the cases of a collection."""

    def __init__(self, profile: str) -> None:
        self.profile = profile
        self.found: list[Collected] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        cases = [item for item in session.items if has_case(item)]
        self.found = [(self.profile, item.nodeid, self.spec(item), self.markers(item)) for item in cases]

    @staticmethod
    def spec(item: pytest.Item) -> CaseSpec:
        return session_of(item.config).spec_of(item)

    @staticmethod
    def markers(item: pytest.Item) -> list[str]:
        return sorted({mark.name for mark in item.iter_markers()})


def collect(file: Path) -> None:
    """Collect ``benchmarks`` at every profile on the made machine into a file for :func:`collected`."""
    found: list[Collected] = []
    with made_machine():
        for profile in PROFILES:
            catch = Catch(profile)
            options = ["--collect-only", "-q", "-p", "no:cacheprovider", "-p", "no:warnings", "--emo-profile", profile]
            code = pytest.main(["benchmarks", *options], plugins=[catch])
            if code != 0:
                raise SystemExit(f"collecting at profile {profile} ended with {code!r}")
            found += catch.found
    file.write_bytes(pickle.dumps(found))


def collected() -> list[Collected]:
    """Every case at every profile, collected by a process that has the environment of the tests.

    Raises:
        RuntimeError: the collection failed; with its last lines.
    """
    environment = dict(os.environ)
    home = settle(environment)
    try:
        file = home / "collected"
        command = [sys.executable, "-m", "tests.golden_table", "collect", str(file)]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise RuntimeError(f"{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}")
        cases: list[Collected] = pickle.loads(file.read_bytes())
    finally:
        shutil.rmtree(home, ignore_errors=True)
    return cases


def plain(value: Any) -> Any:
    """The value as JSON holds it, numbers with :data:`DIGITS` digits."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Spec):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def text_of(value: Any) -> str:
    """A plain value as one line, the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(text: str) -> str:
    """The first 16 digits of the text's SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plan_values(plan: MemoryPlan) -> dict[str, Any]:
    """A plan's fields, the model by its id."""
    found = {item.name: getattr(plan, item.name) for item in fields(plan)}
    return plain(found | {"model": plan.model.id})  # type: ignore[no-any-return]  # of a mapping it makes one


class Bytes:
    """Predicted bytes by plan: many cases share one."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, Any]] = {}

    def of(self, plan: MemoryPlan) -> dict[str, Any]:
        """Bytes by part at the peak, their sum, and the sum where the peak of loading is left out."""
        key = text_of(plan_values(plan))
        if key not in self._known:
            self._known[key] = self._estimated(plan)
        return self._known[key]

    @staticmethod
    def _estimated(plan: MemoryPlan) -> dict[str, Any]:
        try:
            parts = estimate_memory(plan)
            loaded = estimate_memory(plan, loading=False)
        except UnsupportedError as error:
            return {"unknown": str(error)}
        return {**parts.as_dict(), "total": parts.total, "total_once_loaded": loaded.total}


def predicted_time(case: CaseSpec) -> tuple[Any, Any]:
    """Predicted seconds with their factor, and the parts."""
    try:
        found = case_seconds(case, RATES[case.device])
    except UnsupportedError as error:
        return {"unknown": str(error)}, None
    return plain({"seconds": found.seconds, "factor": found.factor}), plain(found.parts)


def skip_of(case: CaseSpec, *, with_slow: bool) -> dict[str, str] | None:
    """Why the case is skipped on the made machine, as the lines after the tables are made of it."""
    session: Any = SimpleNamespace(
        config=SimpleNamespace(getoption=lambda *_: False),
        settings=SimpleNamespace(weights=case.weights, silenced=frozenset()),
        measures_elsewhere=False,
        storage=Path("/made/results"),
    )
    found = why_skip(session, case, with_slow=with_slow)
    return None if found is None else {"reason": found.reason, "fix": found.fix, "subject": found.subject}


@cache
def shown(summary: str) -> tuple[Any, Any]:
    """The page's columns and the screen's table of one record with every metric; ``summary`` is its case as a line."""
    metrics = tuple(metric(name, 1234.5, ci=(1234.25, 1235.0), n=100) for name in METRICS)
    record = Record(case=json.loads(summary), metrics=metrics)
    (table,) = case_tables([Row(run="made", result=record)])
    cells = zip(table.heads, table.rows[0].cells, strict=True)
    columns = [[*asdict(head).values(), *asdict(cell).values()] for head, cell in cells]
    return {"title": table.title, "common": table.common, "columns": columns}, results_table([record])


def tables_of(case: CaseSpec) -> tuple[Any, Any]:
    """The tables of a record of this kind of case: an axis that the case has is called by its name."""
    kept = ("kind", "backend", "weights")
    summary = case.summary().items()
    return shown(text_of({name: value if value is None or name in kept else name for name, value in summary}))


def row_of(found: Collected, *, keys: PlanKeys, sizes: Bytes) -> TableRow:
    """A case at a profile as a row of the table."""
    profile, node, case, markers = found
    plan = plan_of(case)
    seconds, parts = predicted_time(case)
    page, screen = tables_of(case)
    versions = {"torch": "made"}
    return {
        "kind": case.kind.name,
        "profile": profile,
        "id": case.id,
        "node": node,
        "markers": markers,
        "trains": case.trains,
        "work": work_of(case),
        "deciding": digest(text_of(case.deciding())),
        "key": case.key(data_fingerprint="made rows", model_revision="made weights", versions=versions),
        "plan_key": keys.key(case),
        "plan": plan_values(plan),
        "bytes": sizes.of(plan),
        "seconds": seconds,
        "parts": parts,
        "flops": plain(case_flops(case)),
        "skip": skip_of(case, with_slow=False),
        "skip_with_slow": skip_of(case, with_slow=True),
        "page": page,
        "screen": screen,
    }


def table_of(cases: Iterable[Collected]) -> list[TableRow]:
    """The rows of these cases, by kind, profile and id."""
    keys, sizes = PlanKeys(), Bytes()
    shown.cache_clear()
    with made_machine():
        rows = [row_of(found, keys=keys, sizes=sizes) for found in cases]
    return sorted(rows, key=lambda row: (row["kind"], row["profile"], row["id"], row["node"]))


def digests_of(rows: Iterable[TableRow]) -> dict[str, str]:
    """A digest for each ``kind/profile/column``, sorted; ``rows`` are in the order of :func:`table_of`."""
    lines: dict[str, list[str]] = {}
    for row in rows:
        for column in row.keys() - {"kind", "profile"}:
            name = f"{row['kind']}/{row['profile']}/{column}"
            lines.setdefault(name, []).append(f"{row['id']}\t{text_of(row[column])}")
    return {name: digest("\n".join(found)) for name, found in sorted(lines.items())}


def golden(rows: Sequence[TableRow]) -> dict[str, Any]:
    """What ``tests/golden.json`` holds."""
    return {"digests": digests_of(rows), "rows": len(rows)}


def differing(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The digests that are not the same in both, or in one alone."""
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))


def save(rows: Iterable[TableRow], file: Path) -> None:
    """Write rows, one a line."""
    file.write_text("".join(f"{text_of(row)}\n" for row in rows), encoding="utf-8")


def write(file: Path) -> None:
    """Write the whole table."""
    rows = table_of(collected())
    save(rows, file)
    print(f"{len(rows)} rows in {file}")


def renew() -> None:
    """Write the digests anew."""
    content = golden(table_of(collected()))
    DIGESTS.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    print(f"{len(content['digests'])} digests of {content['rows']} rows in {DIGESTS.name}")


def read(file: Path) -> dict[tuple[str, str], TableRow]:
    """The rows of a file by profile and test."""
    rows = (json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line)
    return {(row["profile"], row["node"]): row for row in rows}


def diff(old_file: Path, new_file: Path) -> list[str]:
    """What differs between two tables, a line each: counts first, then a few rows in full. Empty where nothing does."""
    old, new = read(old_file), read(new_file)
    counts: Counter[str] = Counter()
    rows: list[list[str]] = []
    for place in sorted(old.keys() | new.keys()):
        before, after = old.get(place, {}), new.get(place, {})
        columns = changed(before, after)
        row = after or before
        counts.update(f"{row['kind']}/{row['profile']}/{column}" for column in columns)
        if columns and len(rows) < SHOWN:
            rows.append(row_lines(before, after))
    summary = [f"{count} differ: {name}" for name, count in sorted(counts.items())]
    return summary + [line for lines in rows for line in ["", *lines]]


def changed(before: TableRow, after: TableRow) -> list[str]:
    """The columns that differ; a row that is in one file alone is one difference."""
    if not (before and after):
        return ["(row is gone)" if before else "(row is new)"]
    return [name for name in before | after if before.get(name) != after.get(name)]


def row_lines(before: TableRow, after: TableRow) -> list[str]:
    """A row in full, a column a line: ``-`` before what it was and ``+`` before what it is."""
    lines = []
    for name in before | after:
        was, now = (f"{name}: {text_of(row[name])}" if name in row else None for row in (before, after))
        lines += [f"  {now}"] if was == now else [f"{sign} {text}" for sign, text in (("-", was), ("+", now)) if text]
    return lines


def main(arguments: Sequence[str]) -> int:
    """Run the command line; the exit status."""
    match arguments:
        case ["write", file]:
            write(Path(file))
        case ["diff", old, new]:
            lines = diff(Path(old), Path(new))
            print("\n".join(lines) or "the tables are equal")
            return 1 if lines else 0
        case ["renew"]:
            renew()
        case ["collect", file]:
            collect(Path(file))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Columns: the records of one run as Arrow tables, a row a case. Reads predictions; writes and compares nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emobench.collector import uncollected
from emobench.errors import BrokenFileError
from emobench.outcomes import Metric, Status, metric
from emobench.records.hardware import hardware_class
from emobench.records.packed import ARTIFACT, Packed, pack, read_packed, to_table
from emobench.records.record import Record, checked
from emobench.records.rounds import FIGURES, summarize
from emobench.records.store import Run, read_raw, run_of

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]

TEXTS = (
    "id",
    "key",
    "status",
    "kind",
    "model",
    "dataset",
    "method",
    "precision",
    "device",
    "backend",
    "profile",
    "weights",
    "data_fingerprint",
    "model_revision",
)
"""Text columns taken from the record's case (status from the record); the hardware class is one more."""
NUMBERS = ("batch_size", "length")
"""Whole-number columns; 0 where a case has none."""

PLAIN = "benchmark"
"""Kind of the benchmarks of other plugins: rows with a latency only."""

UNUSABLE = "no predictions of "
"""How a note on predictions that cannot be used begins; the case's id and the reason follow."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What is kept of a run, ready to be written."""

    facts: dict[str, Any]
    """Plain values: the run's own facts, metrics with units and directions, notes."""
    tables: dict[str, pa.Table]
    """``cases``, ``rounds`` and ``predictions``: as many rows each, in the same order."""
    watched: tuple[Path, ...]
    """Files and folders that decided the predictions: when one of them changes, so may the columns."""


@dataclass(kw_only=True)
class _Row:
    """A case on its way into the columns."""

    record: Record
    rounds: Sequence[float] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)
    packed: Packed | None = None


def columns_of(path: Path, raw: Mapping[str, Any] | None = None) -> Columns:
    """Read a saved run with its predictions; ``raw`` is its content where it is not saved yet.

    A plain pytest-benchmark file gives rows of kind :data:`PLAIN`. What is wrong with a part of a run (rounds that are
    no times, predictions that cannot be read) costs that part and is noted; such rounds make the case invalid.

    Raises:
        BrokenFileError: the file is no readable run; names it.
    """
    # The collector would walk the growing run again and again, and a run holds no cycles.
    with uncollected():
        return _columns(path, read_raw(path) if raw is None else raw)


def _columns(path: Path, raw: Mapping[str, Any]) -> Columns:
    run = run_of(path, raw)
    notes = list(run.notes)
    rows = _rows(run, raw["benchmarks"], notes)
    del raw
    watched = _attach_predictions(rows, run, notes)
    metrics = _metric_kinds(rows)
    machine_info = run.machine_info
    tables = {"cases": _cases(rows, machine_info, list(metrics)), "rounds": _rounds(rows)}
    tables["predictions"] = to_table([row.packed for row in rows])
    skips = {case: str(skip.get("reason", "")) for skip in run.skipped for case in skip.get("cases") or () if case}
    facts = {
        "commit": str(run.commit_info.get("id") or ""),
        "dirty": bool(run.commit_info.get("dirty")),
        "datetime": run.datetime,
        "hardware": hardware_class({}, machine_info),
        "settings": dict(run.settings),
        "manifest": list(run.manifest),
        "skipped": skips,
        "metrics": metrics,
        "notes": notes,
    }
    return Columns(facts=facts, tables=tables, watched=tuple(sorted(watched)))


def _rows(run: Run, benchmarks: Sequence[Mapping[str, Any]], notes: list[str]) -> list[_Row]:
    rows = {record.id: _Row(record=record, rounds=run.timings.get(record.id, ())) for record in run.records}
    for bench in benchmarks:
        extra, stats = bench.get("extra_info") or {}, bench.get("stats") or {}
        if "emobench" in extra:
            rows[str(extra["emobench"]["case"]["id"])].stats = stats
            continue
        record = _plain_record(bench, stats)
        if record.id in rows:
            notes.append(f"benchmark {record.id} stands more than once; its last timing is taken")
        rows[record.id] = _Row(record=record, rounds=stats.get("data") or (), stats=stats)
    for row in rows.values():
        _check_rounds(row)
    return list(rows.values())


def _plain_record(bench: Mapping[str, Any], stats: Mapping[str, Any]) -> Record:
    median, rounds = stats.get("median"), stats.get("rounds")
    metrics: tuple[Metric, ...] = ()
    if isinstance(median, int | float) and abs(median) < 1e300:
        metrics = (metric("latency_p50_seconds", median, n=rounds if isinstance(rounds, int) else None),)
    case = {"id": str(bench.get("fullname") or bench.get("name") or "unnamed"), "kind": PLAIN}
    reasons = () if metrics else (f"its median is {median!r}, not a finite number",)
    status = Status.OK if metrics else Status.INVALID
    return checked(Record(case=case, metrics=metrics, status=status, reasons=reasons))


def _check_rounds(row: _Row) -> None:
    # A NaN that a gate lets through is how a broken case passes for a good one.
    wrong = next((at for at, value in enumerate(row.rounds) if not _is_time(value)), None)
    if wrong is None:
        return
    status = Status.INVALID if row.record.status is Status.OK else row.record.status
    reason = f"round {wrong} is {row.rounds[wrong]!r}, not a time above 0"
    row.record = replace(row.record, status=status, reasons=(*row.record.reasons, reason))
    row.rounds = ()


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e300


def _attach_predictions(rows: Sequence[_Row], run: Run, notes: list[str]) -> set[Path]:
    """Predictions of the run's folder, or those that a baseline packed into one file; returns what to watch."""
    packed = run.settings.get("predictions")
    if packed:
        return _attach_packed(rows, run, str(packed), notes)
    named = {row.record.id: _named(row.record) for row in rows}
    if not any(named.values()):
        return set()
    folders = _folders(run.path, run.settings)
    watched = {folder / "predictions" for folder in folders}
    folder = next((place for place in folders if place.is_dir()), None)
    for row in rows:
        files = named[row.record.id]
        if not files:
            continue
        try:
            if folder is None:
                raise ValueError(f"the run's folder {run.settings.get('folder')!r} is not there")
            row.packed = _read_case(folder, files)
            _check_against(row.record, row.packed)
        except (BrokenFileError, ValueError) as error:
            row.packed = None
            notes.append(f"{UNUSABLE}{row.record.id}: {getattr(error, 'why', error)}")
            watched |= {place / str(file) for place in folders for file in files.values()}
    return watched


def _named(record: Record) -> dict[int, str]:
    """Seed to the artifact that holds its predictions."""
    found = {ARTIFACT.fullmatch(name): file for name, file in record.artifacts.items()}
    return {int(match[1]): str(file) for match, file in found.items() if match}


def _attach_packed(rows: Sequence[_Row], run: Run, name: str, notes: list[str]) -> set[Path]:
    try:
        place = run.path.parent / _inside(name)
    except ValueError as error:
        notes.append(f"{UNUSABLE}all cases: {error}")
        return set()
    try:
        found = read_packed(place)
    except BrokenFileError as error:
        notes.append(f"{UNUSABLE}all cases: {error.why}")
        return {place}
    for row in rows:
        row.packed = found.get(row.record.id)
    return {place}


def _read_case(folder: Path, named: Mapping[int, str]) -> Packed:
    from emobench.records.predictions import read_classes  # pandas is slow to import, and reading an index needs none

    return pack({seed: read_classes(folder / _inside(name)) for seed, name in sorted(named.items())})


def _inside(name: str) -> PurePosixPath:
    """A path relative to a run's folder, as a record names it.

    Raises:
        ValueError: it leads out of the folder.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or not path.parts or "\0" in name:
        raise ValueError(f"the path {name!r} leads out of the run's folder")
    return path


def _folders(run_file: Path, settings: Mapping[str, Any]) -> list[Path]:
    """Where a run's own folder may lie: below the storage, which holds the file or the machine folder it lies in."""
    name = settings.get("folder")
    try:
        place = _inside(str(name))
    except ValueError:
        return []
    return [storage / place for storage in (run_file.parent.parent, run_file.parent)]


def _check_against(record: Record, packed: Packed) -> None:
    """See that the predictions give the accuracy that was recorded: other ones would compare something else.

    Raises:
        ValueError: they do not.
    """
    recorded = record.metric("accuracy")
    if recorded is None or not len(packed.labels):
        return
    found = float(packed.correct.mean(axis=1).mean())
    if not math.isclose(found, recorded.value, abs_tol=1e-6):
        raise ValueError(f"they give accuracy {found:.6g} and the record says {recorded.value:.6g}")


def _metric_kinds(rows: Sequence[_Row]) -> dict[str, dict[str, str]]:
    kinds: dict[str, dict[str, str]] = {}
    for row in rows:
        for item in row.record.metrics:
            kinds.setdefault(item.name, {"unit": item.unit, "better": item.better})
    return kinds


def _cases(rows: Sequence[_Row], machine_info: Mapping[str, Any], metrics: Sequence[str]) -> pa.Table:
    import pyarrow as pa

    records = [row.record for row in rows]
    texts = {name: [_text(record.case.get(name)) for record in records] for name in TEXTS}
    texts["status"] = [record.status.value for record in records]
    texts["hardware"] = [hardware_class(record.environment, machine_info) for record in records]
    columns = {
        name: pa.array(values, pa.string())
        if name in ("id", "key")
        else pa.array(values, pa.string()).dictionary_encode()
        for name, values in texts.items()
    }
    for name in NUMBERS:
        columns[name] = pa.array([_whole(record.case.get(name)) for record in records], pa.int64())
    columns["reasons"] = pa.array(
        [[_text(reason) for reason in record.reasons] for record in records], pa.list_(pa.string())
    )
    columns["seeds"] = pa.array([_seeds(record) for record in records], pa.list_(pa.int64()))
    columns["per_seed"] = pa.array([_per_seed(record, metrics) for record in records], pa.list_(pa.float64()))
    # Arrow has no list of width 0: a run without any metric gets one column that the reader leaves out.
    for name, values in _matrices(records, metrics or [""]).items():
        columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.table(columns)


def _text(value: object) -> str:
    # Arrow holds UTF-8; half of a surrogate pair, which JSON can hold, is none.
    return "" if value is None else str(value).encode(errors="replace").decode()


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63 else 0


def _seeds(record: Record) -> list[int]:
    seeds = record.case.get("seeds")
    return [_whole(seed) for seed in seeds] if isinstance(seeds, list) else []


def _matrices(records: Sequence[Record], metrics: Sequence[str]) -> dict[str, Floats]:
    at = {name: index for index, name in enumerate(metrics)}
    found = {name: np.full((len(records), len(metrics)), np.nan) for name in ("value", "low", "high", "n")}
    for row, record in enumerate(records):
        for item in record.metrics:
            column = at[item.name]
            found["value"][row, column] = item.value
            if item.ci is not None:
                found["low"][row, column], found["high"][row, column] = item.ci
            if item.n is not None:
                found["n"][row, column] = item.n
    return found


def _per_seed(record: Record, metrics: Sequence[str]) -> list[float]:
    """Values of shape (seeds, metrics), flat; empty for a case of one seed, whose values are the metrics."""
    entries = record.details.get("per_seed")
    if not isinstance(entries, list) or len(entries) != len(_seeds(record)):
        return []
    tables = [entry if isinstance(entry, Mapping) else {} for entry in entries]
    return [_number(table.get(name)) for table in tables for name in metrics]


def _number(value: object) -> float:
    plain = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    return float(value) if plain and isinstance(value, int | float) else math.nan


def _rounds(rows: Sequence[_Row]) -> pa.Table:
    import pyarrow as pa

    counts = np.array([len(row.rounds) for row in rows], np.int64)
    found = {name: np.full(len(rows), np.nan) for name in FIGURES}
    for length in np.unique(counts[counts > 0]):
        at = np.flatnonzero(counts == length).tolist()
        block = np.array([rows[row].rounds for row in at], np.float64)
        for name, numbers in summarize(block).items():
            found[name][at] = numbers
    for row in np.flatnonzero(counts == 0).tolist():
        # Saved without its rounds: pytest-benchmark's own figures are what there is.
        stats = rows[row].stats if rows[row].record.status is Status.OK else {}
        found["median"][row], found["iqr"][row] = _number(stats.get("median")), _number(stats.get("iqr"))
    values = np.concatenate([np.asarray(row.rounds, np.float64) for row in rows] or [np.zeros(0)])
    starts = np.concatenate([[0], np.cumsum(counts)])
    columns = {"seconds": pa.LargeListArray.from_arrays(pa.array(starts, pa.int64()), pa.array(values))}
    columns |= {name: pa.array(numbers) for name, numbers in found.items()}
    return pa.table(columns)

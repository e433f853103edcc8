"""Index: a run's cases as columns, kept beside the run, so that thousands of cases are read without parsing JSON.

It holds what comparisons need and decides nothing. It can always be made again from the run, so one that is absent,
stale, incomplete or of another version is made again and never trusted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from emobench.errors import BrokenFileError
from emobench.records.buffers import lists, numbers, texts, whole
from emobench.records.packed import Packed, PackedColumns
from emobench.records.rounds import FIGURES
from emobench.records.sections import Sections, write_sections

if TYPE_CHECKING:
    import pyarrow as pa

    from emobench.records.index_columns import Columns

SCHEMA = 1
"""Version of the columns; raise it when they change and every index is made again."""
SUFFIX = ".index.arrow"

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Texts = npt.NDArray[np.object_]


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What a run says of itself."""

    path: Path
    name: str
    """File name without ``.json``."""
    number: str
    """What stands before the first underscore of the name, such as ``0001``."""
    commit: str
    dirty: bool
    datetime: str
    """ISO 8601, as saved."""
    machine: str
    """Folder the run lies in."""
    hardware: str
    """Hardware class of the machine's CPU; each case has its own."""
    profile: str
    seeds: tuple[int, ...]
    weights: str
    version: str
    """EmoBench's version; empty for another plugin's file."""
    manifest: tuple[str, ...]
    """Ids of all cases that were collected and not deselected."""
    skipped: Mapping[str, str]
    """Id of a case that was skipped to the reason."""
    settings: Mapping[str, Any]
    """All that the session noted of itself."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundSummary:
    """A case's raw rounds in numbers; arrays of one entry a case, seconds, NaN where there is nothing to tell."""

    n: Ints
    median: Floats
    iqr: Floats
    """Upper less lower quartile (numpy's linear interpolation)."""
    mad: Floats
    """Median distance from the median, not scaled."""
    low: Floats
    """Ends of the order statistics' interval of the median, coverage 95 % or more; NaN below 6 rounds."""
    high: Floats
    lag1: Floats
    """Correlation of the logarithms of neighboring rounds, cut at three median deviations; bias not corrected."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RunIndex:
    """A run's cases as columns: arrays of shape (cases,), matrices (cases, metrics), NaN where a case has no value.

    A text a case does not have is ``""``, a whole number 0. Rounds and predictions are read when they are asked for.
    """

    facts: RunFacts
    notes: tuple[str, ...]
    """What reading had to decide, such as predictions that could not be read."""
    id: Texts
    key: Texts
    status: Texts
    kind: Texts
    model: Texts
    dataset: Texts
    method: Texts
    precision: Texts
    device: Texts
    backend: Texts
    profile: Texts
    weights: Texts
    hardware: Texts
    """Hardware class, see ``hardware.hardware_class``."""
    data_fingerprint: Texts
    model_revision: Texts
    batch_size: Ints
    length: Ints
    metrics: tuple[str, ...]
    """Names of the columns of the matrices."""
    units: Mapping[str, str]
    better: Mapping[str, str]
    value: Floats
    low: Floats
    high: Floats
    n: Floats
    rounds: RoundSummary
    _cases: pa.Table
    _seconds: tuple[Floats, Ints]
    _store: _Store

    def __len__(self) -> int:
        return len(self.id)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """Which cases have status ``ok``."""
        return np.asarray(self.status == "ok", bool)

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Case id to row."""
        return {name: row for row, name in enumerate(self.id)}

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """Ids of the manifest without a record, in its order; those that were skipped are among them."""
        return tuple(case for case in self.facts.manifest if case not in self.rows)

    def column(self, metric: str) -> int | None:
        """Column of a metric in the matrices; None where no case has it."""
        return self.metrics.index(metric) if metric in self.metrics else None

    def reasons(self, row: int) -> tuple[str, ...]:
        """Why a case's status is not ``ok``."""
        return tuple(self._cases.column("reasons")[row].as_py())

    def seeds(self, row: int) -> tuple[int, ...]:
        """A case's seeds, as its record lists them."""
        return tuple(self._cases.column("seeds")[row].as_py())

    def seed_values(self, row: int, metric: str) -> Floats:
        """A metric's values, one a seed in the record's order, NaN where a seed lacks it; none where it has none.

        A case of one seed gives its one value.
        """
        column = self.column(metric)
        if column is None:
            return np.zeros(0)
        flat = np.array(self._cases.column("per_seed")[row].as_py(), np.float64)
        if len(flat):
            return np.asarray(flat.reshape(-1, len(self.metrics))[:, column])
        value = self.value[row, column]
        return np.zeros(0) if np.isnan(value) else np.array([value])

    def raw_rounds(self, row: int) -> Floats:
        """A case's rounds in seconds, in their order in time; empty where none were kept."""
        values, starts = self._seconds
        return values[starts[row] : starts[row + 1]]

    @cached_property
    def predictions(self) -> PackedColumns:
        """Packed predictions: rows are those of the index."""
        return PackedColumns(self._store.table("predictions"))

    def packed(self, row: int) -> Packed | None:
        """A case's predictions, in the order of the split; None where it has none that can be read."""
        return self.predictions.case(row)


class _Store:
    """The tables of an index, from its file; where a section of that turns out to be damaged, from the run."""

    def __init__(self, run_file: Path, sections: Sections | None, columns: Columns | None) -> None:
        self._run_file, self._sections, self._columns = run_file, sections, columns

    @property
    def facts(self) -> dict[str, Any]:
        if self._columns is not None:
            return self._columns.facts
        assert self._sections is not None
        return dict(self._sections.header["facts"])

    def table(self, name: str) -> pa.Table:
        import pyarrow as pa

        if self._columns is None:
            assert self._sections is not None
            try:
                return self._sections.table(name)
            except (ValueError, KeyError, OSError, pa.ArrowException):
                from emobench.records.index_columns import columns_of

                self._columns = columns_of(self._run_file)
        return self._columns.tables[name]


def index_path(run_file: Path) -> Path:
    """Where a run's index lies: beside the run, hidden, so that tools which list runs do not see it."""
    return run_file.with_name(f".{run_file.stem}{SUFFIX}")


def build_index(run_file: Path) -> Path:
    """Read a run with its predictions once and write its index; returns the index's path.

    Raises:
        BrokenFileError: the file is no readable run; names it.
        OSError: the folder is not writable or the disk is full.
    """
    path = index_path(run_file)
    _write(path, run_file)
    return path


def _write(path: Path, run_file: Path) -> Columns:
    from emobench.records.index_columns import columns_of

    before = _stamp(run_file)
    columns = columns_of(run_file)
    if _stamp(run_file) != before:
        raise BrokenFileError(
            f"{run_file} changed while it was read", why="something else writes it", fix="try again when that has ended"
        )
    watched = {os.path.relpath(place, run_file.parent): _stamp(place) for place in columns.watched}
    header = {"schema": SCHEMA, "source": before, "watched": watched, "facts": columns.facts}
    write_sections(path, header, columns.tables)
    return columns


def _stamp(path: Path) -> list[int] | None:
    """What changes when a file is written or replaced, or an entry of a folder is; None where there is nothing."""
    try:
        found = path.stat()
    except (OSError, ValueError):  # ValueError: a null byte in a path that a file gave
        return None
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]


def read_index(run_file: Path) -> RunIndex:
    """The index of a run, made first where there is none that fits.

    Where the index cannot be written the run is read anyway, and ``notes`` says so: it will be parsed again next time.

    Raises:
        BrokenFileError: the file is no readable run; names it.
    """
    path = index_path(run_file)
    sections = _fitting(path, run_file)
    if sections is not None:
        try:
            return _opened(run_file, _Store(run_file, sections, None))
        except (ValueError, KeyError, TypeError, AttributeError):
            # Checksum and version fit and the content does not: this code did not write it.
            sections.close()
    try:
        columns = _write(path, run_file)
    except BrokenFileError:
        raise
    except OSError as error:
        from emobench.records.index_columns import columns_of

        columns = columns_of(run_file)
        columns.facts["notes"].append(f"the index could not be kept ({error.strerror or error})")
    return _opened(run_file, _Store(run_file, None, columns))


def index_of(run_file: Path, content: Mapping[str, Any]) -> RunIndex:
    """The index of a run's content that is not saved yet, as reading it from ``run_file`` would give it."""
    from emobench.records.index_columns import columns_of

    return _opened(run_file, _Store(run_file, None, columns_of(run_file, content)))


def _fitting(path: Path, run_file: Path) -> Sections | None:
    """The index in this file if it is whole and that of the run as it is now, else None."""
    try:
        sections = Sections(path)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    header = sections.header
    fits = (
        header.get("schema") == SCHEMA
        and header.get("source") == _stamp(run_file) is not None
        and all(_stamp(run_file.parent / place) == stamp for place, stamp in header.get("watched", {}).items())
    )
    if fits:
        return sections
    sections.close()
    return None


def _opened(run_file: Path, store: _Store) -> RunIndex:
    from emobench.records.index_columns import NUMBERS, TEXTS

    cases, rounds, facts = store.table("cases"), store.table("rounds"), store.facts
    kinds: Mapping[str, Mapping[str, str]] = facts["metrics"]
    columns: dict[str, Any] = {name: texts(whole(cases.column(name))) for name in (*TEXTS, "hardware")}
    columns |= {name: numbers(whole(cases.column(name))) for name in NUMBERS}
    columns |= {name: _matrix(cases, name, len(kinds)) for name in ("value", "low", "high", "n")}
    values, starts = lists(whole(rounds.column("seconds")))
    summary = {name: numbers(whole(rounds.column(name))) for name in FIGURES}
    return RunIndex(
        facts=_facts(run_file, facts),
        notes=tuple(facts["notes"]),
        metrics=tuple(kinds),
        units={name: kind["unit"] for name, kind in kinds.items()},
        better={name: kind["better"] for name, kind in kinds.items()},
        **columns,
        rounds=RoundSummary(n=np.diff(starts), **summary),
        _cases=cases,
        _seconds=(numbers(values), starts),
        _store=store,
    )


def _facts(run_file: Path, facts: Mapping[str, Any]) -> RunFacts:
    settings = facts["settings"]
    seeds = settings.get("seeds")
    return RunFacts(
        path=run_file,
        name=run_file.stem,
        number=run_file.stem.partition("_")[0],
        commit=facts["commit"],
        dirty=facts["dirty"],
        datetime=facts["datetime"],
        machine=run_file.parent.name,
        hardware=facts["hardware"],
        profile=str(settings.get("profile") or ""),
        seeds=tuple(seeds) if isinstance(seeds, list) else (),
        weights=str(settings.get("weights") or ""),
        version=str(settings.get("version") or ""),
        manifest=tuple(facts["manifest"]),
        skipped=facts["skipped"],
        settings=settings,
    )


def _matrix(cases: pa.Table, name: str, width: int) -> Floats:
    flat = numbers(whole(cases.column(name)).values)
    return np.asarray(flat.reshape(cases.num_rows, max(width, 1))[:, :width])


def align(base: RunIndex, new: RunIndex) -> Ints:
    """For each row of ``base`` the row of ``new`` with the same case id, -1 where it has none; shape (len(base),)."""
    return np.fromiter((new.rows.get(name, -1) for name in base.id), np.int64, len(base))

"""The table of all cases as cells: a text to read and a value to sort by. HTML and Markdown give it a form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emobench.analysis.rows import Row
from emobench.kinds import KINDS, in_order
from emobench.outcomes import Status
from emobench.reports.tables import COLUMNS, MIB, Column, number

ALL_COLUMNS = (
    *COLUMNS,
    Column(metric="model_bytes", head="weights\nMiB", show=lambda item: number(item.value / MIB)),
    Column(metric="energy_joules_per_sample", head="energy\nJ a sample", show=lambda item: number(item.value)),
)
_AXES: Mapping[str, str] = {
    "model": "model",
    "dataset": "data",
    "method": "method",
    "precision": "precision",
    "device": "device",
    "batch_size": "batch",
    "length": "tokens",
    "backend": "backend",
    "launch": "launch",
    "profile": "profile",
    "weights": "weights",
}
_USUAL = {"backend": "eager", "weights": "pretrained"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A text and what it is sorted by: a number, else the text itself."""

    text: str
    value: float | None = None


@dataclass(frozen=True, kw_only=True)
class Head:
    """A column: what it is and, in a second line, the unit."""

    title: str
    unit: str = ""
    numeric: bool = False
    long: bool = False
    """Its texts are names, which may be long."""


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A case: its id, its status and a cell a column."""

    case_id: str
    status: str
    reason: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """All cases of one kind."""

    kind: str
    title: str
    common: str
    """What is the same in all rows."""
    heads: tuple[Head, ...]
    rows: tuple[TableRow, ...]


def case_tables(rows: Sequence[Row]) -> list[Table]:
    """One table a kind of case. What is the same in all its rows is said once; the model is always a column."""
    kinds = in_order({str(row.case.get("kind")) for row in rows})
    return [_table(kind, [row for row in rows if str(row.case.get("kind")) == kind]) for kind in kinds]


def _table(kind: str, rows: Sequence[Row]) -> Table:
    used = [name for name in _AXES if any(row.case.get(name) not in (None, _USUAL.get(name)) for row in rows)]
    same = [name for name in used if name != "model" and len({_axis(row, name).text for row in rows}) == 1]
    axes = [name for name in used if name not in same]
    columns = [column for column in ALL_COLUMNS if any(row.metric(column.metric) for row in rows)]
    with_run = len({row.run for row in rows}) > 1
    heads = [Head(title="run")] if with_run else []
    heads += [
        Head(title=_AXES[name], numeric=name in ("batch_size", "length"), long=name in ("model", "dataset"))
        for name in axes
    ]
    heads.append(Head(title="status"))
    for column in columns:
        title, _, unit = column.head.partition("\n")
        heads.append(Head(title=title, unit=unit, numeric=True))
    return Table(
        kind=kind,
        title=KINDS[kind].title if kind in KINDS else kind,
        common=", ".join(f"{_AXES[name]} {_axis(rows[0], name).text}" for name in same),
        heads=tuple(heads),
        rows=tuple(_row(row, axes, columns, with_run=with_run) for row in rows),
    )


def _row(row: Row, axes: Sequence[str], columns: Sequence[Column], *, with_run: bool) -> TableRow:
    cells = [Cell(text=row.run)] if with_run else []
    cells += [_axis(row, name) for name in axes]
    status = row.result.status.value.replace("_", " ")
    cells.append(Cell(text=status))
    for column in columns:
        item = row.metric(column.metric)
        cells.append(Cell(text="") if item is None else Cell(text=column.show(item), value=item.value))
    reason = "; ".join(row.result.reasons) or "no reason was recorded"
    return TableRow(
        case_id=row.id,
        status=status,
        reason="" if row.result.status is Status.OK else reason,
        cells=tuple(cells),
    )


def _axis(row: Row, name: str) -> Cell:
    value = row.case.get(name, _USUAL.get(name))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Cell(text=str(value), value=float(value))
    return Cell(text="" if value is None else str(value))

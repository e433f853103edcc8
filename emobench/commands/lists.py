"""Lists of models, data sets and saved runs: what each is, and whether it is on this machine. Fetches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from emobench.catalogue.datasets import RANDOM_TOKENS
from emobench.commands.project_place import Place
from emobench.specs import DatasetSpec, ModelSpec

_COMMAND = re.compile(r"run: (.+?)(?: \(first accept .*\))?$")
_GATED = "gated: first accept the license at https://huggingface.co/HUB_ID, then set HF_TOKEN"


def models_text(place: Place, *, everything: bool = False) -> str:
    """The table of models; ready classifiers, which no case trains, only with ``everything``."""
    rows = [row for row in place.models.values() if everything or row.labels is None]
    cells = [
        (row.id, row.hub_id or str(row.path), size_text(row), row.license, _yes(row.gated), row.context, here_text(row))
        for row in rows
    ]
    header = ("id", "hub id", "parameters", "license", "gated", "context", "on this machine")
    hidden = [row.id for row in place.models.values() if row not in rows]
    text = f"{table(cells, header)}\n\n{_GATED}" if any(row.gated for row in rows) else table(cells, header)
    return _with_hidden(text, hidden, "ready classifiers, which are evaluated and timed but not trained")


def datasets_text(place: Place, *, everything: bool = False) -> str:
    """The table of data sets; random tokens, which are no data, only with ``everything``."""
    rows = [row for row in place.datasets.values() if everything or row.id != RANDOM_TOKENS]
    cells = [
        (row.id, _source(row), _row_count(row), len(row.labels), row.license, here_text(row), row.title) for row in rows
    ]
    header = ("id", "comes from", "training rows", "classes", "license", "on this machine", "what")
    hidden = [row.id for row in place.datasets.values() if row not in rows]
    return _with_hidden(table(cells, header), hidden, "drawn for models with random weights")


def here_text(row: ModelSpec | DatasetSpec) -> str:
    """``yes``, or the command that brings the row's files here, or why there is none."""
    reason = why_absent(row)
    if reason is None:
        return "yes"
    command = _COMMAND.search(reason)
    return f"no: {command[1] if command else reason}"


def why_absent(row: ModelSpec | DatasetSpec) -> str | None:
    """Why the row's files cannot be used here, with the remedy; None where they can. Reads neither rows nor weights."""
    if isinstance(row, ModelSpec):
        from emobench.models.locate import absent_reason

        return absent_reason(row)
    from emobench.data.sources import is_here

    return None if row.source == "random" else is_here(row)


def size_text(row: ModelSpec) -> str:
    """The published parameter count in millions or billions; empty where the row has none."""
    count = next(iter(row.parameters.values()), 0)
    if not count:
        return ""
    return f"{count / 1e9:.2f}B" if count >= 1e9 else f"{count / 1e6:.1f}M"


def table(rows: Iterable[Sequence[object]], header: Sequence[str]) -> str:
    """Plain columns two spaces apart, numbers as they are written."""
    from emobench.reports.tables import grid

    return grid(header, [[str(cell) for cell in row] for row in rows], ["left"] * len(header))


def runs_text(place: Place) -> str:
    """The table of the runs saved in ``results``, oldest first; those that cannot be read are among them."""
    from emobench.records.store import list_runs
    from emobench.reports.tables import runs_table

    storage = place.root / "results"
    headers = list_runs(storage) if storage.is_dir() else []
    if not headers:
        return f"no saved runs in {storage}; make one: emobench run (or pytest benchmarks)"
    return runs_table(headers)


def _row_count(row: DatasetSpec) -> str:
    # Nobody has counted the rows of the user's own file.
    return "" if row.source == "file" else f"{row.rows:,}"


def _source(row: DatasetSpec) -> str:
    return f"{row.source} {row.location}".strip()


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _with_hidden(text: str, hidden: Sequence[str], what: str) -> str:
    return f"{text}\nwith --all also: {', '.join(hidden)} ({what})" if hidden else text

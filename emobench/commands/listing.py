"""Lists of models and data sets: what each is called, what it is, and whether it is on this machine. Fetches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from emobench.catalogue.datasets import RANDOM_TOKENS
from emobench.commands.place import Place
from emobench.specs import DatasetSpec, ModelSpec

_COMMAND = re.compile(r"run: (.+)$")


def models_text(place: Place, *, everything: bool = False) -> str:
    """The table of models; ready classifiers, which no case trains, only with ``everything``."""
    rows = [row for row in place.models.values() if everything or row.labels is None]
    cells = [
        (row.id, row.hub_id or str(row.path), size_text(row), row.license, _yes(row.gated), row.context, here_text(row))
        for row in rows
    ]
    header = ("id", "hub id", "parameters", "license", "gated", "context", "on this machine")
    hidden = [row.id for row in place.models.values() if row not in rows]
    return _with_hidden(table(cells, header), hidden, "ready classifiers, which are evaluated and timed but not trained")


def datasets_text(place: Place, *, everything: bool = False) -> str:
    """The table of data sets; random tokens, which are no data, only with ``everything``."""
    rows = [row for row in place.datasets.values() if everything or row.id != RANDOM_TOKENS]
    cells = [
        (row.id, _source(row), f"{row.rows:,}", len(row.labels), row.license, here_text(row), row.title) for row in rows
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
    from tabulate import tabulate

    return tabulate(rows, headers=header, tablefmt="simple", disable_numparse=True)


def _source(row: DatasetSpec) -> str:
    return f"{row.source} {row.location}".strip()


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _with_hidden(text: str, hidden: Sequence[str], what: str) -> str:
    return f"{text}\n\nwith --all also: {', '.join(hidden)} ({what})" if hidden else text

"""Contents: what the parts of the page are given when something is picked, one value a part, in the parts' order.

Whatever is wrong with a run is shown in place of its views; an exception here would leave the old run's on the page.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from emobench.dashboard import html_pieces as marks
from emobench.dashboard import views
from emobench.dashboard.predictions import MOST, Errors, errors_of, seeds_of
from emobench.dashboard.saved_runs import Entry, Shelf
from emobench.dashboard.two_runs import compared
from emobench.errors import EmoBenchError
from emobench.reports.chart import Chart
from emobench.reports.content import Content
from emobench.reports.tables import number

CURVES = 2
"""Charts of one case's training: loss and validation accuracy."""
MOST_PROBABILITIES = 8
"""Classes up to which each has a column of its own in the list of errors."""
_NO_GRID = views.Grid(heads=("",), cells=(), texts=(), numeric=(False,))


def content_of(shelf: Shelf, key: object) -> Content | EmoBenchError:
    """The content of a run, or what is wrong with it."""
    try:
        return shelf.content(key)
    except EmoBenchError as error:
        return error


def listing(gr: Any, shelf: Shelf, run: object, base: object, new: object) -> list[Any]:
    """The table of runs and three pickers: what was picked stays; at first the newest runs that can be read.

    What a run is compared with may also be a baseline.
    """
    entries = shelf.entries()
    runs = [(entry.label, entry.key) for entry in entries]
    readable = [entry for entry in entries if not entry.problem and entry.cases]
    pickers = []
    for wanted, place, choices in ((run, 0, runs), (base, 1, [*shelf.baselines(), *runs]), (new, 0, runs)):
        known = any(wanted == key for _, key in choices)
        pickers.append(gr.update(choices=choices, value=wanted if known else _at(readable or entries, place)))
    return [marks.view(views.runs_html(entries)), *pickers]


def _at(entries: Sequence[Entry], place: int) -> str | None:
    return entries[min(place, len(entries) - 1)].key if entries else None


def whole_run(gr: Any, shelf: Shelf, key: object) -> list[Any]:
    """Summary, charts, table and first case of a run; what the filters were set to for another run is forgotten."""
    content = content_of(shelf, key)
    if isinstance(content, EmoBenchError):
        return _no_run(gr, "" if key is None else marks.view(views.told(content)))
    titles, kinds = [*views.charts_of(content)], [*views.tables_of(content)]
    values, cases = views.choices_of(content), [row.id for row in content.overview.rows]
    return [
        marks.view(views.summary_html(content)),
        _picker(gr, titles),
        *chart(gr, content, _first(titles)),
        _picker(gr, kinds),
        "",
        *(gr.update(choices=values[name], value=[], visible=len(values[name]) > 1) for name in views.FILTERS),
        *narrowed(gr, content, _first(kinds), {}, ""),
        _picker(gr, cases),
        *one_case(gr, shelf, key, _first(cases)),
    ]


def _no_run(gr: Any, said: str) -> list[Any]:
    filters = [gr.update(choices=[], value=[], visible=False) for _ in views.FILTERS]
    table = [said, frame(gr, _NO_GRID, visible=False)]
    return [
        said,
        _picker(gr, []),
        said,
        None,
        _picker(gr, []),
        "",
        *filters,
        *table,
        _picker(gr, []),
        *_no_case(gr, said),
    ]


def _no_case(gr: Any, said: str) -> list[Any]:
    plots = [gr.update(value=None, visible=False) for _ in range(CURVES)]
    return [said, *plots, gr.update(choices=[], value=None, visible=False), *_no_errors(gr, "")]


def _picker(gr: Any, choices: Sequence[Any], **more: Any) -> Any:
    return gr.update(choices=choices, value=_first(choices), **more)


def _first(values: Sequence[Any]) -> Any:
    return values[0] if values else None


def chart(gr: Any, content: Content | EmoBenchError, title: object) -> list[Any]:
    """Caption and chart of a title."""
    found = None if isinstance(content, EmoBenchError) else views.charts_of(content).get(str(title))
    if found is None:
        return [marks.view(marks.note("No chart: the run has nothing to draw.")), None]
    return [marks.view(marks.note(found.caption)), drawn(found)]


def drawn(item: Chart) -> Any:
    """A chart as Gradio hands it to its page's own Plotly: as JSON, so that Python's Plotly is not needed."""
    from gradio.components.plot import PlotData

    layout = {**item.layout, "height": item.height, "autosize": True}
    return PlotData(type="plotly", plot=json.dumps({"data": item.data, "layout": layout}, allow_nan=False))


def narrowed(
    gr: Any, content: Content | EmoBenchError, kind: object, wanted: Mapping[str, Any], words: object
) -> list[Any]:
    """What the cases have in common, and the table of those that the filters leave."""
    if isinstance(content, EmoBenchError):
        return [marks.view(views.told(content)), frame(gr, _NO_GRID, visible=False)]
    rows = views.chosen_rows(content, {name: values or () for name, values in wanted.items()}, str(words or ""))
    grid, said = views.case_grid(rows, str(kind))
    said = f"{said}. A click on a row opens it under One case." if grid.cells else said
    return [marks.view(marks.note(said)), frame(gr, grid, visible=bool(grid.cells))]


def frame(gr: Any, grid: views.Grid, *, visible: bool = True) -> Any:
    """A grid as Gradio takes a table: values to sort by, and the texts that are shown."""
    value = {
        "headers": list(grid.heads),
        "data": [list(row) for row in grid.cells],
        "metadata": {"display_value": [list(row) for row in grid.texts]},
    }
    kinds = ["number" if numeric else "str" for numeric in grid.numeric]
    return gr.update(value=value, datatype=kinds, visible=visible)


def one_case(gr: Any, shelf: Shelf, key: object, case: object) -> list[Any]:
    """A case's figures, training curves, seeds and errors."""
    content = content_of(shelf, key)
    if isinstance(content, EmoBenchError):
        return _no_case(gr, marks.view(views.told(content)))
    row = views.find_case(content, case)
    if row is None:
        return _no_case(gr, "")
    plots = [gr.update(value=drawn(item), visible=True) for item in views.case_charts(row)[:CURVES]]
    plots += [gr.update(value=None, visible=False)] * (CURVES - len(plots))
    record = next(record for record in content.records[row.run] if record.id == row.id)
    seeds = seeds_of(record.artifacts)
    return [
        marks.view(views.case_html(content, row)),
        *plots,
        _picker(gr, seeds, visible=len(seeds) > 1),
        *errors(gr, shelf, key, case, _first(seeds)),
    ]


def errors(gr: Any, shelf: Shelf, key: object, case: object, seed: object) -> list[Any]:
    """The surest errors of a seed, or why they are not shown."""
    if not isinstance(seed, int):
        return _no_errors(gr, "")
    try:
        found = errors_of(shelf.run(key), str(case), seed)
    except EmoBenchError as error:
        return _no_errors(gr, marks.view(views.told(error)))
    share = f" ({number(100 * found.wrong / found.rows)} %)" if found.rows else ""
    listed = f" The {MOST} it was surest of are listed." if found.wrong > MOST else ""
    said = (
        f"{found.wrong:,} of {found.rows:,} rows got the wrong class{share}.{listed} "
        "A row is its number in the test split: texts are not stored."
    )
    view = marks.view(marks.heading("Errors, the surest first") + marks.note(said))
    return [gr.update(value=view, visible=True), frame(gr, _error_grid(found), visible=bool(found.listed))]


def _no_errors(gr: Any, said: str) -> list[Any]:
    return [gr.update(value=said, visible=bool(said)), frame(gr, _NO_GRID, visible=False)]


def _error_grid(found: Errors) -> views.Grid:
    shown = len(found.classes) if len(found.classes) <= MOST_PROBABILITIES else 0
    cells: list[tuple[str | float | None, ...]] = []
    texts = []
    for error in found.listed:
        figures = (error.sure, *error.probabilities[:shown])
        cells.append((error.row, error.label, error.predicted, *figures))
        texts.append((str(error.row), error.label, error.predicted, *(f"{figure:.4f}" for figure in figures)))
    return views.Grid(
        heads=("row", "label", "predicted", "p of predicted", *(f"p({name})" for name in found.classes[:shown])),
        cells=tuple(cells),
        texts=tuple(texts),
        numeric=(True, False, False, True, *(True for _ in range(shown))),
    )


def pair(gr: Any, shelf: Shelf, base: object, new: object, only: Sequence[str], *, across: bool) -> list[Any]:
    """The comparison of two runs in words and as a table."""
    if base is None or new is None:
        return [marks.view(marks.note("Pick two runs.")), frame(gr, _NO_GRID, visible=False)]
    try:
        found = compared(shelf, base, new, only=only, across=across)
    except EmoBenchError as error:
        return [marks.view(views.told(error)), frame(gr, _NO_GRID, visible=False)]
    return [marks.view(found.words), frame(gr, found.grid, visible=bool(found.grid.cells))]

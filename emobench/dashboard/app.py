"""The page as Gradio parts: pickers and views, and which follows which. What they are given is made in ``contents``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emobench.analysis.compare import VERDICTS
from emobench.dashboard import contents as fill
from emobench.dashboard import views
from emobench.dashboard.saved_runs import Shelf
from emobench.dashboard.two_runs import WIDTHS
from emobench.extras import require

_LABELS = {"batch_size": "batch", "dataset": "data"}


def gradio() -> Any:
    """Gradio; telemetry must have been switched off in the environment before.

    Raises:
        MissingExtraError: it is not installed.
    """
    return require("gradio", feature="the dashboard", extra="dashboard")


def build(shelf: Shelf) -> Any:
    """The page over the runs of a shelf, as ``gradio.Blocks``.

    Raises:
        MissingExtraError: Gradio is not installed.
    """
    gr = gradio()
    with gr.Blocks(title="EmoBench", analytics_enabled=False, fill_width=True) as page:
        with gr.Row():
            run = gr.Dropdown([], label="Run", scale=6, elem_id="run")
            refresh = gr.Button("Refresh", scale=0, min_width=110, size="sm", elem_id="refresh")
        with gr.Tab("Summary"):
            summary = _html(gr, "summary")
        with gr.Tab("Charts"):
            chart = _Charts.parts(gr)
        with gr.Tab("Cases"):
            cases = _Cases.parts(gr)
        with gr.Tab("One case"):
            one = _OneCase.parts(gr)
        with gr.Tab("Compare"):
            pair = _Pair.parts(gr)
        with gr.Tab("Runs"):
            runs = _html(gr, "runs")
        pickers = [run, pair.base, pair.new]
        lists = {
            "fn": lambda *current: fill.listing(gr, shelf, *current),
            "inputs": pickers,
            "outputs": [runs, *pickers],
            **_QUIET,
        }
        page.load(**lists)
        refresh.click(**lists)
        run.change(
            lambda key: fill.whole_run(gr, shelf, key),
            [run],
            [summary, *chart.all, *cases.all, one.case, *one.views],
            **_QUIET,
        )
        chart.follow(gr, shelf, run)
        cases.follow(gr, shelf, run, one.case)
        one.follow(gr, shelf, run)
        pair.follow(gr, shelf)
    return page


_QUIET = {"api_visibility": "private", "show_progress": "hidden"}
"""Of every event: it is no endpoint for other programs, and nothing on the page turns gray while it is answered."""


def _html(gr: Any, name: str) -> Any:
    return gr.HTML(elem_id=name, apply_default_css=False, padding=True)


def _table(gr: Any, name: str, **more: Any) -> Any:
    return gr.Dataframe(
        interactive=False, max_height=560, elem_id=name, elem_classes="grid", show_label=False, buttons=[], **more
    )


@dataclass(frozen=True, kw_only=True)
class _Charts:
    """One chart of many."""

    title: Any
    caption: Any
    plot: Any

    @classmethod
    def parts(cls, gr: Any) -> _Charts:
        title = gr.Dropdown([], label="Chart", elem_id="chart")
        return cls(
            title=title,
            caption=_html(gr, "caption"),
            plot=gr.Plot(show_label=False, container=False, elem_id="plot"),
        )

    @property
    def all(self) -> list[Any]:
        return [self.title, self.caption, self.plot]

    def follow(self, gr: Any, shelf: Shelf, run: Any) -> None:
        self.title.input(
            lambda key, title: fill.chart(gr, fill.content_of(shelf, key), title),
            [run, self.title],
            [self.caption, self.plot],
            **_QUIET,
        )


@dataclass(frozen=True, kw_only=True)
class _Cases:
    """The table of cases and its filters."""

    kind: Any
    words: Any
    filters: Sequence[Any]
    common: Any
    table: Any

    @classmethod
    def parts(cls, gr: Any) -> _Cases:
        with gr.Row():
            kind = gr.Dropdown([], label="kind", min_width=150, elem_id="kind")
            words = gr.Textbox(label="case", placeholder="part of an id", min_width=150, elem_id="words")
            filters = [
                gr.Dropdown([], multiselect=True, label=_LABELS.get(name, name), min_width=150, elem_id=f"by-{name}")
                for name in views.FILTERS
            ]
        common = _html(gr, "common")
        return cls(kind=kind, words=words, filters=filters, common=common, table=_table(gr, "cases"))

    @property
    def all(self) -> list[Any]:
        return [self.kind, self.words, *self.filters, self.common, self.table]

    def follow(self, gr: Any, shelf: Shelf, run: Any, case: Any) -> None:
        def narrow(key: object, kind: object, words: object, *wanted: object) -> list[Any]:
            chosen = dict(zip(views.FILTERS, wanted, strict=True))
            return fill.narrowed(gr, fill.content_of(shelf, key), kind, chosen, words)

        def pick(event: Any) -> Any:
            # By its id and not by its place: the browser may have sorted the rows.
            return gr.update(value=event.row_value[-1])

        # Gradio passes the event to the parameter that is annotated with its class.
        pick.__annotations__["event"] = gr.SelectData
        for part in (self.kind, self.words, *self.filters):
            part.input(narrow, [run, self.kind, self.words, *self.filters], [self.common, self.table], **_QUIET)
        self.table.select(pick, None, [case], **_QUIET)


@dataclass(frozen=True, kw_only=True)
class _OneCase:
    """One case with its training curves and its errors."""

    case: Any
    view: Any
    curves: Sequence[Any]
    seed: Any
    said: Any
    errors: Any

    @classmethod
    def parts(cls, gr: Any) -> _OneCase:
        case = gr.Dropdown([], label="Case", elem_id="case")
        view = _html(gr, "case-view")
        with gr.Row():
            curves = [gr.Plot(visible=False, show_label=False, container=False) for _ in range(fill.CURVES)]
        seed = gr.Dropdown([], label="Seed", visible=False, elem_id="seed")
        said = _html(gr, "errors-said")
        return cls(
            case=case, view=view, curves=curves, seed=seed, said=said, errors=_table(gr, "errors", visible=False)
        )

    @property
    def views(self) -> list[Any]:
        return [self.view, *self.curves, self.seed, self.said, self.errors]

    def follow(self, gr: Any, shelf: Shelf, run: Any) -> None:
        self.case.change(lambda key, case: fill.one_case(gr, shelf, key, case), [run, self.case], self.views, **_QUIET)
        self.seed.input(
            lambda key, case, seed: fill.errors(gr, shelf, key, case, seed),
            [run, self.case, self.seed],
            [self.said, self.errors],
            **_QUIET,
        )


@dataclass(frozen=True, kw_only=True)
class _Pair:
    """Two runs to compare."""

    base: Any
    new: Any
    only: Any
    across: Any
    words: Any
    table: Any

    @classmethod
    def parts(cls, gr: Any) -> _Pair:
        with gr.Row():
            base = gr.Dropdown([], label="Base", elem_id="base")
            new = gr.Dropdown([], label="New", elem_id="new")
        with gr.Row():
            only = gr.Dropdown(list(VERDICTS), multiselect=True, label="verdicts (none: all)", elem_id="only")
            across = gr.Checkbox(label="also other hardware, profiles, weights or data", elem_id="across")
        words = _html(gr, "compared")
        table = _table(gr, "comparison", wrap=True, column_widths=list(WIDTHS))
        return cls(base=base, new=new, only=only, across=across, words=words, table=table)

    def follow(self, gr: Any, shelf: Shelf) -> None:
        inputs = [self.base, self.new, self.only, self.across]
        for part in inputs:
            part.change(
                lambda base, new, only, across: fill.pair(gr, shelf, base, new, only or (), across=bool(across)),
                inputs,
                [self.words, self.table],
                **_QUIET,
            )

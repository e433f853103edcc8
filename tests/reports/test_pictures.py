"""Pictures of the full report: every text can be read, whatever the names and however many cases there are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from matplotlib.figure import Figure

from emobench.analysis.findings import Confusion, Curve, CurvePanel
from emobench.analysis.rows import Row
from emobench.reports.bars import MOST_BARS, bar_parts, bars_figure
from emobench.reports.content import Content, content
from emobench.reports.curves import chosen_lines, curves_figure, history_figure, sheets
from emobench.reports.matrices import A_PAGE, matrices_figure
from emobench.reports.phrases import name_of
from emobench.reports.quantities import axis_title, figure_text
from emobench.reports.scatter import radar_figure, scatter_figure, series_of
from tests.reports.hostile import hostile_runs
from tests.reports.made_runs import a_run, indexed, some_records, timed, trained
from tests.reports.text_faults import text_faults

LONG = "an-organization-with-a-long-name/{}-instruct-finetuned-sst-2-english-with-more-words"


@pytest.fixture(scope="module")
def hostile() -> Content:
    return content(hostile_runs())


@pytest.fixture(scope="module")
def long() -> Content:
    models = [LONG.format(name) for name in ("bert", "gpt", "t5")]
    runs = {
        f"a-run-with-a-long-name-of-its-own-{day:04}": a_run(list(some_records(models=models, luck=day)), day=day)
        for day in range(1, 13)
    }
    name = max(runs)
    return content({name: runs[name]}, earlier={key: indexed(run) for key, run in runs.items()})


def figures(content: Content) -> Iterator[Figure]:
    groups = [group for group in content.overview.groups if group.across]
    yield scatter_figure(groups[:2])
    yield from filter(None, map(radar_figure, groups))
    yield from (bars_figure(part) for part in bar_parts(content.bars)[:2])
    yield from (curves_figure(part) for part in sheets(content.curves)[:2])
    yield matrices_figure(content.confusions[:A_PAGE], [name_of(item.row) for item in content.confusions[:A_PAGE]])
    kinds = {panel.kind for panel in content.history}
    yield from (history_figure([panel for panel in content.history if panel.kind == kind]) for kind in sorted(kinds))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["long", "hostile"])
def test_every_text_can_be_read(case: str, request: pytest.FixtureRequest) -> None:
    """No text is cut off, overlaps another or is below 8 points, in any picture."""
    faults = [(index, text_faults(figure)) for index, figure in enumerate(figures(request.getfixturevalue(case)))]
    assert [fault for fault in faults if fault[1]] == []
    assert len(faults) > 6


def one_group(records: list[Any]) -> Any:
    return content({"1": a_run(records)}).overview.groups[0]


def test_a_scatter_of_equal_values_and_of_one_case() -> None:
    """A single point, and many at the same place, have an axis and readable texts."""
    single = one_group([trained("m", "d", "lora")])
    assert text_faults(scatter_figure([single])) == []
    same = one_group([trained("m", "d", f"way{index}") for index in range(12)])
    assert text_faults(scatter_figure([same])) == []


def test_a_crowded_front_keeps_its_numbers_apart() -> None:
    """Thirty cases that lie close on the front: numbers that would overlap are left out, the key has all."""
    records = []
    for index in range(30):
        case = trained(f"m{index}", "d", "lora")
        metrics = [replace(item, value=0.7 + index * 1e-3, ci=None) for item in case.metrics if item.name == "accuracy"]
        metrics += [replace(item, value=10.0 + index * 1e-2) for item in case.metrics if item.name == "train_seconds"]
        records.append(replace(case, metrics=tuple(metrics)))
    figure = scatter_figure([one_group(records)])
    assert text_faults(figure) == []
    assert 1 <= len(figure.axes[0].texts) < 30
    assert any(text.get_text() == "30: m29" for text in figure.legends[0].get_texts())


def test_what_is_colored() -> None:
    """Models where there are several, else methods; too many of one axis leave it to the next."""
    two = one_group([trained("m", "d", "lora"), trained("n", "d", "lora")])
    assert series_of(two.candidates) == ("model", ["m", "n"])
    methods = one_group([trained("m", "d", "lora"), trained("m", "d", "full")])
    assert series_of(methods.candidates)[0] == "method"
    many = one_group([trained(f"m{index}", "d", ("lora", "full")[index % 2]) for index in range(20)])
    assert series_of(many.candidates) == ("method", ["lora", "full"])


def test_bars_are_split_over_panels_and_pages() -> None:
    """No bar is lost, none drawn twice, at most twenty in a panel; labels are told apart over the whole chart."""
    records = [timed(f"model-{index}", 1, index=index) for index in range(53)]
    charts = content({"1": a_run(records)}).bars
    parts = [part for page in bar_parts(charts) for part in page]
    assert all(len(part.bars) <= MOST_BARS for part in parts)
    for chart in charts:
        shown = [bar.label for part in parts if part.chart is chart for bar in part.bars]
        assert shown == [bar.label for bar in chart.bars]
    assert text_faults(bars_figure(bar_parts(charts)[0])) == []
    with pytest.raises(ValueError, match="no bars"):
        bars_figure([])


def test_a_title_of_bars_is_whole() -> None:
    """What is shown and what all bars have in common stand there in full, at the length of usual names."""
    records = [trained("all-minilm-l6-v2", "rotten_tomatoes-train", method) for method in ("head", "full", "lora")]
    ((first, _),) = bar_parts(content({"1": a_run(records)}).bars)
    figure = bars_figure([first])
    assert figure.axes[0].get_title(loc="left") == (
        "Throughput of training, samples/s\n"
        "finetune, all-minilm-l6-v2, rotten_tomatoes-train, fp32, cpu,\nprofile quick"
    )
    assert text_faults(figure) == []


def test_curves_of_many_seeds_are_split() -> None:
    """More curves than can be told apart make further panels, with all of them; a lone step is a point."""
    curves = tuple(Curve(label=f"seed {index}", steps=(1.0,), losses=(0.5,), averaged=1) for index in range(19))
    parts = sheets([CurvePanel(title="m", curves=curves)])
    assert [curve for part in parts for panel in part for curve in panel.curves] == list(curves)
    for part in parts:
        assert text_faults(curves_figure(part)) == []
    with pytest.raises(ValueError, match="0 series"):
        curves_figure([])


def test_matrices_of_many_classes_carry_no_figures() -> None:
    """Eight classes have names and counts, thirty only shades; long names are shortened."""
    for classes in (1, 3, 8, 30):
        names = tuple(f"a class with a long name {index}" for index in range(classes))
        counts = tuple(tuple(10_000 * (row == column) + column for column in range(classes)) for row in range(classes))
        row = Row(run="1", result=trained("m", "d", "lora"))
        figure = matrices_figure([Confusion(row=row, classes=names, counts=counts)], [LONG.format(classes)])
        assert text_faults(figure) == []
        assert len(figure.axes[0].texts) == (classes**2 if classes <= 8 else 0)
    with pytest.raises(ValueError, match="0 matrices"):
        matrices_figure([], [])


def test_classes_with_alike_names_are_told_apart() -> None:
    """Names that begin and end alike do not become one when they are shortened for an axis."""
    names = ("card_payment_wrong_rate", "card_payment_fixed_rate", "other")
    row = Row(run="1", result=trained("m", "d", "lora"))
    matrix = Confusion(row=row, classes=names, counts=((5, 1, 0), (1, 5, 0), (0, 0, 6)))
    figure = matrices_figure([matrix], ["m"])
    labels = [tick.get_text().replace("\n", "") for tick in figure.axes[0].get_yticklabels()]
    assert len(set(labels)) == 3
    assert labels[2] == "other"
    assert text_faults(figure) == []


def test_history_shows_those_that_changed_most() -> None:
    """Eight lines at most: those with the largest ratio of largest to smallest value."""
    first = a_run([timed(f"m{index:02}", 1) for index in range(20)], day=1)
    second = a_run([timed(f"m{index:02}", 1, index=index) for index in range(20)], day=2)
    panels = [panel for panel in content({"a": first, "b": second}).history if panel.metric == "latency_p50_seconds"]
    assert chosen_lines(panels) == [f"m{index}" for index in range(19, 11, -1)]
    with pytest.raises(ValueError, match="no history"):
        history_figure([])


def test_quantities_have_units() -> None:
    """Shares have three digits and no unit, times and bytes the units of the tables, others the metric's own."""
    from emobench.analysis.sweep import Measured

    assert figure_text("accuracy", Measured(value=0.5, low=0.4, high=0.6)) == "0.500 (0.400 to 0.600)"
    assert figure_text("latency_p50_seconds", Measured(value=0.0123)) == "12.3 ms"
    assert figure_text("memory_bytes", Measured(value=2**30)) == "1,020 MiB"
    assert axis_title("energy_joules_per_sample") == "energy joules per sample, J"
    assert axis_title("f1_macro") == "f1 macro"

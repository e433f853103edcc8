"""Charts for the browser: valid for Plotly, the figures of the records, and names that are no markup."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import plotly.graph_objects as go
import pytest

from emobench.reports.chart import Chart, axis_of, look, text
from emobench.reports.charts import (
    bar_chart,
    curve_charts,
    heat_charts,
    history_chart,
    radar_chart,
    scatter_chart,
    sweep_charts,
)
from emobench.reports.content import Content, content
from emobench.reports.style import SMALL_POINTS
from tests.reports.hostile import NAMES, hostile_runs
from tests.reports.made_runs import a_run, some_records

CSS_PIXELS_A_POINT = 96 / 72


def all_charts(content: Content) -> Iterator[Chart]:
    for group in content.overview.groups:
        yield scatter_chart(group, "a caption")
        radar = radar_chart(group, "a caption")
        assert radar is not None
        yield radar
    yield from map(bar_chart, content.bars)
    for panel in content.curves:
        yield from curve_charts(panel)
    yield from map(history_chart, content.history)
    yield from sweep_charts(content.sweeps[:8])
    yield from heat_charts(content.sweeps[:8])


@pytest.fixture(scope="module")
def usual() -> list[Chart]:
    runs = {f"{day:04}": a_run(list(some_records(luck=day)), day=day) for day in (1, 2)}
    return list(all_charts(content(runs)))


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        for item in value.values():
            yield from numbers(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, float):
        yield value


def test_plotly_accepts_every_chart(usual: list[Chart]) -> None:
    """Each has only attributes and values that Plotly's own schema knows, and every number is finite."""
    for chart in usual:
        go.Figure({"data": chart.data, "layout": chart.layout})
        assert all(map(math.isfinite, numbers(chart.data)))
    assert len(usual) > 30


def test_a_wrong_attribute_would_be_found() -> None:
    """The schema refuses what it does not know."""
    with pytest.raises(ValueError, match="Invalid property"):
        go.Figure({"data": [{"type": "scatter", "colour": "red"}]})


def sizes(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        for name, item in value.items():
            if name.endswith("font"):
                yield item.get("size", 12)
            elif name != "marker":
                yield from sizes(item)
    elif isinstance(value, list):
        for item in value:
            yield from sizes(item)


def test_no_text_is_below_eight_points(usual: list[Chart]) -> None:
    """All fonts of all charts, at 96 pixels an inch."""
    found = [size for chart in usual for size in sizes([chart.data, chart.layout])]
    assert len(found) > 100
    assert min(found) / CSS_PIXELS_A_POINT >= SMALL_POINTS


def test_points_are_the_figures_of_the_records() -> None:
    """Latency in milliseconds, accuracy as it is, the ends of the interval as error bars."""
    found = content({"1": a_run(list(some_records()))})
    group = found.overview.groups[0]
    chart = scatter_chart(group, "")
    points = {(x, y) for series in chart.data[1:] for x, y in zip(series["x"], series["y"], strict=True)}
    assert points == {(item.costs[group.across].value * 1e3, item.quality.value) for item in group.shown}
    first = group.shown[0]
    assert chart.data[1]["error_y"]["array"][0] == pytest.approx(first.quality.bounds[1] - first.quality.value)
    front = chart.data[0]
    assert front["y"] == sorted(front["y"])
    assert front["x"] == sorted(front["x"])


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_no_markup(name: str) -> None:
    """Plotly's markup and entities are escaped; the only tag is our line break, and no line is too long."""
    shown = text(name)
    assert set(shown.replace("<br>", "")) & {"<", ">"} == set()
    assert all(line.count("&") == line.count("&lt;") + line.count("&gt;") + line.count("&amp;") for line in [shown])
    assert shown.count("<br>") <= 3


def test_templates_hold_no_name() -> None:
    """A hover or cell template is one of ours: a name with a template's signs in it is shown, not filled in."""
    templates = {
        series[key]
        for chart in all_charts(content(hostile_runs()))
        for series in chart.data
        for key in ("hovertemplate", "texttemplate")
        if key in series
    }
    assert templates <= {
        "%{text}<extra></extra>",
        "%{hovertext}<extra></extra>",
        "step %{x}: %{y:.4f}",
        "batch %{x}: %{y:.4g}",
        "batch %{x}: %{text}<extra></extra>",
        "%{text}",
    }


def test_series_look_as_in_the_static_pictures() -> None:
    """The same colors in the same order, however many there are; more than eight begin again."""
    from emobench.reports.style import look as static

    for count in (1, 3, 8):
        assert [look(index, count)["line"]["color"] for index in range(count)] == [
            static(index, count)["color"] for index in range(count)
        ]
    assert look(8, 20)["line"]["color"] == look(0, 20)["line"]["color"]


def test_an_axis_is_logarithmic_for_spread_values_only() -> None:
    """Twelve times the smallest value and more, none of them 0; its ticks are round and cover the values."""
    wide: dict[str, Any] = axis_of("x", [3, 900], log=True)
    assert wide["type"] == "log"
    assert wide["tickvals"] == [3, 10, 30, 100, 300, 1000]
    assert "type" not in axis_of("x", [1, 5], log=True)
    assert "type" not in axis_of("x", [0, 500], log=True)
    assert "type" not in axis_of("x", [1, 500])

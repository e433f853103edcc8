"""Pictures of sweeps: every text can be read, whatever the number of series, names and batch sizes."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from emobench.analysis.sweep import Level, Measured, Sweep, _with_efficiency
from emobench.errors import MissingExtraError
from emobench.outcomes import Status
from emobench.reports import style
from emobench.reports.canvas import tick_text
from emobench.reports.figures import _ticks, heat_figure, sweep_figure
from emobench.reports.style import COLORS, LINES, MARKERS, look, png_bytes, printable, wrapped_names
from tests.reports.text_faults import text_faults

LONG = "an-organization-with-a-long-name/{}-instruct-finetuned-sst-2-english-with-more-words"
SIZES = (1, 4, 8, 16, 32, 64)


def a_level(batch: int, seconds: float, *, interval: bool = True, utilization: bool = False) -> Level:
    median = Measured(value=seconds, low=seconds * 0.9, high=seconds * 1.2) if interval else Measured(value=seconds)
    rate = Measured(value=batch / seconds, low=batch / seconds / 1.2, high=batch / seconds / 0.9)
    values = {
        "latency_p50_seconds": median,
        "latency_p90_seconds": Measured(value=seconds * 1.3),
        "latency_per_sample_seconds": Measured(value=seconds / batch),
        "samples_per_second": rate if interval else Measured(value=batch / seconds),
        "memory_bytes": Measured(value=3e7 + 8e6 * batch),
        "spread": Measured(value=0.05 + 0.001 * batch),
    }
    if utilization:
        values["utilization"] = Measured(value=0.7)
    return Level(batch_size=batch, case_id=f"b{batch}", status=Status.OK, values=values)


def without_figures(batch: int, status: Status) -> Level:
    return Level(batch_size=batch, case_id=f"b{batch}", status=status, reasons=("a reason",))


def a_sweep(name: str, levels: Sequence[Level]) -> Sweep:
    axes = dict.fromkeys(("dataset", "method", "length")) | {
        "model": name,
        "precision": "fp32",
        "device": "cpu",
        "backend": "eager",
        "weights": "pretrained",
    }
    return Sweep(run="0001", axes=axes, levels=tuple(_with_efficiency(levels)), memory_kind="host")


def some_sweeps(count: int, sizes: Sequence[int], *, name: str = "model-{}", gaps: bool = True) -> list[Sweep]:
    shown = []
    for index in range(count):
        levels = [a_level(batch, 0.003 * 3**index * batch**0.8, interval=index % 2 == 0) for batch in sizes]
        if gaps and index % 2:
            levels[-1] = without_figures(sizes[-1], Status.DOES_NOT_FIT)
        if gaps and index == 2:
            levels[0] = without_figures(sizes[0], Status.INVALID)
        shown.append(a_sweep(name.format(f"m{index}"), levels))
    return shown


CASES = {
    "one": some_sweeps(1, SIZES),
    "one-batch-does-not-fit": some_sweeps(2, (8,)),
    "three": some_sweeps(3, SIZES),
    "eight-long": some_sweeps(8, SIZES, name=LONG),
    "eight-with-nothing-in-common": some_sweeps(8, (1, 4), name="{0}-" + LONG.format("x") + "-{0}"),
    "eight-odd-sizes": some_sweeps(8, (1, 3, 60, 64, 1000, 1024), gaps=False),
    "twelve-sizes": some_sweeps(3, [2**power for power in range(12)]),
    "no-figures": [a_sweep("m", [without_figures(batch, Status.TIMED_OUT) for batch in SIZES])],
    "utilization": [a_sweep("m", [a_level(batch, 0.1, utilization=True) for batch in SIZES])],
    "strange-name": some_sweeps(2, (1, 8), name="_$x^2$\x1b[31m<b>\u6a21\u578b {}"),
    "one-long-word": some_sweeps(2, (1, 8), name="w" * 200 + "{}"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("draw", [sweep_figure, heat_figure])
def test_every_text_can_be_read(draw: Callable[[Sequence[Sweep]], Figure], case: str) -> None:
    """No text is cut off, overlaps another or is below 8 points, in either picture."""
    assert text_faults(draw(CASES[case])) == []


def test_a_narrow_place_gets_two_columns() -> None:
    """On a page of 7 inches the panels stand in two columns, and every text can still be read."""
    figure = sweep_figure(CASES["three"], width=7)
    assert figure.get_figwidth() == 7
    assert len({round(axes.get_position().x0, 1) for axes in figure.axes}) == 2
    assert text_faults(figure) == []


def test_faults_are_found() -> None:
    """The check sees a text that is cut off, two that overlap and one that is too small, and names them."""
    figure = Figure(figsize=(4, 3))
    figure.text(0.9, 0.9, "leaves the picture")
    figure.text(0.1, 0.5, "over")
    figure.text(0.11, 0.51, "each other")
    figure.text(0.1, 0.1, "tiny", fontsize=6)
    assert text_faults(figure) == [
        "'tiny' is 6 points",
        "'leaves the picture' is cut off",
        "'over' overlaps 'each other'",
    ]


def test_ticks_outside_of_the_limits_are_no_fault() -> None:
    """Labels that matplotlib keeps for values out of view, or of a hidden axis, are not drawn and not checked."""
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    axes.set_xticks(range(100), ["a long label"] * 100)
    axes.set_xlim(50.4, 50.6)
    assert text_faults(figure) == []
    axes.set_xlim(0, 100)
    assert len(text_faults(figure)) > 90
    axes.xaxis.set_visible(False)
    assert text_faults(figure) == []


def lines_of(figure: Figure, title: str) -> list[tuple[list[float], list[float]]]:
    axes = next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))
    return [
        (list(map(float, line.get_xdata())), list(map(float, line.get_ydata())))
        for line in axes.lines
        if len(line.get_xdata()) == len(SIZES) and line.get_linestyle() != "None"
    ]


def test_the_lines_are_the_figures() -> None:
    """Panels show the sweep's own values in the unit of the axis, broken where a batch size has none."""
    shown = some_sweeps(2, SIZES)
    figure = sweep_figure(shown)
    (first, second) = lines_of(figure, "Throughput")
    assert first == (list(SIZES), pytest.approx([level.value("samples_per_second") for level in shown[0].levels]))
    assert np.isnan(second[1]).tolist() == [False] * 5 + [True]
    (first, _) = lines_of(figure, "Latency of a batch")
    assert first[1][0] == pytest.approx(3.0)
    (first, _) = lines_of(figure, "Memory")
    assert first[1][0] == pytest.approx(3.8e7 / 2**20)
    assert [axes.get_title(loc="left") for axes in figure.axes][-1] == "Spread of the rounds"
    assert sweep_figure(CASES["utilization"]).axes[-1].get_title(loc="left") == "Utilization"


def test_the_heat_map_says_why_a_cell_is_empty() -> None:
    """A cell holds its figure with three digits, or the status; the best cell is the darkest."""
    figure = heat_figure(some_sweeps(3, SIZES))
    throughput = figure.axes[0]
    texts = {text.get_text() for text in throughput.texts}
    assert {"333", "invalid", "does\nnot fit"} <= texts
    table = np.asarray(throughput.images[0].get_array(), dtype=float)
    assert np.unravel_index(np.nanargmax(table), table.shape) == (0, 5)
    assert np.nanmax(table) == 1


def test_more_series_than_can_be_told_apart_are_refused() -> None:
    """Nine lines in one picture, or none, are a mistake of the caller."""
    with pytest.raises(ValueError, match="9 series in one picture; 1 to 8 can be told apart"):
        sweep_figure(some_sweeps(9, (1,)))
    with pytest.raises(ValueError, match="0 series"):
        heat_figure([])


def luminance(color: str) -> float:
    channels = np.array(to_rgb(color))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_series_differ_in_grey() -> None:
    """Colors ascend in lightness by steps that grey shows, and stand out from white; no two series look the same."""
    lightness = [116 * luminance(color) ** (1 / 3) - 16 for color in COLORS]
    assert min(np.diff(lightness)) >= 5
    assert min(1.05 / (luminance(color) + 0.05) for color in COLORS) >= 2.4
    for count in range(1, len(COLORS) + 1):
        assert len({look(index, count)["color"] for index in range(count)}) == count
    assert len(set(MARKERS)) == len(COLORS)
    assert len(set(map(str, LINES))) == len(LINES)


@pytest.mark.slow
def test_a_picture_is_png_of_at_least_150_dpi_and_the_same_each_time() -> None:
    """The bytes are a PNG of the figure's size at 200 dots an inch, without time or version in it."""
    from PIL import Image

    first, second = (png_bytes(heat_figure(CASES["one"])) for _ in range(2))
    assert first == second
    image = Image.open(io.BytesIO(first))
    assert image.format == "PNG"
    assert image.width == 2000
    assert image.info["dpi"][0] == pytest.approx(200, abs=0.1)


def test_the_users_settings_are_left_alone_and_ignored() -> None:
    """A tiny font in the user's settings reaches no picture, and the settings are the same afterwards."""
    import matplotlib

    with matplotlib.rc_context({"font.size": 3, "axes.titlesize": 3}):
        assert text_faults(heat_figure(CASES["one"])) == []
        assert matplotlib.rcParams["font.size"] == 3


@pytest.mark.slow
def test_pyplot_is_not_loaded() -> None:
    """No picture touches pyplot's global state, and importing the pages does not load matplotlib."""
    script = (
        "import sys, emobench.reports.sweep, emobench.reports.figures\n"
        "assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules\n"
        "from emobench.reports.style import house_style\n"
        "with house_style():\n    from matplotlib.figure import Figure\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_missing_matplotlib_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra the error says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r'drawing pictures needs .*; run: pip install "emobench\[report\]"'):
        sweep_figure(CASES["one"])


def test_names_are_made_fit_to_print() -> None:
    """Long names lose what all share, then their middle, never what tells them apart; unknown signs are marked."""
    assert wrapped_names(["a", "b"], 10) == ["a", "b"]
    shared = wrapped_names([LONG.format("bert"), LONG.format("gpt")], 20)
    assert shared == ["...bert...", "...gpt..."]
    (single,) = wrapped_names(["x" * 100], 20)
    assert "..." in single
    assert max(map(len, single.splitlines())) <= 20
    twins = [f"{'x' * 50}{digit}{'y' * 50}" for digit in (1, 2)]
    assert len(set(wrapped_names(twins, 20))) == 2
    assert printable("a\x1b\u6a21\n") == "a???"
    assert wrapped_names(["_hidden"], 20) == [" _hidden"]


@pytest.mark.parametrize(("batches", "kept"), [((1,), [1]), ((1, 4, 64), [1, 4, 64]), ((1, 60, 64), [1, 64])])
def test_ticks_have_room(batches: tuple[int, ...], kept: list[int]) -> None:
    """All batch sizes are written where there is room; the first and the last always."""
    assert _ticks(batches, inches=2.4) == kept


def test_tick_texts() -> None:
    """Round numbers stay short and are never a power with a small exponent."""
    assert [tick_text(value) for value in (0, 0.5, 2000, 2e6)] == ["0", "0.5", "2,000", "2e+06"]


def test_two_threads_do_not_mix_their_styles() -> None:
    """While one thread draws, another waits: settings are global to the process."""
    import threading

    import matplotlib

    order: list[str] = []

    def other() -> None:
        with style.house_style():
            order.append("other")

    with style.house_style():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(timeout=0.2)
        order.append("first")
        assert matplotlib.rcParams["font.size"] == style.TEXT_POINTS
    thread.join()
    assert order == ["first", "other"]

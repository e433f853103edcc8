"""A/A: what chance alone makes is found where it is known, drift cancels in pairs, and the page tells it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from emobench.commands import noise
from emobench.commands.noise import ROUNDS, Timed, analyze, measure, noise_text, result_text
from emobench.commands.project_place import find_place


def timed(*, pairs: int = 300, blocks: int = 20, spread: float, drift: float = 0.0, seed: int = 1) -> Timed:
    """Rounds about 10 ms long with normal noise; the machine grows slower by ``drift`` from first to last."""
    draw = np.random.default_rng(seed)
    slower = 1 + np.linspace(0, drift, pairs)
    per_block = 1 + np.linspace(0, drift, blocks)[:, None]
    return Timed(
        name="call",
        first=0.01 * slower * (1 + spread * draw.standard_normal(pairs)),
        second=0.01 * slower * (1 + spread * draw.standard_normal(pairs)),
        blocks=0.01 * per_block * (1 + spread * draw.standard_normal((blocks, ROUNDS))),
    )


def test_the_smallest_difference_is_that_of_the_noise() -> None:
    """Two medians of 30 normal rounds differ by 1.96 sqrt(2) sqrt(pi / 2 / 30) spreads at the 95 % quantile."""
    expected = 1.96 * np.sqrt(2 * np.pi / 2 / ROUNDS) * 0.01
    found = analyze(timed(spread=0.01, pairs=3000, blocks=60))
    assert found.within == pytest.approx(expected, rel=0.15)
    assert found.between == pytest.approx(expected, rel=0.2)
    assert found.median_seconds == pytest.approx(0.01, rel=0.01)
    assert found.spread == pytest.approx(1.349 * 0.01, rel=0.1)


def test_drift_is_between_runs_and_not_in_pairs() -> None:
    """A machine that grows 20 % slower shows it between blocks; pairs measured in turn bear it both."""
    found = analyze(timed(spread=0.001, drift=0.2))
    assert found.sequential.low > 0.19
    assert found.between > 0.15
    assert found.interleaved.low < 0 < found.interleaved.high
    assert found.interleaved.high - found.interleaved.low < 0.004
    assert found.within < 0.01


def test_intervals_cover_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is none between the series: about 95 of 100 intervals hold zero."""
    monkeypatch.setattr(noise, "_DRAWS", 500)
    held = sum(
        1
        for seed in range(100)
        if (found := analyze(timed(spread=0.02, pairs=60, blocks=3, seed=seed)).interleaved).low <= 0 <= found.high
    )
    assert 88 <= held <= 100


def test_a_planted_difference_is_seen() -> None:
    """Were B really 5 % slower, its interval would say so: the interval can fail to hold zero."""
    same = timed(spread=0.01)
    found = analyze(Timed(name="call", first=same.first, second=1.05 * same.second, blocks=same.blocks))
    assert found.interleaved.low > 0.04
    assert found.interleaved.high < 0.06


def test_series_take_turns_and_blocks_lie_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """At least three turns; A and B alternate in who is first; the call is made as often as the rounds say."""
    clock = itertools.count()
    lines: list[str] = []
    calls: list[int] = []
    monkeypatch.setattr(noise, "_seconds", lambda call: (call(), float(next(clock)))[1])
    (found,) = measure({"call": lambda: calls.append(1)}, seconds=0.0, say=lines.append)
    assert len(lines) == 3
    assert found.blocks.shape == (3, ROUNDS)
    assert len(found.first) == len(found.second) == 3 * ROUNDS
    assert len(calls) == 5 + 3 * 3 * ROUNDS
    # A is the earlier of one pair and the later of the next, so neither is always the warmer.
    assert (found.first - found.second)[:4].tolist() == [-1, 1, -1, 1]


def test_the_page_tells_it_in_one_sentence() -> None:
    """The largest of all calls is promised, rounded up; disturbances and what was left out are said."""
    quiet, loud = analyze(timed(spread=0.001)), analyze(timed(spread=0.01, drift=0.3))
    text = result_text([quiet, loud], device="cpu (Test)", disturbed=["other processes took 31 %"], left_out="not here")
    flat = " ".join(text.split())
    assert "On cpu (Test) the smallest difference this machine can show is about" in flat
    assert (
        f"about {noise._up(loud.within)} % in one run of 30 rounds and {noise._up(loud.between)} % between runs."
        in flat
    )
    assert "Disturbed: other processes took 31 %." in flat
    assert "The model was left out: not here." in flat
    assert "No disturbance" not in flat
    assert "No disturbance was seen." in result_text([quiet], device="cpu", disturbed=[])


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0.0"), (0.0101, "1.1"), (0.01, "1.0"), (0.0999, "10.0"), (0.641, "65")]
)
def test_limits_are_rounded_up(share: float, text: str) -> None:
    """A machine is not promised to show less than it can."""
    assert noise._up(share) == text


def test_the_whole_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The matrix product takes about its time, the packaged model runs, and lines come while it works."""
    lines: list[str] = []
    made: dict[str, Callable[[], object]] = {}
    make_calls = noise.make_calls

    def keep(*arguments: object) -> tuple[dict[str, Callable[[], object]], str]:
        calls, left_out = make_calls(*arguments)  # type: ignore[arg-type]  # passed on as they came
        made.update(calls)
        return calls, left_out

    monkeypatch.setattr(noise, "make_calls", keep)
    monkeypatch.setattr(noise, "ROUNDS", 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    text = noise_text(find_place(tmp_path), say=lines.append, seconds=0.0)
    assert lines[0].startswith("A/A on ")
    assert len(lines) >= 4
    product, model = made.items()
    assert product[0].startswith("matrix product of ")
    assert model[0] == "all-minilm-l6-v2 1 x 32 fp32"
    assert product[0] in text
    assert model[0] in text
    seconds = []
    for _ in range(9):
        start = time.perf_counter()
        product[1]()
        seconds.append(time.perf_counter() - start)
    assert 0.0005 < min(seconds) < 0.02


def test_without_the_model_the_product_stands_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the packaged model still has its figure, and the page says how to get the other."""
    monkeypatch.setattr(noise, "why_absent", lambda row: "not here; run: pip install it")
    monkeypatch.setattr(noise, "ROUNDS", 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    text = noise_text(find_place(tmp_path), say=lambda line: None, seconds=0.0)
    assert "The model was left out: not here; run: pip install it." in " ".join(text.split())
    assert "matrix product" in text

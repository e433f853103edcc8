"""Corrections: how they follow from ratios, that they are kept whole, and that a broken file is no silent one."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.errors import BrokenFileError
from emobench.estimate.corrections import (
    Calibration,
    calibration_file,
    corrected,
    correction,
    load_calibration,
    save_calibration,
    typical_error,
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path))
    return tmp_path


@given(st.lists(st.floats(0.1, 9.0), min_size=1, max_size=30))
def test_the_factor_is_the_geometric_median(ratios: list[float]) -> None:
    """As statistics has it of the logarithms; twice every ratio is twice the factor, and the same spread."""
    found = correction(ratios)
    assert math.log(found.factor) == pytest.approx(statistics.median(math.log(ratio) for ratio in ratios))
    twice = correction([2 * ratio for ratio in ratios])
    assert twice.factor == pytest.approx(2 * found.factor)
    assert twice.spread == pytest.approx(found.spread)
    assert found.spread >= 1


def test_few_records_correct_nothing() -> None:
    """Two records are kept and shown and not used; three are used; what is far off never is."""
    made = Calibration(
        device="CPU",
        corrections={
            "time.train": correction([1.4, 1.5]),
            "time.latency": correction([1.4, 1.5, 1.3]),
            "memory.train": correction([40.0, 50.0, 60.0]),
        },
    )
    assert made.factor("time", "train") == 1.0
    assert made.factor("time", "latency") == pytest.approx(1.4)
    assert made.factor("memory", "train") == 1.0
    assert made.factor("memory", "evaluate") == 1.0


def test_corrections_are_kept_by_device() -> None:
    """What was saved for one device is read back for it and for no other; a name is no path."""
    made = Calibration(device="../NVIDIA H200", corrections={"time.train": correction([1.1, 1.2, 1.3])})
    path = save_calibration(made)
    assert path.name == "NVIDIA-H200.json"
    assert load_calibration("../NVIDIA H200").factor("time", "train") == pytest.approx(1.2)
    assert load_calibration("CPU") == Calibration(device="CPU")


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"schema": 2, "device": "CPU", "corrections": {}}', '{"schema": 1, "device": "CPU"}']
    + [
        json.dumps({"schema": 1, "device": "CPU", "corrections": {"time.train": value}})
        for value in (3, {"factor": 1.0}, {"factor": -1.0, "spread": 1.0, "records": 3})
    ],
)
def test_a_broken_file_is_told(content: str) -> None:
    """Estimates without the corrections a user made would silently be other ones: the error names file and remedy."""
    path = calibration_file("CPU")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(BrokenFileError, match=r"CPU\.json holds no corrections; .*; delete it, or make it anew"):
        load_calibration("CPU")


@given(st.lists(st.floats(0.1, 10), min_size=2, max_size=12))
def test_each_ratio_is_corrected_by_the_others(ratios: list[float]) -> None:
    """The record that is corrected takes no part in its own correction; the plain way of leaving one out agrees."""
    plain = [ratio / correction([*ratios[:index], *ratios[index + 1 :]]).factor for index, ratio in enumerate(ratios)]
    assert corrected(ratios) == pytest.approx(plain)


def test_one_ratio_has_no_others() -> None:
    """A single record stays as it was measured."""
    assert corrected([1.7]) == [1.7]


def test_the_typical_error_is_the_same_up_and_down() -> None:
    """Twice too much and half of it are the same error."""
    assert typical_error([2.0]) == pytest.approx(1.0)
    assert typical_error([0.5]) == pytest.approx(1.0)
    assert typical_error([1.0, 1.1, 4.0]) == pytest.approx(0.1)

"""Room on disk against what a case writes."""

from __future__ import annotations

import pytest

from emobench.estimate.parameters import trainable_parameters
from emobench.preflight.disk import RESERVE_BYTES, disk, written
from emobench.preflight.planned import Disk, Planned
from tests.preflight.planned_cases import GB, a_case, a_machine, only, planned, some_data

EVERYTHING = frozenset({"results", "cache", "temporary"})


def test_a_disk_with_room_is_not_mentioned() -> None:
    """100 GB are enough for a small model."""
    assert not list(disk(planned(data=some_data())))


def test_predicted_sizes_follow_the_case() -> None:
    """Token ids by rows and tokens, predictions by rows and classes, the best epoch's weights twice, once per epoch."""
    case = a_case(profile="standard", seeds=(0, 1))
    found = written(planned(case, data=some_data()))
    assert case.method is not None
    assert found["token ids"] == 3500 * 27 * 4
    assert found["predictions"] == 2 * 1000 * 3 * 8
    assert found["weights of the best epoch"] == 8 * trainable_parameters(case.model, case.method, 2)
    assert "weights of the best epoch" not in written(planned(a_case(), data=some_data()))


def test_saved_models_count_where_they_are_kept() -> None:
    """With models kept, each seed's whole model is written; of LoRA the adapter alone."""
    base = {"machine": a_machine(), "data": some_data(), "save_models": True}
    full = written(Planned(case=a_case(seeds=(0, 1)), **base))["saved models"]  # type: ignore[arg-type]
    lora = written(Planned(case=a_case(method="lora", seeds=(0, 1)), **base))["saved models"]  # type: ignore[arg-type]
    assert full > 2 * 4 * 22_000_000
    assert 0 < lora < full / 10


@pytest.mark.parametrize(("free", "level"), [(0.5, "stop"), (1.2, "warn")])
def test_too_little_room(free: float, level: str) -> None:
    """Less than will be written is a stop, less than a reserve beside it a warning; both numbers are named."""
    case = a_case(model="gemma-3-270m", profile="standard")
    needed = sum(written(planned(case)).values())
    place = Disk(holds=EVERYTHING, folder="/data", free_bytes=int(free * needed))
    found = only(disk(planned(case, disks=(place,))))
    assert found.level == level
    assert found.numbers == {"free_bytes": place.free_bytes, "needed_bytes": needed}
    assert "weights of the best epoch" in found.why


def test_each_disk_is_asked_for_what_lies_on_it() -> None:
    """A full temporary disk is told of, however much room the results have."""
    case = a_case(model="gemma-3-270m", profile="standard")
    small = Disk(holds=frozenset({"temporary"}), folder="/tmp", free_bytes=GB)
    large = Disk(holds=frozenset({"results", "cache"}), folder="/data", free_bytes=500 * GB)
    found = only(disk(planned(case, disks=(small, large))))
    assert "on the disk of /tmp" in found.problem
    assert "token ids" not in found.why


def test_a_nearly_full_disk_is_warned_of_although_little_is_written() -> None:
    """The reserve is asked for whatever the case writes."""
    place = Disk(holds=frozenset({"results"}), folder="/data", free_bytes=RESERVE_BYTES // 2)
    found = only(disk(planned(a_case(kind="inference", dataset=None, method=None, batch_size=1), disks=(place,))))
    assert (found.level, found.numbers["needed_bytes"]) == ("warn", 0)

"""The golden table: what users see of every case is as it was, and a change of it is seen where it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emobench.catalogue.profiles import PROFILES
from tests import golden_table
from tests.golden_table import Collected, diff, differing, digests_of, golden, save, table_of

pytestmark = pytest.mark.slow

EVERY = 60
"""Of the cases every so many-th one is enough to see a planted change."""
HOW_TO_SEE = """these columns of the golden table are not as they were (kind/profile/column):
  {}
See what differs: write the table here and at the commit that it is compared with, and compare the two files:
  python -m tests.golden_table write FILE
  python -m tests.golden_table diff OLD NEW
Where the change is meant: python -m tests.golden_table renew, and the commit says why (CONTRIBUTING.md)."""


@pytest.fixture(scope="module")
def cases() -> list[Collected]:
    return golden_table.collected()


@pytest.fixture(scope="module")
def sample(cases: list[Collected]) -> list[Collected]:
    return cases[::EVERY]


def test_nothing_users_see_has_moved(cases: list[Collected]) -> None:
    """Every column of every kind at every profile has the committed digest."""
    committed = json.loads(golden_table.DIGESTS.read_text())
    found = golden(table_of(cases))
    moved = differing(committed["digests"], found["digests"])
    assert not moved, HOW_TO_SEE.format("\n  ".join(moved))
    assert found["rows"] == committed["rows"]


def test_every_case_has_a_row_of_its_own(cases: list[Collected]) -> None:
    """No two cases share profile and id, all five kinds are there, and the profiles have the same cases."""
    names = {(profile, case.id) for profile, _, case, _ in cases}
    assert len(names) == len(cases)
    assert {case.kind.name for _, _, case, _ in cases} == {
        "finetune",
        "inference",
        "generation",
        "evaluation",
        "shrink",
    }
    assert len({frozenset(node for name, node, *_ in cases if name == profile) for profile in PROFILES}) == 1


def test_a_change_of_one_quantity_shows_in_its_column_alone(
    sample: list[Collected], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice the operations of one kind of case move its operations at every profile, and nothing else."""
    before = digests_of(table_of(sample))
    real = golden_table.case_flops
    monkeypatch.setattr(golden_table, "case_flops", lambda case: real(case) * (1 + (case.kind.name == "inference")))
    moved = differing(before, digests_of(table_of(sample)))
    assert moved == [f"inference/{name}/flops" for name in sorted(PROFILES)]


def longer(found: Collected) -> Collected:
    """The case as it were if profile standard made another token."""
    profile, node, case, markers = found
    if profile != "standard":
        return found
    sizes = case.profile.model_copy(update={"new_tokens": case.profile.new_tokens + 1})
    return profile, node, case.model_copy(update={"profile": sizes}), markers


def test_a_number_of_a_profile_shows_in_the_kind_it_decides(sample: list[Collected]) -> None:
    """Another token a generation moves keys, plans and predictions of generations at that profile, and no other row."""
    moved = differing(digests_of(table_of(sample)), digests_of(table_of(map(longer, sample))))
    columns = ("bytes", "deciding", "flops", "key", "parts", "plan", "plan_key", "seconds")
    assert moved == [f"generation/standard/{column}" for column in columns]


def test_the_difference_of_two_files_is_counted_and_shown(sample: list[Collected], tmp_path: Path) -> None:
    """Of two tables it is told how many rows differ in which column, which are new, and what stood there."""
    rows = table_of(sample)
    changed = [{**row, "flops": 7.0} if row is rows[0] else row for row in rows[:-1]]
    old, new = tmp_path / "old", tmp_path / "new"
    save(rows, old)
    save(changed, new)
    lines = diff(old, new)
    first, last = (f"{row['kind']}/{row['profile']}" for row in (rows[0], rows[-1]))
    assert {f"1 differ: {first}/flops", f"1 differ: {last}/(row is gone)", "+ flops: 7.0"} <= set(lines)
    assert f"- flops: {rows[0]['flops']}" in lines
    assert diff(old, old) == []


def test_the_made_machine_leaves_nothing_behind(sample: list[Collected]) -> None:
    """After the table every module asks the real machine again."""
    from emobench import devices
    from emobench.session import skips

    assert skips.find_device is devices.find_device is golden_table.find_device
    with golden_table.made_machine():
        assert skips.find_device is devices.find_device is not golden_table.find_device
    table_of(sample[:1])
    assert skips.find_device is devices.find_device is golden_table.find_device

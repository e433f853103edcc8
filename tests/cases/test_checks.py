"""Preflight on this machine: facts of device and disks, the data read once, and errors of the data as findings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emobench.cases import checks as preflighting
from emobench.cases.checks import Profiles, blocking, disks_of, machine_of, preflight
from emobench.data import prepare
from emobench.data_profile import DataProfile
from emobench.errors import DataError
from emobench.preflight.planned import Finding
from emobench.specs import CaseSpec, DatasetSpec
from tests.preflight.planned_cases import GB, a_case, a_machine


def own_case(folder: Path, text: str, **changes: Any) -> CaseSpec:
    """A case on a CSV file of the user's own."""
    file = folder / "own.csv"
    file.write_text(text)
    dataset = DatasetSpec(
        id="own", title="own", license="none", source="file", location=str(file), labels=("no", "yes"), rows=10
    )
    return a_case(**changes).model_copy(update={"dataset": dataset})


def rows(count: int) -> str:
    texts = (
        f'"text number {n} is about {"good" if n % 2 else "bad"} things",{"yes" if n % 2 else "no"}'
        for n in range(count)
    )
    return "text,label\n" + "\n".join(texts) + "\n"


def test_this_machine_is_described(tmp_path: Path) -> None:
    """Memory, free memory, disks and packages of the CPU are plain facts of this machine."""
    found = machine_of("cpu", storage=tmp_path / "not" / "yet" / "there")
    assert found is not None
    assert 0 < found.free_memory_bytes <= found.memory_bytes
    assert {name for disk in found.disks for name in disk.holds} == {"results", "cache", "temporary"}
    assert all(disk.free_bytes > 0 for disk in found.disks)
    assert found.capability is None
    assert found.precisions is None


def test_folders_of_one_disk_are_one_disk(tmp_path: Path) -> None:
    """What lies on the same file system shares its room."""
    found = disks_of({"results": tmp_path / "a", "cache": tmp_path / "b" / "c"})
    assert [disk.holds for disk in found] == [{"results", "cache"}]


def test_what_was_tried_is_kept() -> None:
    """Probed precisions stand in the machine's facts: fp32 runs on every CPU."""
    found = machine_of("cpu", storage=Path(), probe=["fp32"])
    assert found is not None
    assert found.precisions == {"fp32": True}


def test_a_device_that_is_not_here_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the device there is nothing to check against, and the reason is told."""
    monkeypatch.setattr(preflighting, "absent_reason", lambda kind: "no CUDA device: none is here")
    (found,) = preflight(a_case(device="cuda"), storage=tmp_path)
    assert (found.check, found.level, found.why) == ("device", "stop", "no CUDA device: none is here")
    assert preflight(a_case(device="cuda"), storage=tmp_path, silenced=["device"]) == ()


def test_data_of_the_users_own_is_read_and_judged(tmp_path: Path) -> None:
    """A small file gives its rows to the checks: too few for the method, too few steps."""
    case = own_case(tmp_path, rows(120))
    found = preflight(case, storage=tmp_path, machine=a_machine(free_memory_bytes=50 * GB))
    told = {item.check: item for item in found}
    assert {"few-rows", "steps"} <= set(told)
    assert told["few-rows"].case_id == case.id
    assert blocking(found) is None


def test_data_that_cannot_be_used_is_a_stop(tmp_path: Path) -> None:
    """An unknown label is a finding with the three parts of its error, and nothing is raised."""
    case = own_case(tmp_path, rows(60) + "hello there,maybe\n")
    found = preflight(case, storage=tmp_path, machine=a_machine(free_memory_bytes=50 * GB))
    stop = blocking(found)
    assert stop is not None
    assert (stop.check, stop.level, stop.case_id) == ("data", "stop", case.id)
    assert "own.csv, row 61: label 'maybe'" in stop.problem
    assert stop.why.startswith("known are")
    assert "label_map" in stop.fixes[0].text
    silent = preflight(case, storage=tmp_path, machine=a_machine(free_memory_bytes=50 * GB), silenced=["data"])
    assert "data" not in {item.check for item in silent}


def test_each_data_set_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A matrix of methods and precisions reads its rows once, and an error of the data is not looked for twice."""
    calls: list[str] = []
    whole = prepare.load_splits

    def counted(spec: DatasetSpec, **keywords: Any) -> Any:
        calls.append(spec.id)
        return whole(spec, **keywords)

    monkeypatch.setattr(prepare, "load_splits", counted)
    profiles = Profiles()
    found = [profiles.of(own_case(tmp_path, rows(60), method=method)) for method in ("full", "lora", "head")]
    assert all(isinstance(item, DataProfile) for item in found)
    assert calls == ["own"]
    other = profiles.of(own_case(tmp_path, rows(60), sizes={"max_length": 8}))
    assert isinstance(other, DataProfile)
    assert other.share_truncated == 1.0
    assert calls == ["own"]
    bad = own_case(tmp_path, "text,label\nhi,maybe\n", sizes={"train": 7})
    assert isinstance(profiles.of(bad), DataError)
    assert isinstance(profiles.of(bad), DataError)
    assert calls == ["own", "own"]


@pytest.mark.parametrize(
    "case",
    [
        a_case(weights="random"),
        a_case(dataset="random-tokens"),
        a_case(dataset="imdb"),
        a_case(model="phi-3-mini"),
        a_case(kind="inference", dataset=None, method=None, batch_size=1),
    ],
    ids=["random weights", "random tokens", "data not here", "weights not here", "no data"],
)
def test_nothing_is_read_where_there_is_nothing(
    case: CaseSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random cases and what is not on this machine have no profile, and that is no error."""
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert Profiles().of(case) is None


def test_the_first_stop_blocks() -> None:
    """Warnings and notes block nothing."""
    warn = Finding(check="leaks", level="warn", problem="p", why="w")
    stop = Finding(check="disk", level="stop", problem="p", why="w")
    assert blocking([warn, stop]) is stop
    assert blocking([warn]) is None

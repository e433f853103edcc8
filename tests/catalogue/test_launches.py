"""Reading how a case is launched: every kind of accelerate configuration, and every mistake in one."""

from __future__ import annotations

from pathlib import Path

import pytest

from emobench.catalogue.launches import find_launch, shards_itself, starter, why_not_launch
from emobench.errors import SpecError

FSDP2 = "distributed_type: FSDP\nnum_processes: 4\nfsdp_config:\n  fsdp_version: 2\n"


def written(folder: Path, text: str) -> str:
    path = folder / "accelerate.yaml"
    path.write_text(text)
    return str(path)


def test_a_number_alone_is_ddp() -> None:
    """Nothing asked is one process; a number is that many under DDP."""
    assert find_launch(processes=None, config=None) is None
    found = find_launch(processes=2, config=None)
    assert found is not None
    assert (found.id, found.config) == ("ddp-x2", None)
    with pytest.raises(SpecError, match=r"--emo-processes 1; .*; give 2 or more"):
        find_launch(processes=1, config=None)


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("distributed_type: MULTI_GPU\nnum_processes: 8\n", "ddp-x8"),
        ("distributed_type: MULTI_CPU\nnum_processes: 2\nuse_cpu: true\n", "ddp-x2"),
        (FSDP2, "fsdp-x4"),
        ("distributed_type: DEEPSPEED\nnum_processes: 2\ndeepspeed_config:\n  zero_stage: 2\n", "deepspeed-x2"),
    ],
)
def test_configurations_are_read(tmp_path: Path, text: str, id: str) -> None:
    """The wrapper is the configuration's, the number of processes too unless the option gives another."""
    found = find_launch(processes=None, config=written(tmp_path, text))
    assert found is not None
    assert found.id == id
    more = find_launch(processes=3, config=written(tmp_path, text))
    assert more is not None
    assert more.id == f"{id.rpartition('x')[0]}x3"
    assert more.config is not None
    assert more.config["num_processes"] == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("distributed_type: TPU\n", r"distributed_type: TPU in .*; known are MULTI_GPU"),
        ("num_processes: 2\n", r"distributed_type: None in "),
        ("distributed_type: FSDP\nnum_processes: 2\n", r"fsdp_version: 1 in .*; FSDP1 is deprecated"),
        (
            "distributed_type: MULTI_GPU\nnum_machines: 2\nnum_processes: 2\n",
            r"num_machines: 2 in .*this machine alone",
        ),
        ("distributed_type: MULTI_GPU\n", r"num_processes: None in "),
        ("[1, 2]", r"it holds no mapping"),
        ("a: b: c", r"it is no YAML \(mapping values are not allowed"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, said: str) -> None:
    """Each mistake is an error with file and key."""
    with pytest.raises(SpecError, match=said):
        find_launch(processes=None, config=written(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The path stands in the error, with the command that writes one."""
    with pytest.raises(SpecError, match=r"none\.yaml; it cannot be read \(No such file.*accelerate config"):
        find_launch(processes=2, config=str(tmp_path / "none.yaml"))


def test_what_cannot_be_launched_has_a_reason(tmp_path: Path) -> None:
    """Device, precision and configuration must fit one another."""
    fsdp = find_launch(processes=None, config=written(tmp_path, FSDP2 + "mixed_precision: bf16\n"))
    deep = find_launch(processes=2, config=written(tmp_path, "distributed_type: DEEPSPEED\n"))
    cpu = find_launch(processes=2, config=written(tmp_path, "distributed_type: MULTI_CPU\n"))
    plain = find_launch(processes=2, config=None)
    assert fsdp
    assert deep
    assert cpu
    assert plain
    assert why_not_launch(plain, "cpu", "fp32") is None
    assert why_not_launch(fsdp, "cuda", "bf16") is None
    assert "mixed_precision: bf16" in str(why_not_launch(fsdp, "cuda", "fp32"))
    assert "nf4 stores several" in str(why_not_launch(fsdp, "cuda", "nf4"))
    assert "torchao" in str(why_not_launch(plain, "cpu", "int8"))
    assert "DeepSpeed" in str(why_not_launch(deep, "cpu", "fp32"))
    assert "for the CPU" in str(why_not_launch(cpu, "cuda", "fp32"))
    assert "mps" in str(why_not_launch(plain, "mps", "fp32"))


def test_who_starts_and_who_shards(tmp_path: Path) -> None:
    """accelerate starts what it starts rightly; the rest, and sharding on a CPU, is EmoBench's."""
    fsdp = find_launch(processes=None, config=written(tmp_path, FSDP2))
    gpu = find_launch(processes=2, config=written(tmp_path, "distributed_type: MULTI_GPU\n"))
    plain = find_launch(processes=2, config=None)
    assert fsdp
    assert gpu
    assert plain
    assert (starter(fsdp, "cuda"), shards_itself(fsdp, "cuda")) == ("accelerate", False)
    assert (starter(fsdp, "cpu"), shards_itself(fsdp, "cpu")) == ("emobench", True)
    assert starter(gpu, "cpu") == starter(gpu, "cuda") == "accelerate"
    assert starter(plain, "cpu") == starter(plain, "cuda") == "emobench"
    assert not shards_itself(gpu, "cpu")

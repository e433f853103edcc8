"""Hardware classes: the same machine is one class, whatever its kernel keeps for itself; another one is another."""

from typing import Any

import pytest

from emobench.records.hardware import UNKNOWN, hardware_class

MACHINE = {"node": "a", "machine": "x86_64", "cpu": {"brand_raw": "Xeon", "count": 8, "hz_actual": [2445430000, 0]}}
CPU = {"device_name": "Xeon", "device_memory_bytes": 24 * 2**30, "threads": 4}


def test_a_cpu_is_named_with_cores_threads_and_memory() -> None:
    """What decides a CPU's speed is in its class."""
    assert hardware_class(CPU, MACHINE) == "Xeon, x86_64, 24 GiB, 8 cores, 4 threads"


@pytest.mark.parametrize(
    ("environment", "machine"),
    [
        ({**CPU, "device_memory_bytes": 25276510208}, MACHINE),
        ({**CPU, "platform": "Linux-7"}, {**MACHINE, "node": "b", "cpu": {**MACHINE["cpu"], "hz_actual": [1, 0]}}),
    ],
)
def test_what_changes_by_itself_is_not_in_it(environment: dict[str, Any], machine: dict[str, Any]) -> None:
    """The kernel's share of the memory, the host's name and the clock of the moment make no other class."""
    assert hardware_class(environment, machine) == hardware_class(CPU, MACHINE)


@pytest.mark.parametrize(
    ("environment", "machine"),
    [
        ({**CPU, "threads": 8}, MACHINE),
        ({**CPU, "device_memory_bytes": 48 * 2**30}, MACHINE),
        ({**CPU, "device_name": "EPYC"}, MACHINE),
        (CPU, {**MACHINE, "machine": "aarch64"}),
        (CPU, {**MACHINE, "cpu": {"count": 16}}),
    ],
)
def test_what_decides_a_time_makes_another_class(environment: dict[str, Any], machine: dict[str, Any]) -> None:
    """Threads, memory, device, architecture and cores."""
    assert hardware_class(environment, machine) != hardware_class(CPU, MACHINE)


def test_a_gpu_does_not_depend_on_the_hosts_cores() -> None:
    """A GPU's class names the GPU and its memory; sizes of one model are told apart."""
    gpu = {"device_name": "NVIDIA A100", "device_memory_bytes": int(39.4 * 2**30), "threads": None}
    assert hardware_class(gpu, MACHINE) == "NVIDIA A100, x86_64, 40 GiB"
    assert hardware_class({**gpu, "device_memory_bytes": int(79.3 * 2**30)}, MACHINE) == "NVIDIA A100, x86_64, 80 GiB"


def test_another_plugins_benchmark_ran_on_the_machines_cpu() -> None:
    """Without an environment the machine tells; without either, or with nonsense, the class says that it is unknown."""
    assert hardware_class({}, MACHINE) == "Xeon, x86_64, 8 cores"
    assert hardware_class({}, {}) == UNKNOWN
    assert hardware_class({"device_memory_bytes": "much", "threads": -1}, {"cpu": []}) == UNKNOWN

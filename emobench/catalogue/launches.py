"""How one case is to run in several processes, read from a number or from the user's accelerate configuration.

Starts nothing. What of a configuration decides which wrapper trains the model stands here; the rest is accelerate's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from emobench import errors
from emobench.catalogue.combinations import QUANTIZED
from emobench.specs import DeviceKind, LaunchSpec, Precision, Wrapper

WRAPPERS: Mapping[str, Wrapper] = MappingProxyType(
    {"MULTI_GPU": "ddp", "MULTI_CPU": "ddp", "FSDP": "fsdp", "DEEPSPEED": "deepspeed"}
)
"""By the configuration's ``distributed_type``."""

Starter = Literal["emobench", "accelerate"]


def find_launch(*, processes: int | None, config: str | None) -> LaunchSpec | None:
    """What ``--emo-processes`` and ``--emo-accelerate`` ask for; None where neither is given.

    A number alone is DDP. Beside a configuration it stands in for its ``num_processes``.

    Raises:
        SpecError: fewer than two processes, or a configuration that cannot be used; names file and key.
    """
    if processes is not None and processes < 2:
        raise errors.SpecError(
            f"--emo-processes {processes}", why="one process is what every other case runs in", fix="give 2 or more"
        )
    if config is None:
        return None if processes is None else LaunchSpec(wrapper="ddp", processes=processes)
    path = Path(config)
    content = read_config(path)
    wrapper = _wrapper(content, path)
    if wrapper == "fsdp":
        _check_fsdp(content, path)
    if int(content.get("num_machines") or 1) > 1:
        raise errors.SpecError(
            f"num_machines: {content['num_machines']} in {path}",
            why="a case starts its processes on this machine alone",
            fix="set num_machines: 1, or spread whole cases with emobench run --executor ray",
        )
    count = processes or content.get("num_processes")
    if not isinstance(count, int) or count < 1:
        raise errors.SpecError(
            f"num_processes: {count} in {path}", why="it is no whole number above 0", fix="set it, or --emo-processes"
        )
    return LaunchSpec(wrapper=wrapper, processes=count, config={**content, "num_processes": count})


def read_config(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        SpecError: no such file, no YAML, or no mapping.
    """
    # accelerate depends on it; it publishes no types.
    import yaml  # type: ignore[import-untyped,unused-ignore]

    fix = "write one with: accelerate config --config_file FILE"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise errors.SpecError(
            f"--emo-accelerate {path}", why=f"it cannot be read ({error.strerror})", fix=fix
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise errors.SpecError(
            f"--emo-accelerate {path}", why=f"it is no YAML ({_first_line(error)})", fix=fix
        ) from error
    if not isinstance(content, dict):
        raise errors.SpecError(f"--emo-accelerate {path}", why="it holds no mapping of names to values", fix=fix)
    return content


def why_not_launch(launch: LaunchSpec, device: DeviceKind, precision: Precision) -> str | None:
    """Why a case cannot run in these processes, in words, or None where it may."""
    config = launch.config or {}
    if device == "mps":
        return "torch trains in one process on mps"
    if precision == "int8":
        return "torchao's int8 tensors cannot be compared and sent between processes"
    if launch.wrapper != "ddp" and precision in QUANTIZED:
        return f"{launch.wrapper} shards weights of one dtype, and {precision} stores several"
    if device == "cpu" and launch.wrapper == "deepspeed":
        return "accelerate leaves DeepSpeed out on a CPU"
    if device == "cuda" and (config.get("use_cpu") or config.get("distributed_type") == "MULTI_CPU"):
        return "the accelerate configuration is for the CPU"
    mixed = str(config.get("mixed_precision") or "no")
    if mixed not in ("no", computes_in(precision)):
        return f"the accelerate configuration says mixed_precision: {mixed}"
    return None


def computes_in(precision: Precision) -> str:
    """The autocast of a training at a precision, as accelerate names it."""
    names: dict[Precision, str] = {"bf16": "bf16", "nf4": "bf16", "int8-bnb": "bf16", "fp16": "fp16"}
    return names.get(precision, "no")


def starter(launch: LaunchSpec, device: DeviceKind) -> Starter:
    """Who starts the processes: ``accelerate launch`` with the user's configuration, or EmoBench itself.

    EmoBench does without a configuration, and for those of the CPU: ``accelerate launch`` starts one process for
    MULTI_CPU, and for FSDP processes that wrap the model in DDP or do not know of each other.
    """
    kind = (launch.config or {}).get("distributed_type")
    return "emobench" if kind is None or (device == "cpu" and kind != "MULTI_GPU") else "accelerate"


def shards_itself(launch: LaunchSpec, device: DeviceKind) -> bool:
    """Whether a rank calls torch's ``fully_shard`` itself, because accelerate does not on this device."""
    return launch.wrapper == "fsdp" and device == "cpu"


def _wrapper(content: Mapping[str, Any], path: Path) -> Wrapper:
    kind = str(content.get("distributed_type"))
    if kind not in WRAPPERS:
        raise errors.SpecError(
            f"distributed_type: {kind} in {path}",
            why=f"known are {', '.join(WRAPPERS)}",
            fix="take one of these, or leave --emo-accelerate out",
        )
    return WRAPPERS[kind]


def _check_fsdp(content: Mapping[str, Any], path: Path) -> None:
    settings = content.get("fsdp_config")
    version = settings.get("fsdp_version", 1) if isinstance(settings, dict) else 1
    if version != 2:
        raise errors.SpecError(
            f"fsdp_version: {version} in {path}",
            why="FSDP1 is deprecated in torch, and accelerate takes it where nothing is said",
            fix="set fsdp_config: fsdp_version: 2 (accelerate to-fsdp2 converts a file)",
        )


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:80]

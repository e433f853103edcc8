"""What a check is asked, and what it answers: planned case, machine, finding, fix. Checks nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from emobench.data_profile import DataProfile
from emobench.specs import CaseSpec, DeviceKind, Precision

Level = Literal["stop", "warn", "note"]
"""``stop``: cannot work as planned. ``warn``: works, and the result is not what was wanted. ``note``: good to know."""
LEVELS: tuple[Level, ...] = ("stop", "warn", "note")
"""Worst first."""

Number = float | int | str


@dataclass(frozen=True, kw_only=True)
class Disk:
    """One file system that a run writes to."""

    holds: frozenset[str]
    """Which of ``results``, ``cache`` and ``temporary`` lie on it."""
    folder: str
    free_bytes: int


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Plain facts of the device a case runs on, and of what surrounds it."""

    kind: DeviceKind
    name: str = ""
    memory_bytes: int
    free_memory_bytes: int
    fast_bf16: bool
    capability: tuple[int, int] | None = None
    """CUDA compute capability; None elsewhere."""
    disks: tuple[Disk, ...] = ()
    packages: frozenset[str] = frozenset()
    """Optional packages that are installed, of those a precision needs."""
    precisions: Mapping[Precision, bool] | None = None
    """Precision to whether a small operator ran in it here; None where nobody tried."""
    memory_factors: Mapping[str, float] = field(default_factory=dict)
    """Kind of work to measured over predicted memory in earlier runs on this device, where calibration found it."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """All that a check may look at."""

    case: CaseSpec
    machine: Machine
    data: DataProfile | None = None
    """None where the data was not read: checks then keep to what the case itself says, or stay silent."""
    save_models: bool = False
    """Trained models are kept beside the results."""


@dataclass(frozen=True, kw_only=True)
class Fix:
    """One way out, and what it costs."""

    text: str
    trade_off: str
    setting: str | None = None
    """A line to copy: options of pytest, or a line of ``emobench.toml``; None where no setting does it."""
    safe: bool = False
    """It leaves what the case computes as it is, up to rounding: ``emobench check --fix`` may apply it."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of ``TrainSettings`` or ``Profile`` to their new values."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check has to say of a case."""

    check: str
    level: Level
    problem: str
    """One clause with names and values; equal for cases that have the same problem."""
    why: str
    numbers: Mapping[str, Number] = field(default_factory=dict)
    fixes: tuple[Fix, ...] = ()
    """The one to try first comes first."""
    case_id: str = ""

    @property
    def silence(self) -> str:
        """The one switch that silences the check."""
        return f"--emo-silence {self.check}"

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain values for a record or a file."""
        return {
            "check": self.check,
            "level": self.level,
            "problem": self.problem,
            "why": self.why,
            "numbers": dict(self.numbers),
            "fixes": [
                {
                    "text": fix.text,
                    "trade_off": fix.trade_off,
                    "setting": fix.setting,
                    "safe": fix.safe,
                    "changes": dict(fix.changes),
                }
                for fix in self.fixes
            ],
            "silence": self.silence,
            "case": self.case_id,
        }


def finding_from(content: Mapping[str, Any]) -> Finding:
    """The finding of :meth:`Finding.as_dict`."""
    rest = {name: content[name] for name in ("check", "level", "problem", "why", "numbers")}
    return Finding(**rest, fixes=tuple(Fix(**fix) for fix in content["fixes"]), case_id=content["case"])


Look = Callable[[Planned], Iterable[Finding]]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A named check."""

    name: str
    meaning: str
    """What it looks for, in a few words."""
    look: Look


def worst(findings: Collection[Finding]) -> Level | None:
    """The worst level among findings, or None where there are none."""
    return next((level for level in LEVELS if any(item.level == level for item in findings)), None)


def shown_bytes(count: float) -> str:
    """Bytes for a reader: GB with one decimal, MB below half a GB."""
    return f"{count / 1e9:.1f} GB" if count >= 5e8 else f"{count / 1e6:.0f} MB"


def shown_share(share: float) -> str:
    """A share as per cent; what rounds to nothing keeps a digit."""
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"

"""Exported: what goes out of a run to another tool, as plain values under names such tools take. Writes nothing."""

from __future__ import annotations

import hashlib
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from emobench.outcomes import Metric

LONGEST_NAME = 1024
"""Longest name of a benchmark that Bencher takes."""
_UNSAFE = re.compile(r"[%|`<>&\"\\\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class ExportedCase:
    """What goes out of one case; plain values only."""

    id: str
    status: str
    reasons: tuple[str, ...]
    params: Mapping[str, str]
    metrics: tuple[Metric, ...]
    curves: Mapping[str, tuple[tuple[int, float], ...]]
    """Name to (step, value)."""
    artifacts: Mapping[str, str]
    """Name to path inside the run's folder."""


@dataclass(frozen=True, kw_only=True)
class ExportedRun:
    """What goes out of one run."""

    name: str
    commit: str
    seconds: float
    """When it was saved, since 1970."""
    cases: tuple[ExportedCase, ...]

    def plain(self) -> dict[str, Any]:
        """As plain values, for a process of its own."""
        return asdict(self)


def safe_name(text: str, *, longest: int = LONGEST_NAME) -> str:
    """The text with what could be taken for markup or break a line percent-encoded; ``urllib.parse.unquote`` undoes it.

    A longer one is cut and ends in a part of its hash, so that names stay distinct.
    """
    found = _UNSAFE.sub(lambda match: urllib.parse.quote(match[0].encode("utf-8", "surrogatepass"), safe=""), text)
    if len(found) <= longest:
        return found
    return f"{found[: longest - 17]}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def flat_metrics(case: ExportedCase) -> dict[str, float]:
    """Metric to value, with ``_low``, ``_high`` and ``_n`` beside it where it has an interval and samples."""
    found: dict[str, float] = {}
    for item in case.metrics:
        found[item.name] = item.value
        if item.ci is not None:
            found |= {f"{item.name}_low": item.ci[0], f"{item.name}_high": item.ci[1]}
        if item.n is not None:
            found[f"{item.name}_n"] = item.n
    return found

"""Is there room on disk for what the case writes? Sizes are predicted; nothing is written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from emobench.errors import UnsupportedError
from emobench.estimate.parameters import parameters_of, trainable_parameters
from emobench.preflight.planned import Disk, Finding, Fix, Planned, shown_bytes

RESERVE_BYTES = 1_000_000_000
"""Room that a system and the run's own journal want beside what a case writes; below it is warned of. Our choice."""

TOKEN_BYTES = 4
"""Of one token id in the cache."""
PROBABILITY_BYTES = 8
"""Of one class of one row in a file of predictions, before compression."""
WEIGHT_BYTES = 4
"""Trained weights are kept in fp32."""


def disk(planned: Planned) -> Iterator[Finding]:
    """``disk``: caches, weights kept between epochs, saved models and predictions against the free room."""
    needs = written(planned)
    for place in planned.machine.disks:
        here = {name: size for name, size in needs.items() if home(name) in place.holds and size}
        total = sum(here.values())
        if total + RESERVE_BYTES > place.free_bytes:
            yield finding(place, here, total)


def written(planned: Planned) -> dict[str, int]:
    """Bytes that the case writes, by what for; see :func:`home` for where."""
    case, data = planned.case, planned.data
    found = weights(planned)
    if case.dataset is None or case.weights == "random":
        return found
    rows = sum(data.rows.values()) if data is not None and data.rows else case.dataset.rows
    mean = data.lengths.mean if data is not None and data.lengths is not None else case.dataset.mean_tokens
    found["token ids"] = int(rows * min(mean, case.profile.max_length) * TOKEN_BYTES)
    tested = data.rows.get("test", 0) if data is not None else case.profile.test or case.dataset.rows
    found["predictions"] = tested * (len(case.dataset.labels) + 1) * PROBABILITY_BYTES * len(case.seeds)
    return found


def weights(planned: Planned) -> dict[str, int]:
    """Bytes of weights that the case writes; nothing where the architecture's parameters are not known."""
    case, found = planned.case, dict[str, int]()
    packaged = case.model.packaged
    with contextlib.suppress(UnsupportedError):
        if packaged is not None and packaged.format == "gguf" and case.weights == "pretrained":
            found["weights dequantized once"] = 2 * parameters_of(case.model, "causal")
        if not case.kind.trains_method or case.method is None:
            return found
        classes = max(2, len(case.dataset.labels)) if case.dataset is not None else 2
        trained = WEIGHT_BYTES * trainable_parameters(case.model, case.method, classes)
        if case.profile.epochs > 1 and case.profile.validation != 0:
            # Written beside the old file, which is then replaced.
            found["weights of the best epoch"] = 2 * trained
        if planned.save_models:
            whole = WEIGHT_BYTES * parameters_of(case.model, "classifier", classes)
            found["saved models"] = len(case.seeds) * (trained if case.method.id == "lora" else whole)
    return found


def home(name: str) -> str:
    """Which place something is written to."""
    if name in ("token ids", "weights dequantized once"):
        return "cache"
    return "temporary" if name == "weights of the best epoch" else "results"


def finding(place: Disk, here: dict[str, int], total: int) -> Finding:
    """What to say of a disk with too little room."""
    stop = total > place.free_bytes
    ordered = sorted(here.items(), key=lambda item: -item[1])
    spelled = ", ".join(f"{name} {shown_bytes(size)}" for name, size in ordered if size >= 0.01 * total)
    return Finding(
        check="disk",
        level="stop" if stop else "warn",
        problem=f"{shown_bytes(place.free_bytes)} are free on the disk of {place.folder} and "
        f"{shown_bytes(total)} will be written there",
        why=f"{spelled or 'a journal and records'}; a full disk loses the run"
        + ("" if stop else f", and less than {shown_bytes(RESERVE_BYTES)} would be left"),
        numbers={"free_bytes": place.free_bytes, "needed_bytes": total},
        fixes=tuple(ways_out(place)),
    )


def ways_out(place: Disk) -> Iterator[Fix]:
    """How to come by room, by what lies on the disk."""
    yield Fix(text=f"free room below {place.folder}", trade_off="what is deleted is gone")
    if "cache" in place.holds:
        yield Fix(
            text="keep the cache on another disk",
            trade_off="what is in the old one is made or fetched again",
            setting="export EMOBENCH_CACHE=/path/on/a/larger/disk",
        )
    if "results" in place.holds:
        yield Fix(
            text="keep the results on another disk",
            trade_off="runs are compared within one folder",
            setting="--benchmark-storage=file:///path/on/a/larger/disk",
        )
    if "temporary" in place.holds:
        yield Fix(
            text="keep temporary files on another disk",
            trade_off="none, where it is as fast",
            setting="export TMPDIR=/path/on/a/larger/disk",
        )

"""Latency cases: load cold and warm, look at memory, time, events, utilisation; each in a pass of its own.

What a pass measures stands in ``measurement``; here they meet the case, and a disturbed measurement is called so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from emobench.outcomes import metric

if TYPE_CHECKING:
    from emobench.cases.state import CaseState
    from emobench.models.load import LoadedModel


def load(case: CaseState, loader: Callable[..., LoadedModel], *arguments: Any, **keywords: Any) -> LoadedModel:
    """Load a model cold, its files dropped from the page cache, and once more warm; the second one is kept.

    A cold load that imported anything is made once more, as its time is also that of the imports. Random weights have
    no files and are made once.
    """
    from emobench.measurement.usage import give_back_free_memory
    from emobench.models.weight_files import disk_bytes, drop_from_page_cache, weight_files

    keywords |= {"weights": case.spec.weights, "progress": case.progress.note}
    if case.spec.weights == "pretrained":
        files = weight_files(case.spec.model)
        seconds = None
        for _ in range(2):
            known = len(sys.modules)
            if not drop_from_page_cache(files):
                break
            seconds = loader(*arguments, **keywords).load_seconds
            give_back_free_memory(case.spec.device)
            if len(sys.modules) == known:
                break
        if seconds is not None:
            case.add([metric("load_cold_seconds", seconds)])
        case.add([metric("disk_bytes", disk_bytes(files))])
    case.release_memory()
    loaded = loader(*arguments, **keywords)
    case.describe_model(loaded)
    return loaded


def time_call(
    case: CaseState, call: Callable[[], object], *, before_each: Callable[[], object] | None = None
) -> list[float]:
    """Time ``call`` with the device synchronised inside; a pilot chooses the rounds. Returns the raw seconds.

    ``before_each`` runs before every round, untimed. Empty where pytest-benchmark is disabled.
    """
    from emobench.measurement.clock import synchronized
    from emobench.measurement.machine import disturbances, facts, read_counters
    from emobench.measurement.rounds import plan_rounds

    profile, device = case.spec.profile, case.spec.device
    whole = synchronized(call, device)
    with case.watching():
        whole()
    plan = plan_rounds(
        whole,
        at_least=profile.latency_rounds,
        seconds=profile.latency_seconds,
        at_most_seconds=profile.latency_cap_seconds,
    )
    before = read_counters(device)
    case.benchmark.pedantic(whole, setup=before_each and _returns_none(before_each), rounds=plan.rounds)
    after = read_counters(device)
    case.settled = True
    seconds = [] if case.benchmark.stats is None else list(case.benchmark.stats.stats.data)
    case.details["timing"] = {**plan.facts(), "machine": facts(before, after)}
    if seconds:
        spread = too_spread(case, seconds)
        if profile.spread_limit is not None:
            case.disturbances = [*disturbances(before, after, device=device), *spread]
        time_on_device(case, call)
        sample(case, whole)
    return seconds


def time_on_device(case: CaseState, call: Callable[[], object]) -> None:
    """Add ``device_seconds`` from events around further calls; absent where the device or the backend has none."""
    from emobench.measurement.device_time import device_metrics, event_seconds, why_no_events

    spec = case.spec
    reason = why_no_events(spec.device, spec.backend)
    if reason is None:
        profile = spec.profile
        spans = event_seconds(call, at_least=profile.latency_rounds, seconds=profile.latency_seconds)
        case.add(device_metrics(spans))
    elif spec.device == "cuda":
        case.note(f"no device_seconds: {reason}")


def too_spread(case: CaseState, seconds: Sequence[float]) -> list[str]:
    """Why rounds that differ too much among themselves make the case invalid; empty where they do not."""
    from emobench.measurement.clock import spread

    found, limit = spread(seconds), case.spec.profile.spread_limit
    case.details["timing"]["spread"] = round(found, 4)
    if limit is None or found <= limit:
        return []
    return [f"the middle half of the rounds spreads over {100 * found:.0f} % of the median (limit {100 * limit:.0f} %)"]


def sample(case: CaseState, whole: Callable[[], object]) -> None:
    """Utilisation and energy, in a pass with a sampler and no clock: as long as the shortest timed one."""
    from emobench.measurement.machine import sampled

    deadline = time.monotonic() + case.spec.profile.latency_seconds
    calls = 0
    with sampled(case.spec.device) as watch:
        while not calls or time.monotonic() < deadline:
            whole()
            calls += 1
    case.add(watch.metrics(samples=calls * (case.spec.batch_size or 1)))
    case.details["usage"] = watch.facts()


def _returns_none(call: Callable[[], object]) -> Callable[[], None]:
    """The call without its result: what a pytest-benchmark setup returns would become the timed call's arguments."""

    def run() -> None:
        call()

    return run

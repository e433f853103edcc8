"""Rounds of cases that do their work once for each seed: timed, watched for memory, and judged.

Latency cases, which repeat one call, stand in ``latency``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from emobench.cases.artifacts import save_trained
from emobench.devices import synchronize

if TYPE_CHECKING:
    from emobench.cases.state import CaseState
    from emobench.measurement.machine import Counters

Ready = TypeVar("Ready")
Result = TypeVar("Result")


def measure(
    case: CaseState, work: Callable[[Ready, int], Result], *, prepare: Callable[[int], Ready], elsewhere: bool = False
) -> list[Result]:
    """Time ``work(prepare(seed), seed)`` once a seed, one pytest-benchmark round each; ``prepare`` is not timed.

    The memory peaks are the kernel's and the allocator's own high-water marks: nothing samples inside the round.
    What disturbed a round is found from counters read before and after it. ``elsewhere`` is for work in other
    processes, whose peaks the caller adds.
    """
    from emobench.measurement.machine import read_counters

    seeds = iter(case.spec.seeds)
    results: list[Result] = []
    counters: list[Counters] = []
    watched = contextlib.ExitStack()

    def setup() -> tuple[tuple[list[Ready], int], dict[str, Any]]:
        case.release_memory()
        seed = next(seeds)
        # A list, emptied by the round: pytest-benchmark holds a round's arguments while the next is prepared.
        box = [prepare(seed)]
        if not elsewhere:
            watched.enter_context(case.watching(seed))
        counters.append(read_counters(case.spec.device))
        return (box, seed), {}

    def timed(box: list[Ready], seed: int) -> None:
        results.append(work(box.pop(), seed))
        synchronize(case.spec.device)

    def teardown(box: list[Ready], seed: int) -> None:
        after = read_counters(case.spec.device)
        watched.close()
        judge_round(case, counters.pop(), after, seed)
        save_trained(case, seed)

    if case.benchmark.disabled:
        # Nothing is timed then, and pytest-benchmark would run the first seed alone.
        for _ in case.spec.seeds:
            arguments, _keywords = setup()
            timed(*arguments)
            teardown(*arguments)
        return results
    # Closed here too: a round that raises has no teardown, and its peak is what "does not fit" reports.
    with watched:
        case.benchmark.pedantic(timed, setup=setup, teardown=teardown, rounds=len(case.spec.seeds))
    case.settled = not case.went_on
    case.benchmark.has_error = case.went_on  # out of pytest-benchmark's files and table
    return results


def judge_round(case: CaseState, before: Counters, after: Counters, seed: int) -> None:
    """Keep the machine's counters of one seed's round, and what they show to have disturbed it."""
    from emobench.measurement.machine import disturbances, facts

    case.details.setdefault("machine", []).append({"seed": seed, **facts(before, after)})
    if case.spec.profile.spread_limit is not None:
        found = disturbances(before, after, device=case.spec.device)
        case.disturbances += [f"{text}, seed {seed}" if len(case.spec.seeds) > 1 else text for text in found]

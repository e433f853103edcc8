"""The ``case`` fixture's object: a case's state, and the ways to measure it in one call each.

It trains and evaluates nothing itself; a recipe, or a test of one's own, hands it functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from emobench.cases import latency, rounds, trace
from emobench.cases.rounds import Ready, Result
from emobench.cases.state import CaseState

if TYPE_CHECKING:
    from emobench.models.load import LoadedModel


class Case(CaseState):
    """One case while it runs. Metrics are added as they become known and folded over seeds at the end."""

    def measure(
        self, work: Callable[[Ready, int], Result], *, prepare: Callable[[int], Ready], elsewhere: bool = False
    ) -> list[Result]:
        """Time ``work(prepare(seed), seed)`` once a seed, see :func:`emobench.cases.rounds.measure`."""
        return rounds.measure(self, work, prepare=prepare, elsewhere=elsewhere)

    def load(self, loader: Callable[..., LoadedModel], *arguments: Any, **keywords: Any) -> LoadedModel:
        """Load a model cold and warm, see :func:`latency.load`; or take the one that the session keeps."""
        found = self.shared(loader, *arguments, **keywords)
        if found is not None:
            self.release_memory()
            if self._held_bytes is not None:
                # It was there before this case, which uses it: it counts as taken by this one too.
                self._held_bytes -= found.model_bytes
            self.describe_model(found)
            return found
        return self.share(latency.load(self, loader, *arguments, **keywords), loader, *arguments, **keywords)

    def time(self, call: Callable[[], object], *, before_each: Callable[[], object] | None = None) -> list[float]:
        """Time a call and judge whether it was disturbed, see :func:`emobench.cases.latency.time_call`."""
        return latency.time_call(self, call, before_each=before_each)

    def trace(self, call: Callable[[], object], *, label: str) -> None:
        """With ``--emo-trace``: profile a call, see :func:`emobench.cases.trace.trace`."""
        trace.trace(self, call, label=label)

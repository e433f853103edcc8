"""Shared model: a loaded model that stays from one case of a group to the next. It loads nothing and knows no options.

Only cases that leave a model as they found it share one: no training, and no backend that compiles or exports it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emobench.specs import CaseSpec

if TYPE_CHECKING:
    from emobench.models.load import LoadedModel


def can_share(spec: CaseSpec) -> bool:
    """Whether a case leaves its model as it was loaded."""
    return spec.kind.shares_model and not spec.trains and spec.backend == "eager" and spec.launch is None


@dataclass(kw_only=True)
class KeptModel:
    """At most one model."""

    loaded: LoadedModel | None = None
    case_id: str = ""
    """The case that loaded it."""
    _spec: CaseSpec | None = None
    _arguments: object = None

    def let_go_unless_of(self, spec: CaseSpec) -> None:
        """Before a case begins: free a model that it will not use, which would else count as taken by others."""
        if self.loaded is not None and (
            self._spec is None or not can_share(spec) or model_key(spec) != model_key(self._spec)
        ):
            self.let_go()

    def let_go(self) -> None:
        """Free the model."""
        self.loaded, self.case_id, self._spec, self._arguments = None, "", None, None

    @property
    def held_bytes(self) -> int:
        """Bytes of the model that is kept, which the next case need not find free."""
        return 0 if self.loaded is None else self.loaded.model_bytes

    def get(
        self, spec: CaseSpec, loader: Callable[..., LoadedModel], *arguments: Any, **keywords: Any
    ) -> LoadedModel | None:
        """The model that is kept, where this case would load the very same; any other is let go."""
        self.let_go_unless_of(spec)
        if self._arguments != (loader.__name__, arguments, keywords):
            self.let_go()
        return self.loaded

    def keep(
        self,
        loaded: LoadedModel,
        spec: CaseSpec,
        loader: Callable[..., LoadedModel],
        *arguments: Any,
        **keywords: Any,
    ) -> None:
        """Keep what a case has loaded, where the next one may use it."""
        if can_share(spec):
            self.loaded, self.case_id, self._spec = loaded, spec.id, spec
            self._arguments = (loader.__name__, arguments, keywords)


def model_key(spec: CaseSpec) -> tuple[object, ...]:
    """What decides which model a case loads, but for the names of its classes."""
    return spec.kind.loads, spec.model.id, spec.precision, spec.device, spec.weights

"""What the wizard has been told so far, and the benchmark case that it comes to. Asks nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from emobench.catalogue.combinations import is_allowed
from emobench.catalogue.methods import METHODS
from emobench.commands.wizard_cost import Cost, bytes_text, cost_of
from emobench.commands.wizard_data import Data
from emobench.commands.wizard_hardware import Hardware
from emobench.errors import DoesNotFitError
from emobench.estimate.time import Rates
from emobench.kinds import Kind
from emobench.specs import CaseSpec, MethodName, ModelSpec, Precision, Profile, TrainSettings


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Answers so far; what has not been asked yet has its default."""

    hardware: Hardware
    data: Data
    rates: Mapping[Precision, Rates]
    kind: Kind
    profile: Profile
    train: TrainSettings
    batch_size: int
    seeds: int = 1
    model: ModelSpec | None = None
    method: MethodName | None = None
    precision: Precision | None = None

    def case(self, model: ModelSpec, method: MethodName | None, precision: Precision) -> CaseSpec:
        """The case of these choices and the plan's own."""
        trained = self.kind.trains_method
        return CaseSpec(
            kind=self.kind,
            model=model,
            dataset=self.data.spec if trained else None,
            method=METHODS[method] if trained and method else None,
            precision=precision,
            device=self.hardware.kind,
            batch_size=None if trained else self.batch_size,
            profile=self.profile,
            train=self.train.model_copy(update={"batch_size": self.batch_size}) if trained else self.train,
            seeds=tuple(range(self.seeds)) if trained else (0,),
        )

    def cost(self, model: ModelSpec, method: MethodName | None, precision: Precision) -> Cost | None:
        """What that case takes; None where it does not fit."""
        return cost_of(self.case(model, method, precision), self.hardware, self.rates, longest=self.data.longest)

    @property
    def chosen(self) -> CaseSpec:
        """The case of everything that was answered."""
        assert self.model is not None
        assert self.precision is not None
        return self.case(self.model, self.method, self.precision)

    def chosen_cost(self) -> Cost | None:
        """What the chosen case takes; None where it does not fit."""
        return cost_of(self.chosen, self.hardware, self.rates, longest=self.data.longest)

    def settled(self) -> Plan:
        """The plan with the token budget that makes it fit.

        Raises:
            DoesNotFitError: none does.
        """
        cost = self.chosen_cost()
        if cost is None:
            raise DoesNotFitError(
                f"{self.chosen.id} does not fit in the {bytes_text(self.hardware.free_bytes)} that may be used",
                why="not even one row at a time does",
                fix="take a smaller model, profile or batch",
            )
        return replace(self, train=self.train.model_copy(update={"token_budget": cost.case.train.token_budget}))

    def ways(self) -> Iterator[tuple[MethodName | None, Precision]]:
        """Methods and precisions that are allowed and ran here, the one to take first before the others."""
        kind = self.hardware.kind
        for precision in self.precisions():
            for method in methods_of(self.kind):
                if is_allowed(self.kind, method, precision, kind):
                    yield method, precision

    def precisions(self) -> tuple[Precision, ...]:
        """Precisions that ran, the device's usual one first and the quantized ones last, as they are listed."""
        ran = self.hardware.precisions
        usual: Precision = "bf16" if self.hardware.device.fast_bf16 else "fp32"
        return tuple(sorted(ran, key=lambda name: (name != usual, ran.index(name))))


def methods_of(kind: Kind) -> tuple[MethodName | None, ...]:
    """Methods of a kind of case, the one to prefer where it fits first."""
    return ("full", "lora", "head") if kind.methods == "training" else (None,)

"""The wizard's third to ninth step: task, model, method, precision, batch, schedule and tracking.

Only what fits in the free memory is offered; each choice says what it is expected to take.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast, get_args

from emobench.catalogue.combinations import is_allowed
from emobench.catalogue.profiles import PROFILES
from emobench.catalogue.run_table import Tracking
from emobench.commands.lists import size_text, why_absent
from emobench.commands.project_place import Place
from emobench.commands.wizard_answers import Choice, Walk, positive_number, whole_number
from emobench.commands.wizard_cost import Cost, bytes_text, least_bytes
from emobench.commands.wizard_plan import Plan, methods_of
from emobench.commands.wizard_quality import Quote, quality_text, saved_quotes
from emobench.devices import installed
from emobench.errors import DoesNotFitError, UnsupportedError
from emobench.kinds import FINETUNE, KINDS, Kind
from emobench.specs import MethodName, ModelSpec, Precision

NO_TRACKING = "none"


def ask_task(walk: Walk) -> Kind:
    """Ask what is to be measured."""
    choices = [Choice(value=kind.name, text=kind.offered) for kind in KINDS.values() if kind.offered]
    return KINDS[walk.choose("task", "What to do", choices, default=FINETUNE.name)]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A model with the way that is tried first, and what that takes."""

    model: ModelSpec
    way: tuple[MethodName | None, Precision]
    cost: Cost
    here: bool


def ask_model(walk: Walk, plan: Plan, place: Place) -> Plan:
    """Ask for the model among those that fit, with estimates and quality.

    Raises:
        DoesNotFitError: not one model fits, or the one that was asked for.
        SpecError: the model is unknown, or none for this task.
    """
    rows = [row for row in place.models.values() if row.is_for(plan.kind)]
    asked = walk.given.get("model")
    # What was asked for is weighed alone: the others take a second each.
    rows = [row for row in rows if row.id == asked] or rows
    fits, too_large = [], []
    for row in rows:
        try:
            fit = _fit(plan, row)
        except UnsupportedError as error:
            walk.say(f"not estimated, so not offered: {row.id} ({error})")
            continue
        if fit is None:
            too_large.append(row)
        else:
            fits.append(fit)
    if too_large:
        walk.say(f"does not fit: {', '.join(f'{row.id} ({_least_text(plan, row)})' for row in too_large)}")
    if not fits or asked in [row.id for row in too_large]:
        raise _no_fit(plan, asked or "every model", too_large)
    quotes = saved_quotes(place.root / "results") if plan.kind.trains_method else {}
    choices = [Choice(value=fit.model.id, text=_fit_text(fit, plan, quotes)) for fit in fits]
    default = next((fit.model.id for fit in fits if fit.here), fits[0].model.id)
    chosen = walk.choose("model", "Model", choices, default=default)
    return replace(plan, model=place.find_model(chosen))


def _fit(plan: Plan, row: ModelSpec) -> Fit | None:
    """The first way that fits, or None."""
    for way in plan.ways():
        cost = plan.cost(row, *way)
        if cost is not None:
            return Fit(model=row, way=way, cost=cost, here=why_absent(row) is None)
    return None


def _fit_text(fit: Fit, plan: Plan, quotes: Mapping[tuple[str, str], Quote]) -> str:
    how = " ".join(part for part in fit.way if part)
    parts = [size_text(fit.model), f"{how} {fit.cost.text}"]
    if plan.kind.trains_method:
        parts.append(quality_text(quotes, fit.model.id, plan.data.spec.id))
    parts.append("" if fit.here else f"not here: emobench fetch {fit.model.id}")
    return "; ".join(part for part in parts if part)


def _least_text(plan: Plan, row: ModelSpec) -> str:
    """The least that any way takes, one row at a time."""
    return bytes_text(min(least_bytes(plan.case(row, *way)) for way in plan.ways()))


def _no_fit(plan: Plan, what: str, too_large: Sequence[ModelSpec]) -> DoesNotFitError:
    named = next((row for row in too_large if row.id == what), None)
    need = f"needs {_least_text(plan, named)} with one row at a time" if named else "needs more"
    return DoesNotFitError(
        f"{what} on {plan.hardware.kind} {need} and {bytes_text(plan.hardware.free_bytes)} may be used",
        why="weights, gradients and activations lie in memory at once",
        fix="free memory, or take a smaller model",
    )


def ask_method(walk: Walk, plan: Plan) -> Plan:
    """Ask how to train, where the case trains at all."""
    if not plan.kind.trains_method:
        return plan
    assert plan.model is not None
    choices = []
    for method in methods_of(plan.kind):
        fitting = [(way, cost) for way in plan.ways() if way[0] == method and (cost := plan.cost(plan.model, *way))]
        if method and fitting:
            (_, precision), cost = fitting[0]
            choices.append(Choice(value=method, text=f"{METHOD_TEXTS[method]}; {precision} {cost.text}"))
    chosen = walk.choose("method", "Method", choices, default=choices[0].value)
    return replace(plan, method=cast(MethodName, chosen))


METHOD_TEXTS: dict[MethodName, str] = {
    "full": "every weight",
    "lora": "low-rank adapters and the head",
    "head": "the head alone",
}


def ask_precision(walk: Walk, plan: Plan) -> Plan:
    """Ask for the precision among those that ran, are allowed and fit."""
    assert plan.model is not None
    choices = []
    for precision in plan.precisions():
        allowed = is_allowed(plan.kind, plan.method, precision, plan.hardware.kind)
        cost = plan.cost(plan.model, plan.method, precision) if allowed else None
        if cost is not None:
            speed = plan.hardware.probes[precision].relative_speed
            text = "" if speed is None or precision == "fp32" else f"products at {speed:.2g}x the speed of fp32; "
            choices.append(Choice(value=precision, text=f"{text}{cost.text}"))
    chosen = walk.choose("precision", "Precision", choices, default=choices[0].value)
    return replace(plan, precision=cast(Precision, chosen))


def ask_batch(walk: Walk, plan: Plan) -> Plan:
    """Ask for the batch size; a training step that does not fit at once is split later, a timed batch is not."""
    from emobench.estimate.memory import largest_batch, plan_of

    memory = plan_of(plan.chosen, longest=plan.data.longest)
    most = largest_batch(memory, plan.hardware.free_bytes) or 1
    trained = plan.kind.trains_method
    splits = "; larger steps are split and accumulated" if trained else ""
    walk.say(f"one pass holds at most {most:,} rows of {memory.length} tokens{splits}")
    default = plan.kind.offered_batch if trained else min(plan.kind.offered_batch, most)

    def refuse(text: str) -> str | None:
        reason = whole_number(text)
        if reason is None and not trained and int(text) > most:
            return f"a batch of {text} rows does not fit, {most:,} do"
        return reason

    question = "Examples of an optimizer step" if trained else "Examples of a batch"
    return replace(plan, batch_size=int(walk.enter("batch-size", question, default=str(default), refuse=refuse)))


def ask_schedule(walk: Walk, plan: Plan) -> Plan:
    """Ask for the profile among those that fit, and for epochs, learning rate and seeds where the case trains."""
    costs = {name: replace(plan, profile=profile).chosen_cost() for name, profile in PROFILES.items()}
    choices = [
        Choice(value=name, text=f"{_sizes_text(plan, name)}; {cost.text}") for name, cost in costs.items() if cost
    ]
    if not choices:
        raise _no_fit(plan, plan.chosen.model.id, [plan.chosen.model])
    default = plan.profile.id if costs[plan.profile.id] else choices[0].value
    plan = replace(plan, profile=PROFILES[walk.choose("profile", "Profile", choices, default=default)])
    if not plan.kind.trains_method:
        return plan
    assert plan.model is not None
    assert plan.method is not None
    usual = getattr(plan.model.learning_rates, plan.method)
    epochs = walk.enter("epochs", "Epochs", default=str(plan.profile.epochs), refuse=whole_number)
    rate = walk.enter("learning-rate", "Peak learning rate", default=f"{usual:g}", refuse=positive_number)
    seeds = walk.enter("seeds", "Training seeds", default="1", refuse=whole_number)
    return replace(
        plan,
        profile=plan.profile.model_copy(update={"epochs": int(epochs)}),
        # The model's own rate stays the row's, so that the case is the same one as without a wizard.
        train=plan.train.model_copy(update={"learning_rate": None if float(rate) == usual else float(rate)}),
        seeds=int(seeds),
    )


def _sizes_text(plan: Plan, name: str) -> str:
    profile = PROFILES[name]
    if not plan.kind.trains_method:
        return f"{profile.latency_seconds:g} s of rounds at least"
    rows = "all" if profile.train is None else f"{profile.train:,}"
    epochs = "1 epoch" if profile.epochs == 1 else f"{profile.epochs} epochs"
    return f"{rows} training rows, {epochs}, {profile.max_length} tokens at most"


def ask_tracking(walk: Walk) -> Tracking | None:
    """Ask which tracking system saved runs are also given to."""
    choices = [Choice(value=NO_TRACKING, text="runs are saved under results/ all the same")]
    for name in get_args(Tracking):
        lacks = "" if installed(name) else f'; needs: pip install "emobench[{name}]"'
        choices.append(Choice(value=name, text=f"each saved run is also given to it, offline{lacks}"))
    chosen = walk.choose("tracking", "Tracking system", choices, default=NO_TRACKING)
    return None if chosen == NO_TRACKING else cast(Tracking, chosen)

"""Do rows, classes, steps and learning rate go together with the method? Looks at training only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from emobench.catalogue.datasets import RANDOM_TOKENS
from emobench.preflight.planned import Finding, Fix, Level, Planned, shown_share
from emobench.specs import CaseSpec, MethodName, TrainSettings

FEWEST_ROWS: Mapping[str, int] = {"full": 1_000, "lora": 500, "head": 100}
"""Training rows below which a method's accuracy varies more by its seed than by what one wants to compare. Zhang et al.
(ICLR 2021, few-sample BERT fine-tuning) find full fine-tuning unstable with few rows; the figures are our choice, lower
where fewer weights are trained."""
FEWEST_TEST_ROWS = 200
"""Test rows below which the 95 % interval of an accuracy is wider than 7 points to either side at its worst."""

MOST_UNEVEN = 10.0
"""Most frequent class over the rarest from which it is warned of: our choice. Buda et al. (Neural Networks, 2018) find
that scores fall as the ratio grows."""
HIGH_MAJORITY = 1.5
"""Majority class over an even share from which the accuracy to beat is mentioned."""

RATES: Mapping[MethodName, tuple[float, float]] = {"full": (1e-6, 1e-3), "lora": (5e-5, 1e-2), "head": (1e-5, 1e-1)}
"""Sensible peak learning rates of AdamW by method. Below the lower one a method hardly moves in the steps of a profile,
above the upper one it forgets or diverges. LoRA's lower end is full fine-tuning's usual rate: adapters want about ten
times more (at the full rate this project measured 62.7 % on IMDB). The figures are our choice."""
LORA_OVER_FULL = 3.0
"""LoRA's rate over the same row's full rate below which it is taken for one copied from full fine-tuning."""

FEWEST_STEPS = 30
"""Optimizer steps below which AdamW hardly leaves its warm-up: our choice; the quick profile has 63."""
WARMUP_SHARE = 0.1
"""Share of all steps that training cuts a longer warm-up to."""


def trains(case: CaseSpec) -> bool:
    """Whether the checks of this file mean anything: weights that are trained, on data, for their quality."""
    random = case.weights == "random" or (case.dataset is not None and case.dataset.id == RANDOM_TOKENS)
    return case.kind.trains_method and case.method is not None and not random


def judges_quality(case: CaseSpec) -> bool:
    """Whether sizes are meant to give a score; a smoke run only proves the path."""
    return trains(case) and case.profile.id != "smoke"


def few_rows(planned: Planned) -> Iterator[Finding]:
    """``few-rows``: too few training rows for the method, or test rows for the score."""
    case, data = planned.case, planned.data
    if not judges_quality(case) or data is None or case.method is None:
        return
    rows, least = data.rows.get("train", 0), FEWEST_ROWS.get(case.method.id, 0)
    if rows < least:
        gentler = [name for name, fewest in FEWEST_ROWS.items() if fewest < least]
        yield Finding(
            check="few-rows",
            level="warn",
            problem=f"{rows:,} training rows of {data.dataset} for method {case.method.id}",
            why=f"below {least:,} rows its accuracy depends on the seed more than on what is compared",
            numbers={"rows": rows, "least": least},
            fixes=(
                *(
                    Fix(
                        text=f"take method {name}, which trains fewer weights",
                        trade_off="a lower ceiling with many rows",
                        setting=f'-k "{name}"',
                    )
                    for name in gentler
                ),
                Fix(
                    text="run several seeds and look at their spread",
                    trade_off="as many times the time",
                    setting="--emo-seeds 5",
                ),
                Fix(text="label more rows", trade_off="work by hand"),
            ),
        )
    test = data.rows.get("test", 0)
    if 0 < test < FEWEST_TEST_ROWS:
        yield Finding(
            check="few-rows",
            level="warn",
            problem=f"{test:,} test rows of {data.dataset}",
            why=f"the 95 % interval of an accuracy of one half is {100 * half_width(test):.0f} points to either side",
            numbers={"rows": test, "least": FEWEST_TEST_ROWS, "half_width": round(half_width(test), 4)},
            fixes=(
                Fix(
                    text="score more rows",
                    trade_off="longer evaluation, and fewer rows for training where they share a file",
                    setting=f"--emo-set test={5 * FEWEST_TEST_ROWS}",
                    changes={"test": 5 * FEWEST_TEST_ROWS},
                ),
            ),
        )


def half_width(rows: int) -> float:
    """Half of the 95 % interval of a share of one half, by the normal approximation."""
    return 1.96 * math.sqrt(0.25 / rows)


def imbalance(planned: Planned) -> Iterator[Finding]:
    """``imbalance``: classes of very different size, with the accuracy of always naming the largest."""
    data = planned.data
    if data is None or planned.case.weights == "random":
        return
    counts = {name: count for name, count in data.class_counts.get("train", {}).items() if count}
    if len(counts) < 2:
        return
    total, largest, rarest = (
        sum(counts.values()),
        max(counts, key=lambda key: counts[key]),
        min(counts, key=lambda key: counts[key]),
    )
    ratio, share = counts[largest] / counts[rarest], counts[largest] / total
    level: Level | None = "warn" if ratio >= MOST_UNEVEN else "note" if share * len(counts) >= HIGH_MAJORITY else None
    if level is None:
        return
    tested = data.majority("test")
    beat = tested[1] if tested is not None else share
    yield Finding(
        check="imbalance",
        level=level,
        problem=f"class {largest!r} of {data.dataset} has {counts[largest]:,} training rows and {rarest!r} has "
        f"{counts[rarest]:,}",
        why=f"always naming the most frequent class is right on {shown_share(beat)} of the test rows: that is the "
        "accuracy to beat",
        numbers={"ratio": round(ratio, 2), "majority_accuracy": round(beat, 4), "rows": total},
        fixes=(
            Fix(
                text="judge by f1_macro, in which every class counts the same",
                trade_off="a noisier figure where a class is rare",
                setting="--emo-gate f1_macro:2pt",
            ),
            Fix(text="add rows of the rare classes", trade_off="work by hand"),
        ),
    )


def learning_rate(planned: Planned) -> Iterator[Finding]:
    """``learning-rate``: a peak rate outside what the method takes."""
    case = planned.case
    if not trains(case) or case.method is None or case.method.id not in RATES:
        return
    method: MethodName = case.method.id  # type: ignore[assignment]  # it is a key of RATES, so no shrinking method
    usual: float = getattr(case.model.learning_rates, method)
    rate = case.train.learning_rate or usual
    low, high = RATES[method]
    copied = method == "lora" and rate < LORA_OVER_FULL * case.model.learning_rates.full and rate != usual
    if low <= rate <= high and not copied:
        return
    if rate > high:
        why = f"above {high:g} the first steps undo what the weights know, or the loss becomes NaN"
    elif method == "lora":
        full = case.model.learning_rates.full
        why = f"adapters start at zero and want about ten times the rate of full fine-tuning, which is {full:g} here"
    else:
        why = f"below {low:g} the weights hardly move in the steps there are"
    yield Finding(
        check="learning-rate",
        level="warn",
        problem=f"learning rate {rate:g} for method {method}",
        why=why,
        numbers={"learning_rate": rate, "usual": usual, "low": low, "high": high},
        fixes=(
            Fix(
                text=f"take the rate of the model's row, {usual:g}",
                trade_off="results of the two rates cannot be compared",
                setting="--emo-set learning_rate=none",
                changes={"learning_rate": None},
            ),
        ),
    )


def steps(planned: Planned) -> Iterator[Finding]:
    """``steps``: so few optimizer steps that nothing is learned, and a warm-up that is cut."""
    case, data = planned.case, planned.data
    if not judges_quality(case) or data is None or not data.rows.get("train"):
        return
    rows, batch = data.rows["train"], case.train.batch_size
    each = math.ceil(rows / batch)
    total = min(each * case.profile.epochs, case.profile.max_steps or each * case.profile.epochs)
    if total < FEWEST_STEPS:
        yield Finding(
            check="steps",
            level="warn",
            problem=f"{total} optimizer steps: {rows:,} rows of {data.dataset} in batches of {batch}, "
            f"{case.profile.epochs} epochs"
            + (f", max_steps {case.profile.max_steps}" if case.profile.max_steps else ""),
            why=f"below {FEWEST_STEPS} steps the weights hardly leave where they began",
            numbers={"steps": total, "rows": rows, "batch_size": batch, "epochs": case.profile.epochs},
            fixes=tuple(more_steps(case, rows, each, total)),
        )
    settings = case.train
    if settings.warmup_steps != TrainSettings().warmup_steps and settings.warmup_steps > WARMUP_SHARE * total:
        kept = int(WARMUP_SHARE * total)
        yield Finding(
            check="steps",
            level="note",
            problem=f"warmup_steps = {settings.warmup_steps} of {total} steps in all",
            why=f"it is cut to a tenth of them, {kept}: a longer warm-up leaves no time at the full rate",
            numbers={"warmup_steps": settings.warmup_steps, "steps": total, "kept": kept},
            fixes=(
                Fix(
                    text=f"write {kept}, which is what runs",
                    trade_off="none: it runs already",
                    setting=f"--emo-set warmup_steps={kept}",
                    safe=True,
                    changes={"warmup_steps": kept},
                ),
            ),
        )


def more_steps(case: CaseSpec, rows: int, each: int, total: int) -> Iterator[Fix]:
    """A smaller batch or more epochs, whichever reaches enough steps."""
    limited = case.profile.max_steps is not None and total == case.profile.max_steps
    if limited:
        yield Fix(
            text="allow more steps",
            trade_off="longer training",
            setting=f"--emo-set max_steps={FEWEST_STEPS}",
            changes={"max_steps": FEWEST_STEPS},
        )
        return
    batch = max(1, rows * case.profile.epochs // FEWEST_STEPS)
    if batch < case.train.batch_size and batch >= 4:
        yield Fix(
            text=f"take batches of {batch}",
            trade_off="noisier updates; slower on a GPU",
            setting=f"--emo-set batch_size={batch}",
            changes={"batch_size": batch},
        )
    epochs = math.ceil(FEWEST_STEPS / max(1, each))
    yield Fix(
        text=f"train {epochs} epochs",
        trade_off=f"{epochs / case.profile.epochs:.2g} times the time, and each row is seen more often",
        setting=f"--emo-set epochs={epochs}",
        changes={"epochs": epochs},
    )

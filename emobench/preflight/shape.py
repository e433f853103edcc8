"""Do the numbers of a model's row go together, and does its head have the classes of the data? Builds no model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from emobench.preflight.planned import Finding, Fix, Planned

_NAMES = {
    "width": ("hidden_size", "dim", "n_embd"),
    "heads": ("num_attention_heads", "n_heads", "n_head"),
    "layers": ("num_hidden_layers", "n_layers", "n_layer"),
}
"""What the families call the same number in their configuration."""

SHOWN_LABELS = 5


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A number of a configuration that cannot be used."""

    key: str
    value: int | str
    problem: str
    why: str
    fix: str
    better: int | None = None
    """The nearest value that goes with the other numbers, where there is one."""


def width(planned: Planned) -> Iterator[Finding]:
    """``width``: head counts that do not divide, odd rotary heads, a pad token outside the vocabulary."""
    model = planned.case.model
    for fault in faults(model.config):
        yield Finding(
            check="width",
            level="stop",
            problem=f"model {model.id!r} cannot be built: {fault.problem}",
            why=fault.why,
            numbers={fault.key: fault.value},
            fixes=(
                Fix(
                    text=f"{fault.fix}, below [models.{model.id}]",
                    trade_off="the numbers must be those of the weights, or the weights do not load",
                    setting=None if fault.better is None else f"config.{fault.key} = {fault.better}",
                ),
            ),
        )


def faults(config: Mapping[str, Any]) -> Iterator[Fault]:
    """Each number that cannot be used, with the reason and the remedy."""
    found = {what: next(((key, config[key]) for key in keys if key in config), None) for what, keys in _NAMES.items()}
    named = {pair[0]: pair[1] for pair in found.values() if pair is not None}
    named |= {key: config[key] for key in ("num_key_value_heads", "head_dim", "vocab_size") if key in config}
    wrong = [key for key, value in named.items() if isinstance(value, bool) or not isinstance(value, int) or value < 1]
    for key in wrong:
        problem, why = f"{key} = {named[key]!r}", "it takes a whole number of at least 1"
        yield Fault(key=key, value=str(named[key]), problem=problem, why=why, fix=f"correct {key}")
    if wrong or found["width"] is None or found["heads"] is None:
        return
    (width_key, size), (heads_key, heads) = found["width"], found["heads"]
    head_dim = config.get("head_dim")
    if head_dim is None and size % heads:
        near = next(count for count in range(heads, 0, -1) if size % count == 0)
        yield Fault(
            key=heads_key,
            value=heads,
            problem=f"{width_key} = {size} is no multiple of {heads_key} = {heads}",
            why="every head gets an equal part of the width",
            fix=f"take {heads_key} = {near}, or give head_dim where the heads have a width of their own",
            better=near,
        )
        return
    yield from head_faults(config, heads_key, heads, int(head_dim or size // heads))


def head_faults(config: Mapping[str, Any], heads_key: str, heads: int, head_dim: int) -> Iterator[Fault]:
    """The faults of heads whose width is known."""
    groups = config.get("num_key_value_heads")
    if groups and heads % groups:
        near = next(count for count in range(min(heads, groups), 0, -1) if heads % count == 0)
        yield Fault(
            key="num_key_value_heads",
            value=groups,
            problem=f"{heads_key} = {heads} is no multiple of num_key_value_heads = {groups}",
            why="each key and value head serves an equal number of query heads",
            fix=f"take num_key_value_heads = {near}",
            better=near,
        )
    if "rope_parameters" in config and head_dim % 2:
        yield Fault(
            key="head_dim",
            value=head_dim,
            problem=f"a head is {head_dim} numbers wide",
            why="rotary positions turn pairs of numbers, so the width of a head must be even",
            fix=f"take head_dim = {head_dim + 1} or another number of heads",
            better=head_dim + 1,
        )
    pad, vocabulary = config.get("pad_token_id"), config.get("vocab_size")
    if isinstance(pad, int) and vocabulary and not 0 <= pad < vocabulary:
        yield Fault(
            key="pad_token_id",
            value=pad,
            problem=f"pad_token_id = {pad} with vocab_size = {vocabulary}",
            why="padding is looked up in the embedding like any other token",
            fix="take the pad token of the model's tokenizer",
        )


def labels(planned: Planned) -> Iterator[Finding]:
    """``labels``: a ready classifier's classes against the data's, and classes that have no rows."""
    case, data = planned.case, planned.data
    model, dataset = case.model, case.dataset
    wanted = data.class_names if data is not None and data.class_names else dataset.labels if dataset else ()
    if model.labels is not None and wanted and dataset is not None:
        lacking = sorted(set(folded(wanted)) ^ set(folded(model.labels)))
        if lacking and dataset.source != "random":
            yield Finding(
                check="labels",
                level="stop",
                problem=f"model {model.id!r} answers with {len(model.labels)} classes and data set {dataset.id!r} has "
                f"{len(wanted)}",
                why=f"not in both: {some(lacking)}; an answer outside the data's classes is never right",
                numbers={"model_classes": len(model.labels), "data_classes": len(wanted), "not_in_both": len(lacking)},
                fixes=(
                    Fix(
                        text="name the model's classes as the data set does, or say which is which",
                        trade_off="classes that are folded together are no longer told apart",
                        setting=f"emobench evaluate {model.id} --data {dataset.id} --label-map RAW=CLASS",
                    ),
                    Fix(
                        text="take a model without a head of its own, which gets one for these classes",
                        trade_off="it has to be trained",
                        setting="emobench models",
                    ),
                ),
            )
    if data is None:
        return
    for split, counts in data.class_counts.items():
        empty = [name for name, count in counts.items() if count == 0]
        if empty and data.rows.get(split):
            yield Finding(
                check="labels",
                level="warn",
                problem=f"{split} of {data.dataset} has no row of {len(empty)} of {len(counts)} classes",
                why=f"without rows: {some(empty)}; "
                + ("they cannot be learned" if split == "train" else "their score is not defined"),
                numbers={"classes": len(counts), "without_rows": len(empty)},
                fixes=(
                    Fix(
                        text="look at the classes that are there; add rows of these, or leave them out of `labels`",
                        trade_off="fewer classes are an easier task",
                        setting=f"emobench analyze {data.dataset}",
                    ),
                ),
            )


def folded(names: tuple[str, ...]) -> list[str]:
    """Class names as they are compared: case does not count."""
    return [name.casefold() for name in names]


def some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(map(repr, names[:SHOWN_LABELS]))
    return shown + (f" and {len(names) - SHOWN_LABELS} more" if len(names) > SHOWN_LABELS else "")

"""Recommendations from an analysis: model sizes, models of the catalogue, and what the data can be used for.

Each names its source or its reason, and what is not known is None. It reads the plain values of the sections and no
data, loads no model, and decides nothing: whether a plan fits this machine is the preflight checks' question.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from emobench.catalogue.model_rows import MODELS
from emobench.kinds import FORWARD, KINDS
from emobench.specs import ModelSpec

Section = Mapping[str, Any]

TOKENS_PER_PARAMETER = 20
REPEATS = 4
"""Passes over the same text that are nearly as good as new text."""
LEAST_PARAMETERS = 1_000_000
"""A recommended size below is none: such models are not in use."""
FEW_ROWS = 1_000
SMALLEST_CLASS = 10
LEVEL = 0.95
"""Share of the documents that should fit into a model's context."""
SOURCES: Mapping[str, str] = {
    "size": "Hoffmann et al. 2022, Training Compute-Optimal Large Language Models: about 20 tokens a parameter",
    "repeats": "Muennighoff et al. 2023, Scaling Data-Constrained Language Models: up to 4 passes are nearly as good "
    "as new text",
    "few": "Zhang et al. 2021, Revisiting Few-sample BERT Fine-tuning: with few rows results differ much from seed to "
    f"seed; the {FEW_ROWS:,} rows are our choice",
}


def recommendations(
    sections: Mapping[str, Section],
    *,
    tokenizer: str,
    models: Mapping[str, ModelSpec] = MODELS,
    sample: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All recommendations from the sections ``lengths``, ``labels``, ``kind``, ``duplicates`` and ``vocabulary``.

    A section that is missing leaves what depends on it unknown. ``tokenizer`` names the model whose tokens were
    counted: those of another model differ. ``sample`` are the facts of the sample that was read in place of all.
    """
    scale = 1.0 if not sample or not sample["documents"] else sample["of"] / sample["documents"]
    lengths = sections.get("lengths", {})
    return {
        "from_scratch": from_scratch(_tokens(lengths)),
        "models": model_rows(lengths, models=models),
        "models_note": f"lengths are in tokens of {tokenizer}; another model's tokenizer counts differently",
        "tokenizer": sections.get("vocabulary", {}).get("tokenizer"),
        "tasks": tasks(sections, scale=scale),
        "advice": advice(sections, scale=scale),
    }


def _tokens(lengths: Section) -> float | None:
    found = lengths.get("tokens")
    return None if not isinstance(found, Mapping) else found.get("value")


def from_scratch(tokens: float | None) -> dict[str, Any]:
    """The size of model, in parameters, for which these tokens are compute-optimal, seen once and seen four times."""
    base = {"tokens": tokens, "sources": [SOURCES["size"], SOURCES["repeats"]]}
    if tokens is None:
        return base | {"parameters": None, "parameters_repeated": None, "why": "tokens were not counted"}
    once, repeated = (round(tokens * times / TOKENS_PER_PARAMETER) for times in (1, REPEATS))
    if repeated < LEAST_PARAMETERS:
        why = f"{tokens:,.0f} tokens are too few to train a model from scratch: fine-tune one"
        return base | {"parameters": None, "parameters_repeated": None, "why": why}
    return base | {
        "parameters": once if once >= LEAST_PARAMETERS else None,
        "parameters_repeated": repeated,
        "repeats": REPEATS,
        "why": f"{tokens:,.0f} tokens / {TOKENS_PER_PARAMETER}",
    }


def model_rows(lengths: Section, *, models: Mapping[str, ModelSpec]) -> list[dict[str, Any]]:
    """Models of the catalogue that can be fine-tuned, those whose context takes 95 % of the documents first.

    Within each group the smallest first. Ready classifiers are left out: they have their own labels.
    """
    longest = _percentile(lengths, LEVEL)
    rows = [
        {
            "id": row.id,
            "kind": row.kind,
            "parameters": max(row.parameters.values()),
            "context": row.context,
            "fits": None if longest is None else longest <= row.context,
            "truncated": _truncated(lengths, row.context),
            "gated": row.gated,
            "packaged": row.packaged is not None,
        }
        for row in models.values()
        if row.labels is None and row.parameters
    ]
    return sorted(rows, key=lambda row: (row["fits"] is not True, row["parameters"]))


def _percentile(lengths: Section, level: float) -> int | None:
    return next((entry["value"] for entry in lengths.get("percentiles", ()) if entry["level"] == level), None)


def _truncated(lengths: Section, context: int) -> dict[str, Any] | None:
    """Share of the documents longer than a context, or at most that where this context was not counted."""
    if isinstance(lengths.get("largest"), int) and lengths["largest"] <= context:
        return {"share": 0.0, "at_most": False}
    counted = [entry for entry in lengths.get("contexts", ()) if entry["context"] <= context]
    if not counted:
        return None
    nearest = max(counted, key=lambda entry: entry["context"])
    pair = nearest["truncated"]
    if not pair["of"]:
        return None
    return {"share": pair["count"] / pair["of"], "at_most": nearest["context"] != context}


def tasks(sections: Mapping[str, Section], *, scale: float = 1.0) -> list[dict[str, Any]]:
    """What the data can be used for: ``fits`` True, False, or None for not known.

    ``scale`` is how many documents there are for each one that was read.
    ``cases`` are EmoBench's kinds of case that read such data: none where it has no such case, as for generation, whose
    prompts are drawn at random.
    """
    kind = sections.get("kind", {}).get("kind")
    classes, why = _classes(sections.get("labels"), scale)
    pairs = kind in ("question answering", "instruction")
    unknown = kind in (None, "unknown")
    return [
        _task("text classification", classes, why, [kind.name for kind in KINDS.values() if kind.scores]),
        _task("inference speed on texts of this length", True, "any text will do", sorted(FORWARD)),
        _task(
            "question answering and instructions",
            None if unknown else pairs,
            "the kind of the data is not known" if unknown else f"the data is {kind}",
            (),
        ),
        _task("language modelling", True, "any text will do; how much there is decides the size of the model", ()),
    ]


def _task(task: str, fits: bool | None, why: str, cases: Sequence[str]) -> dict[str, Any]:
    return {"task": task, "fits": fits, "why": why, "cases": list(cases)}


def _classes(labels: Section | None, scale: float) -> tuple[bool | None, str]:
    if labels is None:
        return None, "labels were not counted"
    classes = labels.get("classes")
    if not classes:
        return False, f"there are no classes: {labels.get('reason') or 'no label'}"
    if len(classes) < 2 and scale != 1:
        return None, f"all labels of the sample are {classes[0]['label']!r}: read more with --sample"
    if len(classes) < 2:
        return False, f"all labels are {classes[0]['label']!r}: a classifier needs two classes"
    # Only the largest classes are listed; where some are not shown, the smallest of all is smaller still.
    smallest = classes[-1]
    names = f"{labels.get('distinct', len(classes)):,} classes"
    least, most, documents = _documents(smallest, scale)
    if most < SMALLEST_CLASS:
        few = f"{smallest['label']!r} has {documents}, too few for training, validation and test"
        return False, f"{names}, of which {few}: merge or drop small classes"
    if least < SMALLEST_CLASS:
        why = f"a class needs {SMALLEST_CLASS}, and {smallest['label']!r} has {documents}: read more with --sample"
        return None, f"{names}; {why}"
    if labels.get("not_shown"):
        return None, f"{names}; the smallest are not listed"
    return True, f"{names}, the smallest with {documents}"


def _documents(pair: Mapping[str, Any], scale: float) -> tuple[float, float, str]:
    """Fewest and most documents that a count stands for, and both in words: one number where all were read."""
    count = pair["count"]
    if scale == 1:
        return count, count, f"{count:,} documents"
    # Those of the sample are there in any case.
    low, high = (max(count, round(bound * pair["of"] * scale)) for bound in pair.get("interval") or (0.0, 1.0))
    return low, high, f"{low:,} to {high:,} documents, {count:,} of them in the sample"


def advice(sections: Mapping[str, Section], *, scale: float = 1.0) -> list[dict[str, str | None]]:
    """What to do before training, most harmful first; each with its numbers and, where it is someone's, its source.

    ``scale`` is how many documents there are for each one that was read.
    """
    within = " of the sample" if scale != 1 else ""
    found: list[dict[str, str | None]] = []

    def say(text: str, source: str | None = None) -> None:
        found.append({"text": text, "source": source})

    duplicates, labels = sections.get("duplicates", {}), sections.get("labels", {})
    pairs = {**duplicates, **sections.get("quality", {}).get("findings", {})}
    for name, (what, remedy) in _REMEDIES.items():
        if count := _count(pairs.get(name)):
            say(f"{count:,} {'document' if count == 1 else 'documents'}{within} {what}: {remedy}")
    labeled = round(_count(labels.get("labeled")) * scale)
    if labels.get("classes") and 0 < labeled < FEW_ROWS:
        about = "about " if within else ""
        few = f"{about}{labeled:,} labeled documents are few: use three or more seeds and compare intervals"
        say(few, SOURCES["few"])
    ratio = labels.get("largest_over_smallest")
    if isinstance(ratio, int | float) and ratio >= 3:
        told = f"the largest class{within} is {ratio:.1f} times the smallest"
        say(f"{told}: read the macro F1, not the accuracy alone")
    return found


_REMEDIES: Mapping[str, tuple[str, str]] = {
    "conflicts": ("with a text that has several labels", "correct the labels or drop the text"),
    "exact": ("with the text of an earlier one", "drop them, or training texts stand in the test part as well"),
    "near": ("nearly like an earlier one", "keep like documents in one split"),
    "near_conflicts": ("nearly like one with another label", "look at a few of the pairs: one of the labels is wrong"),
    "mojibake": ("in UTF-8 that was read as cp1252", "read the file as UTF-8, or repair the texts"),
    "latin_controls": ("in cp1252 that was read as Latin-1", "read the file as cp1252, or repair the texts"),
    "replacement_character": ("with lost characters", "go back to the original file"),
    "encoded_data": ("with encoded data", "cut it out: it costs tokens and says nothing"),
    "boilerplate": ("with a line that stands in many", "cut it out where it tells nothing"),
    "empty": ("without text", "drop them"),
}
"""Finding to what it is and what to do, most harmful first."""


def _count(pair: object) -> int:
    return int(pair["count"]) if isinstance(pair, Mapping) and isinstance(pair.get("count"), int) else 0

"""What the analyzer says of the wizard's data, in a few lines; ``emobench analyze`` says the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from emobench.commands.project_place import Place
from emobench.commands.wizard_answers import Walk
from emobench.commands.wizard_data import Data
from emobench.errors import NotOnMachineError
from emobench.specs import DeviceKind

ENOUGH_ROWS = 5_000
"""Of larger data sets a sample of about so many rows is read, 5 % at least: the walk should not wait."""
_SHOWN_CLASSES = 5


def analyzed(walk: Walk, data: Data, place: Place, device: DeviceKind) -> Data:
    """Say what the data holds; the data with its mean length. Without a tokenizer on this machine it stays as it is.

    Raises:
        DataError: nothing can be read.
    """
    from emobench.commands.analyzer import AnalyzeOptions, analysis_of
    from emobench.commands.lists import why_absent

    spec = data.spec
    absent = why_absent(spec)
    if absent:
        walk.say(f"not analyzed: {absent}")
        return data
    own = data.table is not None
    options = AnalyzeOptions(
        given=spec.location if own else spec.id,
        text=(spec.text,) if own else (),
        label=spec.label if own else None,
        sample=max(5.0, min(100.0, 100 * ENOUGH_ROWS / max(1, spec.rows))),
        language=False,
    )
    try:
        content = analysis_of(options, place, device=device, say=walk.say)
    except NotOnMachineError as error:
        walk.say(f"not analyzed: {error}")
        return data
    for line in analysis_lines(content):
        walk.say(line)
    walk.say(f"more: emobench analyze {options.given}")
    lengths = content["sections"]["lengths"]
    mean = max(1, round(lengths["tokens_per_document"]["mean"]))
    longest = lengths["largest"] if content["sample"] is None else None
    return replace(data, spec=spec.model_copy(update={"mean_tokens": mean}), longest=longest)


def analysis_lines(content: Mapping[str, Any]) -> Iterator[str]:
    """Lengths, what contexts cut off, and the balance of the classes, each with the number of texts behind it."""
    lengths, labels = content["sections"]["lengths"], content["sections"]["labels"]
    sampled = "" if content["sample"] is None else "in a sample of "
    known = {entry["level"]: entry["value"] for entry in lengths["percentiles"]}
    levels = ", ".join(f"p{100 * level:g} {known[level]:,}" for level in (0.5, 0.9, 0.99) if level in known)
    yield (
        f"tokens of {content['tokenizer']}, {sampled}{lengths['documents']:,} texts: "
        f"mean {lengths['tokens_per_document']['mean']:.0f}, {levels}, longest {lengths['largest']:,}"
    )
    cut = [(entry["truncated"], entry["context"]) for entry in lengths["contexts"] if entry["truncated"]["count"]]
    shares = ", ".join(f"{found['count'] / found['of']:.1%} at {context}" for found, context in cut)
    yield f"truncated: {shares} tokens" if cut else "truncated: none at any context looked at"
    classes = labels["classes"]
    if classes is None:
        yield f"labels: {labels['reason']}"
        return
    shown = ", ".join(f"{item['label']} {item['count'] / item['of']:.1%}" for item in classes[:_SHOWN_CLASSES])
    more = labels["distinct"] - len(classes[:_SHOWN_CLASSES])
    yield f"labels: {shown}{f' and {more} more' if more > 0 else ''}"

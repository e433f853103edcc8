"""The part of a report that is about sweeps: a summary in words, a table for other programs, and the pictures.

What is said and drawn comes from ``analysis.sweep`` and ``analysis.answers``; nothing is computed here.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from emobench.analysis.answers import Accuracy, Answers
from emobench.analysis.sweep import AXES, QUANTITIES, Level, Measured, Sweep, full_name
from emobench.reports.figures import heat_figure, sweep_figure
from emobench.reports.style import MOST_SERIES, png_bytes
from emobench.reports.tables import WIDTH, number, one_line, wrapped

SCHEMA = 1
"""Version of ``sweep.json``."""
NOT_TRACED = "not traced: run with --emo-trace"
NOT_MEASURED = "not measured: no fine-tuning or evaluation case of this model is in the run"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""Beginnings of a text that a spreadsheet may run."""

Lines = list[tuple[str, str]]
"""Question and answer."""


def sweep_files(shown: Sequence[Sweep], answers: Sequence[Answers]) -> dict[str, bytes]:
    """File name to content: ``sweep.json``, ``sweep.csv``, ``sweep.png`` and ``heatmap.png``.

    More sweeps than a picture holds make ``sweep-2.png`` and so on; without a sweep there is no file.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if not shown:
        return {}
    return {**pictures(shown), "sweep.json": sweep_json(shown, answers), "sweep.csv": sweep_csv(shown)}


def pictures(shown: Sequence[Sweep]) -> dict[str, bytes]:
    """File name to PNG: six panels and the heat-map, in as many pictures as the sweeps need."""
    found: dict[str, bytes] = {}
    parts = range(0, len(shown), MOST_SERIES)
    for part, start in enumerate(parts, start=1):
        some = shown[start : start + MOST_SERIES]
        ending = "" if part == 1 else f"-{part}"
        found[f"sweep{ending}.png"] = png_bytes(sweep_figure(some))
        found[f"heatmap{ending}.png"] = png_bytes(heat_figure(some))
    return found


def summary_text(shown: Sequence[Sweep], answers: Sequence[Answers]) -> str:
    """The answers of every sweep as plain text of at most 120 columns."""
    blocks = ["figures in brackets are 95 % intervals"]
    for sweep, found in zip(shown, answers, strict=True):
        lines = wrapped(one_line(heading(sweep)))
        for question, text in answer_lines(sweep, found):
            first = f"  {question:<20}"
            lines += textwrap.wrap(
                one_line(text), WIDTH, initial_indent=first, subsequent_indent=" " * 22, break_on_hyphens=False
            )
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def heading(sweep: Sweep) -> str:
    """What was swept, on what, in which run."""
    return f"{full_name(sweep)}{f' ({sweep.device_name})' if sweep.device_name else ''}, run {sweep.run}"


def answer_lines(sweep: Sweep, found: Answers) -> Lines:
    """Question and answer, in the order a person asks them."""
    lines: Lines = [
        ("baseline latency", _baseline(found)),
        ("best batch size", _best(found)),
        ("highest throughput", _highest(found)),
        ("memory", _memory(sweep, found)),
        ("main bottleneck", _bottleneck(found)),
        ("accuracy", "; ".join(map(_accuracy, found.accuracies)) or NOT_MEASURED),
    ]
    lines += [("does not fit", _misfit(level, found)) for level in found.does_not_fit]
    lines += [("invalid", _with_reasons(level)) for level in found.invalid]
    lines += [(level.status.value.replace("_", " "), _with_reasons(level)) for level in found.unfinished]
    return lines


def _baseline(found: Answers) -> str:
    level = found.baseline
    if level is None:
        return "none: no batch size has figures"
    item = level.values["latency_p50_seconds"]
    interval = (
        "" if item.low is None or item.high is None else f" ({number(item.low * 1e3)} to {number(item.high * 1e3)})"
    )
    parts = [f"{number(item.value * 1e3)}{interval} ms, median of a batch of {level.batch_size}"]
    for percent in (90, 99):
        value = level.value(f"latency_p{percent}_seconds")
        parts += [] if value is None else [f"p{percent} {_ms(value)}"]
    return ", ".join(parts)


def _best(found: Answers) -> str:
    limit = "" if found.target_seconds is None else f" within the target of {_ms(found.target_seconds)}"
    if found.best is None:
        lowest = found.fastest
        if lowest is None:
            return "none: no batch size has figures"
        return f"none{limit}: the lowest median is {_ms(_median(lowest))}, at batch {lowest.batch_size}"
    text = f"{found.best.batch_size}: {_rate(found.best)}, {_ms(_median(found.best))} a batch{limit}"
    if found.tied:
        text += f"; the error bars do not tell batch {_listed(found.tied)} from it"
    if found.without_interval:
        text += f"; batch {_listed(found.without_interval)} has too few rounds for an interval"
    return text


def _highest(found: Answers) -> str:
    level = found.highest
    if level is None:
        return "none: no batch size has figures"
    tokens = level.value("tokens_per_second")
    more = "" if tokens is None else f", {number(tokens)} tokens/s"
    return f"{_rate(level)}{more}, at batch {level.batch_size}"


def _memory(sweep: Sweep, found: Answers) -> str:
    level = found.best or found.highest
    used = None if level is None else level.value("memory_bytes")
    weights = "" if sweep.model_bytes is None else f"; weights {size(sweep.model_bytes)}"
    if level is None or used is None:
        return f"not recorded{weights}"
    what = "peak on the device" if sweep.memory_kind == "device" else "growth of the process"
    return f"{size(used)} {what} at batch {level.batch_size}{weights}"


def _bottleneck(found: Answers) -> str:
    if found.bottleneck is None:
        return NOT_TRACED
    level, verdict = found.bottleneck
    largest = ", ".join(f"{name} {share:.0%}" for name, share in verdict.largest)
    return f"{verdict.kind} at batch {level.batch_size}{f' ({largest})' if largest else ''}: {verdict.advice}"


def _accuracy(item: Accuracy) -> str:
    how = ", ".join(part for part in (item.method, item.precision) if part)
    text = f"{item.value:.3f}"
    if item.interval is not None:
        text += f" ({item.interval[0]:.3f} to {item.interval[1]:.3f})"
    text += f" on {item.dataset}" if item.dataset else ""
    return f"{text}, {how}" + (f", the highest of {item.of}" if item.of > 1 else "")


def _misfit(level: Level, found: Answers) -> str:
    peak = "no peak was recorded" if level.peak_bytes is None else f"{size(level.peak_bytes)} reached"
    largest = "no batch size fitted" if found.largest_fitted is None else f"batch {found.largest_fitted} fitted"
    # The session gives the largest that fitted as a reason; it is said here already.
    reasons = [text for text in level.reasons if not text.startswith("largest batch that fitted")]
    return "; ".join([f"batch {level.batch_size}: {peak}", largest, *reasons])


def _with_reasons(level: Level) -> str:
    return f"batch {level.batch_size}: {'; '.join(level.reasons) or 'no reason was recorded'}"


def _median(level: Level) -> float:
    return level.values["latency_p50_seconds"].value


def _ms(seconds: float) -> str:
    return f"{number(seconds * 1e3)} ms"


def _rate(level: Level) -> str:
    item = level.values["samples_per_second"]
    interval = "" if item.low is None or item.high is None else f" ({number(item.low)} to {number(item.high)})"
    return f"{number(item.value)}{interval} samples/s"


def _listed(batches: Sequence[int]) -> str:
    return ", ".join(map(str, batches[:-1])) + (" and " if len(batches) > 1 else "") + str(batches[-1])


def size(count: float) -> str:
    """Bytes as MiB, from 10 GiB on as GiB."""
    return f"{number(count / 2**20)} MiB" if count < 10 * 2**30 else f"{number(count / 2**30)} GiB"


def sweep_json(shown: Sequence[Sweep], answers: Sequence[Answers]) -> bytes:
    """Everything of the report as JSON, in SI units, with the meaning of every quantity."""
    content = {
        "schema": SCHEMA,
        "quantities": {name: asdict(kind) for name, kind in QUANTITIES.items()},
        "sweeps": [
            {
                "run": sweep.run,
                "case": dict(sweep.axes),
                "device_name": sweep.device_name,
                "memory_kind": sweep.memory_kind,
                "model_bytes": sweep.model_bytes,
                "levels": [_level_json(level) for level in sweep.levels],
                "best_batch_size": found.best.batch_size if found.best else None,
                "tied_batch_sizes": list(found.tied),
                "latency_target_seconds": found.target_seconds,
                "summary": [{"question": question, "answer": text} for question, text in answer_lines(sweep, found)],
            }
            for sweep, found in zip(shown, answers, strict=True)
        ],
    }
    return json.dumps(content, indent=1, allow_nan=False).encode()


def _level_json(level: Level) -> dict[str, Any]:
    return {
        "batch_size": level.batch_size,
        "case_id": level.case_id,
        "status": level.status.value,
        "reasons": list(level.reasons),
        "rounds": level.rounds,
        "peak_bytes": level.peak_bytes,
        "values": {name: asdict(item) for name, item in level.values.items()},
        "verdict": None if level.verdict is None else asdict(level.verdict),
    }


def sweep_csv(shown: Sequence[Sweep]) -> bytes:
    """One line a batch size, in SI units: the axes, then each quantity with the ends of its interval. UTF-8.

    A text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    target = io.StringIO()
    fields = [f"{name}{end}" for name in QUANTITIES for end in ("", "_low", "_high")]
    writer = csv.DictWriter(target, ["run", *AXES, "batch_size", "status", "reasons", "rounds", *fields])
    writer.writeheader()
    for sweep in shown:
        for level in sweep.levels:
            texts = {"run": sweep.run, **sweep.axes, "status": level.status.value, "reasons": "; ".join(level.reasons)}
            writer.writerow(
                {name: cell(value) for name, value in texts.items()}
                | {"batch_size": level.batch_size, "rounds": level.rounds}
                | dict(_ends(level.values))
            )
    return target.getvalue().encode()


def _ends(values: Mapping[str, Measured]) -> Iterator[tuple[str, float | None]]:
    for name, item in values.items():
        yield from ((name, item.value), (f"{name}_low", item.low), (f"{name}_high", item.high))


def cell(value: object) -> object:
    """A value for a CSV file: numbers as they are, texts without line breaks and never a formula."""
    if not isinstance(value, str):
        return value
    text = one_line(value)
    return f"'{text}" if value.startswith(_FORMULA) or text.startswith(_FORMULA) else text


def markdown(text: str) -> str:
    """The text as Markdown shows it unchanged, also inside a table: no markup, no HTML, no link."""
    return html.escape(re.sub(r"([\\`*_{}\[\]#|~!])", r"\\\1", one_line(text)), quote=False)

"""Rankings as text, Markdown, CSV or JSON. It orders nothing anew.

A name comes from a saved file and may hold anything: control characters, Markdown, HTML and what a spreadsheet takes
for a formula are made harmless, and known forms of credentials are taken out.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence

from emobench.analysis.ranking import Ranked, Ranking, by_model
from emobench.analysis.rows import MEMORY
from emobench.outcomes import METRICS
from emobench.records.secrets import redact
from emobench.reports.quantities import shown
from emobench.reports.tables import WIDTH, grid, number, wrapped

FORMATS = ("text", "markdown", "csv", "json")
MOST_LISTED = 20
"""Unranked cases that text and Markdown name for each reason; CSV and JSON name all."""
_SHORT = {"accuracy": "accuracy", "latency_p50_seconds": "latency", MEMORY: "memory"}
_SHORT |= {"energy_joules_per_sample": "energy", "cost_per_thousand_samples": "cost"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def ranking_text(rankings: Sequence[Ranking], *, preset: str | None, by: str, form: str) -> str:
    """The rankings in one of :data:`FORMATS`; ``by`` is ``case`` or ``model``."""
    if form == "json":
        return _json(rankings, preset=preset, by=by)
    if form == "csv":
        return _csv(rankings, by=by)
    markdown = form == "markdown"
    table, name = (_markdown_table, _markdown_cell) if markdown else (_text_table, plain_name)
    sections = [_section(ranking, preset, by, table, name, markdown) for ranking in rankings]
    return "\n\n".join([*sections, "\n".join(_lines(_explained(rankings, by), markdown))])


def plain_name(text: str) -> str:
    """The text on one line, without control characters and credentials."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", redact(text))


def _markdown_cell(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|#~&])", r"\\\1", plain_name(text))


def _csv_cell(text: str) -> str:
    clean = plain_name(text)
    return f"'{clean}" if clean.startswith(("=", "+", "-", "@")) else clean


def _section(
    ranking: Ranking,
    preset: str | None,
    by: str,
    table: Callable[[Sequence[str], Sequence[Sequence[str]]], str],
    name: Callable[[str], str],
    markdown: bool,
) -> str:
    weights = ", ".join(f"{name(_short(metric))} {weight:.0%}" for metric, weight in ranking.weights.items())
    title = f"Ranking by {by}, {name(ranking.name)}; {f'{preset}: ' if preset else ''}{weights}"
    entries, counts = _entries(ranking, by)
    body = table(*_table(ranking, entries, counts, by, name)) if entries else "no case could be ranked"
    notes = _lines(_notes(ranking, name), markdown)
    parts = [f"### {title}" if markdown else title, body, *(["\n".join(notes)] if notes else [])]
    return "\n\n".join(parts)


def _lines(notes: Sequence[str], markdown: bool) -> list[str]:
    return [f"- {note}" for note in notes] if markdown else [line for note in notes for line in wrapped(note)]


def _entries(ranking: Ranking, by: str) -> tuple[Sequence[Ranked], Mapping[str, int]]:
    return by_model(ranking) if by == "model" else (ranking.ranked, {})


def _short(metric: str) -> str:
    return _SHORT.get(metric, metric)


def _columns(ranking: Ranking, entries: Sequence[Ranked]) -> list[str]:
    front = dict.fromkeys(name for item in entries for name in item.fronts)
    return [*ranking.weights, *(name for name in front if name not in ranking.weights)]


def _table(
    ranking: Ranking, entries: Sequence[Ranked], counts: Mapping[str, int], by: str, name: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    columns = _columns(ranking, entries)
    timed = any(item.timed for item in entries)
    heads = ["rank", "case" if by == "case" else "model", *(["cases"] if by == "model" else []), "score\n±95 %"]
    heads += [_head(metric) for metric in columns]
    heads += [*(["timed\nbatch"] if timed else []), "front\nagainst", "keeps\nrank", "is\nfirst"]
    rows = []
    for item in entries:
        row = [str(item.rank), name(item.id if by == "case" else item.model)]
        row += [str(counts[item.model])] if by == "model" else []
        row.append(f"{item.score:.3f} ±{max(item.score - item.low, item.high - item.score):.3f}")
        row += [_figure(metric, item) for metric in columns]
        row += [str(item.batch)] if timed else []
        row.append(", ".join(_short(front) for front in item.fronts) + (" *" if item.on_joint_front else ""))
        rows.append([*row, f"{item.keeps_rank:.0%}", f"{item.is_first:.0%}"])
    return heads, rows


def _head(metric: str) -> str:
    if metric == MEMORY or metric in METRICS:
        return f"{_short(metric)}\n{shown(metric).unit}"
    return metric


def _figure(metric: str, item: Ranked) -> str:
    if metric not in item.values:
        return ""
    value, low, high = item.values[metric]
    if metric in METRICS and METRICS[metric].unit == "share":
        return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ±{max(value - low, high - value):.3f}"
    factor = shown(metric).factor if metric == MEMORY or metric in METRICS else 1.0
    return number(value * factor)


def _text_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    align = ["right", "left", *["right"] * (len(heads) - 2)]
    align[-3] = "left"
    table = grid(heads, rows, align)
    if max(map(len, table.splitlines())) <= WIDTH:
        return table
    # Only names are that wide: each gets a line of its own, so that every figure stays in its column.
    lines = grid([heads[0], *heads[2:]], [[row[0], *row[2:]] for row in rows], [align[0], *align[2:]]).splitlines()
    top = len(lines) - len(rows)
    named = [part for row, line in zip(rows, lines[top:], strict=True) for part in (row[1], line)]
    return "\n".join([*lines[:top], *named])


def _markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    flat = [" ".join(head.split()) for head in heads]
    lines = [flat, ["---:", "---", *["---:"] * (len(heads) - 2)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _notes(ranking: Ranking, name: Callable[[str], str]) -> list[str]:
    notes = []
    if ranking.ranked and ranking.without_interval:
        lacking = ", ".join(name(_short(metric)) for metric in ranking.without_interval)
        notes.append(f"without an interval in some cases, so the error bar is too narrow: {lacking}")
    if ranking.ranked and "accuracy" in ranking.weights and ranking.resampled < len(ranking.ranked):
        rest = len(ranking.ranked) - ranking.resampled
        notes.append(
            f"{rest} of {len(ranking.ranked)} accuracies were drawn from their interval, not from test examples"
        )
    return [*notes, *_unranked(ranking, name)]


def _explained(rankings: Sequence[Ranking], by: str) -> list[str]:
    """What the columns mean, once for all groups."""
    items = [item for ranking in rankings for item in ranking.ranked]
    if not items:
        return []
    notes = ["rank: shared inside the error bar of the score, which runs from 0 (worst of the group) to 1 (best)"]
    if by == "model":
        notes.append("a model stands with its best case's figures and that case's rank among all cases")
    if any(item.timed for item in items):
        notes.append(
            "timed batch: latency, memory, energy and cost are those of the inference case of the same model, "
            "precision, device and backend at this batch size; it timed the catalogue's model, not the trained weights"
        )
    draws = " or ".join(str(count) for count in sorted({ranking.draws for ranking in rankings if ranking.ranked}))
    notes.append(
        f"keeps rank, is first: share of {draws} draws (seed {rankings[0].seed}) of test examples and intervals"
    )
    if any(item.fronts for item in items):
        joint = dict.fromkeys(_short(part) for ranking in rankings for part in ranking.joint[1:])
        notes.append(
            "front against: no other ranked case of the group has more accuracy for less of it"
            + (f"; *: nor for less of {', '.join(joint)} taken together" if joint else "")
        )
    return notes


def _unranked(ranking: Ranking, name: Callable[[str], str]) -> list[str]:
    reasons: dict[str, list[str]] = {}
    for item in ranking.unranked:
        reasons.setdefault(item.reason, []).append(item.id)
    found = []
    for reason, ids in reasons.items():
        more = f" and {len(ids) - MOST_LISTED} more" if len(ids) > MOST_LISTED else ""
        found.append(f"unranked, {name(reason)}: {', '.join(name(case) for case in ids[:MOST_LISTED])}{more}")
    return found


def _csv(rankings: Sequence[Ranking], *, by: str) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    metrics = list(dict.fromkeys(name for ranking in rankings for name in _columns(ranking, ranking.ranked)))
    heads = ["group", "rank", "case", "model", "score", "score_low", "score_high"]
    heads += [f"{name}{end}" for name in metrics for end in ("", "_low", "_high")]
    writer.writerow(
        [*heads, "timed_case", "timed_batch", "fronts", "joint_front", "keeps_rank", "is_first", "unranked"]
    )
    for ranking in rankings:
        for item in _entries(ranking, by)[0]:
            row = [_csv_cell(ranking.name), item.rank, _csv_cell(item.id), _csv_cell(item.model)]
            figures = [part for name in metrics for part in item.values.get(name, (None, None, None))]
            row += [item.score, item.low, item.high, *("" if part is None else part for part in figures)]
            row += [_csv_cell(item.timed), item.batch or "", " ".join(item.fronts), int(item.on_joint_front)]
            writer.writerow([*row, item.keeps_rank, item.is_first, ""])
        for rest in ranking.unranked:
            empty = [""] * (len(heads) - 3 + 6)
            writer.writerow([_csv_cell(ranking.name), "", _csv_cell(rest.id), *empty, _csv_cell(rest.reason)])
    return stream.getvalue().rstrip("\n")


def _json(rankings: Sequence[Ranking], *, preset: str | None, by: str) -> str:
    content = {
        "preset": preset,
        "by": by,
        "rankings": [
            {
                "group": plain_name(ranking.name),
                "weights": dict(ranking.weights),
                "better": dict(ranking.better),
                "joint_front": list(ranking.joint),
                "draws": ranking.draws,
                "seed": ranking.seed,
                "resampled": ranking.resampled,
                "without_interval": list(ranking.without_interval),
                "ranked": [_json_entry(item) for item in _entries(ranking, by)[0]],
                "unranked": [
                    {"case": plain_name(item.id), "reason": plain_name(item.reason)} for item in ranking.unranked
                ],
            }
            for ranking in rankings
        ],
    }
    return json.dumps(content, indent=1, allow_nan=False)


def _json_entry(item: Ranked) -> dict[str, object]:
    return {
        "rank": item.rank,
        "case": plain_name(item.id),
        "model": plain_name(item.model),
        "score": item.score,
        "score_interval": [item.low, item.high],
        "normalized": dict(item.parts),
        "metrics": {
            name: {"value": value, "ci": None if low is None or high is None else [low, high]}
            for name, (value, low, high) in item.values.items()
        },
        "timed_case": plain_name(item.timed) or None,
        "timed_batch": item.batch or None,
        "fronts": list(item.fronts),
        "on_joint_front": item.on_joint_front,
        "keeps_rank": item.keeps_rank,
        "is_first": item.is_first,
    }

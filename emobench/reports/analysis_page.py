"""An analysis of data as one HTML page that needs no network and runs no script.

Takes the plain values that ``emobench analyze --json`` writes. Every text of them is escaped; a section that is
missing is left out, and what is not known says so. The policy of the page allows its own style sheet and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from emobench.extras import require
from emobench.reports.analysis_blocks import (
    UNKNOWN,
    Block,
    Values,
    bars,
    counted,
    figure,
    grid,
    growth,
    histogram,
    large,
    listed,
    percent,
    share_text,
)
from emobench.reports.page import policy
from emobench.reports.tables import shortened

MOST_BARS = 25
MOST_FAULTS = 100
MOST_PAIRS = 4
"""Examples of one kind."""
_EXCERPT = 160
_DURATIONS = (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0))
_FITS = {True: "yes", False: "no", None: UNKNOWN}

FINDINGS: Mapping[str, str] = {
    "empty": "empty",
    "short": "very short",
    "long": "very long",
    "repeated_lines": "lines repeated within",
    "mostly_symbols": "mostly symbols",
    "control_characters": "control characters",
    "encoded_data": "encoded data",
    "replacement_character": "lost characters (U+FFFD)",
    "mojibake": "UTF-8 read as cp1252",
    "latin_controls": "cp1252 read as Latin-1",
    "boilerplate": "boilerplate",
}
_REPETITIONS: Mapping[str, str] = {
    "exact": "the same text again",
    "near": "nearly the same text again",
    "conflicts": "the same text under different labels",
    "near_conflicts": "nearly the same text under a different label",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page."""

    anchor: str
    title: str
    note: str = ""
    pairs: Sequence[tuple[str, str]] = ()
    groups: Sequence[Sequence[Block]] = ()
    """Blocks that stand side by side where there is room."""


def analysis_page(analysis: Values) -> str:
    """The whole page.

    Raises:
        MissingExtraError: Jinja2 is not installed.
    """
    jinja = require("jinja2", feature="the HTML page of an analysis", extra="report")
    from markupsafe import Markup

    environment = jinja.Environment(autoescape=True, undefined=jinja.StrictUndefined, trim_blocks=True)
    environment.filters["line"] = shortened
    css = _own("report.css") + _own("analysis.css")
    template = environment.from_string(_own("analysis.html.j2"))
    page: str = template.render(
        title=_title(analysis),
        note=_note(analysis),
        policy=policy(scripts=(), style=css),
        sections=list(_sections(analysis)),
        css=Markup(css),  # our files
    )
    return page


def _own(name: str) -> str:
    return files("emobench.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _title(analysis: Values) -> str:
    source, sample = analysis["source"], analysis.get("sample")
    if sample is None:
        return f"{source['name']}: {source['documents']:,} documents"
    return f"{source['name']}: a sample of {sample['documents']:,} of {sample['of']:,} documents"


def _note(analysis: Values) -> str:
    sample = analysis.get("sample")
    if sample is None:
        return ""
    return f"Drawn with seed {sample['seed']}, {sample['percent']:g} %. Figures in brackets are 95 % intervals."


def _sections(analysis: Values) -> Iterator[Section]:
    known = analysis["sections"]
    yield _summary(analysis)
    shown: Sequence[tuple[str, Callable[[Values], Section]]] = (
        ("lengths", _lengths),
        ("labels", _labels),
        ("kind", _kind),
        ("language", _language),
        ("quality", _quality),
        ("duplicates", _duplicates),
        ("vocabulary", _vocabulary),
    )
    for name, show in shown:
        if name in known:
            yield show(known[name])
    if analysis.get("recommendations"):
        yield _recommendations(analysis["recommendations"], analysis.get("training_time"))
    if analysis["faults"]["count"]:
        yield _faults(analysis["faults"])


def _summary(analysis: Values) -> Section:
    source, known = analysis["source"], analysis["sections"]
    guessed = source.get("guessed", ())
    count = source["files"]
    lines = [("read", f"{count:,} file{'' if count == 1 else 's'}, {source['bytes'] / 1e6:,.1f} MB")]
    if source.get("text"):
        lines.append(("text column", " + ".join(source["text"]) + (" (guessed)" if "text" in guessed else "")))
    label = source.get("label")
    lines.append(("label column", (label or "none") + (" (guessed)" if "label" in guessed else "")))
    if "lengths" in known:
        tokens = known["lengths"]["tokens"]
        bounds = tokens.get("interval")
        brackets = f" [{bounds[0]:,.0f} to {bounds[1]:,.0f}]" if bounds else ""
        lines.append(("tokens", f"{tokens['value']:,.0f}{brackets} of {analysis['tokenizer']}"))
    if "kind" in known:
        lines.append(("kind", f"{known['kind']['kind']}: {known['kind']['why']}"))
    if "language" in known:
        lines.append(("language", _languages_line(known["language"])))
    if "quality" in known:
        lines.append(("with a finding", counted(known["quality"]["flagged"])))
    if "duplicates" in known:
        found = known["duplicates"]
        lines.append(("repetitions", f"{counted(found['exact'])} exact, {counted(found['near'])} near"))
    if analysis["faults"]["count"]:
        lines.append(("not read", f"{analysis['faults']['count']:,} places"))
    return Section(anchor="summary", title="Summary", pairs=lines)


def _languages_line(language: Values) -> str:
    if language["languages"] is None:
        return f"{language['why']}; {language['fix']}"
    return ", ".join(f"{name} {percent(entry['share'])}" for name, entry in list(language["languages"].items())[:4])


def _lengths(lengths: Values) -> Section:
    mean = lengths["tokens_per_document"]
    bounds = mean.get("interval")
    brackets = f" [{figure(bounds[0])} to {figure(bounds[1])}]" if bounds else ""
    pairs = [
        ("mean", f"{mean['mean']:,.1f}{brackets} tokens"),
        ("smallest, largest", f"{lengths['smallest']:,}, {lengths['largest']:,} tokens"),
        ("characters a token", figure(lengths["characters_per_token"]) + _ratio_brackets(lengths)),
    ]
    columns = histogram("Documents by length", lengths["histogram"], caption="tokens; columns are equal ratios wide")
    groups = [[columns], [_contexts(lengths), _levels(lengths)]]
    return Section(anchor="lengths", title="Lengths in tokens", pairs=pairs, groups=groups)


def _ratio_brackets(lengths: Values) -> str:
    bounds = lengths.get("characters_per_token_interval")
    return f" [{bounds[0]:.2f} to {bounds[1]:.2f}]" if bounds else ""


def _contexts(lengths: Values) -> Block:
    rows = [(f"{entry['context']:,}", share_text(entry["truncated"]), _kept(entry)) for entry in lengths["contexts"]]
    return grid("What a context cuts off", ("context", "documents truncated", "tokens kept"), rows, numeric=(0, 1, 2))


def _kept(entry: Values) -> str:
    bounds = entry.get("tokens_kept_interval")
    brackets = f" [{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}]" if bounds else ""
    return percent(entry["tokens_kept_share"]) + brackets


def _levels(lengths: Values) -> Block:
    rows = []
    for entry in lengths["percentiles"]:
        bounds = entry.get("interval")
        row = (f"{100 * entry['level']:g}", f"{entry['value']:,}")
        rows.append((*row, f"{bounds[0]:,} to {bounds[1]:,}" if bounds else "too few") if "interval" in entry else row)
    heads = ("percentile", "tokens", "95 % interval")[: max((len(row) for row in rows), default=2)]
    return grid("Percentiles", heads, rows, numeric=(0, 1, 2))


def _labels(labels: Values) -> Section:
    if not labels.get("classes"):
        return Section(anchor="labels", title="Labels", note=f"None to balance: {labels.get('reason') or 'no label'}.")
    entries = [(str(entry["label"]), entry["share"] or 0.0, counted(entry)) for entry in labels["classes"][:MOST_BARS]]
    hidden = labels["distinct"] - len(entries)
    pairs = [
        ("classes", f"{labels['distinct']:,}" + (f", the largest {len(entries)} are shown" if hidden > 0 else "")),
        ("labeled", counted(labels["labeled"])),
        ("largest over smallest", figure(labels["largest_over_smallest"])),
        ("evenness", f"{labels['evenness']:.3f} (entropy over that of equal classes)"),
    ]
    return Section(anchor="labels", title="Labels", pairs=pairs, groups=[[bars("", entries)]])


def _kind(kind: Values) -> Section:
    entries = [(name, entry["share"] or 0.0, counted(entry)) for name, entry in kind["texts"].items() if entry["count"]]
    block = bars("Single texts", entries)
    return Section(anchor="kind", title="Kind of text", pairs=[(kind["kind"], kind["why"])], groups=[[block]])


def _language(language: Values) -> Section:
    if language["languages"] is None:
        return Section(anchor="language", title="Language", note=f"{language['why']}. {language['fix']}")
    entries = [
        (name, entry["share"] or 0.0, counted(entry)) for name, entry in list(language["languages"].items())[:MOST_BARS]
    ]
    note = f"A document is {UNKNOWN} where no language has a confidence of {language['confidence']:g}."
    if language["sampled"]:
        note += f" Told for {language['looked_at']:,} of {language['documents']:,} documents; intervals are 95 %."
    return Section(anchor="language", title="Language", note=note, groups=[[bars("", entries)]])


def _quality(quality: Values) -> Section:
    findings = quality["findings"]
    entries = [(FINDINGS.get(name, name), found["share"] or 0.0, counted(found)) for name, found in findings.items()]
    rules = [(FINDINGS.get(name, name), found["rule"]) for name, found in findings.items()]
    samples = [
        (FINDINGS.get(name, name), str(example.get("place", "")), _excerpt(example.get("text")))
        for name, found in findings.items()
        for example in found["examples"][:MOST_PAIRS]
    ]
    groups: list[list[Block]] = [[bars("", entries), grid("", ("finding", "rule"), rules)]]
    if samples:
        groups.append([grid("For instance", ("finding", "place", "beginning of the text"), samples, samples=(2,))])
    return Section(anchor="quality", title="Quality", groups=groups)


def _excerpt(text: str | None) -> str:
    return "(not kept)" if text is None else text[:_EXCERPT]


def _duplicates(found: Values) -> Section:
    entries = [
        (name, found[key]["share"] or 0.0, counted(found[key]) if found[key]["of"] else UNKNOWN)
        for key, name in _REPETITIONS.items()
    ]
    rows = [
        (
            name,
            ", ".join(example["places"]),
            f"{example['similarity']:.2f}",
            ", ".join(label for label in example["labels"] if label),
            example["text"][:_EXCERPT],
        )
        for key, name in _REPETITIONS.items()
        for example in found[key]["examples"][:MOST_PAIRS]
    ]
    near = found["near"]
    chances = ", ".join(f"{percent(chance)} at {at}" for at, chance in found["found_probability"].items())
    note = f"Near: 5-word shingles with a Jaccard similarity of at least {near['similarity_at_least']:g}."
    note += f" The chance that a pair is proposed, by similarity: {chances}."
    if not near.get("complete", True):
        note += " The search ended early: there are at least as many."
    if found.get("within_sample"):
        note += " Within the sample only: of two like documents both must be drawn."
    groups: list[list[Block]] = [[bars("", entries)]]
    if rows:
        heads = ("finding", "places", "similarity", "labels", "beginning of the first text")
        groups.append([grid("For instance", heads, rows, numeric=(2,), samples=(4,))])
    return Section(anchor="duplicates", title="Repetitions", note=note, groups=groups)


def _vocabulary(found: Values) -> Section:
    error, fit, own = found["distinct_standard_error"], found["heaps"], found["tokenizer"]
    exact = "counted exactly" if not error else f"estimated, standard error {percent(error)}"
    pairs = [
        ("words", f"{found['words']:,}"),
        ("different words", f"{found['distinct_words']:,}, {exact}"),
        ("seen once", counted(found["once"])),
        ("tokenizer of its own", f"{figure(own['size']) if own['size'] else 'none'}: {own['why']} ({own['source']})"),
    ]
    if fit is None or not found["growth"]:
        return Section(anchor="vocabulary", title="Vocabulary", pairs=pairs)
    law = f"different words = {fit['k']:.3g} words^{fit['beta']:.3f}"
    pairs.append(("growth (Heaps' law)", f"{law}, R² {fit['r_squared']:.3f}"))
    points = [(entry["words"], entry["distinct"]) for entry in found["growth"]]
    caption = "different words by words read, both logarithmic; the line is the fit"
    block = growth("New words as the text goes on", points, fit, caption=caption)
    return Section(anchor="vocabulary", title="Vocabulary", pairs=pairs, groups=[[block]])


def _recommendations(found: Values, time: Values | None) -> Section:
    scratch = found["from_scratch"]
    sizes = " to ".join(large(scratch.get(key)) for key in ("parameters", "parameters_repeated") if scratch.get(key))
    pairs = [("a model from scratch", f"{sizes} parameters: {scratch['why']}" if sizes else scratch["why"])]
    if sizes:
        pairs.append(("sources", "; ".join(scratch["sources"])))
    if time is not None:
        spent = ", ".join(f"{method} {_duration(seconds)}" for method, seconds in time["epoch_seconds"].items())
        rate = f"at {time['flops_per_second']:.1e} operations a second ({time['rate']})"
        factor = f"right within a factor of about {time['uncertainty_factor']:g}"
        pairs.append((f"one epoch of {time['model']} on {time['device']}", f"{spent}; {rate}, {factor}"))
    uses = [
        (task["task"], _FITS[task["fits"]], task["why"], ", ".join(task["cases"]) or "none") for task in found["tasks"]
    ]
    models = [
        (row["id"], large(row["parameters"]), f"{row['context']:,}", _FITS[row["fits"]], _cut(row["truncated"]))
        for row in found["models"]
    ]
    advice = [item["text"] + (f" ({item['source']})" if item["source"] else "") for item in found["advice"]]
    heads = ("model", "parameters", "context", "takes 95 % whole", "truncated")
    groups: list[list[Block]] = [[listed("Before training", advice)]] if advice else []
    groups.append([grid("What the data can be used for", ("use", "fits", "why", "kinds of case"), uses, marks=(1,))])
    groups.append([grid(f"Models to fine-tune ({found['models_note']})", heads, models, numeric=(1, 2, 4), marks=(3,))])
    return Section(anchor="recommendations", title="Recommendations", pairs=pairs, groups=groups)


def _cut(truncated: Values | None) -> str:
    if truncated is None:
        return UNKNOWN
    return f"{'at most ' if truncated['at_most'] else ''}{percent(truncated['share'])}"


def _duration(seconds: float) -> str:
    for unit, scale in _DURATIONS:
        if seconds >= 2 * scale:
            return f"{float(f'{seconds / scale:.2g}'):g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} seconds"


def _faults(faults: Values) -> Section:
    rows = [(fault["place"], fault["why"]) for fault in faults["shown"][:MOST_FAULTS]]
    note = f"{faults['count']:,} places; the first {len(rows)} are shown." if faults["count"] > len(rows) else ""
    return Section(anchor="faults", title="Not read", note=note, groups=[[grid("", ("place", "why"), rows)]])

"""An analysis of data as text for a terminal: readable at 80 columns, without colors where nothing shows them.

Takes the plain values that ``emobench analyze --json`` writes; a section it does not know is shown as names and values.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from emobench.reports.tables import number

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

UNKNOWN = "unknown"
SHOWN_FAULTS = 10
SHOWN_CLASSES = 12
_BAR = 24

Values = Mapping[str, Any]


def analysis_text(analysis: Values, *, width: int = 80, color: bool = False) -> str:
    """The whole report; ``color`` puts in what a terminal shows as colors."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
    )
    for title, parts in sections_of(analysis):
        console.print()
        console.print(title, style="bold", markup=False)
        for part in parts:
            _print(console, part)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def sections_of(analysis: Values) -> Iterable[tuple[str, list[RenderableType]]]:
    """Title and contents of each section that the analysis has."""
    yield _title(analysis), _source(analysis)
    if analysis["faults"]["count"]:
        yield "Could not be read", _faults(analysis["faults"])
    known = {**analysis["sections"], **{name: analysis[name] for name in LAST if analysis.get(name)}}
    for name in [*(name for name in SECTIONS if name in known), *(name for name in known if name not in SECTIONS)]:
        title, show = SECTIONS.get(name, (name.replace("_", " ").capitalize(), _any))
        parts = show(known[name])
        if known[name].get("within_sample"):
            parts.append("Within the sample only: of two like documents both must be drawn.")
        yield title, parts


def _title(analysis: Values) -> str:
    source = analysis["source"]
    sample = analysis["sample"]
    if sample is None:
        return f"{source['name']}: {source['documents']:,} documents"
    return f"{source['name']}: a sample of {sample['documents']:,} of {sample['of']:,} documents"


def _source(analysis: Values) -> list[RenderableType]:
    source, sample = analysis["source"], analysis["sample"]
    guessed = source["guessed"]
    rows = [
        ("files", f"{source['files']:,} ({', '.join(f'{count} {kind}' for kind, count in source['kinds'].items())})"),
        ("size", size(source["bytes"])),
    ]
    if source["passed_over"]:
        others = ", ".join(f"{count} {ending}" for ending, count in source["passed_over"].items())
        rows.append(("not looked at", f"files of other kinds: {others}"))
    if source["text"]:
        rows.append(("text", " + ".join(source["text"]) + (" (guessed)" if "text" in guessed else "")))
    label = source["label"] if source["label"] is not None else "none"
    rows.append(("label", f"{label}{' (guessed)' if 'label' in guessed else ''}"))
    units = source["units"]
    if set(units) != {"row"}:
        rows.append(("a document is", ", ".join(f"a {unit} ({count:,})" for unit, count in units.items())))
    if source["dropped_by_label"]:
        rows.append(("left out", f"{source['dropped_by_label']:,} rows whose label the data set's row drops"))
    rows.append(("tokens of", str(analysis["tokenizer"])))
    if sample is not None:
        rows.append(("sample", f"{sample['percent']:g} %, seed {sample['seed']}; intervals in brackets are 95 %"))
    if analysis.get("cache") == "cache":
        rows.append(("from", "an earlier analysis of the same content; --no-cache makes it anew"))
    return [pairs(rows)]


def _faults(faults: Values) -> list[RenderableType]:
    shown = faults["shown"][:SHOWN_FAULTS]
    parts: list[RenderableType] = [pairs([(fault["place"], fault["why"]) for fault in shown], style="red")]
    if faults["count"] > len(shown):
        parts.append(f"and {faults['count'] - len(shown):,} more places")
    return parts


def _lengths(lengths: Values) -> list[RenderableType]:
    tokens, mean = lengths["tokens"], lengths["tokens_per_document"]
    per_token = lengths["characters_per_token"]
    rows = [
        ("tokens", f"{tokens['value']:,.0f}{interval(tokens, '{:,.0f}')}"),
        ("mean", f"{mean['mean']:,.1f}{interval(mean, '{:,.1f}')}"),
        ("smallest, largest", f"{lengths['smallest']:,}, {lengths['largest']:,}"),
        (
            "characters a token",
            UNKNOWN if per_token is None else f"{per_token:.2f}{brackets(lengths, 'characters_per_token')}",
        ),
    ]
    percentiles = grid(["percentile", "tokens"], right={0, 1})
    for entry in lengths["percentiles"]:
        add(percentiles, f"{100 * entry['level']:g}", f"{entry['value']:,}{interval(entry, '{:,}')}")
    contexts = grid(["context", "truncated", "tokens kept"], right={0, 1, 2})
    for entry in lengths["contexts"]:
        kept = entry["tokens_kept_share"]
        add(
            contexts,
            f"{entry['context']:,}",
            share(entry["truncated"]),
            UNKNOWN if kept is None else f"{100 * kept:.1f} %{brackets(entry, 'tokens_kept', 100)}",
        )
    return [pairs(rows), side_by_side(percentiles, contexts), _histogram(lengths["histogram"])]


def _histogram(bins: Sequence[Values]) -> Table:
    table = grid(["tokens", "documents", ""], right={0, 1})
    most = max(entry["documents"] for entry in bins)
    for entry in bins:
        span = f"{entry['from']:,}" if entry["from"] == entry["to"] else f"{entry['from']:,}-{entry['to']:,}"
        add(table, span, f"{entry['documents']:,}", bar(entry["documents"] / most))
    return table


def _labels(labels: Values) -> list[RenderableType]:
    if labels["classes"] is None:
        return [f"none to balance: {labels['reason']}"]
    table = grid(["label", "documents", "share", ""], right={1, 2})
    most = labels["classes"][0]["count"]
    for entry in labels["classes"][:SHOWN_CLASSES]:
        name = str(entry["label"])[:30]
        add(table, name, f"{entry['count']:,}", share(entry), bar(entry["count"] / most))
    hidden = labels["distinct"] - min(SHOWN_CLASSES, len(labels["classes"]))
    parts: list[RenderableType] = [table]
    if hidden:
        parts.append(f"and {hidden:,} more labels")
    unlabeled = labels["labeled"]["of"] - labels["labeled"]["count"]
    parts.append(
        f"largest over smallest {number(labels['largest_over_smallest'])}, evenness {labels['evenness']:.3f}"
        + (f", {unlabeled:,} documents without a label" if unlabeled else "")
    )
    return parts


def _time(time: Values) -> list[RenderableType]:
    rows = [(method, f"about {duration(seconds)} an epoch") for method, seconds in time["epoch_seconds"].items()]
    factor = time["uncertainty_factor"]
    note = (
        f"{time['model']} on {time['device']}, texts cut at {time['max_length']} tokens, at "
        f"{time['flops_per_second']:.0e} operations/s ({time['rate']}): right within a factor of about {factor:g}"
    )
    return [pairs(rows), note]


def _any(section: Values) -> list[RenderableType]:
    """Names and values of a section whose form is not known here."""
    rows = []
    for name, value in section.items():
        if isinstance(value, Mapping) and "count" in value and "of" in value:
            rows.append((name.replace("_", " "), f"{value['count']:,} of {value['of']:,} ({share(value)})"))
        elif value is None or isinstance(value, str | int | float):
            rows.append((name.replace("_", " "), UNKNOWN if value is None else str(value)))
    return [pairs(rows)]


def _quality(quality: Values) -> list[RenderableType]:
    table = grid(["finding", "documents", "share", "first place"], right={1, 2})
    clean = []
    for name, found in quality["findings"].items():
        if not found["count"]:
            clean.append(name.replace("_", " "))
            continue
        first = found["examples"][0].get("place", "") if found["examples"] else ""
        add(table, name.replace("_", " "), f"{found['count']:,}", share(found), str(first))
    parts: list[RenderableType] = [table] if table.row_count else []
    if clean:
        parts.append(f"none with: {', '.join(clean)}")
    return parts


def _duplicates(found: Values) -> list[RenderableType]:
    table = grid(["", "documents", "share", "for instance"], right={1, 2})
    names = {
        "exact": "exact repetitions",
        "near": "near repetitions",
        "conflicts": "one text, several labels",
        "near_conflicts": "near, other label",
    }
    for key, name in names.items():
        entry = found[key]
        places = entry["examples"][0]["places"] if entry["examples"] else []
        shown = share(entry) if entry["of"] else UNKNOWN
        add(table, name, f"{entry['count']:,}" if entry["of"] else UNKNOWN, shown, ", ".join(places[:2]))
    parts: list[RenderableType] = [table]
    if not found["near"].get("complete", True):
        parts.append("The search for near repetitions ended early: there are at least as many.")
    return parts


def _language(language: Values) -> list[RenderableType]:
    if language["languages"] is None:
        return [f"{language['why']}; {language['fix']}"]
    table = grid(["language", "documents", "share"], right={1, 2})
    for name, entry in list(language["languages"].items())[:SHOWN_CLASSES]:
        add(table, name, f"{entry['count']:,}", share(entry))
    if not language["sampled"]:
        return [table]
    return [table, f"told for {language['looked_at']:,} of {language['documents']:,} documents; intervals are 95 %"]


def _kind(kind: Values) -> list[RenderableType]:
    return [f"{kind['kind']}: {kind['why']}"]


def _vocabulary(found: Values) -> list[RenderableType]:
    size_of = found["tokenizer"]
    own = f"{size_of['size']:,}" if size_of["size"] is not None else "none of its own"
    rows = [
        ("words", f"{found['words']:,}"),
        ("different words", f"{found['distinct_words']:,}"),
        ("seen once", share(found["once"])),
        ("tokenizer size", f"{own}: {size_of['why']} ({size_of['source']})"),
    ]
    if found["heaps"] is not None:
        rows.append(("growth", f"{found['heaps']['k']:.3g} * words^{found['heaps']['beta']:.3f}"))
    return [pairs(rows)]


def _recommendations(found: Values) -> list[RenderableType]:
    scratch = found["from_scratch"]
    sizes = [scratch["parameters"], scratch.get("parameters_repeated")]
    known = " to ".join(number(value) for value in sizes if value is not None)
    rows = [("a model from scratch", f"{known} parameters: {scratch['why']}" if known else scratch["why"])]
    rows += [("source", source) for source in scratch["sources"] if known]
    rows += [(task["task"], f"{_FITS[task['fits']]}: {task['why']}") for task in found["tasks"]]
    models = grid(["model", "parameters", "context", "truncated"], right={1, 2, 3})
    for row in found["models"][:SHOWN_CLASSES]:
        cut = row["truncated"]
        shown = UNKNOWN if cut is None else f"{'at most ' if cut['at_most'] else ''}{percent(cut['share'])} %"
        add(models, row["id"], number(row["parameters"]), f"{row['context']:,}", shown)
    parts: list[RenderableType] = [pairs(rows), models, found["models_note"]]
    for item in found["advice"]:
        parts.append("- " + printable(item["text"]) + (f" ({item['source']})" if item["source"] else ""))
    return parts


_FITS = {True: "yes", False: "no", None: UNKNOWN}

SECTIONS: Mapping[str, tuple[str, Callable[[Values], list[RenderableType]]]] = {
    "kind": ("Kind of text", _kind),
    "lengths": ("Lengths in tokens", _lengths),
    "labels": ("Labels", _labels),
    "quality": ("Quality", _quality),
    "duplicates": ("Repetitions", _duplicates),
    "language": ("Language", _language),
    "vocabulary": ("Vocabulary", _vocabulary),
    "recommendations": ("What it can be used for", _recommendations),
    "training_time": ("Time of training", _time),
}
"""Sections in the order they are shown."""
LAST = ("recommendations", "training_time")
"""Sections that stand beside the passes' own."""


def share(entry: Values) -> str:
    """A share in percent with its interval in brackets where it has one."""
    if entry.get("share") is None:
        return UNKNOWN
    bounds = entry.get("interval")
    brackets = f" [{percent(bounds[0])}-{percent(bounds[1])}]" if bounds else ""
    return f"{percent(entry['share'])} %{brackets}"


def percent(value: float) -> str:
    """A share times 100; one that is not 0 or 1 is never shown as such."""
    scaled = 100 * value
    if 0 < scaled < 0.1:
        return "<0.1"
    return ">99.9" if 99.9 < scaled < 100 else f"{scaled:.1f}"


def interval(entry: Values, form: str) -> str:
    """`` [low-high]``, or nothing where the figure is not of a sample."""
    if "interval" not in entry:
        return ""
    bounds = entry["interval"]
    return " [too few]" if bounds is None else f" [{form.format(bounds[0])}-{form.format(bounds[1])}]"


def brackets(entry: Values, name: str, times: float = 1) -> str:
    """The interval of a ratio as :func:`interval` shows those of other figures."""
    key = f"{name}_interval"
    if key not in entry:
        return ""
    bounds = None if entry[key] is None else [times * bound for bound in entry[key]]
    return interval({"interval": bounds}, "{:.1f}" if times == 100 else "{:.2f}")


def size(count: int) -> str:
    """Bytes in the largest unit that leaves a figure above one."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def duration(seconds: float) -> str:
    """Seconds, minutes, hours or days with two significant digits."""
    for unit, scale in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * scale:
            return f"{float(f'{seconds / scale:.2g}'):g} {unit}"
    return f"{float(f'{seconds:.2g}'):g} seconds"


def bar(part: float) -> str:
    """A bar of number signs; one that is not nothing has at least one."""
    return "#" * (max(1, round(part * _BAR)) if part > 0 else 0)


def grid(heads: Sequence[str], *, right: Iterable[int] = ()) -> Table:
    """A table without lines, the columns ``right`` set to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    aligned = set(right)
    for index, head in enumerate(heads):
        table.add_column(head, justify="right" if index in aligned else "left", overflow="fold")
    return table


def add(table: Table, *cells: str) -> None:
    """Put a row into a table as it stands: what data holds is neither markup nor an order to the terminal."""
    from rich.text import Text

    table.add_row(*(Text(printable(cell)) for cell in cells))


def printable(text: str) -> str:
    """The text with a question mark for each character that is not to be printed; the first 400 of it."""
    return "".join(sign if sign.isprintable() else "?" for sign in text[:400])


def pairs(rows: Iterable[tuple[str, str]], *, style: str = "") -> Table:
    """Names and values in two columns; a value too long for the line goes on below itself."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style=style or "dim", overflow="fold", max_width=32)
    table.add_column(overflow="fold")
    for name, value in rows:
        add(table, name, value)
    return table


def side_by_side(*tables: Table) -> Table:
    """Tables next to each other, which wrap where the line is too short."""
    from rich.table import Table

    outer = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
    outer.add_row(*tables)
    return outer


def _print(console: Console, part: RenderableType) -> None:
    console.print(part, markup=False)

"""Quality: documents that are empty, very short or long, repeat themselves, are not text, or were decoded wrongly.

Each finding has a rule in words, a count and the first places; limits are stated in the rule, and where they are
someone's, so is the source. Boilerplate, which shows only across documents, is counted by its own detector and stands
here among the findings. It drops nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from emobench.data.analyze.boilerplate import Boilerplate
from emobench.data.analyze.encoding_faults import encoding_faults
from emobench.data.analyze.scan import I64, Flags, Scan, Scanner, mixed
from emobench.data.analyze.spill import PARTS
from emobench.data.documents import Document

SHORT_WORDS = 3
LONG_BYTES = 100_000
REPEATED_SHARE = 0.3
"""Of a document's lines and sentences; Rae et al. 2021 (Gopher), table A1, take it for lines and for paragraphs."""
REPEATED_FROM = 4
"""Lines or sentences a document has before repetition in it counts."""
SYMBOL_SHARE = 0.5
RUN_BYTES = 160
MOST_PLACES = 5
_EXCERPT = 160
_BEFORE = 40
"""Characters shown before what was found."""
_BASE64 = re.compile(rf"[A-Za-z0-9+/_-]{{{RUN_BYTES},}}={{0,2}}")

RULES: Mapping[str, str] = {
    "empty": "nothing but white space",
    "short": f"1 or 2 words (fewer than {SHORT_WORDS})",
    "long": f"more than {LONG_BYTES:,} bytes",
    "repeated_lines": f"more than {REPEATED_SHARE:.0%} of its lines and sentences stand earlier in it, of at least "
    f"{REPEATED_FROM} (the limit of Rae et al. 2021, Gopher, for lines)",
    "mostly_symbols": f"more than {SYMBOL_SHARE:.0%} of it, white space apart, is neither letters nor digits",
    "control_characters": "ASCII control characters other than white space",
    "encoded_data": f"a run of {RUN_BYTES} or more letters and digits as base64 or hexadecimal data has",
    "replacement_character": "U+FFFD: it was decoded with errors replaced, and what stood there is lost",
    "mojibake": "UTF-8 that was read as cp1252 or Latin-1, such as Ã© for é",
    "latin_controls": "U+0080 to U+009F: cp1252 that was read as Latin-1",
}
"""What each finding is."""


@dataclass(kw_only=True)
class _Finding:
    count: int = 0
    examples: list[dict[str, str]] = field(default_factory=list)

    def add(self, batch: Sequence[Document], starts: I64) -> None:
        """Take where each document has it; below 0 it has not."""
        found = np.flatnonzero(starts >= 0)
        self.count += len(found)
        for index in found[: MOST_PLACES - len(self.examples)].tolist():
            start = max(0, int(starts[index]) - _BEFORE)
            text = batch[index].text[start : start + _EXCERPT]
            self.examples.append({"place": batch[index].place, "text": f"...{text}" if start else text})


class Quality:
    """The detector; see the module."""

    name = "quality"

    def __init__(self, *, scanner: Scanner | None = None, parts: int = PARTS) -> None:
        self._scanner = scanner or Scanner()
        self._findings = {name: _Finding() for name in RULES}
        self._any = 0
        self._count = 0
        self._boilerplate = Boilerplate(scanner=self._scanner, parts=parts)

    def add(self, batch: Sequence[Document], tokens: Sequence[int]) -> None:
        """Take a batch; the token counts are not used."""
        self._count += len(batch)
        starts = _starts(batch, self._scanner.of(batch))
        for name, places in starts.items():
            self._findings[name].add(batch, places)
        self._any += int(np.count_nonzero(np.max(list(starts.values()), axis=0) >= 0))
        self._boilerplate.add(batch, tokens)

    def result(self) -> Mapping[str, Any]:
        """Every finding, also those that were not made (their count is 0), and how many documents have one."""
        findings: dict[str, Any] = {
            name: {"count": found.count, "of": self._count, "rule": RULES[name], "examples": found.examples}
            for name, found in self._findings.items()
        }
        boilerplate = self._boilerplate.result()
        findings["boilerplate"] = {
            **boilerplate["holding"],
            **{key: boilerplate[key] for key in ("rule", "segments", "examples")},
        }
        return {
            "documents": self._count,
            "flagged": {"count": self._any, "of": self._count},
            "findings": findings,
        }


def _starts(batch: Sequence[Document], scan: Scan) -> dict[str, I64]:
    """For each finding but boilerplate, the character at which each document of the batch has it, below 0 for none."""
    count = len(batch)
    words = np.diff(scan.word_offsets)
    full = scan.size_bytes - scan.spaces
    faults = np.full((count, 3), -1, np.int64)
    for index, document in enumerate(batch):
        if not document.text.isascii():
            faults[index] = encoding_faults(document.text)
    whole = {
        "empty": scan.empty,
        "short": ~scan.empty & (words < SHORT_WORDS),
        "long": scan.size_bytes > LONG_BYTES,
        "repeated_lines": _repeating(scan, count),
        "mostly_symbols": ~scan.empty & (scan.symbols > SYMBOL_SHARE * full),
        "control_characters": scan.controls > 0,
    }
    return {
        **{name: np.where(flags, 0, -1) for name, flags in whole.items()},
        "encoded_data": _encoded(batch, scan),
        "replacement_character": faults[:, 0],
        "mojibake": faults[:, 1],
        "latin_controls": faults[:, 2],
    }


def _repeating(scan: Scan, count: int) -> Flags:
    total = np.bincount(scan.segment_owners, minlength=count)
    keys = mixed(scan.segments + scan.segment_owners.astype(np.uint64))
    order = np.argsort(keys)
    again = keys[order][1:] == keys[order][:-1]
    repeated = np.bincount(scan.segment_owners[order[1:]][again], minlength=count)
    flags: Flags = (total >= REPEATED_FROM) & (repeated > REPEATED_SHARE * total)
    return flags


def _encoded(batch: Sequence[Document], scan: Scan) -> I64:
    """Only documents with a long run without white space are searched; a web address is no data."""
    starts = np.full(len(batch), -1, np.int64)
    for index in np.flatnonzero(scan.longest_run >= RUN_BYTES).tolist():
        runs = (match.start() for match in _BASE64.finditer(batch[index].text) if _is_data(match[0]))
        starts[index] = next(runs, -1)
    return starts


def _is_data(run: str) -> bool:
    """Capitals, small letters and digits mixed, or hexadecimal digits: no word, no path and no line of dashes."""
    kinds = any(sign.isupper() for sign in run), any(sign.islower() for sign in run), any(map(str.isdigit, run))
    hexadecimal = kinds[2] and not set(run.lower()) - set("0123456789abcdef")
    return hexadecimal or (all(kinds) and run.count("/") + run.count("-") + run.count("_") < len(run) / 8)

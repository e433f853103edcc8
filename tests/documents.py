"""The pages that readers get: their commands, settings, links and paths, taken apart. Judges nothing."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """One command of a page, as a shell splits it."""

    page: str
    words: tuple[str, ...]
    """Without variables set before it and without its comment."""

    @property
    def id(self) -> str:
        """Page and command, for a test's name."""
        return f"{self.page}: {' '.join(self.words)}"


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(text: str, kind: str) -> list[str]:
    """Contents of the fenced blocks of a kind."""
    return [content for found, content in _BLOCK.findall(text) if found == kind]


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return _BLOCK.sub("", text)


def commands_of(page: Path) -> Iterator[Command]:
    """Every command after a ``$`` in console and text blocks; what ``&&`` joins are several."""
    text = page.read_text()
    for block in (*blocks(text, "console"), *blocks(text, "text")):
        for line in re.findall(r"^ *\$ (.*)$", block.replace("\\\n", " "), flags=re.MULTILINE):
            words: list[str] = []
            for word in [*shlex.split(line, comments=True), "&&"]:
                if word != "&&":
                    words.append(word)
                    continue
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words.pop(0)
                if words:
                    yield Command(page=name_of(page), words=tuple(words))
                words = []


COMMANDS = tuple(command for page in PAGES for command in commands_of(page))


def anchors(page: Path) -> set[str]:
    """What a link into the page may end with."""
    headings = re.findall(r"^#+ (.+)$", prose(page.read_text()), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[str, str]]:
    """File and anchor of every relative link; either may be empty."""
    found = re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", prose(page.read_text()))
    return [(path, anchor) for path, _, anchor in (link.partition("#") for link in found) if "://" not in path]


def paths_in_backquotes(page: Path) -> list[str]:
    """Files and folders of the repository that the page names."""
    named = re.findall(
        r"`((?:emobench|tests|benchmarks|fixtures|docs|notebooks|\.ci|\.github)/[\w./-]*)[` ]", page.read_text()
    )
    named += re.findall(r"`(results/(?:examples|README)[\w./-]*)`", page.read_text())
    return named + re.findall(r"`((?:\.env\.example|[A-Z]+\.md|conftest\.py))`", page.read_text())

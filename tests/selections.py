"""A plugin for one collection: how many of its cases each wanted selection picks. Runs nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark import KeywordMatcher, MarkMatcher
from _pytest.mark.expression import Expression

Picks = Callable[[pytest.Item], bool]


def picker(wanted: Mapping[str, Any]) -> Picks:
    """Whether an item is picked, as pytest decides it."""
    keyword, *marks = (
        Expression.compile(wanted[name]) if wanted[name] else None for name in ("keyword", "mark", "only")
    )

    def picks(item: pytest.Item) -> bool:
        place = item.path.relative_to(item.config.rootpath).as_posix()
        if wanted["files"] and place not in wanted["files"]:
            return False
        found = MarkMatcher.from_markers(item.iter_markers())
        fits = all(mark is None or mark.evaluate(found) for mark in marks)
        return fits and (keyword is None or keyword.evaluate(KeywordMatcher.from_item(item)))

    return picks


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = json.loads((config.rootpath / "wanted.json").read_text())
    counts = {name: sum(map(picker(wanted), items)) for name, wanted in asked.items()}
    Path(config.rootpath, "found.json").write_text(json.dumps(counts))

"""Cold and warm loads: which of them count, and what stands in the record."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from emobench.cases.latency import load
from emobench.models import weight_files


class Loader:
    """Loads in as many seconds as it is told, one after the other; the first time it imports a module."""

    def __init__(self, *seconds: float, imports: str | None) -> None:
        self.seconds, self.imports, self.calls = iter(seconds), imports, 0

    def __call__(self, **keywords: Any) -> Any:
        self.calls += 1
        if self.imports:
            sys.modules.setdefault(self.imports, ModuleType(self.imports))
        return SimpleNamespace(load_seconds=next(self.seconds))


def loaded(loader: Loader, monkeypatch: pytest.MonkeyPatch, *, droppable: bool = True) -> tuple[dict[str, Any], Any]:
    monkeypatch.setattr(weight_files, "weight_files", lambda model: [Path(__file__)])
    monkeypatch.setattr(weight_files, "drop_from_page_cache", lambda files: droppable)
    found: dict[str, Any] = {}
    case: Any = SimpleNamespace(
        spec=SimpleNamespace(weights="pretrained", device="cpu", model=None),
        progress=SimpleNamespace(note=None),
        add=lambda metrics: found.update({item.name: item.value for item in metrics}),
        describe_model=lambda model: None,
        release_memory=lambda: None,
    )
    return found, load(case, loader)


def test_a_cold_load_that_imports_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first load of a session pays for imports: its 9 s are thrown away, the next cold one counts."""
    monkeypatch.setitem(sys.modules, "made_for_a_cold_load", ModuleType("gone"))
    monkeypatch.delitem(sys.modules, "made_for_a_cold_load")
    loader = Loader(9.0, 2.0, 1.0, imports="made_for_a_cold_load")
    found, kept = loaded(loader, monkeypatch)
    assert found["load_cold_seconds"] == 2.0
    assert kept.load_seconds == 1.0
    assert loader.calls == 3


def test_a_cold_load_without_imports_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was imported: cold once, warm once."""
    loader = Loader(2.0, 1.0, imports=None)
    found, kept = loaded(loader, monkeypatch)
    assert (found["load_cold_seconds"], kept.load_seconds, loader.calls) == (2.0, 1.0, 2)
    assert found["disk_bytes"] == Path(__file__).stat().st_size


def test_no_cold_load_where_the_cache_cannot_be_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that stay in memory give no cold load, and no figure is made up for one."""
    found, kept = loaded(Loader(1.0, imports=None), monkeypatch, droppable=False)
    assert "load_cold_seconds" not in found
    assert kept.load_seconds == 1.0

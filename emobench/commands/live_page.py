"""The dashboard verb: which runs are shown and where. It sees to it that Gradio reports nothing to anybody."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from emobench.commands.project_place import Place
from emobench.errors import SpecError

QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"}
"""Read by Gradio and the hub's library when they are imported."""


def show_dashboard(
    place: Place, *, storage: Path | None = None, host: str, port: int, say: Callable[[str], object]
) -> None:
    """Show the saved runs of a storage, ``results`` if none is named, until Ctrl-C.

    Raises:
        SpecError: no such folder, an address that others can reach, or a port that is taken.
        MissingExtraError: Gradio is not installed.
    """
    from emobench.dashboard.server import listen, serve

    folder = storage or place.root / "results"
    if not folder.is_dir():
        raise SpecError(
            f"no folder {folder}", why="the dashboard shows the runs saved in it", fix="make some: pytest benchmarks"
        )
    with listen(host, port) as listening:
        os.environ.update(QUIET)
        serve(folder, listening, say=say)

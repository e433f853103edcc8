"""Trackio: a project ``emobench`` with a run for each case, in the folder that Trackio is told to use.

Written by Trackio in a process of its own, straight into its database as its importers do: ``trackio.init`` would add
the user's name and start a thread for every case.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emobench.errors import SpecError
from emobench.extras import require
from emobench.reports.exported import ExportedCase, ExportedRun, flat_metrics, safe_name
from emobench.reports.own_process import answer, run_apart

PROJECT = "emobench"


def write_trackio(run: ExportedRun, cases: Sequence[ExportedCase], folder: Path) -> str:
    """Add the cases to the project in ``folder``; return what was written.

    Raises:
        SpecError: the run is there already.
        MissingExtraError: trackio is not installed.
        UnsupportedError: Trackio could not write.
    """
    if importlib.util.find_spec("trackio") is None:
        require("trackio", feature="the export to Trackio", extra="trackio")
    folder.mkdir(parents=True, exist_ok=True)
    moment = datetime.fromtimestamp(run.seconds, UTC).isoformat()
    payload = {"project": PROJECT, "moment": moment, "cases": [_case(run, case) for case in cases]}
    found = run_apart(__name__, payload, environment={"TRACKIO_DIR": str(folder.resolve())})
    if found["there"]:
        raise SpecError(
            f"{run.name} is in {folder} already", why="a run is added once", fix="name another folder with --output"
        )
    return f"{folder}: {len(cases)} cases; look at it with: TRACKIO_DIR={folder} trackio show --project {PROJECT}"


def _case(run: ExportedRun, case: ExportedCase) -> dict[str, Any]:
    steps: dict[int, dict[str, float]] = {0: flat_metrics(case)}
    for name, points in case.curves.items():
        for step, value in points:
            steps.setdefault(step, {})[name] = value
    return {
        "name": safe_name(f"{run.name} {case.id}"),
        "config": {**case.params, "commit": run.commit, "_Group": safe_name(run.name)},
        "steps": sorted(steps),
        "metrics": [steps[step] for step in sorted(steps)],
    }


def _write(payload: dict[str, Any]) -> dict[str, Any]:
    """In the process of its own."""
    from trackio.sqlite_storage import SQLiteStorage

    project = payload["project"]
    there = set(SQLiteStorage.get_runs(project))
    if any(case["name"] in there for case in payload["cases"]):
        return {"there": True}
    for case in payload["cases"]:
        SQLiteStorage.bulk_log(
            project=project,
            run=case["name"],
            metrics_list=case["metrics"],
            steps=case["steps"],
            timestamps=[payload["moment"]] * len(case["steps"]),
            config=case["config"],
        )
    return {"there": False}


if __name__ == "__main__":
    answer(_write)

"""MLflow: a run as an experiment's parent run and each case as a child, in a SQLite tracking store.

Written by MLflow itself, in a process of its own with its telemetry off. Artifacts are named by their path in the run's
folder and not copied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from emobench.errors import SpecError
from emobench.extras import require
from emobench.reports.exported import ExportedRun, flat_metrics, safe_name
from emobench.reports.own_process import answer, run_apart

EXPERIMENT = "emobench"
RUN_TAG = "emobench.run"
"""Tag that names the saved run; one that is in the store already is not added again."""
_PARAM, _KEY, _BATCH = 6000, 250, 1000
"""MLflow's limits: characters of a parameter's value and of a name, entries of one call."""
_SQLITE_URL = re.compile(r"[?#%]")


def write_mlflow(run: ExportedRun, output: Path) -> str:
    """Add the run to the SQLite tracking store ``output``, made if need be; return what was written.

    Raises:
        SpecError: the run is there already, or the path cannot stand in an address.
        MissingExtraError: mlflow, sqlalchemy or alembic is not installed.
        UnsupportedError: MLflow could not write.
    """
    for module in ("mlflow", "sqlalchemy", "alembic"):
        _installed(module)
    if _SQLITE_URL.search(str(output)):
        raise SpecError(f"--output {output}", why="?, # and % end a path in SQLite's address", fix="name another file")
    output.parent.mkdir(parents=True, exist_ok=True)
    payload = {"run": run.name, "commit": run.commit, "milliseconds": int(run.seconds * 1000), "cases": _cases(run)}
    found = run_apart(
        __name__,
        {**payload, "uri": f"sqlite:///{output.resolve().as_posix()}"},
        environment={"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PYTHONWARNINGS": "ignore"},
    )
    if found["there"]:
        raise SpecError(
            f"{run.name} is in {output} already", why="a run is added once", fix="name another file with --output"
        )
    return f"{output}: {found['written']} cases; look at it with: mlflow ui --backend-store-uri sqlite:///{output}"


def _installed(module: str) -> None:
    import importlib.util

    # Found, not imported: MLflow reads its settings and starts its telemetry when it is imported.
    if importlib.util.find_spec(module) is None:
        require(module, feature="the export to MLflow", extra="mlflow")


def _cases(run: ExportedRun) -> list[dict[str, Any]]:
    found = []
    for case in run.cases:
        tags = {"emobench.status": case.status, "emobench.id": case.id}
        tags |= {"emobench.reasons": "; ".join(case.reasons)[:_PARAM]} if case.reasons else {}
        tags |= {f"emobench.artifact.{key_name(name)}"[:_KEY]: path[:_PARAM] for name, path in case.artifacts.items()}
        metrics = [(name, value, 0) for name, value in _keyed(flat_metrics(case)).items()]
        for name, points in case.curves.items():
            metrics += [(key_name(name), value, step) for step, value in points]
        found.append(
            {
                "name": safe_name(case.id, longest=_KEY),
                "status": "FINISHED" if case.status == "ok" else "FAILED",
                "params": {key_name(name): value[:_PARAM] for name, value in case.params.items()},
                "metrics": metrics,
                "tags": tags,
            }
        )
    return found


def key_name(name: str) -> str:
    """A name as MLflow takes it: what is no letter, digit, ``_``, ``-`` or ``.`` becomes ``_``."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:_KEY].strip(".") or "_"


def _keyed(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics by keys that MLflow takes; two that would get one key are numbered."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        key, number = key_name(name), 2
        while key in found:
            key, number = f"{key_name(name)[: _KEY - 8]}_{number}", number + 1
        found[key] = value
    return found


def _write(payload: dict[str, Any]) -> dict[str, Any]:
    """In the process of its own."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=payload["uri"])
    experiment = client.get_experiment_by_name(EXPERIMENT)
    # Named so that no folder mlruns is made beside the caller; nothing is ever put there.
    place = payload["uri"].removeprefix("sqlite:///") + ".artifacts"
    number = experiment.experiment_id if experiment else client.create_experiment(EXPERIMENT, artifact_location=place)
    name = payload["run"].replace("\\", "\\\\").replace("'", "\\'")
    if client.search_runs([number], filter_string=f"tags.`{RUN_TAG}` = '{name}'", max_results=1):
        return {"there": True, "written": 0}
    moment = payload["milliseconds"]
    parents = {"emobench.commit": payload["commit"]}
    parent = client.create_run(number, start_time=moment, run_name=safe_name(payload["run"]), tags=parents)
    for case in payload["cases"]:
        tags = {**case["tags"], "mlflow.parentRunId": parent.info.run_id, "emobench.commit": payload["commit"]}
        child = client.create_run(number, start_time=moment, run_name=case["name"], tags=tags)
        for part in _parts(case["metrics"]):
            client.log_batch(child.info.run_id, metrics=[Metric(key, value, moment, step) for key, value, step in part])
        client.log_batch(child.info.run_id, params=[Param(key, value) for key, value in case["params"].items()])
        client.set_terminated(child.info.run_id, status=case["status"], end_time=moment)
    # Last, so that a run that was cut off is not taken for one that is there.
    client.log_batch(parent.info.run_id, tags=[RunTag(RUN_TAG, payload["run"])])
    client.set_terminated(parent.info.run_id, end_time=moment)
    return {"there": False, "written": len(payload["cases"])}


def _parts(entries: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(entries), _BATCH):
        yield entries[start : start + _BATCH]


if __name__ == "__main__":
    answer(_write)

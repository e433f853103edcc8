"""Exports: a saved run in the forms of other tools, after the fact. Runs and measures nothing, and asks no network.

What goes out is a list of fields, not all that the file holds: case axes and key, status, metrics with intervals, loss
and validation curves, the device's name, commit and date. Host and user names, arguments and paths of the machine do
not go out, and known forms of credentials are taken out of every text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from emobench.errors import SpecError, unknown_name
from emobench.files import write_bytes
from emobench.outcomes import Status
from emobench.records.committed import clean
from emobench.records.record import Record
from emobench.records.store import Run
from emobench.reports.case_fields import AXES
from emobench.reports.exported import ExportedCase, ExportedRun, safe_name

FORMATS = ("github-action-benchmark", "bencher", "mlflow", "tensorboard", "trackio")
SMALLER, BIGGER = "customSmallerIsBetter.json", "customBiggerIsBetter.json"
"""Files of ``github-action-benchmark``, named after the value of its setting ``tool``."""
LONGEST_MEASURE = 64
"""Longest name of a measure there."""


def export_run(run: Run, to: str, output: Path) -> list[str]:
    """Write ``run`` in the format ``to`` (one of :data:`FORMATS`); return what was written, a line each.

    ``output`` is a file for ``bencher`` and ``mlflow`` (a SQLite database), a folder for the others. The JSON files are
    replaced; to a database or a folder of events the run is added.

    Raises:
        SpecError: an unknown format, an output that is of the wrong kind, no ok case, or a run that is there already.
        MissingExtraError: the tool's package is not installed.
        UnsupportedError: the tool's package could not write; says what it said.
    """
    if to not in FORMATS:
        raise unknown_name("export format", to, FORMATS)
    _check_output(to, output)
    found = exported(run)
    good = [case for case in found.cases if case.status == Status.OK.value and case.metrics]
    if not good:
        raise SpecError(
            f"nothing to export in {found.name}", why="it holds no ok case with a metric", fix="name another run"
        )
    left = len(found.cases) - len(good)
    skipped = [f"left out: {left} of {len(found.cases)} cases, which are not ok"] if left else []
    if to == "github-action-benchmark":
        return [*_write_action(good, output), *skipped]
    if to == "bencher":
        write_bytes(output, _json(bencher(good)))
        return [f"{output}: {len(good)} benchmarks; give it to: bencher run --adapter json --file {output}", *skipped]
    if to == "mlflow":
        from emobench.reports.export_mlflow import write_mlflow

        return [write_mlflow(found, output)]
    if to == "tensorboard":
        from emobench.reports.export_tensorboard import write_tensorboard

        return [write_tensorboard(found, good, output), *skipped]
    from emobench.reports.export_trackio import write_trackio

    return [write_trackio(found, good, output), *skipped]


def _check_output(to: str, output: Path) -> None:
    wants_file = to in ("bencher", "mlflow")
    if wants_file and output.is_dir():
        raise SpecError(f"--output {output}", why=f"{to} is one file and this is a folder", fix="name a file in it")
    if not wants_file and output.exists() and not output.is_dir():
        raise SpecError(f"--output {output}", why=f"{to} is a folder and this is a file", fix="name a folder")


def exported(run: Run) -> ExportedRun:
    """What may go out of a run, without credentials and home folders."""
    return ExportedRun(
        name=str(clean(run.name)),
        commit=str(clean(str(run.commit_info.get("id") or ""))),
        seconds=_seconds(run.datetime),
        cases=tuple(_case(record) for record in run.records),
    )


def _seconds(moment: str) -> float:
    try:
        found = datetime.fromisoformat(moment)
    except ValueError:
        return 0.0
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _case(record: Record) -> ExportedCase:
    params = {name: record.case[name] for name in AXES if record.case.get(name) not in (None, "", [])}
    params |= {name: record.environment[name] for name in ("device_name", "threads") if name in record.environment}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in params.items()}
    return ExportedCase(
        id=str(clean(record.id)),
        status=record.status.value,
        reasons=tuple(clean(list(record.reasons))),
        params=clean(texts),
        metrics=record.metrics,
        curves=_curves(record.details.get("training")),
        artifacts={
            str(clean(name)): str(clean(path))
            for name, path in record.artifacts.items()
            if isinstance(path, str) and not Path(path).is_absolute() and ".." not in Path(path).parts
        },
    )


def _curves(trainings: object) -> dict[str, tuple[tuple[int, float], ...]]:
    """Loss by step and validation accuracy by step; of several seeds each under its own name."""
    entries = [entry for entry in trainings if isinstance(entry, Mapping)] if isinstance(trainings, list) else []
    found: dict[str, tuple[tuple[int, float], ...]] = {}
    for number, entry in enumerate(entries):
        end = "" if len(entries) == 1 else f"_seed{entry.get('seed', number)}"
        losses = entry.get("losses")
        points = enumerate(losses, start=1) if isinstance(losses, list) else ()
        found[f"loss_by_step{end}"] = tuple((step, float(value)) for step, value in points if _is_number(value))
        checks = entry.get("validation")
        scores = [check for check in checks if isinstance(check, Mapping)] if isinstance(checks, list) else []
        found[f"validation_accuracy_by_step{end}"] = tuple(
            (int(check["step"]), float(check["accuracy"]))
            for check in scores
            if _is_number(check.get("step")) and _is_number(check.get("accuracy"))
        )
    return {name: points for name, points in found.items() if points}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def action(cases: Sequence[ExportedCase], *, better: str) -> list[dict[str, Any]]:
    """Entries of github-action-benchmark's custom tools: all metrics of which ``better`` (lower or higher) is better.

    Form: https://github.com/benchmark-action/github-action-benchmark, "customSmallerIsBetter". ``range`` is the larger
    side of the 95 % interval.
    """
    found = []
    for case in cases:
        for item in case.metrics:
            if item.better != better:
                continue
            entry: dict[str, Any] = {
                "name": safe_name(f"{case.id}: {item.name}"),
                "unit": safe_name(item.unit),
                "value": item.value,
            }
            if item.ci is not None:
                entry["range"] = f"± {max(item.value - item.ci[0], item.ci[1] - item.value):.6g}"
            notes = [f"n={item.n}"] if item.n is not None else []
            device = case.params.get("device_name")
            entry["extra"] = safe_name("; ".join([*notes, *([device] if device else [])]))
            found.append(entry)
    return found


def _write_action(cases: Sequence[ExportedCase], folder: Path) -> list[str]:
    lines = []
    for name, better in ((SMALLER, "lower"), (BIGGER, "higher")):
        entries = action(cases, better=better)
        write_bytes(folder / name, _json(entries))
        tool = name.removesuffix(".json")
        lines.append(
            f"{folder / name}: {len(entries)} entries for benchmark-action/github-action-benchmark, tool: {tool}"
        )
    return lines


def bencher(cases: Sequence[ExportedCase]) -> dict[str, dict[str, dict[str, float]]]:
    """Bencher Metric Format: benchmark to measure to value, with the 95 % interval as lower and upper value.

    Form: https://bencher.dev/docs/reference/bencher-metric-format
    """
    return {
        safe_name(case.id): {
            safe_name(item.name, longest=LONGEST_MEASURE): {
                "value": item.value,
                **({} if item.ci is None else {"lower_value": item.ci[0], "upper_value": item.ci[1]}),
            }
            for item in case.metrics
        }
        for case in cases
    }


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, allow_nan=False).encode()

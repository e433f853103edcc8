"""``emobench check --calibrate``: predicted against measured over saved runs, and the corrections of each device.

The memory a case was predicted to take stands in its record. Its time is predicted anew, from the sizes in the record
and this machine's measured rates, so only for records of devices of this machine. Runs nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from emobench.commands.project_place import Place, find_place
from emobench.devices import absent_reason, find_device
from emobench.errors import BrokenFileError, SpecError, UnsupportedError
from emobench.estimate.corrections import (
    FEWEST,
    LARGEST,
    Calibration,
    Correction,
    corrected,
    correction,
    save_calibration,
    typical_error,
)
from emobench.estimate.time import Rates, case_seconds
from emobench.files import write_bytes
from emobench.kinds import GENERATING, KINDS
from emobench.outcomes import Status
from emobench.records.record import Record
from emobench.records.store import find_run, load_run, run_files
from emobench.specs import CaseSpec, DeviceKind, MethodSpec, Precision, Profile, TrainSettings

MEASURED_AS = MappingProxyType(
    {"train": "train_seconds", "evaluate": "evaluate_seconds", "latency": "latency_p50_seconds"}
)
"""Part of a time estimate to the metric that measures it."""


@dataclass(frozen=True, kw_only=True)
class Calibrated:
    """What calibrating gave."""

    found: tuple[Calibration, ...]
    ratios: Mapping[str, Mapping[str, Sequence[float]]]
    """Device to quantity and kind of work, as ``memory.train``, to measured over predicted of each record."""
    files: tuple[Path, ...]
    runs: int
    unreadable: tuple[str, ...]
    """Runs that were left out, with the reason."""


def calibrate(place: Place, names: Sequence[str] = (), *, say: Callable[[str], None] | None = None) -> Calibrated:
    """Compare predictions with measurements over saved runs, and keep the corrections of each device.

    ``names`` are runs as other verbs take them, or folders of saved runs; without any, all runs of the project count.

    Raises:
        SpecError: there is no such run, or no saved run has a case to learn from.
    """
    storage = place.root / "results"
    ratios: dict[str, dict[str, list[float]]] = {}
    runs, unreadable = 0, []
    rates = _Rates(say)
    for path in _files(names, storage):
        try:
            records = load_run(path).records
        except BrokenFileError as error:
            unreadable.append(f"{path.name}: {error.why}")
            continue
        runs += 1
        for record in records:
            device = str(record.environment.get("device_name") or "")
            if record.status is not Status.OK or not device:
                continue
            for name, ratio in (*_memory(record), *_times(record, place, rates)):
                ratios.setdefault(device, {}).setdefault(name, []).append(ratio)
    if not ratios:
        raise SpecError(
            "there is nothing to calibrate with",
            why=f"{', '.join(names) or storage} {'have' if len(names) > 1 else 'has'} no ok case with a prediction",
            fix="make one: pytest benchmarks",
        )
    found = tuple(
        Calibration(device=device, corrections={name: correction(values) for name, values in sorted(named.items())})
        for device, named in sorted(ratios.items())
    )
    return Calibrated(
        found=found,
        ratios=ratios,
        files=tuple(save_calibration(item) for item in found),
        runs=runs,
        unreadable=tuple(unreadable),
    )


def _files(names: Sequence[str], storage: Path) -> list[Path]:
    """The saved runs of these names and folders, each once."""
    if not names:
        return run_files(storage)
    found: list[Path] = []
    for name in names:
        files = run_files(Path(name)) if Path(name).is_dir() else [find_run(storage, name)]
        if not files:
            raise SpecError(
                f"folder {name} holds no saved run",
                why="runs are saved as 0001_NAME.json in it or in folders below it",
                fix=f"name a folder such as {storage}, or a run of emobench runs",
            )
        found += files
    return list({path.resolve(): path for path in found}.values())


def _memory(record: Record) -> Iterator[tuple[str, float]]:
    estimate = record.details.get("estimate")
    if not isinstance(estimate, Mapping):
        return
    ratio = estimate.get("ratio")
    if isinstance(ratio, float | int) and ratio > 0:
        yield f"memory.{estimate['plan']['work']}", float(ratio)


class _Rates:
    """Rates of the devices that are here, each looked up once; None for one that is not."""

    def __init__(self, say: Callable[[str], None] | None) -> None:
        self._say = say
        self._names: dict[DeviceKind, str | None] = {}
        self._found: dict[tuple[DeviceKind, Precision], Rates] = {}

    def of(self, record: Record) -> Rates | None:
        """The rates that the record's case ran at, if it ran on a device like the one here."""
        from emobench.calibration.time import machine_rates

        kind: DeviceKind = record.case["device"]
        precision: Precision = record.case["precision"]
        if kind not in self._names:
            here = None if absent_reason(kind) else find_device(kind)
            self._names[kind] = None if here is None else here.name
        if self._names[kind] is None or self._names[kind] != record.environment.get("device_name"):
            return None
        if (kind, precision) not in self._found:
            self._found[kind, precision] = machine_rates(kind, precision, say=self._say)
        return self._found[kind, precision]


def _times(record: Record, place: Place, rates: _Rates) -> Iterator[tuple[str, float]]:
    found = rates.of(record)
    spec = None if found is None else spec_of(record, place)
    if found is None or spec is None:
        return
    data = record.details.get("data")
    mean = data.get("mean_tokens") if isinstance(data, Mapping) else None
    try:
        expected = case_seconds(spec, found, mean_length=mean).parts
    except UnsupportedError:
        # An architecture of no known shape has no estimate to correct.
        return
    for part, name in MEASURED_AS.items():
        measured = record.metric(name)
        if part in expected and measured is not None and measured.value > 0 and expected[part] > 0:
            yield f"time.{part}", measured.value / expected[part]


def spec_of(record: Record, place: Place) -> CaseSpec | None:
    """The case of a record, from its sizes and the catalogue's rows; None where a row is gone or was another one."""
    case, sizes = record.case, record.details.get("spec") or {}
    if (
        case["kind"] not in KINDS
        or case["kind"] in GENERATING
        or not isinstance(sizes, Mapping)
        or "profile" not in sizes
    ):
        # A generation is kept as its parts, which are no whole one.
        return None
    if (case.get("backend") or "eager") != "eager" or case.get("launch"):
        # The estimate is of eager operators in one process: another backend's speed is not its error.
        return None
    try:
        method = sizes.get("method")
        return CaseSpec(
            kind=case["kind"],
            model=place.find_model(case["model"]),
            dataset=place.find_dataset(case["dataset"]) if case.get("dataset") else None,
            method=MethodSpec.model_validate(method) if method else None,
            precision=case["precision"],
            device=case["device"],
            batch_size=case.get("batch_size"),
            length=case.get("length"),
            backend=case.get("backend") or "eager",
            profile=Profile.model_validate(sizes["profile"]),
            train=TrainSettings.model_validate(sizes.get("train") or {}),
            weights=case.get("weights") or "pretrained",
        )
    except (SpecError, ValidationError):
        return None


def calibrate_project(names: Sequence[str] = (), json_file: Path | None = None, *, say: Callable[[str], None]) -> str:
    """Calibrate with runs of the project around the working folder; the text, and the same as JSON where asked.

    ``say`` gets a line where the machine's rates must be measured first.

    Raises:
        SpecError: see :func:`calibrate`; also a path that cannot be written.
    """
    made = calibrate(find_place(), names, say=say)
    if json_file is not None:
        try:
            write_bytes(json_file, (json.dumps(as_json(made), indent=2) + "\n").encode())
        except OSError as error:
            raise SpecError(
                f"--json: {json_file} cannot be written", why=str(error), fix="name another place"
            ) from error
    return calibrated_text(made)


def calibrated_text(made: Calibrated) -> str:
    """What was found, a block for each device and in it one for each quantity and kind of work."""
    lines = [f"{made.runs} run{'' if made.runs == 1 else 's'} read"]
    lines += [f"  left out: {text}" for text in made.unreadable]
    for item, file in zip(made.found, made.files, strict=True):
        lines += ["", item.device or "unnamed device"]
        for name, found in item.corrections.items():
            lines += [f"  {text}" for text in _lines(name, found, made.ratios[item.device][name])]
        lines.append(f"  kept in {file}")
    return "\n".join(lines)


def _lines(name: str, found: Correction, ratios: Sequence[float]) -> Iterator[str]:
    quantity, _, work = name.partition(".")
    records = f"{found.records} record{'' if found.records == 1 else 's'}"
    yield f"{quantity} of {work}, {records}: measured is {found.factor:.2f} of predicted, {_off(ratios)}"
    if found.used:
        left = corrected(ratios)
        middle = correction(left).factor
        yield f"  corrected by the other records: measured is {middle:.2f} of predicted, {_off(left)}"
    elif found.records < FEWEST:
        yield f"  not corrected: {FEWEST} records are the fewest that a factor is taken from"
    else:
        yield f"  not corrected: beyond {LARGEST:g} times, what was measured is not what was predicted"


def _off(ratios: Sequence[float]) -> str:
    return f"half of them within {100 * typical_error(ratios):.0f} % of it"


def as_json(made: Calibrated) -> dict[str, Any]:
    """The corrections as plain values, with the middle ratio and the typical error before and after."""
    return {
        item.device: {
            name: {
                "factor": c.factor,
                "spread": c.spread,
                "records": c.records,
                "used": c.used,
                "error_before": typical_error(ratios),
                "error_after": typical_error(corrected(ratios) if c.used else ratios),
            }
            for name, c in item.corrections.items()
            for ratios in [made.ratios[item.device][name]]
        }
        for item in made.found
    }

"""Preflight of a case on this machine: gathers device, disks and data, and asks every check. Runs nothing."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from emobench.catalogue.combinations import NEEDS
from emobench.data_profile import DataProfile
from emobench.devices import absent_reason, find_device, free_memory_bytes, installed
from emobench.errors import DoesNotFitError, EmoBenchError, NotOnMachineError, UnsupportedError
from emobench.estimate.corrections import load_calibration
from emobench.files import cache_folder
from emobench.preflight.findings import DATA, DEVICE, MEMORY, check_case
from emobench.preflight.grouped import finding_lines
from emobench.preflight.planned import Disk, Finding, Fix, Machine, finding_from
from emobench.specs import CaseSpec, DeviceKind, Precision

if TYPE_CHECKING:
    from emobench.cases.state import CaseState
    from emobench.records.record import Record


class Profiles:
    """Profiles of data sets by what decides them, so that a matrix reads each data set and tokenizer once."""

    def __init__(self) -> None:
        self._splits: dict[str, object] = {}
        self._found: dict[str, DataProfile | EmoBenchError | None] = {}

    def of(self, case: CaseSpec) -> DataProfile | EmoBenchError | None:
        """The profile of the case's data; an error that the data causes; None where nothing is to be read.

        Nothing is read for random weights, for cases without data, and where data or tokenizer are not here.
        """
        if case.dataset is None or case.weights == "random" or case.dataset.source == "random":
            return None
        profile = case.profile
        sizes = [profile.train, profile.validation, profile.test, case.train.split_seed]
        rows = json.dumps([case.dataset.model_dump(mode="json"), sizes], sort_keys=True)
        row = case.model
        key = json.dumps([rows, row.id, row.path, row.revision, row.context, profile.max_length])
        if key not in self._found:
            from emobench.measurement.probes import quiet_packages

            # Transformers imports every quantization package that is installed, and they talk.
            with quiet_packages():
                self._found[key] = self._read(case, rows)
        return self._found[key]

    def mean_length(self, case: CaseSpec) -> float | None:
        """Mean length of the case's texts in tokens; None where they were not read."""
        found = self.of(case)
        return found.lengths.mean if isinstance(found, DataProfile) and found.lengths is not None else None

    def _read(self, case: CaseSpec, rows: str) -> DataProfile | EmoBenchError | None:
        from emobench.data.prepare import load_splits
        from emobench.data.split import Splits
        from emobench.data.splits_profile import profile_splits
        from emobench.models.load import load_tokenizer
        from emobench.models.locate import absent_reason as weights_absent

        assert case.dataset is not None
        packaged = case.model.packaged
        if weights_absent(case.model) or (packaged is not None and packaged.format == "gguf"):
            # Its tokenizer comes with weights that are converted once, which takes half a minute: not for a check.
            return None
        try:
            splits = self._splits.get(rows)
            if splits is None:
                splits = load_splits(case.dataset, profile=case.profile, seed=case.train.split_seed)
                self._splits[rows] = splits
            assert isinstance(splits, Splits)
            length = min(case.profile.max_length, case.model.context)
            tokenizer = load_tokenizer(case.model)
            return profile_splits(splits, tokenizer, dataset=case.dataset.id, max_length=length)
        except NotOnMachineError:
            return None
        except EmoBenchError as error:
            return error


def preflight(
    case: CaseSpec,
    *,
    storage: Path,
    silenced: Collection[str] = (),
    machine: Machine | None = None,
    profiles: Profiles | None = None,
    save_models: bool = False,
) -> tuple[Finding, ...]:
    """Everything that can be said of a case before it runs here; ``storage`` is the folder of saved runs.

    ``machine`` None looks at this one; ``profiles`` keeps what was read of the data between cases. Data that cannot
    be used is a finding too, and so is a device that is not here.
    """
    found = machine or machine_of(case.device, storage=storage)
    if found is None:
        return tuple(item for item in (no_device(case),) if item.check not in silenced)
    data = (profiles or Profiles()).of(case)
    findings = check_case(
        case,
        machine=found,
        data=data if isinstance(data, DataProfile) else None,
        silenced=silenced,
        save_models=save_models,
    )
    if isinstance(data, EmoBenchError) and DATA not in silenced:
        return (*findings, unusable(case, data))
    return findings


def stopped(case: CaseSpec, *, storage: Path, silenced: Collection[str] = ()) -> Finding | None:
    """Why a case cannot work, as far as it is known without its data and without predicting its memory; or None."""
    machine = machine_of(case.device, storage=storage)
    if machine is None:
        return no_device(case)
    return blocking(check_case(case, machine=machine, data=None, silenced=[*silenced, MEMORY]))


def check_running(case: CaseState, data: DataProfile | None) -> None:
    """Ask every check of a case that is about to load its model, and keep what they find in its record.

    Raises:
        DoesNotFitError: it is predicted to need more memory than there is.
        UnsupportedError: the data shows that it cannot work.
    """
    machine = machine_of(case.spec.device, storage=case.folder)
    assert machine is not None
    if case.kept_model is not None:
        # The model that an earlier case loaded for this one is not free, and need not be.
        machine = replace(machine, free_memory_bytes=machine.free_memory_bytes + case.kept_model.held_bytes)
    found = check_case(case.spec, machine=machine, data=data, silenced=case.silenced, save_models=case.save_models)
    case.details["preflight"] = [item.as_dict() for item in found]
    stop = blocking(found)
    if stop is None:
        return
    kind = DoesNotFitError if stop.check == MEMORY else UnsupportedError
    raise kind(stop.problem, why=stop.why, fix=f"{first_way_out(stop)}; or try it all the same with {stop.silence}")


def first_way_out(stop: Finding) -> str:
    """The fix to try first, with the line to copy."""
    if not stop.fixes:
        return ""
    first = stop.fixes[0]
    return f"{first.text}: {first.setting}" if first.setting else first.text


def kept_lines(records: Sequence[Record]) -> list[str]:
    """The warnings that the records keep, equal ones once with their count, for the end of a run."""
    found = [finding_from(item) for record in records for item in record.details.get("preflight", ())]
    lines = finding_lines([item for item in found if item.level == "warn"], indent="  ", full=False)
    return ["checked before each case (emobench check has reasons and more fixes):", *lines] if lines else []


def blocking(findings: Collection[Finding]) -> Finding | None:
    """The first finding that says the case cannot work, or None."""
    return next((item for item in findings if item.level == "stop"), None)


def machine_of(kind: DeviceKind, *, storage: Path, probe: Sequence[Precision] = ()) -> Machine | None:
    """Facts of the device of this kind and of the disks; None where torch cannot use one.

    A small operator is run in each precision of ``probe``, which imports the packages it needs.
    """
    device = None if absent_reason(kind) else find_device(kind)
    if device is None:
        return None
    return Machine(
        kind=kind,
        name=device.name,
        memory_bytes=device.memory_bytes,
        free_memory_bytes=free_memory_bytes(kind),
        fast_bf16=device.fast_bf16,
        capability=capability_of(kind),
        disks=disks_of({"results": storage, "cache": cache_folder(), "temporary": Path(tempfile.gettempdir())}),
        packages=frozenset(need.package for need in NEEDS.values() if installed(need.package)),
        precisions=tried(kind, probe) if probe else None,
        memory_factors=memory_factors(device.name),
    )


def memory_factors(device: str) -> dict[str, float]:
    """Corrections of memory estimates on this device by kind of work; see ``emobench check --calibrate``."""
    calibration = load_calibration(device)
    named = (name.partition(".") for name in calibration.corrections)
    return {work: calibration.factor("memory", work) for quantity, _, work in named if quantity == "memory"}


def tried(kind: DeviceKind, precisions: Sequence[Precision]) -> dict[Precision, bool]:
    """Precision to whether a small operator ran in it and was right."""
    from emobench.measurement.probes import probe_device

    return {found.precision: found.ok for found in probe_device(kind, precisions)}


def capability_of(kind: DeviceKind) -> tuple[int, int] | None:
    """CUDA compute capability of the first device; None for other kinds."""
    if kind != "cuda":
        return None
    import torch

    major, minor = torch.cuda.get_device_capability(0)
    return int(major), int(minor)


def disks_of(folders: dict[str, Path]) -> tuple[Disk, ...]:
    """The disks these folders lie on, or will lie on, each once, with its free room."""
    found: dict[int, tuple[Path, set[str]]] = {}
    for name, folder in folders.items():
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        found.setdefault(os.stat(there).st_dev, (folder, set()))[1].add(name)
    return tuple(
        Disk(holds=frozenset(names), folder=str(folder), free_bytes=free_bytes(folder))
        for folder, names in found.values()
    )


def free_bytes(folder: Path) -> int:
    """Bytes that may still be written where the folder lies, or will lie."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def no_device(case: CaseSpec) -> Finding:
    """The finding that a device is not on this machine."""
    return Finding(
        check=DEVICE,
        level="stop",
        problem=f"device {case.device} is not on this machine",
        why=absent_reason(case.device) or f"torch cannot use {case.device} here",
        fixes=(Fix(text="take a device that is here", trade_off="other times and memory", setting="emobench doctor"),),
        case_id=case.id,
    )


def unusable(case: CaseSpec, error: EmoBenchError) -> Finding:
    """The finding that the data cannot be used, from the error that reading it gave."""
    return Finding(
        check=DATA,
        level="stop",
        problem=error.problem,
        why=error.why,
        fixes=(
            Fix(
                text=error.fix,
                trade_off="none: nothing can be trained on it as it is",
                setting=f"emobench analyze {case.dataset.id}" if case.dataset else None,
            ),
        ),
        case_id=case.id,
    )

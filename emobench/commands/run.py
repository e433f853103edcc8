"""Running benchmark cases: which ones, by pytest in a process of its own, whose exit code is passed on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, get_args

from emobench.commands.project_place import BENCHMARKS, Place, find_benchmarks, find_place, pytest_options
from emobench.errors import SpecError, UnsupportedError, unknown_name
from emobench.kinds import FINETUNE, KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emobench.specs import CaseSpec, DeviceKind, Precision

LATENCY = " or ".join(kind.marker for kind in KINDS.values() if kind.shares_model)
TRAINING = FINETUNE.marker
TIME_LIMIT_SECONDS = 4 * 3600.0
"""Of one case in a process of its own: a hang must not take the night."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What every verb that runs cases takes; None and empty leave a setting as the project has it."""

    profile: str | None = None
    seeds: int | None = None
    slow: bool = False
    weights: str | None = None
    download: bool = False
    settings: Sequence[str] = ()
    """``key=value`` each."""
    silence: Sequence[str] = ()
    """Names of preflight checks that are not asked."""

    def arguments(self) -> list[str]:
        """The same for the pytest plugin."""
        found = [f"--emo-profile={self.profile}"] if self.profile is not None else []
        found += [f"--emo-seeds={self.seeds}"] if self.seeds is not None else []
        found += [f"--emo-weights={self.weights}"] if self.weights is not None else []
        found += ["--emo-slow"] if self.slow else []
        found += ["--emo-download"] if self.download else []
        found += [f"--emo-set={pair}" for pair in self.settings]
        return found + [f"--emo-silence={name}" for name in self.silence]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where cases run; None and empty leave a setting as the plugin has it."""

    isolate: bool = True
    """Each case in a fresh process; executors other than this process always do."""
    time_limit: float | None = None
    """Seconds of a case in a process of its own; 0 never ends one."""
    executor: str | None = None
    address: str | None = None
    gpus_per_case: float | None = None
    cpus_per_case: int | None = None
    group_by: str | None = None
    slurm: Sequence[str] = ()
    """``KEY=VALUE`` each, parameters of submitit."""
    shard: str | None = None
    resume: bool = False
    """Go on with the newest unfinished run."""

    def arguments(self) -> list[str]:
        """The same for the pytest plugin.

        Raises:
            SpecError: options that exclude each other, or a value that cannot be used.
        """
        self._check()
        found = ["--emo-isolate"] if self.isolate and self.executor is None else []
        found += [f"--emo-executor={self.executor}"] if self.executor is not None else []
        if found:
            limit = TIME_LIMIT_SECONDS if self.time_limit is None else self.time_limit
            found += [f"--emo-time-limit={limit:g}"] if limit else []
        named = {
            "address": self.address,
            "gpus-per-case": self.gpus_per_case,
            "cpus-per-case": self.cpus_per_case,
            "group-by": self.group_by,
            "shard": self.shard,
        }
        found += [f"--emo-{name}={value}" for name, value in named.items() if value is not None]
        found += ["--emo-resume"] if self.resume else []
        return found + [f"--emo-slurm={pair}" for pair in self.slurm]

    def _check(self) -> None:
        from emobench.executors.hooks import EXECUTORS, GROUPS
        from emobench.executors.shards import parse_shard

        if self.executor is not None and self.executor not in EXECUTORS:
            raise unknown_name("executor", self.executor, EXECUTORS)
        if self.group_by is not None and self.group_by not in GROUPS:
            raise unknown_name("grouping", self.group_by, GROUPS)
        if self.shard is not None:
            parse_shard(self.shard)
        if self.time_limit is not None and self.time_limit < 0:
            raise SpecError(
                f"--time-limit {self.time_limit:g}", why="it is below 0", fix="give seconds, 0 for no limit"
            )
        if not self.isolate and (self.executor is not None or self.time_limit):
            what = "--time-limit" if self.executor is None else f"--executor {self.executor}"
            raise SpecError(
                f"--no-isolate and {what} exclude each other",
                why="only a process of its own can be ended, or run elsewhere",
                fix="leave one of them out",
            )
        if self.group_by == "model" and self.isolate and self.executor in (None, "local"):
            raise SpecError(
                "--group-by model and a process for each case exclude each other",
                why="on this machine a case has a process of its own unless it is told otherwise",
                fix="add --no-isolate, or --executor ray or slurm",
            )


def run_matrix(
    options: RunOptions,
    *,
    select: str | None,
    mark: str | None,
    only: str | None = None,
    placement: Placement | None = None,
    extra: Sequence[str] = (),
) -> int:
    """Run ``benchmarks`` with pytest's ``-k select`` and ``-m mark``, inside ``-m only``; return the exit code.

    Raises:
        SpecError: a name that is in no table.
    """
    root = find_benchmarks()
    check_options(options, find_place(root))
    chosen = [f"-k={select}"] if select else []
    marks = both(only, mark)
    chosen += [f"-m={marks}"] if marks else []
    where = (placement or Placement()).arguments()
    start = [BENCHMARKS, *pytest_options(root)]
    return run_pytest([*start, *chosen, *options.arguments(), *where, *extra], cwd=root)


def both(only: str | None, mark: str | None) -> str | None:
    """A mark expression for what fits both; None selects everything."""
    if only and mark:
        return f"({only}) and ({mark})"
    return only or mark


def train_one(
    options: RunOptions,
    *,
    model: str,
    dataset: str,
    method: str,
    precision: str | None,
    device: str | None,
    extra: Sequence[str] = (),
) -> int:
    """Run exactly one fine-tuning case, slow or not; return pytest's exit code.

    Raises:
        SpecError: a name that is in no table, or a combination that is not allowed.
        NotOnMachineError: weights or data are not here and ``options.download`` is off.
        UnsupportedError: the device is not here.
    """
    root = find_benchmarks()
    place = find_place(root)
    check_options(options, place)
    spec = training_case(place, model=model, dataset=dataset, method=method, precision=precision, device=device)
    if not options.download:
        check_here(spec, random_weights=options.weights == "random")
    node = f"{BENCHMARKS}/test_finetune.py::test_{spec.id}"
    # One case asked for by name is wanted however long it takes.
    arguments = [argument for argument in options.arguments() if argument != "--emo-slow"]
    return run_pytest([node, *pytest_options(root), "--emo-slow", *arguments, *extra], cwd=root)


def training_case(
    place: Place, *, model: str, dataset: str, method: str, precision: str | None, device: str | None
) -> CaseSpec:
    """The fine-tuning case of these names; a device or precision not given is the machine's best.

    Raises:
        SpecError: a name that is in no table, or a combination no benchmark is run for.
        UnsupportedError: the device is not here.
    """
    from emobench.catalogue.combinations import why_not
    from emobench.catalogue.methods import find_method
    from emobench.catalogue.profiles import find_profile
    from emobench.specs import CaseSpec

    row, data, how = place.find_model(model), place.find_dataset(dataset), find_method(method, training=True)
    where = chosen_device(device)
    kind = chosen_precision(precision, where)
    if row.labels is not None:
        raise SpecError(
            f"model {row.id!r} is not trained",
            why="it is a ready classifier",
            fix=f"run: emobench evaluate {row.id} --data {data.id}",
        )
    reason = why_not(FINETUNE, how.id, kind, where)
    if reason:
        raise SpecError(
            f"method {how.id!r} at precision {kind!r} on device {where!r} is not run",
            why=reason,
            fix="emobench doctor shows what goes together",
        )
    return CaseSpec(
        kind=FINETUNE,
        model=row,
        dataset=data,
        method=how,
        precision=kind,
        device=where,
        profile=find_profile("quick"),
    )


def chosen_device(name: str | None) -> DeviceKind:
    """The device of this name; without one the first of cuda, mps and cpu that torch can use here.

    Raises:
        SpecError: there is no such kind of device.
        UnsupportedError: this machine has none.
    """
    from emobench.devices import absent_reason, find_device
    from emobench.specs import DeviceKind

    kinds: dict[str, DeviceKind] = {kind: kind for kind in get_args(DeviceKind)}
    if name is None:
        accelerators: tuple[DeviceKind, ...] = ("cuda", "mps")
        return next((kind for kind in accelerators if not absent_reason(kind) and find_device(kind)), "cpu")
    if name not in kinds:
        raise unknown_name("device", name, kinds)
    reason = absent_reason(kinds[name])
    if reason is None and find_device(kinds[name]) is None:
        reason = "torch cannot use it"
    if reason:
        raise UnsupportedError(
            f"device {name!r} is not on this machine",
            why=reason,
            fix="run: emobench doctor, and take a device it lists",
        )
    return kinds[name]


def chosen_precision(name: str | None, device: DeviceKind) -> Precision:
    """The precision of this name; without one bf16 where the device is fast at it, else fp32."""
    from emobench.catalogue.combinations import PRECISIONS
    from emobench.devices import cpu_has_fast_bf16, find_device

    if name is None:
        found = find_device(device) if device != "cpu" else None
        fast = found.fast_bf16 if found else device == "cpu" and cpu_has_fast_bf16()
        return "bf16" if fast else "fp32"
    known: dict[str, Precision] = {precision: precision for precision in PRECISIONS}
    if name not in known:
        raise unknown_name("precision", name, known)
    return known[name]


def check_options(options: RunOptions, place: Place) -> None:
    """Refuse a wrong option here, in one line, instead of in pytest."""
    from emobench.catalogue.overrides import find_overrides
    from emobench.catalogue.profiles import find_profile
    from emobench.preflight.findings import find_silenced
    from emobench.specs import TrainSettings, Weights

    find_silenced(options.silence)
    profile = find_profile(options.profile or place.project.settings.get("profile") or "quick")
    find_overrides(options.settings, *place.project.applied(profile, TrainSettings()))
    if options.weights is not None and options.weights not in get_args(Weights):
        raise unknown_name("kind of weights", options.weights, get_args(Weights))
    if options.seeds is not None and options.seeds < 1:
        raise SpecError(f"--seeds {options.seeds}", why="a case needs at least one seed", fix="give 1 or more")


def check_here(spec: CaseSpec, *, random_weights: bool) -> None:
    """Refuse a case whose weights or data are missing: alone, a skipped case would look like a finished one."""
    from emobench.data.sources import find_files
    from emobench.models.locate import locate

    if not random_weights:
        locate(spec.model, progress=lambda text: print(text, file=sys.stderr))
    if spec.dataset is not None and spec.dataset.source != "random":
        find_files(spec.dataset)


def run_pytest(arguments: Sequence[str], *, cwd: Path) -> int:
    """Run pytest with this Python and wait for it; its exit code, or 130 or 143 after an interrupt or a termination.

    The first signal lets pytest end the case and save the run.
    """
    sys.stdout.flush()
    started: list[subprocess.Popen[bytes]] = []
    # The handlers come first: a signal that this process was started to ignore, as in a background job, would be
    # ignored by pytest too, and a handled one is not.
    with _passing_signals_to(started) as received:
        started.append(subprocess.Popen([sys.executable, "-m", "pytest", *arguments], cwd=cwd))
        code = started[0].wait()
    if received:
        return 128 + received[0]
    return code if code >= 0 else 128 - code


@contextmanager
def _passing_signals_to(started: Sequence[subprocess.Popen[bytes]]) -> Iterator[list[int]]:
    received: list[int] = []

    def take(number: int, frame: FrameType | None) -> None:
        received.append(number)
        # A Ctrl-C at a terminal goes to pytest too; passed on, it would be a second one and pytest would not save.
        if number == signal.SIGINT and sys.stdin.isatty():
            return
        # pytest ends at once on SIGTERM without saving; on SIGINT it finishes.
        for process in started:
            process.send_signal(signal.SIGINT if len(received) == 1 else signal.SIGTERM)

    before = {number: signal.signal(number, take) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

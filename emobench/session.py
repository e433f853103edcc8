"""The EmoBench side of one pytest session: which case a test is, whether it can run here, and the run that is saved."""

from __future__ import annotations

import contextlib
import os
import secrets
import traceback
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

from emobench import __version__
from emobench.catalogue.asked import find_asked
from emobench.catalogue.backends import backend_absent_reason
from emobench.catalogue.combinations import NEEDS
from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.goals import find_goals
from emobench.catalogue.methods import find_method
from emobench.catalogue.models import find_model
from emobench.catalogue.profiles import find_profile
from emobench.catalogue.project import find_overrides, load_project
from emobench.devices import absent_reason, find_device, installed
from emobench.errors import ChangedAnswersError, DoesNotFitError, NonFiniteLossError, SpecError, UnsupportedError
from emobench.estimate import why_slow
from emobench.outcomes import Status
from emobench.progress import STDERR, Progress
from emobench.specs import CaseKind, CaseSpec, TrainSettings

if TYPE_CHECKING:
    from emobench.case import Case
    from emobench.gating import Gate
    from emobench.records.journal import Journal
    from emobench.records.record import Record
    from emobench.reports.tables import Skip

SESSION = pytest.StashKey["Session"]()
SPEC = pytest.StashKey[CaseSpec]()

RUN_SCHEMA = 1
NO_MEMORY = (
    "DefaultCPUAllocator",
    "Failed to allocate memory",
    "bfc_arena",
    "BFCArena",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""What torch's CPU allocator, ONNX Runtime and NVIDIA's libraries say when memory ran out."""
ATTEMPTS = pytest.StashKey[list[str]]()
"""What disturbed each earlier attempt at a case."""
AGAIN = pytest.StashKey[bool]()
"""Set where the attempt just made does not count and the case is to be measured once more."""

KINDS: tuple[CaseKind, ...] = get_args(CaseKind)
AXES = ("model", "dataset", "method", "precision", "device", "batch_size", "length", "backend")


class Session:
    """Options, catalogue with the user's own rows, and everything the session's cases gave."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.project = load_project(config.rootpath)
        defaults = self.project.settings
        profile = find_profile(config.getoption("emo_profile") or defaults.get("profile") or "quick")
        asked = config.getoption("emo_seeds")
        count = defaults.get("seeds", 1) if asked is None else asked
        if count < 1:
            raise SpecError(f"--emo-seeds {count}", why="a case needs at least one seed", fix="give 1 or more")
        self.weights = config.getoption("emo_weights")
        sized, train = self.project.applied(profile, TrainSettings())
        if self.weights == "random":
            sized = sized.model_copy(update=random_sizes(train.batch_size))
        overrides = find_overrides(config.getoption("emo_set"), sized, train)
        self.profile, self.train = overrides.profile, overrides.train
        self.goals = find_goals(
            defaults.get("targets", {}),
            defaults.get("price", {}),
            asked=config.getoption("emo_target"),
            hourly=config.getoption("emo_price"),
        )
        self.sweeping = bool(config.getoption("emo_sweep"))
        self.asked = find_asked(
            batch_sizes=config.getoption("emo_batch_sizes"),
            lengths=config.getoption("emo_lengths"),
            backends=config.getoption("emo_backends"),
        )
        self.reruns = config.getoption("emo_reruns")
        self.seeds = tuple(range(count))
        self.gate = self.find_gate()
        self.deselected: list[pytest.Item] = []
        self.markers: dict[str, set[str]] = {}
        self.manifest: list[str] = []
        self.records: list[Record] = []
        self.unmeasured: list[Record] = []
        self.skips: list[Skip] = []
        self.benchmarks: list[Any] = []
        self.saved: Path | None = None
        self.problem: str | None = None

    def find_gate(self) -> Gate | None:
        """The gate that the options ask for.

        Raises:
            SpecError: a limit that cannot be read.
            BaselineError: the baseline cannot be used.
        """
        asked, baseline = self.config.getoption("emo_gate"), self.config.getoption("emo_baseline")
        if not asked and baseline is None:
            return None
        from emobench.gating import find_gate

        choice = self.config.getoption("emo_inconclusive")
        table = self.project.settings.get("gates", {})
        return find_gate(table, asked, baseline, self.storage, inconclusive=choice)

    @cached_property
    def progress(self) -> Progress:
        return Progress(self.config.stash[STDERR])

    @cached_property
    def storage(self) -> Path:
        """Folder of saved runs: pytest-benchmark's storage where that is a folder, else ``results``."""
        uri = str(self.config.getoption("benchmark_storage", None) or "")
        is_folder = uri.startswith("file://") or (
            bool(uri) and "://" not in uri and not uri.startswith("elasticsearch")
        )
        place = uri.removeprefix("file://") if is_folder else "results"
        return (self.config.rootpath / place).resolve()

    @cached_property
    def folder(self) -> Path:
        """This run's own folder; its name is unique, so that concurrent runs never share one."""
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        return self.storage / "runs" / f"{moment}-{secrets.token_hex(4)}"

    def spec(self, kind: CaseKind, **names: Any) -> CaseSpec:
        """The case of these axis names (:data:`AXES`).

        Raises:
            SpecError: a name is in no table.
        """
        dataset, method = names.get("dataset"), names.get("method")
        return CaseSpec(
            kind=kind,
            model=find_model(names["model"], self.project.models),
            dataset=find_dataset(dataset, self.project.datasets) if dataset else None,
            method=find_method(method) if method else None,
            precision=names["precision"],
            device=names["device"],
            batch_size=names.get("batch_size"),
            length=names.get("length"),
            backend=names.get("backend", "eager"),
            profile=self.profile,
            train=self.train,
            seeds=self.seeds if kind == "finetune" else (0,),
            weights=self.weights,
        )

    def spec_of(self, item: pytest.Item) -> CaseSpec:
        """The case of a test: its kind from its marker, its axes from its parameters."""
        if SPEC not in item.stash:
            kind = next((name for name in KINDS if item.get_closest_marker(name)), None)
            params = getattr(getattr(item, "callspec", None), "params", {})
            if kind is None or not {"model", "precision", "device"} <= set(params):
                raise SpecError(
                    f"{item.nodeid} uses the fixture case without saying what it measures",
                    why="a case needs the fixtures model, precision and device and one of the markers "
                    + ", ".join(KINDS),
                    fix="add them as in benchmarks/test_finetune.py",
                )
            item.stash[SPEC] = self.spec(kind, **{name: params[name] for name in AXES if name in params})
        return item.stash[SPEC]

    def collected(self, items: Sequence[pytest.Item]) -> None:
        """Keep the ids of all cases that were not deselected."""
        self.manifest = [self.spec_of(item).id for item in items]
        if self.gate is not None:
            self.markers = {self.spec_of(item).id: {mark.name for mark in item.iter_markers()} for item in items}
            self.gate.collected(
                self.manifest, self.markers, deselected=self.deselected_ids(), selection=self.selection()
            )

    def deselected_ids(self) -> list[str]:
        """Ids of the cases that ``-k``, ``-m`` and their like left out; a test that is no proper case has none."""
        found = []
        for item in self.deselected:
            with contextlib.suppress(SpecError):
                found.append(self.spec_of(item).id)
        return found

    def selection(self) -> str:
        """Whether all cases were asked for, see ``gating.selection_of``."""
        from emobench.gating import selection_of

        option = self.config.getoption
        return selection_of(
            (str(argument) for argument in self.config.args),
            last_failed=bool(option("lf", False) or option("stepwise", False)),
            ignoring=bool(option("ignore", None) or option("ignore_glob", None)),
        )

    def refuse_or_skip(self, item: pytest.Item) -> None:
        """Fail a case under xdist, skip one that cannot run here; the reasons are kept for the summary."""
        if os.environ.get("PYTEST_XDIST_WORKER"):
            pytest.fail(
                "benchmark cases do not run under pytest-xdist: workers share the cores and pytest-benchmark measures "
                "nothing there; run pytest benchmarks without -n (pytest tests -n auto is fine)",
                pytrace=False,
            )
        spec = self.spec_of(item)
        skip = self.why_skip(spec, slow_asked_for=self.slow_asked_for())
        if skip is not None:
            self.skips.append(skip)
            item.user_properties.append(("emobench_skip", True))
            pytest.skip(f"{skip.text}; {skip.remedy}" if skip.fix else skip.text)

    def slow_asked_for(self) -> bool:
        """``--emo-slow``, or a mark expression that selects slow cases."""
        expression = str(self.config.getoption("markexpr", "") or "")
        words = expression.replace("(", " ").replace(")", " ").split()
        selected = "slow" in words and "not slow" not in " ".join(words)
        return bool(self.config.getoption("emo_slow")) or selected

    def why_skip(self, spec: CaseSpec, *, slow_asked_for: bool) -> Skip | None:
        """Why a case cannot or should not run here, or None."""
        from emobench.data.sources import is_here
        from emobench.models.locate import absent_reason as weights_absent
        from emobench.reports.tables import Skip

        def skip(reason: str, fix: str = "", subject: str = "") -> Skip:
            return Skip(case_id=spec.id, reason=reason, fix=fix, subject=subject)

        absent = absent_reason(spec.device)
        if absent:
            return skip(absent)
        need = NEEDS.get(spec.precision)
        if need and not installed(need.package):
            return skip(
                f"precision {spec.precision} needs {need.package}", f'run: pip install "emobench[{need.extra}]"'
            )
        lacks = backend_absent_reason(spec.backend, spec.device)
        if lacks:
            return skip(*lacks)
        downloading = self.config.getoption("emo_download")
        if self.weights == "pretrained" and not downloading and weights_absent(spec.model):
            return skip("weights of {subject} are not on this machine", "run: emobench fetch {subject}", spec.model.id)
        missing = is_here(spec.dataset) if spec.dataset else None
        if spec.dataset and missing and spec.dataset.source in ("file", "package"):
            return skip(missing)
        if spec.dataset and missing and not downloading:
            return skip("data set {subject} is not on this machine", "run: emobench fetch {subject}", spec.dataset.id)
        slow = None if slow_asked_for else why_slow(spec)
        if slow:
            return skip(slow, "add --emo-slow or -m slow")
        if find_device(spec.device) is None:
            return skip(f"torch cannot use {spec.device} here", "install a torch build for this device")
        return None

    def start(self, item: pytest.Item, benchmark: Any) -> Case:
        """The running case of a test; with ``--emo-download`` what it needs is fetched first."""
        from emobench.case import Case

        spec = self.spec_of(item)
        self.progress.start(spec.id)
        if self.config.getoption("emo_download"):
            self.fetch_missing(spec)
        if self.config.getoption("benchmark_cprofile", None) and spec.kind not in ("inference", "generation"):
            raise UnsupportedError(
                f"--benchmark-cprofile with a case of {spec.kind}",
                why="it would do the work once more, and add a round to the results",
                fix="leave it out, or take inference cases",
            )
        self.journal.started(spec.id)
        saving = bool(self.config.getoption("emo_save_models"))
        made = Case(
            spec,
            benchmark,
            folder=self.folder,
            progress=self.progress,
            save_models=saving,
            tracing=bool(self.config.getoption("emo_trace")),
            goals=self.goals,
        )
        made.release_memory()
        return made

    def fetch_missing(self, spec: CaseSpec) -> None:
        """Download what the case needs and this machine lacks."""
        from emobench.data.fetch import fetch_dataset
        from emobench.data.sources import is_here
        from emobench.models.fetch import fetch_model
        from emobench.models.locate import absent_reason as weights_absent

        if self.weights == "pretrained" and weights_absent(spec.model):
            fetch_model(spec.model, progress=self.progress.note)
        if spec.dataset and is_here(spec.dataset):
            fetch_dataset(spec.dataset, progress=self.progress.note)

    @cached_property
    def journal(self) -> Journal:
        """A line for each case that starts or ends, on disk before anything else happens."""
        from emobench.records.journal import Journal

        return Journal(self.folder)

    def finished(self, case: Case, item: pytest.Item) -> None:
        """Keep the record of a case whose test passed; a metric that is not finite fails it after all.

        A disturbed one is tried again, as often as ``--emo-reruns`` allows, and is invalid after that.
        """
        earlier = item.stash.setdefault(ATTEMPTS, [])
        if case.disturbances and len(earlier) < self.reruns:
            earlier.append("; ".join(case.disturbances))
            self.progress.note(f"disturbed, measured once more: {earlier[-1]}")
            item.stash[AGAIN] = True
            # Out of pytest-benchmark's files by the one, out of its table by the other.
            case.benchmark.has_error = True
            if case.benchmark.stats is not None:
                case.benchmark.stats.stats.data.clear()
            return
        if earlier:
            case.details["disturbed_attempts"] = list(earlier)
        case.reasons += case.disturbances
        record = self.keep(case, Status.INVALID if case.disturbances else Status.OK)
        if record.status is not Status.OK:
            pytest.fail(f"{record.id} is {record.status.value}: {'; '.join(record.reasons)}", pytrace=False)
        self.check_gate(case, record)

    def check_gate(self, case: Case, record: Record) -> None:
        """Fail a case whose gated metrics got worse, with their numbers."""
        if self.gate is None or self.config.getoption("benchmark_disable", False):
            return
        stats = case.benchmark.stats
        seconds = [] if stats is None or not case.settled else list(stats.stats.data)
        found = self.gate.check(record, seconds, self.facts(), self.machine_info)
        if found:
            pytest.fail("\n".join(found), pytrace=False)

    def gate_ended(self) -> int:
        """Decide everything that was gated, of the saved run; returns an exit code, 0 where nothing is wrong."""
        option = self.config.getoption
        if self.gate is None or self.gate.plan is None or option("collectonly") or option("benchmark_disable", False):
            return 0
        from emobench.gating import index_of_session
        from emobench.records.index import read_index

        index = read_index(self.saved) if self.saved else index_of_session(self.storage, self.ours())
        return self.gate.ended(index)

    @cached_property
    def machine_info(self) -> dict[str, Any]:
        """The machine as pytest-benchmark describes it."""
        hook, config = self.config.hook, self.config
        machine: dict[str, Any] = hook.pytest_benchmark_generate_machine_info(config=config)
        hook.pytest_benchmark_update_machine_info(config=config, machine_info=machine)
        return machine

    def broke(self, case: Case, error: BaseException) -> None:
        """Keep the record of a case whose test raised.

        Raises:
            pytest.skip.Exception: the case does not fit, which is a result and no failure.
        """
        if isinstance(error, pytest.skip.Exception):
            return
        status = status_of(error)
        case.reasons.append(one_line(error))
        if status is Status.DOES_NOT_FIT and (fitted := self.largest_that_fitted(case.spec)):
            case.reasons.append(f"largest batch that fitted: {fitted}")
        if not case.settled:
            case.benchmark.has_error = True
        record = self.keep(case, status)
        if status is Status.DOES_NOT_FIT:
            peak = record.metric("device_memory_peak_bytes") or record.metric("host_memory_peak_bytes")
            # The traceback would keep the tensors that filled the memory while the next case runs.
            traceback.clear_frames(error.__traceback__)
            reached = f" (peak reached: {peak.value / 2**20:.0f} MiB)" if peak else ""
            if self.gate is not None and (worse := self.gate.does_not_fit(record)):
                pytest.fail(f"{worse}: {one_line(error)}{reached}", pytrace=False)
            pytest.skip(f"does not fit: {one_line(error)}{reached}")

    def largest_that_fitted(self, spec: CaseSpec) -> int | None:
        """The largest batch of an otherwise equal case that was measured in this run."""
        wanted = {**spec.summary(), "id": None, "batch_size": None}
        sizes = [
            int(record.case["batch_size"])
            for record in self.records
            if record.status is Status.OK
            and record.case.get("batch_size")
            and all(record.case[name] == value for name, value in wanted.items() if value is not None)
        ]
        return max(sizes, default=None)

    def keep(self, case: Case, status: Status) -> Record:
        """Publish, journal and remember the record of a case."""
        record = case.record(status)
        self.records.append(record)
        stats = case.benchmark.stats
        if case.settled and stats is not None:
            case.publish(record)
            self.benchmarks.append(stats)
        else:
            self.unmeasured.append(record)
        self.journal.append(record.to_json())
        return record

    def close(self) -> None:
        """Give back what stays open while cases run."""
        if "progress" in self.__dict__:
            self.progress.close()

    def save(self) -> bool:
        """Save the run, if any case ran; False where it could not be saved. The journal has the records then."""
        if not self.records or self.config.getoption("benchmark_disable", False):
            return True
        from pytest_benchmark.utils import get_machine_id

        from emobench.records.store import save_run

        try:
            self.saved = save_run(self.storage, get_machine_id(), self.content(), commit=None)
        except OSError as error:
            self.problem = f"the run could not be saved: {error}; its records are in {self.folder}"
        return self.problem is None

    def content(self) -> dict[str, Any]:
        """The run as pytest-benchmark's own hooks make it, with our part under the key ``emobench``."""
        from emobench.records.secrets import redacted

        hook, config, machine = self.config.hook, self.config, self.machine_info
        commit = redacted(hook.pytest_benchmark_generate_commit_info(config=config))
        hook.pytest_benchmark_update_commit_info(config=config, commit_info=commit)
        output: dict[str, Any] = hook.pytest_benchmark_generate_json(
            config=config, benchmarks=self.benchmarks, include_data=True, machine_info=machine, commit_info=commit
        )
        hook.pytest_benchmark_update_json(config=config, benchmarks=self.benchmarks, output_json=output)
        output["emobench"] = self.ours()
        return output

    def ours(self) -> dict[str, Any]:
        """Our part of the saved run."""
        return {
            "schema": RUN_SCHEMA,
            "run": self.facts(),
            "unmeasured": [record.to_json() for record in self.unmeasured],
            "skipped": grouped(self.skips),
            "manifest": self.manifest,
        }

    def facts(self) -> dict[str, Any]:
        """What the session was."""
        from emobench.records.secrets import redacted

        found: dict[str, Any] = {
            "version": __version__,
            "folder": str(self.folder.relative_to(self.storage)),
            "profile": self.profile.id,
            "seeds": list(self.seeds),
            "weights": self.weights,
            "arguments": redacted(list(self.config.invocation_params.args)),
        }
        # What was left out on purpose is not missing at a gate, there and later.
        left_out, selection = self.deselected_ids(), self.selection()
        found |= {"deselected": left_out} if left_out else {}
        found |= {"selection": selection} if selection != "whole" else {}
        limited = self.gate.limits.markers if self.gate else {}
        noted = {name: [case for case, names in self.markers.items() if name in names] for name in limited}
        return found | ({"markers": noted} if noted else {})

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Our table, what was skipped and why, and where the run is."""
        if not (self.records or self.skips or (self.gate and self.gate.found)):
            return
        from emobench.reports.tables import results_table, skip_lines, target_lines

        reporter.section("EmoBench", sep="=")
        if self.records:
            reporter.write_line(results_table(self.records))
            for line in target_lines(self.records):
                reporter.write_line(line)
        for line in skip_lines(self.skips):
            reporter.write_line(line)
        if self.saved:
            number = self.saved.name.partition("_")[0]
            reporter.write_line(f"saved: {shown(self.saved)} (compare with --benchmark-compare={number})")
        for line in self.comparisons():
            reporter.write_line(line)
        if self.problem:
            reporter.write_line(self.problem, red=True, bold=True)

    def comparisons(self) -> list[str]:
        """What ``--emo-baseline``, the gates and ``--benchmark-compare`` ask for."""
        wanted = self.config.getoption("benchmark_compare", False)
        lines: list[str] = []
        if self.saved and self.gate is not None and self.gate.base is not None:
            from emobench.gating import comparison_lines
            from emobench.records.index import read_index

            lines += comparison_lines(self.gate.base.indexes, self.gate.name, read_index(self.saved))
        if self.saved and wanted:
            from emobench.gating import compared_with

            lines += ["", *compared_with(wanted, self.saved, self.storage)]
        return lines + (self.gate.lines() if self.gate else [])


def random_sizes(batch_size: int) -> dict[str, Any]:
    """Profile sizes for random weights: eight training steps and two batches of evaluation show speed and memory."""
    return {
        "train": 8 * batch_size,
        "validation": 0,
        "test": 2 * batch_size,
        "epochs": 1,
        "max_steps": None,
        "early_stopping_patience": None,
    }


def status_of(error: BaseException) -> Status:
    """How a case that raised ended."""
    if isinstance(error, NonFiniteLossError | ChangedAnswersError):
        return Status.INVALID
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return Status.INTERRUPTED
    if isinstance(error, DoesNotFitError) or is_out_of_memory(error):
        return Status.DOES_NOT_FIT
    return Status.FAILED


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the device or on the host; several libraries say so in a plain exception's text."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # A test's own ValueError may quote such words; these libraries raise RuntimeError or classes of their own.
    of_a_library = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime")
    return of_a_library and any(words in str(error) for words in NO_MEMORY)


def one_line(error: BaseException) -> str:
    """Kind and first line of an exception, without secrets of a known form."""
    from emobench.records.secrets import redact

    text = redact(next(iter(str(error).splitlines()), ""))
    return text if isinstance(error, NonFiniteLossError | DoesNotFitError) else f"{type(error).__name__}: {text}"


def grouped(skips: Iterable[Skip]) -> list[dict[str, Any]]:
    """Skipped cases by reason, as plain values."""
    found: dict[str, list[str]] = {}
    for skip in skips:
        found.setdefault(skip.text, []).append(skip.case_id)
    return [{"reason": reason, "count": len(cases), "cases": cases} for reason, cases in found.items()]


def shown(path: Path) -> str:
    """A path relative to the working folder where it lies in it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

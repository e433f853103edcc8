"""The EmoBench side of one pytest session: which case a test is, whether it can run here, and the run that is saved."""

from __future__ import annotations

import os
import secrets
import traceback
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from emobench import __version__
from emobench.catalogue.combinations import NEEDS
from emobench.catalogue.datasets import find_dataset
from emobench.catalogue.methods import find_method
from emobench.catalogue.models import find_model
from emobench.catalogue.profiles import find_profile
from emobench.catalogue.project import find_overrides, load_project
from emobench.devices import absent_reason, find_device, installed
from emobench.errors import DoesNotFitError, NonFiniteLossError, SpecError, UnsupportedError
from emobench.estimate import why_slow
from emobench.outcomes import Status
from emobench.progress import STDERR, Progress
from emobench.specs import CaseKind, CaseSpec, TrainSettings

if TYPE_CHECKING:
    from emobench.case import Case
    from emobench.records.journal import Journal
    from emobench.records.record import Record
    from emobench.reports.tables import Skip

SESSION = pytest.StashKey["Session"]()
SPEC = pytest.StashKey[CaseSpec]()

RUN_SCHEMA = 1
KINDS: tuple[CaseKind, ...] = ("finetune", "inference", "generation")


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
        self.seeds = tuple(range(count))
        self.manifest: list[str] = []
        self.records: list[Record] = []
        self.unmeasured: list[Record] = []
        self.skips: list[Skip] = []
        self.benchmarks: list[Any] = []
        self.saved: Path | None = None
        self.problem: str | None = None

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
        """The case of these axis names (``model``, ``dataset``, ``method``, ``precision``, ``device``, ``batch_size``).

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
            axes = ("model", "dataset", "method", "precision", "device", "batch_size")
            item.stash[SPEC] = self.spec(kind, **{name: params[name] for name in axes if name in params})
        return item.stash[SPEC]

    def collected(self, items: Sequence[pytest.Item]) -> None:
        """Keep the ids of all cases that were not deselected."""
        self.manifest = [self.spec_of(item).id for item in items]

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
        if self.config.getoption("benchmark_cprofile", None) and spec.kind == "finetune":
            raise UnsupportedError(
                "--benchmark-cprofile with a training case",
                why="it would train once more, and add a seed to the results",
                fix="leave it out, or take inference cases",
            )
        self.journal.started(spec.id)
        saving = bool(self.config.getoption("emo_save_models"))
        made = Case(spec, benchmark, folder=self.folder, progress=self.progress, save_models=saving)
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

    def finished(self, case: Case) -> None:
        """Keep the record of a case whose test passed; a metric that is not finite fails it after all."""
        record = self.keep(case, Status.OK)
        if record.status is not Status.OK:
            pytest.fail(f"{record.id} is {record.status.value}: {'; '.join(record.reasons)}", pytrace=False)

    def broke(self, case: Case, error: BaseException) -> None:
        """Keep the record of a case whose test raised.

        Raises:
            pytest.skip.Exception: the case does not fit, which is a result and no failure.
        """
        if isinstance(error, pytest.skip.Exception):
            return
        status = status_of(error)
        case.reasons.append(one_line(error))
        if not case.settled:
            case.benchmark.has_error = True
        record = self.keep(case, status)
        if status is Status.DOES_NOT_FIT:
            peak = record.metric("device_memory_peak_bytes") or record.metric("host_memory_peak_bytes")
            # The traceback would keep the tensors that filled the memory while the next case runs.
            traceback.clear_frames(error.__traceback__)
            reached = f" (peak reached: {peak.value / 2**20:.0f} MiB)" if peak else ""
            pytest.skip(f"does not fit: {one_line(error)}{reached}")

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
        hook, config = self.config.hook, self.config
        machine = hook.pytest_benchmark_generate_machine_info(config=config)
        hook.pytest_benchmark_update_machine_info(config=config, machine_info=machine)
        commit = hook.pytest_benchmark_generate_commit_info(config=config)
        hook.pytest_benchmark_update_commit_info(config=config, commit_info=commit)
        output: dict[str, Any] = hook.pytest_benchmark_generate_json(
            config=config, benchmarks=self.benchmarks, include_data=True, machine_info=machine, commit_info=commit
        )
        hook.pytest_benchmark_update_json(config=config, benchmarks=self.benchmarks, output_json=output)
        output["emobench"] = {
            "schema": RUN_SCHEMA,
            "run": {
                "version": __version__,
                "folder": str(self.folder.relative_to(self.storage)),
                "profile": self.profile.id,
                "seeds": list(self.seeds),
                "weights": self.weights,
                "arguments": list(self.config.invocation_params.args),
            },
            "unmeasured": [record.to_json() for record in self.unmeasured],
            "skipped": grouped(self.skips),
            "manifest": self.manifest,
        }
        return output

    def summarize(self, reporter: pytest.TerminalReporter) -> None:
        """Our table, what was skipped and why, and where the run is."""
        if not (self.records or self.skips):
            return
        from emobench.reports.tables import results_table, skip_lines

        reporter.section("EmoBench", sep="=")
        if self.records:
            reporter.write_line(results_table(self.records))
        for line in skip_lines(self.skips):
            reporter.write_line(line)
        if self.saved:
            number = self.saved.name.partition("_")[0]
            reporter.write_line(f"saved: {shown(self.saved)} (compare with --benchmark-compare={number})")
        if self.problem:
            reporter.write_line(self.problem, red=True, bold=True)


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
    if isinstance(error, NonFiniteLossError):
        return Status.INVALID
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return Status.INTERRUPTED
    if isinstance(error, DoesNotFitError) or is_out_of_memory(error):
        return Status.DOES_NOT_FIT
    return Status.FAILED


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the device or (a plain RuntimeError from torch's CPU allocator) on the host."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)


def one_line(error: BaseException) -> str:
    """Kind and first line of an exception."""
    text = next(iter(str(error).splitlines()), "")
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

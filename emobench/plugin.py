"""The pytest plugin: options, markers, the ``case`` fixture, skipping what cannot run, the saved run and its table.

It is loaded in every pytest session of an environment that has EmoBench, so nothing heavy is imported here.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Generator, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any

import pytest

from emobench.errors import EmoBenchError
from emobench.kinds import KINDS
from emobench.progress import STDERR

if TYPE_CHECKING:
    from emobench.cases.case import Case
    from emobench.session.run import Session

MARKERS = {
    "cpu": "the case runs on the CPU",
    "cuda": "the case runs on an NVIDIA GPU",
    "mps": "the case runs on an Apple GPU",
    "quantized": "the case's weights are stored in fewer bits than they compute in",
    **{kind.marker: kind.meaning for kind in KINDS.values()},
    "slow": "left out without --emo-slow or -m slow",
    "nightly": "left out without -m nightly",
    "network": "needs a hub",
}


CHECKED_EARLY = (
    *("emo_profile", "emo_seeds", "emo_set", "emo_target", "emo_price"),
    *("emo_batch_sizes", "emo_lengths", "emo_backends", "emo_processes", "emo_accelerate"),
    *("emo_baseline", "emo_gate", "emo_resume", "emo_silence"),
)
"""Options whose values are checked before anything is collected."""


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("emobench", "train, evaluate and time small language models")
    add = group.addoption
    add("--emo-profile", default=None, metavar="NAME", help="smoke, quick (default), standard or full: sizes of a case")
    add("--emo-seeds", type=int, default=None, metavar="N", help="training seeds a case, one round each (default 1)")
    add("--emo-download", action="store_true", help="ask the hub for weights and data that are not on this machine")
    add("--emo-slow", action="store_true", help="also run the cases that are slow on this device")
    add(
        "--emo-weights",
        choices=("pretrained", "random"),
        default="pretrained",
        help="random: real architecture, random weights; speed and memory only",
    )
    add("--emo-trace", action="store_true", help="profile each case once, outside the timed pass, and judge it")
    add("--emo-sweep", action="store_true", help="the wide sweep: more lengths, every backend, decoders at every batch")
    add("--emo-batch-sizes", default=None, metavar="LIST", help="batch sizes of latency cases, such as 1,8,64")
    add("--emo-lengths", default=None, metavar="LIST", help="tokens of each input, such as 32,512; also prompts")
    add("--emo-backends", default=None, metavar="LIST", help="eager (default), compile, onnxruntime")
    add("--emo-processes", type=int, default=None, metavar="N", help="processes of test_distributed's cases (DDP)")
    add("--emo-accelerate", default=None, metavar="FILE", help="accelerate configuration of those cases")
    add("--emo-reruns", type=int, default=2, metavar="N", help="tries more for a disturbed latency case (default 2)")
    add("--emo-target", action="append", default=[], metavar="METRIC:VALUE", help="show whether a metric reaches it")
    add("--emo-price", type=float, default=None, metavar="AMOUNT", help="price of an hour of the device: shows costs")
    add("--emo-baseline", default=None, metavar="NAME", help="blessed baseline or saved run to compare and gate with")
    add(
        "--emo-gate",
        action="append",
        default=[],
        metavar="METRIC:LIMIT",
        help="fail cases that got worse by more, such as accuracy:1pt, latency_p50_seconds:10%% or accuracy>=0.80",
    )
    add(
        "--emo-inconclusive",
        choices=("pass", "fail"),
        default="pass",
        help="what a gated case does that has too little data to decide (default pass)",
    )
    add(
        "--emo-resume",
        nargs="?",
        const="latest",
        default=None,
        metavar="FOLDER",
        help="go on with a run: the newest unfinished one, else the newest, or the one named as --emo-resume=FOLDER; "
        "where none has begun, a new one",
    )
    add(
        "--emo-share-device",
        action="store_true",
        help="with -n: more workers than cores or GPUs; every record is marked as shared",
    )
    add(
        "--emo-silence",
        action="append",
        default=[],
        metavar="NAME",
        help="leave out this preflight check (emobench check lists them); may be repeated",
    )
    add("--emo-save-models", action="store_true", help="keep every trained model in the run's folder")
    add(
        "--emo-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one size or training setting, such as max_length=256",
    )
    from emobench.executors.hooks import add_options

    add_options(add)


def pytest_configure(config: pytest.Config) -> None:
    # Capturing is off for a moment: what is duplicated now stays the terminal when tests run captured. The terminal of
    # xdist's workers is their controller's.
    works_for_xdist = hasattr(config, "workerinput")
    config.stash[STDERR] = os.open(os.devnull, os.O_WRONLY) if works_for_xdist else os.dup(2)
    if not works_for_xdist and config.getoption("dist", "no") != "no" and config.getoption("tx", None):
        from emobench.session.workers import Controller

        config.pluginmanager.register(Controller(config), "emobench-controller")
    for name, meaning in {**MARKERS, **own_markers(config)}.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")

    given = (config.getoption(name) for name in CHECKED_EARLY)
    if any(value not in (None, []) for value in given):
        session_of(config)
    from emobench.executors.hooks import configure

    configure(config)
    if any("benchmarks" in argument for argument in config.args):
        offer_suite(config)


def own_markers(config: pytest.Config) -> dict[str, str]:
    """Markers of the kinds that a project adds; where it extends nothing, nothing is read but the text of its file."""
    files = (config.rootpath / name for name in ("emobench.toml", "pyproject.toml"))
    if not any(path.is_file() and "extend]" in path.read_text(encoding="utf-8", errors="replace") for path in files):
        return {}
    from emobench.catalogue.project import load_project

    try:
        return {kind.marker: kind.meaning for kind in load_project(config.rootpath).kinds.values()}
    except EmoBenchError as error:
        raise pytest.UsageError(str(error)) from error


def offer_suite(config: pytest.Config) -> None:
    """Collect the benchmarks of the package where a folder with settings has none of its own."""
    from emobench.catalogue.toml_file import find_tables

    try:
        offered = find_tables(config.rootpath) is not None
    except EmoBenchError as error:
        raise pytest.UsageError(str(error)) from error
    if offered:
        from emobench.session import suite

        if not config.pluginmanager.is_registered(suite):
            config.pluginmanager.register(suite, suite.__name__)


def pytest_unconfigure(config: pytest.Config) -> None:
    ours = running(config)
    if ours is not None:
        ours.close()
    if STDERR in config.stash:
        os.close(config.stash[STDERR])
        del config.stash[STDERR]


def has_case(item: pytest.Item) -> bool:
    """Whether a test is a benchmark case; sessions in which none is called like one import nothing to know."""
    if "case" not in getattr(item, "fixturenames", ()):
        return False
    from emobench.session import lookup

    return lookup.has_case(item)


def session_of(config: pytest.Config) -> Session:
    """The EmoBench side of a pytest session, made when it is first needed."""
    from emobench.session import lookup

    return lookup.session_of(config)


def running(config: pytest.Config) -> Session | None:
    """The EmoBench side of a pytest session where there is one; nothing is imported to find out."""
    module = sys.modules.get("emobench.session.run")
    return None if module is None else config.stash.get(module.SESSION, None)


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: object) -> None:
    # Before pytest asks which fixtures the test takes.
    if isinstance(obj, FunctionType) and "case" in signature_names(obj):
        from emobench.session.suite import offer_axes_to

        offer_axes_to(obj, collector)


def signature_names(function: FunctionType) -> Sequence[str]:
    """Names of the arguments of a function, below its decorators."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return () if code is None else code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]


def pytest_deselected(items: Sequence[pytest.Item]) -> None:
    cases = [item for item in items if has_case(item)]
    if cases:
        session_of(cases[0].config).note_deselected(cases)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("emo_shard"):
        from emobench.executors.hooks import keep_shard

        keep_shard(config, items)
    cases = [item for item in items if has_case(item)]
    if not cases:
        return
    session = session_of(config)
    try:
        session.collected(cases)
    except EmoBenchError as error:
        raise pytest.UsageError(str(error)) from error
    done = session.already_done(cases)
    if done:
        config.hook.pytest_deselected(items=done)
        left_out = set(done)
        items[:] = [item for item in items if item not in left_out]
    session.take_lease([item for item in items if has_case(item)])


def pytest_report_header(config: pytest.Config) -> str | None:
    # Under xdist nothing is said after the collection, which this process has none of.
    return going_on(config) if config.pluginmanager.has_plugin("emobench-controller") else None


def pytest_report_collectionfinish(config: pytest.Config) -> str | None:
    return going_on(config)


def going_on(config: pytest.Config) -> str | None:
    """What ``--emo-resume`` found, for the screen."""
    ours = running(config)
    return None if ours is None else ours.going_on()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if has_case(item):
        from emobench.session.skips import refuse_or_skip

        session = session_of(item.config)
        refuse_or_skip(session, item)
        if session.place.workers:
            from emobench.session.workers import switch_clock

            switch_clock(session, item, on=True)


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    if has_case(item) and session_of(item.config).place.workers:
        from emobench.session.workers import switch_clock

        switch_clock(session_of(item.config), item, on=False)


@pytest.fixture
def case(request: pytest.FixtureRequest, benchmark: Any) -> Generator[Case]:
    """The case of this test: its spec, its clock, and where its metrics go."""
    from emobench.session.start import put_down, start

    session = session_of(request.config)
    made = start(session, request.node, benchmark)
    yield made
    made.progress.stop()
    put_down(session, made)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    if not has_case(item) or session_of(item.config).settings.reruns <= 0:
        return None
    # The one way to run an item twice; pytest offers no public one, and plugins that rerun tests use this.
    from _pytest.runner import runtestprotocol

    from emobench.session.ending import AGAIN

    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    while True:
        item.stash[AGAIN] = False
        reports = runtestprotocol(item, log=False, nextitem=nextitem)
        if not item.stash[AGAIN]:
            break
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    made: Case | None = getattr(item, "funcargs", {}).get("case") if has_case(item) else None
    if made is None:
        return (yield)
    from emobench.cases.artifacts import keep_predictions
    from emobench.cases.checks import check_running
    from emobench.session.ending import broke, finished

    session = session_of(item.config)
    try:
        if not made.spec.kind.reads_data_first:
            check_running(made, None)
        yield
        keep_predictions(made)
    except BaseException as error:
        broke(session, made, error)
        raise
    finished(session, made, item)
    return None


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    # Hundreds of cases that this machine cannot run would bury the few that it can; the summary groups them.
    if report.skipped and dict(getattr(report, "user_properties", ())).get("emobench_skip"):
        return "skipped", "", "SKIPPED"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    # Before the terminal summary, which names the saved file.
    ours = running(session.config)
    if ours is None:
        return
    if not session.config.pluginmanager.has_plugin("emobench-controller"):
        from emobench.session.end import end_session

        end_session(session, ours)
    if ours.place.workers:
        from emobench.session.workers import tell_controller

        tell_controller(ours)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    ours = running(terminalreporter.config)
    if ours is not None:
        from emobench.session.summary import summarize

        summarize(ours, terminalreporter)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    # The momentary clock differs at every look and would make the same machine look like another one.
    cpu = machine_info.get("cpu")
    if isinstance(cpu, dict):
        for name in [name for name in cpu if name.startswith("hz_actual")]:
            del cpu[name]

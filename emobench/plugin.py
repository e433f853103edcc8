"""The pytest plugin: options, markers, the ``case`` fixture, skipping what cannot run, the saved run and its table.

It is loaded in every pytest session of an environment that has EmoBench, so nothing heavy is imported here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from emobench.progress import STDERR

if TYPE_CHECKING:
    from emobench.case import Case
    from emobench.session import Session

MARKERS = {
    "cpu": "the case runs on the CPU",
    "cuda": "the case runs on an NVIDIA GPU",
    "mps": "the case runs on an Apple GPU",
    "quantized": "the case's weights are stored in fewer bits than they compute in",
    "finetune": "the case trains a classifier and evaluates it",
    "inference": "the case times forward passes",
    "generation": "the case times prefill and decoding",
    "pretraining": "the case trains from scratch",
    "slow": "left out without --emo-slow or -m slow",
    "network": "needs a hub",
}


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
    add("--emo-save-models", action="store_true", help="keep every trained model in the run's folder")
    add(
        "--emo-set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override one size or training setting, such as max_length=256",
    )


def pytest_configure(config: pytest.Config) -> None:
    # Capturing is off for a moment: what is duplicated now stays the terminal when tests run captured.
    config.stash[STDERR] = os.dup(2)
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")

    given = (config.getoption(name) for name in ("emo_profile", "emo_seeds", "emo_set"))
    if any(value not in (None, []) for value in given):
        session_of(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    if "emobench.session" in sys.modules:
        from emobench.session import SESSION

        if SESSION in config.stash:
            config.stash[SESSION].close()
    if STDERR in config.stash:
        os.close(config.stash[STDERR])
        del config.stash[STDERR]


def session_of(config: pytest.Config) -> Session:
    """The EmoBench side of a pytest session, made when it is first needed.

    Raises:
        pytest.UsageError: an option names something unknown; the text is the error's one line.
    """
    from emobench.session import SESSION, Session

    if SESSION not in config.stash:
        from emobench.errors import EmoBenchError

        try:
            config.stash[SESSION] = Session(config)
        except EmoBenchError as error:
            raise pytest.UsageError(str(error)) from error
    return config.stash[SESSION]


def has_case(item: pytest.Item) -> bool:
    """Whether a test is a benchmark case; a parameter of the user's that is called ``case`` does not make it one."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    return "case" in getattr(item, "fixturenames", ()) and "case" not in params


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    cases = [item for item in items if has_case(item)]
    if cases:
        session_of(config).collected(cases)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if has_case(item):
        session_of(item.config).refuse_or_skip(item)


@pytest.fixture
def case(request: pytest.FixtureRequest, benchmark: Any) -> Generator[Case]:
    """The case of this test: its spec, its clock, and where its metrics go."""
    session = session_of(request.config)
    made = session.start(request.node, benchmark)
    yield made
    made.progress.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    made: Case | None = getattr(item, "funcargs", {}).get("case") if has_case(item) else None
    if made is None:
        return (yield)
    session = session_of(item.config)
    try:
        yield
        made.write_predictions()
    except BaseException as error:
        session.broke(made, error)
        raise
    session.finished(made)
    return None


def pytest_report_teststatus(report: pytest.CollectReport | pytest.TestReport) -> tuple[str, str, str] | None:
    # Hundreds of cases that this machine cannot run would bury the few that it can; the summary groups them.
    if report.skipped and dict(getattr(report, "user_properties", ())).get("emobench_skip"):
        return "skipped", "", "SKIPPED"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    # Before the terminal summary, which names the saved file.
    from emobench.session import SESSION

    if SESSION in session.config.stash and not session.config.stash[SESSION].save():
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    from emobench.session import SESSION

    if SESSION in terminalreporter.config.stash:
        terminalreporter.config.stash[SESSION].summarize(terminalreporter)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    # The momentary clock differs at every look and would make the same machine look like another one.
    cpu = machine_info.get("cpu")
    if isinstance(cpu, dict):
        for name in [name for name in cpu if name.startswith("hz_actual")]:
            del cpu[name]

"""Gates through pytester: exactly what got worse fails, what has no number is incomplete, and the exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner, Result

# Imported here so that pytester, which drops what a run in this process imported, leaves it: decisions are compared.
import emobench.analysis.gates  # noqa: F401
from emobench.catalogue.limits import find_limits
from emobench.cli import app
from emobench.records.index import read_index
from emobench.session.gate import find_base, judge
from tests.test_plugin import STORAGE, saved, suite  # noqa: F401

SUITE = """
import json, pathlib, types
import numpy as np
import pytest
from emobench.measurement.clock import latency_metrics
from emobench.outcomes import Evaluation, metric

planted = json.loads(pathlib.Path("planted.json").read_text())

def axes(*batches):
    rows = [("all-minilm-l6-v2", "fp32", "cpu", batch) for batch in batches]
    return pytest.mark.parametrize("model,precision,device,batch_size", rows)

def seen(case):
    found = planted.get(str(case.spec.batch_size), {})
    if found.get("raises"):
        raise RuntimeError("planted")
    if found.get("memory"):
        raise MemoryError("planted")
    return found

@axes(*planted.get("scored", [1, 2]))
@pytest.mark.parametrize("dataset", ["rotten_tomatoes-train"])
@pytest.mark.evaluation
def test_scored(case, model, dataset, precision, device, batch_size):
    found = seen(case)
    rng = np.random.default_rng([batch_size, 7])
    labels = rng.integers(0, 2, 2000)
    right = rng.random(2000) < 0.9
    right[: found.get("lost", 0)] = False
    predicted = np.where(right, labels, 1 - labels)
    value = float("nan") if found.get("nan") else float(right.mean())
    case.data_fingerprint = found.get("data", "made")
    case.benchmark.pedantic(lambda: None, rounds=1)
    case.settled = True
    case.add([metric("accuracy", value, n=2000)])
    case.encoded = types.SimpleNamespace(fingerprint="made", class_names=("a", "b"), train=())
    scored = Evaluation(metrics=(), per_class=(), confusion=(), seconds=1.0, labels=labels.tolist(),
                        probabilities=np.eye(2)[predicted].tolist())
    case.predictions = [(0, scored)]

@axes(*planted.get("timed", [3, 4]))
@pytest.mark.inference
def test_timed(case, model, precision, device, batch_size):
    found = seen(case)
    case.benchmark.pedantic(lambda: None, rounds=30)
    noise = np.random.default_rng([planted.get("seed", 0), batch_size]).lognormal(0, 0.02, 30)
    seconds = (0.05 * found.get("slower", 1.0) * noise).tolist()[: found.get("rounds", 30)]
    case.benchmark.stats.stats.data[:] = seconds
    case.settled = True
    case.disturbances = found.get("disturbed", [])
    case.add(latency_metrics(seconds, samples=batch_size, tokens=batch_size * 8))
    case.add([metric("model_bytes", found.get("bytes", 1000))])
"""
GATES = ("--emo-baseline=main", "--emo-gate=accuracy:1pt", "--emo-gate=latency_p50_seconds:5%")


class Machine:
    """A plugin that describes the machine at once (reading it takes a second), and keeps what the gate found."""

    def __init__(self) -> None:
        self.found: Any = None

    def pytest_benchmark_generate_machine_info(self) -> dict[str, Any]:
        return {"node": "box", "machine": "x86_64", "cpu": {"brand_raw": "Xeon", "count": 2}}

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        from emobench.session.run import SESSION

        gate = session.config.stash[SESSION].gate
        self.found = gate and gate.found


def run(
    suite: pytest.Pytester,  # noqa: F811
    planted: dict[str, Any],
    *arguments: str,
    machine: Machine | None = None,
) -> pytest.RunResult:
    suite.path.joinpath("planted.json").write_text(json.dumps(planted))
    suite.makepyfile(test_suite=SUITE)
    options = ("--emo-profile=smoke", "--emo-reruns=0", STORAGE, "-p", "no:xdist", *arguments)
    return suite.runpytest_inprocess(*options, plugins=[machine or Machine()])


def command(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first run's results are kept, once it was made."""
    return tmp_path_factory.mktemp("blessed") / "results"


@pytest.fixture
def blessed(suite: pytest.Pytester, first_run: Path) -> pytest.Pytester:  # noqa: F811
    """A suite whose first run is the baseline ``main``."""
    if not first_run.exists():
        run(suite, {"seed": 0}).assert_outcomes(passed=4)
        found = command("bless", "0001", "--as", "main")
        assert found.exit_code == 0, found.output
        shutil.copytree(suite.path / "results", first_run)
    else:
        shutil.copytree(first_run, suite.path / "results")
    return suite


def text_of(result: pytest.RunResult) -> str:
    """The output with its lines joined: the summary wraps."""
    return " ".join(str(result.stdout).split())


@pytest.mark.slow
def test_exactly_what_got_worse_fails(blessed: pytest.Pytester) -> None:
    """The planted demo: worse predictions in one case, slower rounds in another; those two nodes fail, by exit code 10,
    with numbers, interval and limit in the message, in junit XML, and ``--lf`` selects them."""
    planted = {"seed": 1, "1": {"lost": 100}, "3": {"slower": 1.2}}
    result = run(blessed, planted, *GATES, "--junit-xml=junit.xml")
    result.assert_outcomes(passed=2, failed=2)
    assert result.ret == 10
    failed = {line.split()[1] for line in result.outlines if line.startswith("FAILED ")}
    assert failed == {
        "test_suite.py::test_scored[rotten_tomatoes-train-all-minilm-l6-v2-fp32-cpu-1]",
        "test_suite.py::test_timed[all-minilm-l6-v2-fp32-cpu-3]",
    }
    assert "Gated 4 of 4 against main: 2 worse, 2 same" in text_of(result)
    assert "98.75 %" in text_of(result)
    root = ElementTree.parse(blessed.path / "junit.xml").getroot()
    messages = [found.get("message") or "" for found in root.iter("failure")]
    assert len(messages) == 2
    assert "accuracy is worse: 0.8980 to 0.8540, -4.40 pt (98.75 % interval" in messages[0]
    assert "limit 1pt" in messages[0]
    assert "latency_p50_seconds is worse: " in messages[1]
    assert "limit 5%" in messages[1]
    again = run(blessed, planted, *GATES, "--lf")
    again.assert_outcomes(failed=2)
    assert again.ret == 10


ALL = "Gated 4 of 4 against main: "
LACKING = "Gated 3 of 4 against main: 3 same, 1 incomplete"
PLANTED = [
    pytest.param({}, 0, (ALL + "4 same",), id="same"),
    pytest.param({"1": {"lost": 100}, "4": {"slower": 1.3}}, 10, (ALL + "2 worse, 2 same",), id="worse"),
    pytest.param({"2": {"raises": True}}, 11, (LACKING, "failed: RuntimeError: planted"), id="crashed"),
    pytest.param({"2": {"nan": True}}, 11, (LACKING, "invalid: accuracy is nan, not a finite number"), id="nan"),
    pytest.param({"3": {"disturbed": ["noise"]}}, 11, (LACKING, "invalid: noise"), id="invalid"),
    pytest.param({"timed": [3]}, 11, (LACKING, "the case has no record"), id="vanished"),
    pytest.param({"3": {"memory": True}}, 10, (ALL + "1 worse, 3 same", "does not fit"), id="does-not-fit"),
    pytest.param(
        {"3": {"slower": 1.5}, "1": {"raises": True}}, 10, ("1 worse, 2 same, 1 incomplete",), id="worse-and-crashed"
    ),
    pytest.param({"3": {"rounds": 4}}, 0, (ALL + "3 same, 1 inconclusive", "fewer than 6 rounds"), id="few-rounds"),
    pytest.param({"1": {"data": "other"}}, 11, (LACKING, "data differs"), id="other-data"),
    pytest.param(
        {"timed": [3, 4, 5], "5": {"raises": True}}, 11, (ALL + "4 same, 1 incomplete",), id="new-and-crashed"
    ),
    pytest.param({"timed": [3, 4, 5]}, 0, (ALL + "4 same",), id="new"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("planted", "code", "said"), PLANTED)
def test_pytest_and_the_command_line_agree(
    blessed: pytest.Pytester, planted: dict[str, Any], code: int, said: tuple[str, ...]
) -> None:
    """What is worse, lacking or undecided is told and gives its exit code, and the saved run gated afterwards gives the
    decisions that the session gave, number by number."""
    machine = Machine()
    result = run(blessed, {"seed": 1, **planted}, *GATES, "--emo-set=spread_limit=1000", machine=machine)
    assert result.ret == code
    for text in said:
        assert text in text_of(result)
    after = command("gate", "main", "0002", "--limit=accuracy:1pt", "--limit=latency_p50_seconds:5%")
    assert after.exit_code == code, after.output
    storage = blessed.path / "results"
    limits = find_limits({}, ["accuracy:1pt", "latency_p50_seconds:5%"])
    later = judge(limits, find_base("main", storage), read_index(saved(blessed)[-1]))
    assert later == machine.found
    assert after.output.splitlines()[-1] in str(result.stdout)


@pytest.mark.slow
def test_the_failing_tests_are_the_failing_decisions(blessed: pytest.Pytester) -> None:
    """What failed inside the tests is what the saved run gives: the one and the other see the same numbers."""
    result = run(blessed, {"seed": 1, "1": {"lost": 60}, "2": {"lost": 25}, "4": {"slower": 1.08}}, *GATES)
    after = command("gate", "main", "latest", "--format=json", "--limit=accuracy:1pt",
                    "--limit=latency_p50_seconds:5%")  # fmt: skip
    decisions = json.loads(after.output)["decisions"]
    worse = sorted(item["case"].rpartition("-b")[2] for item in decisions if item["outcome"] == "worse")
    failed = sorted(line.split()[1].rpartition("-")[2] for line in result.outlines if line.startswith("FAILED "))
    assert failed == worse
    assert worse


@pytest.mark.slow
@pytest.mark.parametrize("option", [("-k", "timed"), ("-m", "inference"), ("test_suite.py::test_timed",)])
def test_what_was_deselected_is_not_missing(blessed: pytest.Pytester, option: tuple[str, ...]) -> None:
    """Cases left out by ``-k``, ``-m`` or a node id are neither gated nor incomplete, afterwards as little as then."""
    result = run(blessed, {"seed": 1}, *GATES, *option)
    assert result.ret == 0
    assert "Gated 2 of 2 against main: 2 same" in text_of(result)
    after = command("gate", "main", "0002", "--limit", "accuracy:1pt", "--limit", "latency_p50_seconds:5%")
    assert after.exit_code == 0, after.output
    assert "Gated 2 of 2" in after.output


def test_too_little_data_is_a_choice(blessed: pytest.Pytester) -> None:
    """Four rounds decide nothing: with --emo-inconclusive fail that fails, with exit code 11, also afterwards."""
    result = run(blessed, {"seed": 1, "3": {"rounds": 4}}, *GATES, "--emo-inconclusive=fail")
    result.assert_outcomes(passed=3, failed=1)
    assert result.ret == 11
    after = command(
        "gate", "main", "0002", "--limit=accuracy:1pt", "--limit=latency_p50_seconds:5%", "--inconclusive=fail"
    )
    assert after.exit_code == 11


def test_the_manifest_decides_the_correction(blessed: pytest.Pytester) -> None:
    """The level is 5 % over the gated pairs of the manifest: with the two timed cases alone 97.5 %."""
    result = run(blessed, {"seed": 1, "3": {"slower": 1.3}}, *GATES, "-k", "timed")
    assert "(97.5 % interval" in text_of(result)
    assert "intervals are those of 97.5 % (5 % over 2 comparisons)" in text_of(result)


def test_bounds_need_no_baseline(suite: pytest.Pytester) -> None:  # noqa: F811
    """``accuracy>=0.80`` fails the case below it, with no baseline; a bound on a metric a case lacks is left alone."""
    options = ("--emo-gate=accuracy>=0.89", "--emo-gate=latency_p50_seconds<=0.06")
    result = run(suite, {"1": {"lost": 100}, "4": {"slower": 1.5}}, *options)
    result.assert_outcomes(passed=2, failed=2)
    assert result.ret == 10
    assert "accuracy is worse: 0.854 is below 0.89; limit >=0.89" in text_of(result)
    assert "Gated 4 of 4: 2 worse, 2 same" in text_of(result)


def test_exact_counts_are_gated_from_one_run(blessed: pytest.Pytester) -> None:
    """Bytes of a model do not vary: 6 % more of them is worse at a limit of 5 %, 4 % more is not."""
    result = run(
        blessed, {"3": {"bytes": 1060}, "4": {"bytes": 1040}}, "--emo-baseline=main", "--emo-gate=model_bytes:5%"
    )
    result.assert_outcomes(passed=3, failed=1)
    assert "model_bytes is worse" in text_of(result)


def test_the_file_sets_limits_by_marker_and_case(blessed: pytest.Pytester) -> None:
    """``[gates]``: a line for a marker and one for a case stand in place of the general one."""
    blessed.path.joinpath("emobench.toml").write_text(
        '[gates]\naccuracy = "1pt"\nlatency_p50_seconds = "5%"\n'
        '[gates.markers.inference]\nlatency_p50_seconds = "50%"\n'
        '[gates.cases."evaluation[*-b1]"]\naccuracy = "off"\n'
    )
    planted = {"seed": 1, "1": {"lost": 100}, "2": {"lost": 100}, "3": {"slower": 1.3}}
    result = run(blessed, planted, "--emo-baseline=main")
    result.assert_outcomes(passed=3, failed=1)
    assert "Gated 3 of 3 against main: 1 worse, 2 same" in text_of(result)
    after = command("gate", "main", "0002")
    assert after.exit_code == 10
    assert "Gated 3 of 3 against main: 1 worse, 2 same" in after.output


def test_bounds_of_the_file_count_without_an_option(suite: pytest.Pytester) -> None:  # noqa: F811
    """``[gates]`` alone gates what needs no base, and says that its tolerated changes are not gated."""
    suite.path.joinpath("emobench.toml").write_text(
        '[gates]\naccuracy = ["1pt", ">=0.89"]\nlatency_p50_seconds = "5%"\n'
        '[gates.cases."evaluation[*-b2]"]\naccuracy = "off"\n'
    )
    result = run(suite, {"1": {"lost": 100}, "2": {"lost": 100}})
    result.assert_outcomes(passed=3, failed=1)
    assert "accuracy is worse: 0.854 is below 0.89; limit >=0.89" in text_of(result)
    assert "Gated 1 of 1: 1 worse" in text_of(result)
    assert "changes are not gated, there is no baseline: add --emo-baseline NAME" in text_of(result)
    assert result.ret == 10


def test_a_file_of_changes_alone_gates_nothing_without_a_baseline(suite: pytest.Pytester) -> None:  # noqa: F811
    """``[gates]`` with no bound leaves a run without a baseline as it is."""
    suite.path.joinpath("emobench.toml").write_text('[gates]\naccuracy = "1pt"\n')
    result = run(suite, {"1": {"lost": 100}})
    result.assert_outcomes(passed=4)
    assert "Gated" not in text_of(result)


@pytest.mark.parametrize("damage", ["absent", "changed", "empty"])
def test_an_unusable_baseline_ends_the_session(blessed: pytest.Pytester, damage: str) -> None:
    """Before any case runs, with exit code 12, naming what is wrong; the command gives the same code."""
    name = "mian" if damage == "absent" else "main"
    if damage == "changed":
        (file,) = blessed.path.glob("results/baselines/main/*/*.json")
        file.write_bytes(file.read_bytes().replace(b"0.9", b"0.1", 1))
    if damage == "empty":
        blessed.path.joinpath("results/baselines/main/baseline.json").write_text("{}")
    result = run(blessed, {}, f"--emo-baseline={name}", "--emo-gate=accuracy:1pt")
    assert result.ret == 12
    assert "baseline" in str(result.stderr)
    assert len(saved(blessed)) == 1
    after = command("gate", name, "0001", "--limit", "accuracy:1pt")
    assert after.exit_code == 12


def test_the_newest_run_is_no_baseline(blessed: pytest.Pytester) -> None:
    """``--emo-baseline latest`` is refused: a regressed run would become what the next one is measured by."""
    result = run(blessed, {}, "--emo-baseline=latest", "--emo-gate=accuracy:1pt")
    assert result.ret == 12
    assert "latest is no baseline" in str(result.stderr)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--emo-gate=acuracy:1pt", "--emo-baseline=main"], "did you mean 'accuracy'?"),
        (["--emo-gate=accuracy:1%", "--emo-baseline=main"], "did you mean accuracy:1pt?"),
        (["--emo-gate=latency_p50_seconds:5pt", "--emo-baseline=main"], "did you mean latency_p50_seconds:5%?"),
        (["--emo-gate=accuracy:1pt"], "has no baseline"),
        (["--emo-gate=accuracy"], "the form is METRIC:LIMIT"),
    ],
)
def test_bad_usage_is_one_line(blessed: pytest.Pytester, options: list[str], message: str) -> None:
    """A limit that cannot be read ends the session with pytest's code for bad usage."""
    result = run(blessed, {}, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in str(result.stderr)


def test_a_baseline_alone_is_compared_with(blessed: pytest.Pytester) -> None:
    """``--emo-baseline`` without a limit shows the comparison and fails nothing."""
    result = run(blessed, {"seed": 1, "1": {"lost": 100}}, "--emo-baseline=main")
    result.assert_outcomes(passed=4)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*against main", "*accuracy*-4.40 pt*worse"])


def test_benchmark_compare_shows_our_table(blessed: pytest.Pytester) -> None:
    """``--benchmark-compare=0001`` adds quality and intervals to pytest-benchmark's table of times."""
    result = run(blessed, {"seed": 1, "1": {"lost": 100}}, "--benchmark-compare=0001")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["0002_* against 0001_*", "*accuracy*-4.40 pt*worse", "in all: 1 worse*"])


def test_reruns_decide_once(blessed: pytest.Pytester) -> None:
    """With reruns allowed a case that got worse is still failed by its gate, once."""
    result = run(blessed, {"seed": 1, "3": {"slower": 1.2}}, *GATES, "--emo-reruns=2")
    result.assert_outcomes(passed=3, failed=1)
    assert len(list(Path(blessed.path, "results").rglob("0002_*.json"))) == 1

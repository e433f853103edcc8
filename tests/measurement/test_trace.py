"""Traces of made cases: the verdict is right and every file holds what it promises."""

from __future__ import annotations

import csv
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.profiler import record_function
from torch.utils.data import DataLoader

from emobench.errors import BrokenFileError, UnsupportedError
from emobench.measurement import ceilings
from emobench.measurement.artifacts import require_content
from emobench.measurement.bottlenecks import WAITING
from emobench.measurement.products import ProductRates
from emobench.measurement.trace import TracedCase, trace_call, trace_case


@pytest.fixture(autouse=True, scope="module")
def _ceilings(tmp_path_factory: pytest.TempPathFactory):
    """One short measurement of this machine for all tests of the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(ceilings, "_SECONDS_EACH", 0.1)
        yield


def traced(call: Callable[[], object], folder: Path, **options) -> TracedCase:
    options = {"steps": 1, "label": "made[case]", **options}
    return trace_case(call, device="cpu", dtype=torch.float32, folder=folder, **options)


def small_model() -> Callable[[torch.Tensor], torch.Tensor]:
    return torch.nn.Linear(32, 32).requires_grad_(False)


@pytest.mark.slow
def test_a_large_matrix_product_is_compute_bound(tmp_path: Path) -> None:
    """Products of 1024 x 1024."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)

    def call() -> None:
        for _ in range(2):
            a @ b

    found = traced(call, tmp_path)
    assert found.verdict.kind == "compute-bound", found.verdict
    assert found.verdict.largest[0].name == "aten::mm"
    assert found.verdict.figures["flops"] == 2 * 2 * 1024**3
    assert found.verdict.achieved_share > 0.01


@pytest.mark.slow
def test_a_large_elementwise_chain_is_memory_bound(tmp_path: Path) -> None:
    """Tensors of at least 64 MB that no cache of this machine holds."""
    cache_bytes, _ = ceilings.last_level_cache("cpu")
    x = torch.ones(max(2**26, cache_bytes) // 4)
    y = torch.empty_like(x)

    def call() -> None:
        torch.mul(x, 1.5, out=y)
        torch.add(x, y, out=y)

    found = traced(call, tmp_path, record_memory=False)
    assert found.verdict.kind == "memory-bound", found.verdict
    assert found.verdict.figures["streamed_bytes"] >= 5 * x.nbytes
    assert "memory_timeline" not in found.artifacts


@pytest.mark.slow
def test_a_slow_loader_is_input_bound(tmp_path: Path) -> None:
    """An iterator that sleeps, inside a ``data`` range, before a small model."""
    model, rows = small_model(), torch.randn(8, 32)

    def batches():
        for _ in range(3):
            time.sleep(0.03)
            yield rows

    def call() -> None:
        source = batches()
        for _ in range(3):
            with record_function("data"):
                batch = next(source)
            with record_function("forward"):
                model(batch)

    found = traced(call, tmp_path)
    assert found.verdict.kind == "input-bound", found.verdict
    assert found.verdict.largest[0].name == WAITING
    assert found.trace.ranges["data"] >= 0.09
    assert 0 < found.trace.ranges["forward"] < found.trace.ranges["data"]


def test_torchs_own_loader_is_recognized(tmp_path: Path) -> None:
    """A DataLoader whose collating sleeps needs no range of ours, and one around it does not count twice."""
    model = small_model()

    def slow(rows: list[torch.Tensor]) -> torch.Tensor:
        time.sleep(0.03)
        return torch.stack(rows)

    loader = DataLoader(list(torch.randn(8, 32)), batch_size=4, collate_fn=slow)

    def call() -> None:
        source = iter(loader)
        for _ in range(2):
            with record_function("data"):
                batch = next(source)
            model(batch)
        for batch in loader:
            model(batch)

    found = traced(call, tmp_path)
    assert found.verdict.kind == "input-bound", found.verdict
    assert 0.12 <= found.trace.input_wait_seconds <= found.trace.profiled_seconds
    assert next(item for item in found.trace.profile if item.name in ("aten::stack", "aten::cat")).seconds == 0


@pytest.mark.slow
def test_a_thousand_tiny_operators_are_overhead_bound(tmp_path: Path) -> None:
    """Additions of eight numbers."""
    x = torch.ones(8)

    def call() -> None:
        y = x
        for _ in range(1000):
            y = y + x

    found = traced(call, tmp_path)
    assert found.verdict.kind == "overhead-bound", found.verdict
    assert found.verdict.figures["operators"] == 1000


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory, _ceilings) -> tuple[TracedCase, Path]:
    """Two optimizer steps of a small network, traced with stacks and memory."""
    folder = tmp_path_factory.mktemp("training")
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.Linear(128, 2))
    optimizer = torch.optim.AdamW(model.parameters())

    def two_training_steps() -> None:
        for _ in range(2):
            with record_function("data"):
                x, y = torch.randn(16, 64), torch.zeros(16, dtype=torch.long)
            with record_function("forward"):
                loss = torch.nn.functional.cross_entropy(model(x), y)
            with record_function("backward"):
                loss.backward()
            with record_function("optimizer"):
                optimizer.step()
                optimizer.zero_grad()

    return traced(two_training_steps, folder, steps=2, label="finetune[tiny/x]"), folder


def test_training_is_told_by_ranges(training: tuple[TracedCase, Path]) -> None:
    """All four ranges have time, and FLOPs are three products a linear, less the first one's input gradient."""
    found, _ = training
    assert set(found.trace.ranges) == {"data", "forward", "backward", "optimizer"}
    assert all(seconds > 0 for seconds in found.trace.ranges.values())
    assert found.verdict.figures["flops"] == 2 * (2 * (2 * 16 * 64 * 128) + 3 * (2 * 16 * 128 * 2))


def test_operator_table(training: tuple[TracedCase, Path]) -> None:
    """The CSV has a row a class with calls per step, FLOPs where the kernel is, and shares that add up to one."""
    found, folder = training
    with (folder / found.artifacts["operators_csv"]).open() as stream:
        rows = {row["name"]: row for row in csv.DictReader(stream)}
    assert float(rows["aten::addmm"]["calls"]) == 4
    assert float(rows["aten::addmm"]["flops"]) == 2 * 2 * 16 * (64 * 128 + 128 * 2)
    assert float(rows["aten::linear"]["flops"]) == 0
    assert float(rows["aten::linear"]["total_seconds"]) >= float(rows["aten::addmm"]["self_seconds"]) > 0
    assert sum(float(row["share"]) for row in rows.values()) == pytest.approx(1)
    assert max(float(row["self_memory_bytes"]) for row in rows.values()) > 0
    text = (folder / found.artifacts["operators_text"]).read_text()
    assert "aten::addmm" in text
    assert len(text.splitlines()) == len(rows) + 5


def test_chrome_trace_parses_and_holds_stacks(training: tuple[TracedCase, Path]) -> None:
    """The JSON has complete events of operators, ranges and Python functions."""
    found, folder = training
    content = json.loads(gzip.decompress((folder / found.artifacts["chrome_trace"]).read_bytes()))
    events = content["traceEvents"]
    assert content["host_name"] == ""
    names = {event["name"] for event in events if event.get("ph") == "X"}
    assert {"aten::addmm", "backward"} <= names
    assert any("two_training_steps" in name for name in names)


def test_folded_stacks(training: tuple[TracedCase, Path]) -> None:
    """Every line is a stack and microseconds, under the traced call, down to operators; nothing of the profiler's."""
    found, folder = training
    lines = (folder / found.artifacts["stacks"]).read_text().splitlines()
    stacks = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in lines}
    assert all(microseconds > 0 for microseconds in stacks.values())
    assert all(stack.split(";")[0] == "step" for stack in stacks)
    assert any("two_training_steps" in stack and stack.endswith("aten::addmm") for stack in stacks)
    assert not any("profiler.py(" in stack and "start_trace" in stack for stack in stacks)


def test_memory_timeline(training: tuple[TracedCase, Path]) -> None:
    """Changes add up line by line, time never goes back, and the largest sum is the growth that is reported."""
    found, folder = training
    with (folder / found.artifacts["memory_timeline"]).open() as stream:
        rows = list(csv.DictReader(stream))
    total, before = 0, 0.0
    for row in rows:
        total += int(row["change_bytes"])
        assert int(row["since_start_bytes"]) == total
        assert float(row["seconds"]) >= before
        before = float(row["seconds"])
    assert max(int(row["since_start_bytes"]) for row in rows) == found.trace.memory_growth_bytes
    activations = 4 * 16 * (64 + 128 + 128)
    assert found.trace.memory_growth_bytes is not None
    assert found.trace.memory_growth_bytes >= activations


def test_files_are_named_by_label_and_nothing_else_is_left(training: tuple[TracedCase, Path]) -> None:
    """Brackets and slashes leave the file name; the folder holds exactly the artifacts."""
    found, folder = training
    assert set(found.artifacts) == {"operators_csv", "operators_text", "chrome_trace", "stacks", "memory_timeline"}
    assert sorted(found.artifacts.values()) == sorted(path.name for path in folder.iterdir())
    assert all(name.startswith("finetune-tiny-x.") for name in found.artifacts.values())


def test_summary_is_plain(training: tuple[TracedCase, Path]) -> None:
    """The summary survives JSON unchanged and carries verdict, advice, ceilings and operators."""
    found, _ = training
    assert json.loads(json.dumps(found.summary, allow_nan=False)) == found.summary
    assert found.summary["verdict"] == found.verdict.kind
    assert found.summary["advice"] == found.verdict.sentence
    assert found.summary["ceilings"]["flops_per_second"] > 0
    assert len(found.summary["operators"]) == 10


def test_nothing_to_trace_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    """A call without operators of torch leaves no empty file behind."""
    with pytest.raises(BrokenFileError, match=r"trace artifact operators_csv \(idle.operators.csv\) is empty"):
        trace_call(lambda: time.sleep(0.001), device="cpu", folder=tmp_path, label="idle", steps=1)
    assert list(tmp_path.iterdir()) == []


def test_a_call_that_allocates_nothing_has_no_timeline(tmp_path: Path) -> None:
    """With memory asked for it is an error that says what to do; without it the trace is made."""
    x = torch.ones(1000)
    arguments = {"device": "cpu", "folder": tmp_path, "label": "still", "steps": 1}
    with pytest.raises(BrokenFileError, match=r"memory_timeline .* record_memory=False"):
        trace_call(lambda: torch.neg(x, out=x), **arguments)
    assert "memory_timeline" not in trace_call(lambda: torch.neg(x, out=x), **arguments, record_memory=False).artifacts


@pytest.mark.parametrize(
    "data", [b"", b"  \n", gzip.compress(b'{"traceEvents": []}')], ids=["nothing", "blank", "no events"]
)
def test_a_chrome_trace_without_events_is_empty(data: bytes) -> None:
    """Bytes are not enough: there must be events."""
    with pytest.raises(BrokenFileError, match="chrome_trace"):
        require_content("chrome_trace", Path("a.json.gz"), data)


def test_apple_gpus_cannot_be_traced(tmp_path: Path) -> None:
    """The error says why and what else to do."""
    with pytest.raises(UnsupportedError, match="cannot be traced on mps; torch's profiler does not time"):
        trace_call(lambda: None, device="mps", folder=tmp_path, label="x")


def test_a_ceiling_that_is_beaten_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ceiling cached on a disturbed machine does not stay."""
    a = torch.randn(512, 512)
    monkeypatch.setenv("EMOBENCH_CACHE", str(tmp_path / "cache"))

    def rates(large: float) -> ProductRates:
        return ProductRates(large=large, forward=((1, large),), backward_inputs=((1, large),), backward_weights=large)

    monkeypatch.setattr(ceilings, "product_rates", lambda *_, **__: rates(1e7))
    ceilings.measured_ceilings("cpu", torch.float32)
    monkeypatch.setattr(ceilings, "product_rates", lambda *_, **__: rates(1e14))
    found = traced(lambda: a @ a, tmp_path / "out")
    assert found.summary["ceilings"]["flops_per_second"] == 1e14
    assert found.verdict.achieved_share < 1

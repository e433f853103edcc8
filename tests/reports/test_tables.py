"""Tables as text: exact for small examples, never wider than a terminal."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emobench.outcomes import METRICS, Metric, Status, metric
from emobench.records.record import Record
from emobench.records.store import RunHeader
from emobench.reports.tables import Skip, number, results_table, runs_table, share, short_names, skip_lines

MINILM = "all-minilm-l6-v2"


def a_record(*metrics: Metric, status: Status = Status.OK, reasons: tuple[str, ...] = (), **axes: Any) -> Record:
    case = {
        "kind": "finetune",
        "model": MINILM,
        "dataset": None,
        "method": None,
        "precision": "fp32",
        "device": "cpu",
        "batch_size": None,
        "weights": "pretrained",
        **axes,
    }
    case_id = f"{case['kind']}[{case['model']}-{case['precision']}]"
    return Record(case={"id": case_id, **case}, metrics=metrics, status=status, reasons=reasons)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.00123456, "0.00123"),
        (0.9996, "1.00"),
        (9.996, "10.0"),
        (31.27, "31.3"),
        (999.9, "1,000"),
        (27134, "27,100"),
        (1.5e7, "15,000,000"),
        (-2.5, "-2.50"),
        (0.0001, "0.000100"),
        (3.2e-6, "3.20e-06"),
        (1.5e12, "1.50e+12"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    """Figures are rounded to three significant digits, with an exponent only where they would get long."""
    assert number(value) == text


@given(value=st.floats(1e-12, 1e12))
def test_a_shown_number_is_near_the_number(value: float) -> None:
    """What is shown differs from the figure by at most half of the third digit."""
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=0.005001)


def test_share_shows_the_larger_side() -> None:
    """An interval that is not symmetric is shown by its larger side."""
    assert share(metric("accuracy", 0.98, ci=(0.95, 0.99))) == "0.980 ±0.030"
    assert share(metric("accuracy", 0.98)) == "0.980"


def test_results_by_kind() -> None:
    """Each kind has its table with the columns it has values for, units in the head."""
    records = [
        a_record(
            metric("accuracy", 0.7841, ci=(0.757, 0.809), n=1000),
            metric("f1_macro", 0.7839),
            metric("train_seconds", 31.27),
            metric("evaluate_seconds", 1.234),
            dataset="imdb-train",
            method="full",
        ),
        a_record(
            metric("latency_p50_seconds", 0.0952),
            metric("samples_per_second", 84.03),
            metric("tokens_per_second", 27134),
            metric("host_memory_growth_bytes", 512 * 2**20),
            kind="inference",
            batch_size=8,
        ),
        a_record(
            metric("latency_p50_seconds", 0.5),
            metric("latency_p90_seconds", 0.625),
            metric("samples_per_second", 128.0),
            metric("host_memory_growth_bytes", 2**30),
            kind="inference",
            batch_size=64,
        ),
        a_record(metric("ttft_p50_seconds", 0.125), metric("tpot_p50_seconds", 0.0301), kind="generation"),
    ]
    assert results_table(records) == (
        """\
finetune
                                                             accuracy     F1  train  evaluate
model             data        method  precision  device         ±95 %  macro      s         s
----------------  ----------  ------  ---------  ------  ------------  -----  -----  --------
all-minilm-l6-v2  imdb-train  full    fp32       cpu     0.784 ±0.027  0.784   31.3      1.23

inference
                                            latency  latency      speed     speed      host
model             precision  device  batch   p50 ms   p90 ms  samples/s  tokens/s  MiB more
----------------  ---------  ------  -----  -------  -------  ---------  --------  --------
all-minilm-l6-v2  fp32       cpu         8     95.2                84.0    27,100       512
all-minilm-l6-v2  fp32       cpu        64      500      625        128               1,020

generation
                                     1st token  per token
model             precision  device     p50 ms     p50 ms
----------------  ---------  ------  ---------  ---------
all-minilm-l6-v2  fp32       cpu           125       30.1"""
    )


def test_a_case_of_several_processes_is_told_from_one() -> None:
    """The launch stands beside a case that ran in several processes: its speed is not that of one."""
    both = [a_record(metric("accuracy", 0.5)), a_record(metric("accuracy", 0.5), launch="ddp-x2")]
    text = results_table(both)
    assert sum("ddp-x2" in line for line in text.splitlines()) == 1
    assert "launch" in text
    assert "launch" not in results_table(both[:1])


def test_what_is_not_ok_says_so() -> None:
    """A case that is not ok shows its status in words and its reasons below; random weights are marked."""
    records = [
        a_record(metric("latency_p50_seconds", 0.1), kind="inference", model="phi-3-mini", weights="random"),
        a_record(kind="inference", status=Status.DOES_NOT_FIT, reasons=("needs 31 GB and cpu has 24 GB",)),
        a_record(kind="inference", precision="bf16", status=Status.FAILED),
    ]
    assert results_table(records) == (
        """\
inference
                                        latency
model                precision  device   p50 ms  status
-------------------  ---------  ------  -------  ------------
phi-3-mini (random)  fp32       cpu         100  ok
all-minilm-l6-v2     fp32       cpu              does not fit
all-minilm-l6-v2     bf16       cpu              failed
(random): weights drawn at random; speed and memory only, not comparable with pretrained ones
does not fit: inference[all-minilm-l6-v2-fp32]: needs 31 GB and cpu has 24 GB
failed: inference[all-minilm-l6-v2-bf16]: no reason was recorded"""
    )


def test_a_table_without_any_metric() -> None:
    """Where every case failed there are still its axes and its status."""
    assert results_table([a_record(status=Status.LOST, reasons=("the process was killed",))]) == (
        """\
finetune
model             precision  device  status
----------------  ---------  ------  ------
all-minilm-l6-v2  fp32       cpu     lost
lost: finetune[all-minilm-l6-v2-fp32]: the process was killed"""
    )
    assert results_table([]) == ""


def test_width_is_saved_by_saying_common_values_once() -> None:
    """A table that would be too wide names what all rows share in its title, then leaves columns out and says so."""
    metrics = (
        metric("accuracy", 0.7841, ci=(0.757, 0.809)),
        metric("f1_macro", 0.7839),
        metric("train_seconds", 31.27),
        metric("evaluate_seconds", 1.234),
        metric("train_samples_per_second", 1234.5),
        metric("device_memory_peak_bytes", 5e9),
        metric("host_memory_growth_bytes", 2**29),
    )
    axes = {"dataset": "rotten_tomatoes-train", "method": "full"}
    table = results_table([a_record(*metrics, **axes), a_record(*metrics, **axes, precision="bf16")])
    assert table.splitlines()[0] == "finetune, data rotten_tomatoes-train, method full, device cpu"
    assert "left out" not in table
    other = {"dataset": "imdb-train", "method": "lora", "precision": "int8-bnb", "device": "cuda"}
    wide = results_table([a_record(*metrics, **axes), a_record(*metrics, **other)])
    assert wide.splitlines()[0] == "finetune"
    assert wide.splitlines()[-1] == "left out for width: train samples/s, F1 macro; the saved run has them"
    assert max(map(len, wide.splitlines())) <= 120


@given(
    names=st.lists(st.sampled_from(sorted(METRICS)), unique=True),
    value=st.floats(0, 1e12),
    status=st.sampled_from(Status),
    kind=st.sampled_from(["finetune", "inference", "generation"]),
    model=st.sampled_from(["a-model-of-my-own-with-a-very-long-name", "m"]),
)
def test_a_table_fits_the_terminal(names: list[str], value: float, status: Status, kind: str, model: str) -> None:
    """With any metrics and long names no line is wider than 120 columns, and each row has its case."""
    metrics = tuple(metric(name, value if METRICS[name].unit != "share" else 0.5, ci=(0.1, 0.9)) for name in names)
    axes = {"dataset": "a-data-set-of-my-own-with-a-long-name", "method": "full", "batch_size": 64, "kind": kind}
    reasons = ("because " * 40,)
    rows = [
        a_record(*metrics, model=model, weights="random", **axes),
        a_record(model=MINILM, **{**axes, "dataset": "b", "method": "lora"}, status=status, reasons=reasons),
    ]
    table = results_table(rows)
    assert max(map(len, table.splitlines())) <= 120
    assert model[:9] in table
    assert MINILM in table


WIDE = ("train_seconds", "latency_p50_seconds", "latency_p99_seconds", "tokens_per_second", "cost_per_run")
WIDE += ("cost_per_thousand_samples", "cost_per_million_tokens", "device_memory_peak_bytes")


def model_cells(models: list[str]) -> list[str]:
    """How a table too wide for whole names calls each model."""
    metrics = tuple(metric(name, 1.5e9) for name in WIDE)
    table = results_table([a_record(*metrics, model=model, batch_size=8) for model in models])
    assert max(map(len, table.splitlines())) <= 120
    rows = table.split("-----\n")[1].splitlines()[: len(models)]
    return [row.split("  ")[0] for row in rows]


@pytest.mark.parametrize(
    ("models", "cells"),
    [
        (
            ["Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-1.5B-Instruct", "HuggingFaceTB/SmolLM2-1.7B-Instruct"],
            ["..0.5B-Instruct", "..1.5B-Instruct", "HuggingFa..nstruct"],
        ),
        (
            [f"an-organization-with-a-long-name/{name}-finetuned-sst-2-english" for name in ("bert", "gpt", "t5")],
            ["..bert-fi..english", "..gpt-fin..english", "..t5-fine..english"],
        ),
        (
            [f"an-organization-{first}-of-much-{last}-and-more" for first in "ab" for last in "xy"],
            ["an-organiza..(1)", "an-organiza..(2)", "an-organiza..(3)", "an-organiza..(4)"],
        ),
    ],
)
def test_different_models_are_never_called_the_same(models: list[str], cells: list[str]) -> None:
    """Where names have to be cut, names that begin and end alike keep what tells them apart, or are numbered."""
    found = short_names(models, 18)
    assert [found[name] for name in models] == cells
    assert len(set(model_cells(models))) == len(models)


@given(st.lists(st.text(alphabet="ab-/", min_size=1, max_size=60), min_size=2, max_size=6, unique=True))
def test_cut_names_stay_different(names: list[str]) -> None:
    """Whatever the names, as many different ones are shown as there are."""
    shown = short_names(names, 18)
    assert len(set(shown.values())) == len(names)
    assert max(map(len, shown.values())) <= 18


def test_a_name_from_a_file_neither_steers_the_terminal_nor_shifts_a_column() -> None:
    """Control characters are question marks in every part of the table, and the columns stay under their heads."""
    hostile = "a\x1b[31m\x07\u202eb\n\x9bc"
    rows = [
        a_record(metric("train_seconds", 1.0), model=hostile, dataset=hostile),
        a_record(metric("train_seconds", 2.0), model="plain", dataset="d"),
        a_record(model="n", dataset="d", status=Status.FAILED, reasons=(hostile, "x" * 3000)),
    ]
    table = results_table(rows)
    assert all(line.isprintable() for line in table.splitlines())
    places = {line.index("fp32") for line in table.splitlines() if " fp32 " in line}
    assert len(places) == 1
    assert len(table) < 2000
    header = RunHeader(path=Path("x"), name="x", number="1", machine="m", commit="a\x1b[2J", problem="\x9b1A")
    assert all(line.isprintable() for line in runs_table([header]).splitlines())


def test_skips_are_told_in_a_few_lines() -> None:
    """Cases that differ in the subject only share a line with a count; the largest group comes first."""
    models = ["distilbert-base", "roberta-base", "phi-3-mini", "gemma-2-2b"]
    weights = "weights of {subject} are not on this machine"
    skips = [Skip(case_id="x", reason="no CUDA device: no NVIDIA driver is loaded")]
    skips += [
        Skip(case_id=f"{model}-{index}", reason=weights, fix="run: emobench fetch {subject}", subject=model)
        for model in models
        for index in range(28)
    ]
    skips += [
        Skip(case_id=name, reason="data set {subject} is not here", fix="run: emobench fetch {subject}", subject=name)
        for name in ("imdb", "sst2")
    ]
    assert skip_lines(skips) == [
        "  112 skipped: weights of distilbert-base, roberta-base and 2 more are not on this machine; "
        "run: emobench fetch",
        "      distilbert-base (or roberta-base, ...)",
        "  2 skipped: data set imdb, sst2 is not here; run: emobench fetch imdb (or sst2)",
        "  1 skipped: no CUDA device: no NVIDIA driver is loaded",
    ]
    assert skip_lines([]) == []


def test_a_skip_alone_names_its_subject() -> None:
    """For a single case reason and fix are whole sentences."""
    skip = Skip(case_id="x", reason="{subject} is not here", fix="run: emobench fetch {subject}", subject="imdb")
    assert (skip.text, skip.remedy) == ("imdb is not here", "run: emobench fetch imdb")


def test_runs() -> None:
    """Saved runs in order, with their cases by status; an unreadable one is a row."""
    folder = Path("results")
    headers = [
        RunHeader(
            path=folder / "0001_a.json",
            name="0001_a",
            number="0001",
            machine="Linux-CPython-3.11-64bit",
            datetime="2026-11-01T12:00:00.123+00:00",
            commit="0123456789abcdef",
            dirty=True,
            statuses={"does_not_fit": 1, "ok": 12},
            benchmarks=13,
        ),
        RunHeader(
            path=folder / "0002_b.json",
            name="0002_b",
            number="0002",
            machine="Linux-CPython-3.11-64bit",
            datetime="2026-11-01T13:00:00+00:00",
            problem="it is not complete JSON (Expecting value: line 1 column 17 (char 16))",
        ),
        RunHeader(path=folder / "0003_c.json", name="0003_c", number="0003", machine="", benchmarks=2),
    ]
    assert runs_table(headers) == (
        """\
run   saved (UTC)       commit      cases                                               machine
----  ----------------  ----------  --------------------------------------------------  ------------------------
0001  2026-11-01 12:00  012345678+  12 ok, 1 does not fit                               Linux-CPython-3.11-64bit
0002  2026-11-01 13:00              unreadable: it is not complete JSON (Expecting ...  Linux-CPython-3.11-64bit
0003                                2 not of EmoBench
+: with uncommitted changes"""
    )

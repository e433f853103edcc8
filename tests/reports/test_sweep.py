"""The report on sweeps: its words, its files, and names that mean something to a spreadsheet or a page."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from emobench.analysis.answers import answer
from emobench.analysis.sweep import Source, sweeps
from emobench.outcomes import Metric, Status, metric
from emobench.records.record import Record
from emobench.reports import sweep as report
from emobench.reports.sweep import answer_lines, cell, heading, markdown, summary_text, sweep_csv, sweep_json
from emobench.reports.tables import one_line


def timed(batch: int, *metrics: Metric, **fields: Any) -> Record:
    model = fields.pop("model", "tiny")
    case = {
        "id": f"inference[{model}-b{batch}]",
        "kind": "inference",
        "model": model,
        "precision": "fp32",
        "device": "cuda",
        "batch_size": batch,
        "length": 128,
    }
    return Record(case=case, metrics=metrics, environment={"device_name": "a GPU"}, **fields)


def latency(milliseconds: float, low: float, high: float) -> Metric:
    return metric("latency_p50_seconds", milliseconds / 1e3, ci=(low / 1e3, high / 1e3), n=50)


TRACE = {
    "verdict": "memory-bound",
    "advice": "use a larger batch.",
    "largest": [{"name": "aten::addmm", "share": 0.521, "kind": "memory-bound"}],
}
RECORDS = (
    timed(1, latency(10, 9, 11), metric("latency_p90_seconds", 0.012), metric("model_bytes", 2**30)),
    timed(
        8,
        latency(40, 36, 44),
        metric("tokens_per_second", 25_600.0),
        metric("device_memory_peak_bytes", 3 * 2**29),
        details={"trace": TRACE},
    ),
    timed(16, latency(77, 70, 84)),
    timed(
        32,
        metric("device_memory_peak_bytes", 23 * 2**30),
        status=Status.DOES_NOT_FIT,
        reasons=("out of memory", "largest batch that fitted: 16"),
    ),
    timed(64, status=Status.INVALID, reasons=("a foreign process used the GPU",)),
    timed(128, status=Status.TIMED_OUT),
    Record(
        case={"id": "f", "kind": "finetune", "model": "tiny", "precision": "fp32", "method": "lora", "dataset": "imdb"},
        metrics=(metric("accuracy", 0.91, ci=(0.9, 0.92)),),
    ),
)
SOURCES = [Source(name="0001", results=RECORDS)]


def the_text(*, target: float | None = None, sources: list[Source] = SOURCES) -> str:
    shown = sweeps(sources)
    return summary_text(shown, [answer(sweep, sources, target_seconds=target) for sweep in shown])


def test_the_summary_answers_every_question() -> None:
    """Baseline, best batch, throughput, memory, bottleneck, accuracy, what does not fit, what is invalid and why."""
    assert the_text() == (
        """\
figures in brackets are 95 % intervals

tiny, fp32, cuda, 128 tokens, eager (a GPU), run 0001
  baseline latency    10.0 (9.00 to 11.0) ms, median of a batch of 1, p90 12.0 ms
  best batch size     8: 200 (182 to 222) samples/s, 40.0 ms a batch; the error bars do not tell batch 16 from it
  highest throughput  208 (190 to 229) samples/s, at batch 16
  memory              1,540 MiB peak on the device at batch 8; weights 1,020 MiB
  main bottleneck     memory-bound at batch 8 (aten::addmm 52%): use a larger batch.
  accuracy            0.910 (0.900 to 0.920) on imdb, lora, fp32
  does not fit        batch 32: 23.0 GiB reached; batch 16 fitted; out of memory
  invalid             batch 64: a foreign process used the GPU
  timed out           batch 128: no reason was recorded"""
    )


def test_the_summary_says_what_is_missing() -> None:
    """What was not traced, measured or recorded is said to be, with the option that adds it."""
    text = the_text(sources=[Source(name="0001", results=[timed(4, metric("latency_p50_seconds", 0.01))])])
    assert "10.0 ms, median of a batch of 4" in text
    assert "batch 4 has too few rounds for an interval" in text
    assert "not traced: run with --emo-trace" in text
    assert "not measured: no fine-tuning or evaluation case of this model is in the run" in text
    assert "not recorded" in text
    nothing = the_text(sources=[Source(name="0001", results=[timed(4, status=Status.FAILED, reasons=("a fault",))])])
    assert nothing.count("none: no batch size has figures") == 3
    assert "failed              batch 4: a fault" in nothing
    misfit = the_text(sources=[Source(name="0001", results=[timed(4, status=Status.DOES_NOT_FIT)])])
    assert "batch 4: no peak was recorded; no batch size fitted" in misfit
    # Of a part of a run, the record of the batch that did not fit still knows.
    alone = timed(4, metric("largest_batch_fitted", 2), status=Status.DOES_NOT_FIT)
    assert "no peak was recorded; batch 2 fitted" in the_text(sources=[Source(name="0001", results=[alone])])


def test_a_target_is_kept_or_said_to_be_missed() -> None:
    """The best batch is within the target; where none is, the lowest latency is told."""
    assert "1: 100 (90.9 to 111) samples/s, 10.0 ms a batch within the target of 20.0 ms" in the_text(target=0.02)
    assert "none within the target of 5.00 ms: the lowest median is 10.0 ms, at batch 1" in the_text(target=0.005)


def test_lines_fit_the_terminal() -> None:
    """No line is wider than 120 columns, however long names and reasons are."""
    long = timed(1, latency(1, 1, 1), model="m" * 90 + "-" + "n" * 90)
    other = timed(2, status=Status.INVALID, reasons=("word " * 80,), model="m" * 90 + "-" + "n" * 90)
    assert max(map(len, the_text(sources=[Source(name="r", results=[long, other])]).splitlines())) <= 120


EVIL = '=cmd|"/c calc"!A1 <script>alert(1)</script> | [x](http://y)\x1b[31m\nnext'


def test_names_stay_names_in_every_file() -> None:
    """Formulas, HTML, pipes, links, line breaks and control characters of a name are data in every form."""
    sources = [Source(name="0001", results=[timed(1, latency(1, 1, 1), model=EVIL)])]
    shown = sweeps(sources)
    answers = [answer(sweep, sources) for sweep in shown]
    (row,) = csv.DictReader(io.StringIO(sweep_csv(shown).decode()))
    assert row["model"].startswith("'=cmd")
    assert "\x1b" not in row["model"]
    lines = [text for _, text in answer_lines(shown[0], answers[0])]
    page = "\n".join(map(markdown, [heading(shown[0]), *lines]))
    assert "<script>" not in page
    assert r"\[x\](http://y)" in page
    assert r"\|" in page
    assert all(sign.isprintable() or sign == "\n" for sign in page + summary_text(shown, answers))
    assert json.loads(sweep_json(shown, answers))["sweeps"][0]["case"]["model"] == EVIL


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1"])
def test_a_formula_is_no_formula_in_a_cell(text: str) -> None:
    """A text that a spreadsheet would run begins with an apostrophe; numbers, also negative ones, are left alone."""
    assert str(cell(text)).startswith("'")
    assert cell("bf16") == "bf16"
    assert cell(-1.5) == -1.5


def test_text_for_markdown() -> None:
    """Markup is escaped and everything stands on one line."""
    assert markdown("a_b*c|d<e>&\nf") == r"a\_b\*c\|d&lt;e&gt;&amp; f"
    assert one_line("a\x07b\u2028c") == "a?b c"


def test_csv_and_json_hold_the_figures() -> None:
    """One line a batch size with the interval's ends; JSON repeats it with the answers, and is valid JSON."""
    shown = sweeps(SOURCES)
    rows = list(csv.DictReader(io.StringIO(sweep_csv(shown).decode())))
    assert [row["batch_size"] for row in rows] == ["1", "8", "16", "32", "64", "128"]
    assert float(rows[1]["samples_per_second"]) == pytest.approx(200)
    assert float(rows[1]["samples_per_second_low"]) == pytest.approx(8 / 0.044)
    assert (rows[3]["status"], rows[3]["samples_per_second"]) == ("does_not_fit", "")
    content = json.loads(sweep_json(shown, [answer(sweep, SOURCES) for sweep in shown]))
    (found,) = content["sweeps"]
    assert (found["best_batch_size"], found["tied_batch_sizes"]) == (8, [16])
    assert found["levels"][1]["values"]["scaling_efficiency"]["value"] == pytest.approx(0.25)
    assert content["quantities"]["spread"]["better"] == "lower"


@pytest.mark.slow
def test_the_files_of_sweeps() -> None:
    """Two pictures and two tables, all with content; without a sweep there is no file."""
    shown = sweeps(SOURCES)
    made = report.sweep_files(shown, [answer(sweep, SOURCES) for sweep in shown])
    assert list(made) == ["sweep.png", "heatmap.png", "sweep.json", "sweep.csv"]
    assert all(data[:4] == b"\x89PNG" for name, data in made.items() if name.endswith(".png"))
    assert report.sweep_files([], []) == {}


def test_many_sweeps_make_several_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine sweeps are drawn in two pictures of at most eight, none left out."""
    drawn: list[int] = []
    monkeypatch.setattr(report, "sweep_figure", lambda some: drawn.append(len(some)))
    monkeypatch.setattr(report, "heat_figure", lambda some: None)
    monkeypatch.setattr(report, "png_bytes", lambda figure: b"")
    many = sweeps([Source(name="r", results=[timed(1, latency(1, 1, 1), model=f"m{index}") for index in range(9)])])
    assert list(report.pictures(many)) == ["sweep.png", "heatmap.png", "sweep-2.png", "heatmap-2.png"]
    assert drawn == [8, 1]

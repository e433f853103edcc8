"""The report as Markdown, CSV and JSON, its words, and the PDF and all files together."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from emobench.outcomes import Status, metric
from emobench.reports import full_report as full
from emobench.reports.case_table import case_tables
from emobench.reports.content import content
from emobench.reports.pdf import A4, _table_pages, finish, page_box, pages, report_pdf
from emobench.reports.phrases import radar_caption, scatter_caption, summary_lines
from emobench.reports.style import house_style
from emobench.reports.texts import report_csv, report_json, report_markdown, summary_text
from tests.reports.hostile import NAMES, hostile_runs
from tests.reports.made_runs import MODELS, a_run, some_records, timed, trained
from tests.reports.text_faults import text_faults

SECRET = "hf_" + "aB3" * 11


def test_the_summary_says_what_is_best_and_what_went_wrong() -> None:
    """Quality, trade-off, speed, size with intervals; what did not fit, was invalid, failed or was not run, and why."""
    lines = dict(summary_lines(content({"1": a_run(list(some_records()))})))
    assert lines["cases"] == "57 in 1 run: 54 ok, 1 invalid, 1 does not fit, 1 failed"
    assert lines["best quality, imdb-train, profile quick"] == (
        "gemma-3-270m, lora, fp32, cpu: accuracy 0.890 (0.871 to 0.909); "
        "the intervals do not tell gemma-3-270m, full (2 of 9 cases) from it"
    )
    assert lines["best trade-off, imdb-train, profile quick"] == (
        "gemma-3-270m, lora, fp32, cpu: median latency of a batch 50.1 (48.6 to 52.6) ms at accuracy 0.890 (0.871 to "
        "0.909); every case with a lower median latency of a batch is worse in quality beyond the intervals"
    )
    assert lines["fastest"] == "all-minilm-l6-v2, bf16, cpu, batch 1: 8.40 (8.15 to 8.82) ms, median of a batch"
    assert lines["highest throughput"] == "all-minilm-l6-v2, bf16, cpu, batch 64: 273 samples/s"
    assert lines["smallest"] == "all-minilm-l6-v2, fp32: 86.7 MiB of weights"
    assert lines["targets"] == "accuracy at least 0.800: 11 of 18 cases meet it"
    assert lines["main bottleneck"] == "memory-bound in 6 traced cases"
    assert lines["does not fit"] == "inference[gemma-3-270m-fp32-cpu-b64]: out of memory; needs 9 GiB"
    assert lines["invalid"] == "inference[distilbert-base-uncased-bf16-cpu-b32]: the spread was 80 %"
    assert lines["failed"] == "generation[broken]: RuntimeError: a kernel is missing"


def test_the_summary_says_what_is_missing() -> None:
    """Nothing scored and nothing timed is said; so is a case without a reason."""
    record = replace(timed("m", 1), metrics=(), status=Status.LOST, reasons=())
    lines = dict(summary_lines(content({"1": a_run([record], skipped=())})))
    assert lines["best quality"].startswith("not measured: no fine-tuning, evaluation or shrinking case is ok")
    assert lines["fastest"] == "not measured: no inference case is ok"
    assert lines["smallest"] == "not recorded"
    assert lines["lost"] == "inference[m-fp32-cpu-b1]: no reason was recorded"
    (group,) = content({"1": a_run([trained("m", "d", "lora")])}).overview.groups
    assert "there is no latency" in scatter_caption(group)
    assert radar_caption(group) == ""


def test_ties_are_told() -> None:
    """Cases that the intervals do not tell from the best are named, three at most, and counted."""
    records = [trained("m", "d", f"way{index}") for index in range(6)]
    lines = dict(summary_lines(content({"1": a_run(records)})))
    assert lines["best quality, d, profile quick"].endswith(
        "the intervals do not tell way1, way2, way3 and 2 more (6 of 6 cases) from it"
    )


def test_a_caption_says_where_the_latency_comes_from() -> None:
    """The batch it was measured at, and what it leaves out."""
    records = [trained("m", "d", "lora"), trained("n", "d", "lora", index=1), timed("m", 1), timed("n", 8, index=1)]
    (group,) = content({"1": a_run(records)}).overview.groups
    assert "of the same model, precision and device, at batch 1 and 8; an adapter" in scatter_caption(group)


def test_names_stay_names_in_markdown() -> None:
    """No HTML, no link, no heading, no control character; every table row has as many cells as its head."""
    page = report_markdown(content(hostile_runs()), ["a.png"]).decode()
    assert not re.search(r"<(?!br>)", page)
    assert not re.search(r"(?<!\\)\]\(", page.replace("![a.png](a.png)", ""))
    assert all(sign.isprintable() or sign == "\n" for sign in page)
    ours = r"#{1,2} (EmoBench report|Training|Inference|Batch sizes|Targets|Traces|Not run|Environment)"
    assert all(re.match(ours, line) for line in page.splitlines() if line.lstrip().startswith("#"))
    blocks = [block for block in page.split("\n\n") if block.startswith("|")]
    assert len(blocks) > 5
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_no_cell_of_the_csv_is_a_formula() -> None:
    """Nor a second line, nor a control character; the figures are those of the records."""
    rows = list(csv.DictReader(io.StringIO(report_csv(content(hostile_runs())).decode())))
    assert len(rows) == 6 * len(NAMES)
    for row in rows:
        for value in row.values():
            assert not value.startswith(("=", "+", "@", "\t", "\r"))
            assert not value.startswith("-") or value[1:2].isdigit()
            assert value.isprintable()
    records = list(some_records())
    (first, *_) = csv.DictReader(io.StringIO(report_csv(content({"1": a_run(records)})).decode()))
    accuracy = records[0].metric("accuracy")
    assert accuracy is not None
    assert accuracy.ci is not None
    assert float(first["accuracy"]) == accuracy.value
    assert float(first["accuracy_low"]) == accuracy.ci[0]


def test_json_holds_everything_of_the_report() -> None:
    """Cases with metrics and units, groups with the front, picks, targets, traces, history, skips; valid JSON."""
    runs = {f"{day}": a_run(list(some_records(luck=day)), day=day) for day in (1, 2)}
    found = json.loads(report_json(content(runs)))
    assert len(found["cases"]) == 114
    assert found["cases"][0]["metrics"]["accuracy"]["unit"] == "share"
    assert found["groups"][0]["best_quality"]["case"] == "finetune[gemma-3-270m-imdb-train-lora-fp32-cpu]"
    assert sum(case["on_pareto_front"] for case in found["groups"][0]["cases"]) == 3
    assert {len(found[name]) > 0 for name in ("targets", "traces", "history", "skipped", "speeds", "runs")} == {True}
    hostile = json.loads(report_json(content(hostile_runs())))
    assert {case["case"]["model"] for case in hostile["cases"]} == {f"{name} {i}" for i, name in enumerate(NAMES)}


def test_lines_of_the_printed_summary_fit() -> None:
    """At most 120 columns and no control character, also with hostile names."""
    text = summary_text(content(hostile_runs()))
    assert max(map(len, text.splitlines())) <= 120
    assert all(sign.isprintable() or sign == "\n" for sign in text)


def secret_runs() -> dict[str, object]:
    record = trained(f"model-{SECRET}", "d", "lora")
    record = replace(
        record,
        case={**record.case, "id": f"finetune[{SECRET}]", "owner": "jane-doe"},
        environment={**record.environment, "HF_TOKEN": "plain-value", "user": "jane-doe"},
        reasons=(f"https://jane-doe:{SECRET}@host.org/x failed in /home/jane-doe/x",),
        status=Status.FAILED,
    )
    fields = {
        "machine_info": {"node": "jane-doe-host", "cpu": {"brand_raw": f"cpu {SECRET}"}},
        "commit_info": {"id": "abc", "remote": "https://jane-doe@host.org/x", "branch": f"b-{SECRET}"},
        "settings": {"arguments": ["--token", "plain-value", f"--emo-set=key={SECRET}"]},
        "skipped": ({"reason": f"401 with {SECRET}", "count": 1, "cases": [f"a-{SECRET}"]},),
        "notes": (f"note {SECRET}",),
    }
    return {"1": a_run([record, trained("m", "d", "full")], **fields)}


@pytest.mark.slow
def test_no_secret_is_in_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens, users in addresses and paths, the host's name, what else a run's info holds: in no form of a report."""
    drawn: list[str] = []
    monkeypatch.setattr(full, "report_pdf", lambda content: drawn.append("") or b"")
    full.write_report(content(secret_runs()), tmp_path)  # type: ignore[arg-type]  # runs under a wider type
    for file in tmp_path.iterdir():
        if file.suffix != ".png":
            data = file.read_bytes().replace(b"\\u002d", b"-")
            assert not [word for word in (SECRET, "jane-doe", "plain-value") if word.encode() in data], file.name
    with house_style():
        texts = [text.get_text() for page in pages(content(secret_runs())) for text in page.figure.texts]  # type: ignore[arg-type]  # as above
    assert not [text for text in texts if SECRET in text or "jane-doe" in text or "plain-value" in text]


def test_tables_say_once_what_is_the_same() -> None:
    """The model is a column always, other axes where they differ, the run where there are several."""
    records = [trained("m", "d", "lora"), trained("m", "d", "full")]
    (table,) = case_tables(content({"1": a_run(records)}).overview.rows)
    assert table.common == "data d, precision fp32, device cpu, profile quick"
    assert [head.title for head in table.heads[:3]] == ["model", "method", "status"]
    (table,) = case_tables(content({"1": a_run(records), "2": a_run(records)}).overview.rows)
    assert table.heads[0].title == "run"
    assert {len(row.cells) for row in table.rows} == {len(table.heads)}


@pytest.mark.slow
@pytest.mark.parametrize("case", ["usual", "hostile"])
def test_every_text_of_the_pdf_can_be_read(case: str) -> None:
    """On every page, heading, caption and footer included: nothing cut off, overlapping or below 8 points."""
    runs = {
        "1": a_run(list(some_records(models=MODELS[:2], data=("imdb-train",)))),
        "2": a_run(list(some_records(models=MODELS[:2], data=("imdb-train",))), day=2),
    }
    found = content(hostile_runs(indices=(1, 19, 21, 23)) if case == "hostile" else runs)
    with house_style():
        made = list(pages(found))
        seen: dict[str, int] = {}
        for number, page in enumerate(made, start=1):
            # Of many pages of one sort two are looked at.
            kind = re.sub(r",? continued", "", page.heading)
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] > 2:
                continue
            finish(page, found.title, number, len(made))
            box = page_box(page)
            assert text_faults(page.figure, box=box) == [], (number, page.heading)
            size = sorted((round(box.width, 2), round(box.height, 2)))
            assert page.landscape or size == sorted(A4), (number, page.heading, size)


def test_columns_of_the_pdf_stand_under_one_another() -> None:
    """Also where a name has wide signs, which the font lacks, or control characters."""
    models = ["plain", "\u6a21\u578b\U0001f600", "a\x1b[31mb"]
    found = content({"1": a_run([trained(model, "d", "lora") for model in models])})
    with house_style():
        (page,) = _table_pages(found)
    lines = [text.get_text() for text in page.figure.texts]
    assert len({line.index("lora") for line in lines if "lora" in line}) == 1
    assert sum("lora" in line for line in lines) == 3


@pytest.mark.slow
def test_the_pdf_is_the_same_each_time() -> None:
    """No date in it; text can be searched."""
    found = content({"1": a_run([trained("m", "d", "lora")], skipped=())})
    first, second = report_pdf(found), report_pdf(found)
    assert first == second
    assert first.startswith(b"%PDF")
    assert first.count(b"/Type /Page ") >= 4 or first.count(b"/Type /Page\n") >= 4


@pytest.mark.slow
def test_all_files_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every form and every picture, and the summary that is printed is the one in the file."""
    monkeypatch.setattr(full, "report_pdf", lambda content: b"drawn in the tests above")
    runs = {
        f"{day}": a_run(list(some_records(models=MODELS[:1], data=("imdb-train",), luck=day)), day=day)
        for day in (1, 2)
    }
    text, files = full.write_report(content(runs), tmp_path / "new" / "folder")
    assert sorted(files) == sorted((tmp_path / "new" / "folder").iterdir())
    assert {file.name for file in files} == {
        *(f"report.{form}" for form in ("html", "pdf", "md", "csv", "json")),
        *(f"{name}.png" for name in ("tradeoff", "radar", "bars", "training", "confusion", "history")),
        *("sweep.png", "heatmap.png", "sweep.json", "sweep.csv", "summary.txt"),
    }
    assert (tmp_path / "new" / "folder" / "summary.txt").read_text() == f"{text}\n"
    assert "![tradeoff.png](tradeoff.png)" in (tmp_path / "new" / "folder" / "report.md").read_text()


def test_a_run_with_little_in_it_makes_a_report(tmp_path: Path) -> None:
    """One generation case: no scatter, no curve, no sweep, and no error."""
    case = {"id": "generation[m]", "kind": "generation", "model": "m"}
    record = replace(timed("m", 1), case=case, metrics=(metric("ttft_p50_seconds", 0.1),))
    _, files = full.write_report(content({"1": a_run([record], skipped=())}), tmp_path)
    assert {file.suffix for file in files} == {".html", ".pdf", ".md", ".csv", ".json", ".txt"}

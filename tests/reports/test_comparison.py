"""Pages of comparisons and gates: width, what is escaped, and that figures come back from CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re

import numpy as np
import pytest

from emobench.analysis.compare import MAIN, compare
from emobench.analysis.gates import Decision, Judgment
from emobench.outcomes import METRICS
from emobench.reports import comparison as pages
from tests.analysis.column_runs import ColumnRun

NASTY = "=cmd|' /C calc'!A0\n| <script>alert(1)</script> \x1b[31m ../../etc/passwd"


def run(case: str, factor: float, name: str = "run") -> ColumnRun:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 400)
    right = (rng.random((1, 400)) < 0.9 / factor).repeat(2, axis=0)
    seconds = 0.1234 * factor * rng.lognormal(0, 0.02, (2, 30))
    values = {"model_bytes": [5e8 * factor] * 2, "host_memory_growth_bytes": [1e9] * 2, "train_seconds": [2e4] * 2}
    return ColumnRun([case, "other"], labels=labels, right=right, seconds=seconds, values=values, name=name)


@pytest.mark.parametrize("case", ["inference[a]", "c" * 300, NASTY])
def test_a_comparison_fits_the_width(case: str) -> None:
    """At most 120 columns and nothing a terminal would obey, whatever the case is called."""
    found = compare([run(case, 1.0)], run(case, 1.3), metrics=list(METRICS))
    for by in (None, "model"):
        text = pages.comparison_text(found, by=by)
        assert max(len(line) for line in text.splitlines()) <= 120
        assert "\x1b" not in text
    assert "worse" in text
    assert "+30.0 %" in text


def test_markdown_is_escaped() -> None:
    """A name cannot end a cell, start markup or a link, or be HTML."""
    text = pages.comparison_markdown(compare([run(NASTY, 1.0)], run(NASTY, 1.3)))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "<script" not in text
    assert "\x1b" not in text


def test_no_form_carries_credentials() -> None:
    """Neither in ids and names nor in reasons: a page may be posted where everybody reads it."""
    secret = "hf_" + "a1B2" * 8
    case = f"x[{secret}-https://me:pass@host/a-/home/someone/y]"
    found = compare([run(case, 1.0, secret)], run(case, 1.3, f"/home/someone/{secret}"), metrics=["accuracy"])
    broken = ColumnRun([case, "other"], values={"accuracy": [0.5, 0.5]}, status=["failed", "ok"])
    broken.reasons = lambda row: (f"cannot read with token={secret}",)  # type: ignore[method-assign]
    other = compare([run(case, 1.0)], broken, metrics=["accuracy"])
    reason = f"cannot read /home/someone/{secret}"
    decision = Decision(case=case, metric="accuracy", outcome="incomplete", reason=reason)
    judged = Judgment(decisions=(decision,), notes=(reason,))
    written = [
        form
        for page in (found, other)
        for form in (
            pages.comparison_text(page, by="model"),
            pages.comparison_markdown(page),
            pages.comparison_csv([page]),
            pages.comparison_json([page]),
        )
    ]
    written += ["\n".join(pages.gate_lines(judged, base=secret)), pages.gate_markdown(judged, base=secret, new=case)]
    written += [pages.gate_csv(judged), pages.gate_json(judged, base=secret, new=case)]
    for text in written:
        assert "a1B2" not in text
        assert "someone" not in text
        assert "pass@" not in text
        assert "***" in text.replace("\\", "")


def test_effect_sizes_are_shown_and_explained() -> None:
    """In text and Markdown beside the change, with a line that says what they are; a number in CSV and JSON."""
    found = compare([run("a", 1.0)], run("a", 1.3), metrics=["accuracy", "latency_p50_seconds", "model_bytes"])
    text = pages.comparison_text(found)
    assert re.search(r"latency_p50_seconds, ms .* \+1\.00  worse", text)
    assert "effect: of a score Cohen's h, of a time or speed Cliff's delta" in text
    assert re.search(r"\| latency\\_p50\\_seconds, ms \|.*\| \+1\.00 \| worse \|", pages.comparison_markdown(found))
    rows = json.loads(pages.comparison_json([found]))[0]["rows"]
    effects = {row["metric"]: row["effect"] for row in rows}
    assert effects["accuracy"] < -0.2
    assert effects["model_bytes"] is None
    counts = pages.comparison_text(compare([run("a", 1.0)], run("a", 1.3), metrics=["model_bytes"])).split("in all")[1]
    assert "effect" not in counts


def test_csv_cannot_start_a_formula() -> None:
    """A cell with text never begins as a formula; numbers come back as they are, negative ones too."""
    found = compare([run(NASTY, 1.3)], run(NASTY, 1.0))
    rows = list(csv.DictReader(io.StringIO(pages.comparison_csv([found]))))
    texts = [row[name] for row in rows for name in ("case", "metric", "verdict", "how", "base_run")]
    assert not any(text.startswith(("=", "+", "-", "@", "\t")) for text in texts)
    latency = next(row for row in rows if row["metric"] == "latency_p50_seconds")
    place = list(found.rows.metric).index("latency_p50_seconds")
    assert float(latency["change"]) == found.rows.point[place] < 0
    assert latency["unit"] == "s"


def test_json_holds_every_row() -> None:
    """Null where there is no number, and the counts by verdict."""
    found = compare([run("a", 1.0)], run("a", 1.3))
    (content,) = json.loads(pages.comparison_json([found]))
    assert len(content["rows"]) == len(found.rows) > 0
    assert sum(content["counts"].values()) == len(found.rows)
    lacking = next(row for row in content["rows"] if row["metric"] == "train_seconds")
    assert lacking["change_low"] is None


def test_verdicts_can_be_chosen() -> None:
    """Only the rows asked for, and a line that says how many are left out."""
    found = compare([run("a", 1.0)], run("a", 1.3))
    worse = pages.chosen(found, ["worse"])
    assert set(worse.rows.verdict) == {"worse"}
    assert worse.counts() == found.counts()
    assert f"{len(found.rows) - len(worse.rows)} other rows are left out" in pages.comparison_text(worse)


def test_nothing_to_compare_is_said() -> None:
    """Two runs without a common metric give a page and no error."""
    empty = ColumnRun(["a"], values={"parameters": [1]})
    for page in (pages.comparison_text, pages.comparison_markdown):
        assert "nothing to compare" in page(compare([empty], empty, metrics=MAIN))


def judgment() -> Judgment:
    numbers = {
        "base": 0.9,
        "new": 0.85,
        "point": -0.05,
        "lower": -0.06,
        "upper": -0.04,
        "confidence": 0.9975,
        "p": 1e-9,
    }
    return Judgment(
        decisions=(
            Decision(case="a", metric="accuracy", outcome="same", **numbers, limit="9pt", reason="exact"),
            Decision(case=NASTY, metric="accuracy", outcome="worse", **numbers, limit="1pt", reason="McNemar"),
            Decision(case="b", metric="accuracy", outcome="incomplete", limit="1pt", reason="the case has no record"),
        )
    )


def test_a_gate_tells_numbers_interval_and_limit() -> None:
    """The message of a failed test, and the line that counts."""
    text = "\n".join(pages.gate_lines(judgment(), base="main"))
    joined = " ".join(text.split())
    assert (
        "accuracy is worse: 0.9000 to 0.8500, -5.00 pt (99.75 % interval -6.00 to -4.00 pt), limit 1pt; McNemar"
        in joined
    )
    assert "b: accuracy is incomplete: the case has no record; limit 1pt" in joined
    assert "Gated 2 of 3 against main: 1 worse, 1 same, 1 incomplete" in joined
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_gate_pages_are_escaped() -> None:
    """Markdown and CSV of a gate, and JSON with its exit code."""
    text = pages.gate_markdown(judgment(), base="main", new="0002")
    assert "<script" not in text
    assert text.index("worse") < text.index("no record")
    rows = list(csv.DictReader(io.StringIO(pages.gate_csv(judgment()))))
    assert rows[1]["case"].startswith("'=")
    assert float(rows[1]["point"]) == -0.05
    assert json.loads(pages.gate_json(judgment(), base="main", new="x"))["exit_code"] == 10

"""The page without a browser: what its parts are given, and what its server answers and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emobench.dashboard import contents as fill
from emobench.dashboard import views
from emobench.dashboard.saved_runs import Shelf
from emobench.dashboard.server import listen, loopback, permitted
from emobench.dashboard.two_runs import HEADS, WIDTHS, compared
from emobench.errors import SpecError
from emobench.records.bless import bless
from tests.records.made_runs import case_id, make_run

GR = SimpleNamespace(update=lambda **given: given)
"""Stands for Gradio, of which these functions use no more."""
HOSTILE = "<img src=x onerror=alert(1)>${alert(2)}{{x}}"


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """Two runs, the second with a worse and a slower case, and one that cannot be read."""
    make_run(tmp_path, cases=4, predictions_rows=500, losses=20)
    make_run(tmp_path, cases=4, predictions_rows=500, losses=20, seed=1, worse={0: 0.1}, slower={1: 1.5})
    make_run(tmp_path, cases=1).write_text("{")
    return Shelf(tmp_path)


def keys(shelf: Shelf) -> dict[str, str]:
    return {entry.number: entry.key for entry in shelf.entries()}


def test_pickers_begin_with_the_newest_runs_that_can_be_read(shelf: Shelf) -> None:
    """All runs can be picked; the newest is shown and compared with the one before it."""
    view, run, base, new = fill.listing(GR, shelf, None, None, None)
    assert [label.partition(",")[0] for label, _ in run["choices"]] == ["0002", "0001", "0003"]
    known = keys(shelf)
    assert (run["value"], base["value"], new["value"]) == (known["0002"], known["0001"], known["0002"])
    assert "cannot be read: it is not complete JSON" in view
    kept = fill.listing(GR, shelf, known["0001"], known["0003"], "gone")
    assert [part["value"] for part in kept[1:]] == [known["0001"], known["0003"], known["0002"]]


def test_a_storage_without_runs_says_how_to_make_one(tmp_path: Path) -> None:
    """An empty folder is no error."""
    view, run, _, _ = fill.listing(GR, Shelf(tmp_path), None, None, None)
    assert "No run is saved here yet" in view
    assert run["value"] is None
    assert fill.whole_run(GR, Shelf(tmp_path), None)[0] == ""


def heads(part: dict[str, Any]) -> list[str]:
    value = part.get("value")
    return list(value["headers"]) if isinstance(value, dict) else []


@pytest.mark.slow
def test_switching_runs_changes_every_view(shelf: Shelf) -> None:
    """Summary, chart and table of two runs differ, and both have as many values as the broken one has."""
    first, second, broken = (fill.whole_run(GR, shelf, keys(shelf)[number]) for number in ("0001", "0002", "0003"))
    assert len(first) == len(second) == len(broken)
    table = next(at for at, part in enumerate(first) if isinstance(part, dict) and heads(part)[-1:] == ["case"])
    assert first[0] != second[0]
    assert first[table]["value"]["data"] != second[table]["value"]["data"]
    assert "is no readable run: it is not complete JSON" in broken[0]
    assert broken[table]["visible"] is False


def test_filters_leave_the_cases_that_fit(shelf: Shelf) -> None:
    """By axis and by words in the id, together."""
    content = shelf.content(keys(shelf)["0001"])
    found = views.chosen_rows(content, {"model": ["model-00001", "model-00002"], "method": []})
    assert {row.id for row in found} == {case_id(2, scored=True), case_id(1, scored=False)}
    assert [row.id for row in views.chosen_rows(content, {}, "FINETUNE 00002")] == [case_id(2, scored=True)]
    assert views.chosen_rows(content, {"model": ["model-00001"]}, "finetune") == []
    grid, said = views.case_grid([], "Training")
    assert grid.cells == ()
    assert said == "No case of Training is left by the filters."


def test_a_table_sorts_by_numbers_and_shows_texts(shelf: Shelf) -> None:
    """Cells are values; what is shown stands beside them, and the last column is the id a click is known by."""
    content = shelf.content(keys(shelf)["0001"])
    grid, _ = views.case_grid(content.overview.rows, "Training")
    at = grid.heads.index("accuracy ±95 %")
    recorded = [row.metric("accuracy") for row in content.overview.rows if row.case["kind"] == "finetune"]
    assert [row[at] for row in grid.cells] == [item.value for item in recorded if item]
    assert grid.texts[0][at].startswith(f"{grid.cells[0][at]:.3f} ±")
    assert grid.numeric[at]
    assert [row[-1] for row in grid.cells] == [case_id(0, scored=True), case_id(2, scored=True)]


@pytest.mark.slow
def test_one_case_shows_its_metrics_curves_and_errors(shelf: Shelf) -> None:
    """A trained case has a curve and errors; a timed one has neither."""
    key = keys(shelf)["0001"]
    view, loss, accuracy, seed, said, errors = fill.one_case(GR, shelf, key, case_id(0, scored=True))
    assert "Share of test examples whose most probable class is the label." in view
    assert len(json.loads(loss["value"].plot)["data"][0]["y"]) == 20
    assert (accuracy["visible"], seed["value"], seed["visible"]) == (False, 0, False)
    assert "of 500 rows got the wrong class" in said["value"]
    assert errors["value"]["headers"] == ["row", "label", "predicted", "p of predicted", "p(negative)", "p(positive)"]
    assert fill.one_case(GR, shelf, key, case_id(1, scored=False))[-1]["visible"] is False
    assert fill.one_case(GR, shelf, key, "not a case")[0] == ""


def test_a_comparison_has_the_verdicts_of_the_verb(shelf: Shelf) -> None:
    """The planted loss and slowdown are the rows that got worse, and they come first."""
    known = keys(shelf)
    found = compared(shelf, known["0001"], known["0002"])
    worse = {(row[1], row[2].partition(",")[0]) for row in found.grid.texts if row[0] == "worse"}
    assert (case_id(0, scored=True), "accuracy") in worse
    assert (case_id(1, scored=False), "latency_p50_seconds") in worse
    assert {case for case, _ in worse} == {case_id(0, scored=True), case_id(1, scored=False)}
    verdicts = [row[0] for row in found.grid.texts]
    assert verdicts[: len(worse)] == ["worse"] * len(worse)
    only = compared(shelf, known["0001"], known["0002"], only=["same"])
    assert {row[0] for row in only.grid.texts} == {"same"}
    assert len(HEADS) == len(WIDTHS) == len(found.grid.numeric) == len(found.grid.cells[0]) == len(found.grid.texts[0])
    # A time that only grew is at the end of its effect size; a score that fell has one below zero.
    effect = {(row[1], row[2].partition(",")[0]): row[HEADS.index("effect")] for row in found.grid.texts}
    assert effect[case_id(1, scored=False), "latency_p50_seconds"] == "+1.00"
    assert effect[case_id(0, scored=True), "accuracy"].startswith("-0.")
    assert "Effect: of a score Cohen" in found.words


def test_a_run_is_compared_with_a_baseline(shelf: Shelf) -> None:
    """Blessed baselines stand first among the bases and nowhere else; their name is shown, a changed one is told."""
    known = keys(shelf)
    bless([shelf.path(known["0001"])], "main", shelf.storage)
    _, run, base, new = fill.listing(GR, shelf, None, None, None)
    assert base["choices"][0] == ("baseline main", "baseline:main")
    assert base["value"] == known["0001"]
    assert all("baseline:main" not in [key for _, key in part["choices"]] for part in (run, new))
    assert fill.listing(GR, shelf, None, "baseline:main", None)[2]["value"] == "baseline:main"
    found = compared(shelf, "baseline:main", known["0002"])
    assert "main" in found.words
    assert {row[1] for row in found.grid.texts if row[0] == "worse"} == {
        case_id(0, scored=True),
        case_id(1, scored=False),
    }
    (file,) = shelf.storage.glob("baselines/main/*/*.json")
    file.write_bytes(file.read_bytes().replace(b"0.9", b"0.1", 1))
    said, table = fill.pair(GR, shelf, "baseline:main", known["0002"], (), across=False)
    assert "baseline" in said
    assert table["visible"] is False
    assert "is not there" in fill.pair(GR, shelf, "baseline:../x", known["0002"], (), across=False)[0]


def test_a_broken_run_in_a_comparison_is_told(shelf: Shelf) -> None:
    """It is said in place of the table."""
    known = keys(shelf)
    said, table = fill.pair(GR, shelf, known["0003"], known["0002"], (), across=False)
    assert "is no readable run" in said
    assert table["visible"] is False


def test_names_from_files_are_never_markup(tmp_path: Path) -> None:
    """Tags, template signs and control characters of a record arrive as text; a credential does not arrive."""
    path = make_run(tmp_path, cases=2, predictions_rows=50)
    raw = json.loads(path.read_text())
    for bench in raw["benchmarks"]:
        record = bench["extra_info"]["emobench"]
        record["case"] |= {"model": HOSTILE, "id": f"{record['case']['kind']}[{HOSTILE}\x1b]"}
        record |= {"status": "failed", "reasons": ["token=abcdefgh12345"]}
    path.write_text(json.dumps(raw))
    shelf = Shelf(tmp_path)
    key = shelf.entries()[0].key
    content = shelf.content(key)
    shown = [views.summary_html(content), *(views.case_html(content, row) for row in content.overview.rows)]
    shown.append(compared(shelf, key, key).words)
    for text in shown:
        assert "<img" not in text
        assert "${" not in text
        assert "{{" not in text
        assert "\x1b" not in text
        assert "abcdefgh12345" not in text
    assert "&lt;img" in shown[0]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org", ""])
def test_only_this_machine_can_be_shown_to(host: str) -> None:
    """Another address is an error that says why."""
    with pytest.raises(SpecError, match="the dashboard has no password and is shown on this machine only"):
        loopback(host)


def test_a_taken_port_is_told() -> None:
    """A second dashboard at the same port gets a message; port 0 finds a free one."""
    with listen("localhost", 0) as first:
        assert first.getsockname()[0] == "127.0.0.1"
        with pytest.raises(SpecError, match="it cannot be listened at"):
            listen("127.0.0.1", first.getsockname()[1])
    with pytest.raises(SpecError, match="a port is a number from 0 to 65535"):
        listen("127.0.0.1", 70000)


def asked(path: str, *, host: str = "127.0.0.1:7860", origin: str | None = None) -> bool:
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    return permitted({"type": "http", "path": path, "headers": headers})


def test_requests_for_anything_but_the_page_are_refused() -> None:
    """Gradio's routes for files, uploads, forwarding and histories are closed; so are other names and pages."""
    for path in ("/", "/config", "/theme.css", "/assets/index.js", "/gradio_api/queue/join"):
        assert asked(path), path
    for path in (
        *("/gradio_api/file=/etc/passwd", "/file=/etc/passwd", "/gradio_api/upload", "/gradio_api/proxy=http://a"),
        *("/gradio_api/run-history/buckets", "/gradio_api/run/predict", "/monitoring", "/assets/../x", "/docs"),
    ):
        assert not asked(path), path
    assert asked("/", host="localhost:80")
    assert asked("/", host="[::1]:7860")
    assert not asked("/", host="evil.example:7860")
    assert not asked("/", host="")
    assert asked("/", origin="http://127.0.0.1:7860")
    assert not asked("/", origin="http://evil.example")
    assert not asked("/", origin="null")


def test_the_server_answers_with_a_policy_and_no_foreign_font(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real application: its page, its style sheet, and what it refuses."""
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of packages that Gradio is made of
        from starlette.testclient import TestClient

        from emobench.dashboard.server import make_app

        with TestClient(make_app(shelf.storage), base_url="http://127.0.0.1:7860") as client:
            page, style = client.get("/"), client.get("/theme.css")
            refused = [client.get("/gradio_api/file=/etc/passwd"), client.post("/gradio_api/upload")]
            refused.append(client.get("/", headers={"host": "evil.example"}))
    assert page.status_code == style.status_code == 200
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    assert "googleapis" not in page.text + style.text
    assert '"analytics_enabled":false' in page.text.replace(" ", "")
    assert [answer.status_code for answer in refused] == [404, 404, 404]


@pytest.mark.slow
def test_the_dashboard_imports_no_torch() -> None:
    """Reading and showing results needs neither torch nor, before it is shown, Gradio."""
    script = (
        "import sys, emobench.dashboard.app, emobench.dashboard.server, emobench.commands.live_page\n"
        "print(*(name for name in ('torch', 'transformers', 'gradio', 'datasets') if name in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


def test_the_verb_refuses_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of runs, an address of others: one line, exit code 2."""
    from typer.testing import CliRunner

    from emobench.cli import app

    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["dashboard"])
    assert result.exit_code == 2
    assert "the dashboard shows the runs saved in it; make some: pytest benchmarks" in result.stderr
    (tmp_path / "results").mkdir()
    result = CliRunner().invoke(app, ["dashboard", "--host", "0.0.0.0"])
    assert result.exit_code == 2
    assert "--host 0.0.0.0; the dashboard has no password" in result.stderr

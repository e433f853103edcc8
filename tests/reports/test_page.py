"""The HTML page: it needs no network, runs nothing that came with data, and its tables can be used."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from emobench.errors import MissingExtraError
from emobench.reports.content import content
from emobench.reports.page import report_html
from tests.reports.hostile import NAMES, PWNED, hostile_runs
from tests.reports.made_runs import a_run, indexed, some_records, timed

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Parts(HTMLParser):
    """Elements with their attributes, and the text of each script and style."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.values: list[tuple[str, str, str]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self.inside: tuple[str, dict[str, str | None]] | None = None
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.values += [(tag, name, value or "") for name, value in attrs]
        if tag in ("script", "style"):
            self.inside = (tag, dict(attrs))
            self.raw.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        if self.inside and self.inside[0] == tag:
            self.inside = None

    def handle_data(self, data: str) -> None:
        if self.inside:
            tag, attrs, before = self.raw[-1]
            self.raw[-1] = (tag, attrs, before + data)
        else:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data[:80]}")


def parsed(page: bytes) -> Parts:
    parts = Parts()
    parts.feed(page.decode())
    parts.close()
    return parts


@pytest.fixture(scope="module")
def hostile() -> bytes:
    return report_html(content(hostile_runs()))


@pytest.fixture(scope="module")
def page() -> bytes:
    runs = {f"{day:04}": a_run(list(some_records(luck=day)), day=day) for day in (1, 2, 3)}
    return report_html(content({"0003": runs["0003"]}, earlier={key: indexed(run) for key, run in runs.items()}))


def test_hostile_names_make_the_same_elements_as_innocent_ones(hostile: bytes) -> None:
    """Element for element and attribute for attribute: no text from data became markup."""
    innocent = parsed(report_html(content(hostile_runs(benign=True))))
    found = parsed(hostile)
    assert Counter(found.elements) == Counter(innocent.elements)


def test_only_our_scripts_are_in_the_page_and_the_policy_names_them(hostile: bytes) -> None:
    """Two scripts and one style, each with its hash in the policy, nothing else allowed, no handler attribute."""
    parts = parsed(hostile)
    (policy,) = [
        value for tag, name, value in parts.values if (tag, name) == ("meta", "content") and "default-src" in value
    ]
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    run = [text for tag, attrs, text in parts.raw if tag == "script" and "type" not in attrs]
    styles = [text for tag, _, text in parts.raw if tag == "style"]
    assert (len(run), len(styles)) == (2, 1)
    for text in (*run, *styles):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert len(directives["script-src"].split()) == 2
    assert not [
        name for _, name, _ in parts.values if name.startswith("on") or name in ("src", "srcdoc", "style", "action")
    ]
    links = [value for _, name, value in parts.values if name == "href"]
    assert all(value.startswith("#") for value in links)


def test_the_charts_json_cannot_leave_its_element(hostile: bytes) -> None:
    """It holds no angle bracket, parses, and every name in it is escaped for Plotly's own markup."""
    (text,) = [text for tag, attrs, text in parsed(hostile).raw if attrs.get("type") == "application/json"]
    assert not set("<>&") & set(text)
    assert all(sign.isprintable() or sign == "\n" for sign in text)

    def strings(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, list):
            for item in value:
                yield from strings(item)
        elif isinstance(value, dict):
            for item in value.values():
                yield from strings(item)

    markup = {tag for found in strings(json.loads(text)) for tag in re.findall(r"<[^>]*>", found)}
    assert markup <= {"<br>", "<extra>", "</extra>"}
    templates = {found for found in strings(json.loads(text)) if "%{" in found and "%{x}&lt;extra" not in found}
    assert all(not any(name in template for name in NAMES) for template in templates)


def test_every_hostile_name_is_still_told(hostile: bytes) -> None:
    """Escaped is not left out: what is printable of each name stands in the page."""
    text = " ".join(parsed(hostile).texts)
    for name in NAMES:
        clean = "".join(sign if sign.isprintable() else "?" for sign in " ".join(name.split()))[:300]
        assert clean in text, name


def test_no_control_character_is_in_the_page(hostile: bytes) -> None:
    """Nor a surrogate, nor one that turns the direction of text around; the library is not ours to judge."""
    own = hostile.decode()
    own = own[: own.index("<script>")]
    assert {sign for sign in own if not sign.isprintable()} <= {"\n", "\t"}


def test_the_page_is_whole_and_small_enough(page: bytes) -> None:
    """No address to load from outside the library, all sections, below 6 MB."""
    assert len(page) < 6_000_000
    parts = parsed(page)
    assert [value for tag, name, value in parts.values if (tag, name) == ("section", "id")] == [
        "summary",
        "quality",
        "throughput",
        "cases",
        "batches",
        "training",
        "confusion",
        "history",
        "traces",
        "targets",
        "skipped",
        "environment",
    ]
    own = page.decode()
    assert not re.search(r"https?://", own[: own.index("<script>")])


def test_five_hundred_cases_still_make_a_page_below_the_limit() -> None:
    """The table has a row for each, with what it is sorted by."""
    records = [
        replace(record, case={**record.case, "id": f"{record.id}{copy}", "model": f"{record.case['model']}-{copy}"})
        for copy in range(9)
        for record in some_records()
    ]
    made = report_html(content({"1": a_run(records)}))
    assert len(records) > 500
    assert len(made) < 6_000_000
    parts = parsed(made)
    assert sum(name == "data-id" for _, name, _ in parts.values) == len(records)
    assert sum(name == "data-v" for _, name, _ in parts.values) > 5 * len(records)


def test_nothing_measured_still_makes_a_page() -> None:
    """One failed case: a summary and a table, no chart."""
    from emobench.outcomes import Status

    record = replace(timed("m", 1), metrics=(), status=Status.FAILED, reasons=("no such kernel",))
    parts = parsed(report_html(content({"1": a_run([record], skipped=())})))
    text = " ".join(parts.texts)
    assert "no such kernel" in text
    assert not [name for _, name, _ in parts.values if name == "data-chart"]


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Jinja2 or Plotly the error says what to install."""
    import sys

    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(MissingExtraError, match=r'run: pip install "emobench\[report\]"'):
        report_html(content({"1": a_run([timed("m", 1)])}))


def opening(connection: socket.socket) -> bytes:
    """The first thing said on a connection: one piece of plain text, or the whole of TLS's first record.

    That record is longer than one read, and its parts come in a random order: the host's name may stand last.
    """
    found = connection.recv(65536)
    while found[:1] == b"\x16" and len(found) < 5 + int.from_bytes(found[3:5], "big"):
        more = connection.recv(65536)
        if not more:
            break
        found += more
    return found


@contextmanager
def listening() -> Iterator[tuple[int, list[bytes]]]:
    """A port of this machine, and what came in at it; what the browser itself asks its maker is not ours."""
    came: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        over = threading.Event()

        def answer() -> None:
            while not over.is_set():
                try:
                    connection, _ = server.accept()
                except TimeoutError:
                    continue
                connection.settimeout(1)
                with connection:
                    first = opening(connection)
                if not re.search(rb"google|gvt1|gstatic", first):
                    came.append(first)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield server.getsockname()[1], came
        finally:
            over.set()
            thread.join()


def opened(file: Path, port: int) -> str:
    """The page as a browser has it after it ran; every host name leads to ``port``."""
    assert CHROMIUM is not None
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--window-size=1280,30000",
        "--virtual-time-budget=15000",
        f"--host-resolver-rules=MAP * 127.0.0.1:{port}",
        f"--user-data-dir={file.parent / 'browser'}",
        "--dump-dom",
    ]
    result = subprocess.run([CHROMIUM, *options, file.as_uri()], capture_output=True, text=True, timeout=240)
    return result.stdout


def drawing_everything(page: bytes) -> bytes:
    """The page with one more script, allowed by its hash, that draws the charts which are far down."""
    script = 'window.dispatchEvent(new Event("beforeprint"));'
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = page.replace(b"script-src ", f"script-src 'sha256-{digest}' ".encode(), 1)
    return allowed.replace(b"</body>", f"<script>{script}</script></body>".encode())


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_runs_nothing_from_data_and_asks_no_one(hostile: bytes, tmp_path: Path) -> None:
    """All charts are drawn, the title is ours, no name became an element, and not one connection was made."""
    file = tmp_path / "report.html"
    file.write_bytes(drawing_everything(hostile))
    with listening() as (port, came):
        tree = opened(file, port)
    assert 'data-ready="yes"' in tree
    assert "<title>EmoBench report: 2 runs</title>" in tree
    charts = tree.count('data-chart="')
    assert charts > 10
    assert tree.count('data-drawn="yes"') == charts
    body = re.sub(r"<script.*?</script>", "", tree, flags=re.DOTALL)
    assert body.count("main-svg") >= charts
    assert not re.search(r"<(img|link|base|iframe|object)\b", body)
    assert PWNED not in re.sub(r'"[^"]*"', "", "".join(re.findall(r"<[^>]*>", body)))
    assert came == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_browser_test_sees_what_it_should(tmp_path: Path) -> None:
    """A page without a policy that does run a name and loads a picture is caught by the same measures."""
    file = tmp_path / "bad.html"
    file.write_text(f"<title>ours</title><img src=http://example.test/a.png>{NAMES[0]}")
    with listening() as (port, came):
        tree = opened(file, port)
    assert "<title>pwned</title>" in tree
    assert any(b"example.test" in first for first in came)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_the_policy_alone_would_stop_a_script(page: bytes, tmp_path: Path) -> None:
    """A script put into the finished page, as if escaping had failed, does not run and loads nothing."""
    file = tmp_path / "report.html"
    planted = f"{NAMES[0]}{NAMES[3]}<img src=http://example.test/a.png><script src=http://example.test/b.js></script>"
    file.write_bytes(page.replace(b"<h1>", planted.encode() + b"<h1>"))
    with listening() as (port, came):
        tree = opened(file, port)
    assert 'data-ready="yes"' in tree
    assert "<title>EmoBench report: run 0003</title>" in tree
    assert came == []


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_tables_filter_and_sort(page: bytes, tmp_path: Path) -> None:
    """Typing leaves the rows with all words; a head sorts by value, again the other way, missing values last."""
    driver = """<script>
    const input = document.getElementById("filter");
    const table = document.querySelectorAll("table.cases")[1];
    const heads = Array.from(table.tHead.rows[0].cells).map((head) => head.textContent);
    const column = heads.findIndex((text) => text.startsWith("latency"));
    const order = () => Array.from(table.tBodies[0].rows).map((row) => row.cells[column].dataset.v || "none");
    const press = () => table.tHead.rows[0].cells[column].querySelector("button").click();
    press(); const up = order(); press(); const down = order();
    input.value = "BF16 distil"; input.dispatchEvent(new Event("input"));
    document.body.dataset.result = JSON.stringify([up, down, document.getElementById("count").textContent]);
    </script>"""
    # The test's own script needs a page without the policy.
    text = re.sub(rb'<meta http-equiv="Content-Security-Policy"[^>]*>', b"", page)
    file = tmp_path / "report.html"
    file.write_bytes(text.replace(b"</body>", driver.encode() + b"</body>"))
    with listening() as (port, _):
        tree = opened(file, port)
    found = re.search(r'data-result="([^"]*)"', tree)
    assert found is not None
    up, down, count = json.loads(found[1].replace("&quot;", '"'))
    assert up[-2:] == down[-2:] == ["none", "none"]
    values = [float(value) for value in up[:-2]]
    assert values == sorted(values)
    assert [float(value) for value in down[:-2]] == values[::-1]
    assert count == "6 of 57 cases"

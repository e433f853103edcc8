"""The dashboard in a real headless Chromium: it loads, follows what is picked, and asks no other machine."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.dashboard.browser import Page, browser, chromium
from tests.records.made_runs import case_id, make_run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed (Debian: apt-get install chromium)"),
]

SERVER = """
import sys
def note(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        print("asked", arguments[1][0], flush=True)
    elif event == "socket.getaddrinfo":
        print("asked", arguments[0], flush=True)
sys.addaudithook(note)
from emobench.cli import main
sys.argv = ["emobench", "dashboard", "--storage", sys.argv[1], "--port", "0"]
main()
"""
"""The verb as it is, with every address that the process looks up or connects to printed."""
HOSTILE = "<img src=x onerror=document.title='taken'>${document.title='taken'}"
ROW = (
    "[...document.querySelectorAll('#cases td, #cases [role=gridcell]')]"
    ".find(cell => cell.offsetParent && cell.innerText.includes({!r}))"
)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The page in the browser, its address, and what the server's process asked for."""

    page: Page
    address: str
    asked: list[str]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A storage with two runs, a broken one and one with hostile names, served and opened."""
    storage = tmp_path_factory.mktemp("results")
    hostile = make_run(storage, cases=3, predictions_rows=60)
    hostile.write_text(hostile.read_text().replace("model-00000", json.dumps(HOSTILE)[1:-1]))
    make_run(storage, cases=4, predictions_rows=300, losses=20).write_text("{")
    make_run(storage, cases=6, predictions_rows=300, losses=20)
    make_run(storage, cases=8, predictions_rows=300, losses=20, seed=1, worse={0: 0.2}, slower={1: 1.5})
    command = [sys.executable, "-c", SERVER, str(storage)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        asked: list[str] = []
        reader = threading.Thread(target=asked.extend, args=(process.stdout,))
        reader.start()
        try:
            line = process.stderr.readline()
            assert "the dashboard is at http://127.0.0.1:" in line, line
            address = line.split(" at ")[1].split()[0]
            with browser(tmp_path_factory.mktemp("profile")) as page:
                page.open(address)
                page.wait("document.querySelector('#summary')?.innerText.includes('8 in 1 run')")
                yield Shown(page=page, address=address, asked=asked)
        finally:
            process.terminate()
            reader.join(timeout=30)


def test_switching_runs_changes_the_table(shown: Shown) -> None:
    """The newest run is there at first; picking another one shows that one's cases."""
    page = shown.page
    page.tab("Cases")
    page.wait(ROW.format(case_id(6, scored=True)) + " && true")
    page.pick("run", "0003")
    page.wait(f"!{ROW.format(case_id(6, scored=True))} && !!{ROW.format(case_id(4, scored=True))}")
    page.pick("run", "0004")
    page.wait(ROW.format(case_id(6, scored=True)) + " && true")


def test_a_filter_and_a_click_lead_to_a_case(shown: Shown) -> None:
    """A filter leaves one row, and a click on it opens that case with its errors."""
    page = shown.page
    page.pick("run", "0004")
    page.tab("Cases")
    page.pick("by-model", "model-00002")
    page.wait(f"!{ROW.format(case_id(0, scored=True))} && !!{ROW.format(case_id(2, scored=True))}")
    page.press("document.querySelector('#common')")
    page.press(ROW.format(case_id(2, scored=True)))
    page.tab("One case")
    page.wait(f"document.querySelector('#case input').value === {case_id(2, scored=True)!r}")
    page.wait("document.querySelector('#errors-said')?.innerText.includes('of 300 rows got the wrong class')")


def test_charts_are_drawn(shown: Shown) -> None:
    """Plotly draws the scatter with its axes inside the page."""
    page = shown.page
    page.tab("Charts")
    page.wait("document.querySelector('#plot .main-svg .xtitle')?.textContent.includes('training time')")
    assert page.run("document.querySelector('#plot .main-svg').getBoundingClientRect().width") > 800


def test_two_runs_are_compared(shown: Shown) -> None:
    """The planted loss and slowdown are told; the same run twice has nothing worse."""
    page = shown.page
    page.tab("Compare")
    page.pick("base", "0003")
    page.pick("new", "0004")
    page.wait("/\\d worse/.test(document.querySelector('#compared').innerText)")
    page.pick("base", "0004")
    page.wait("document.querySelector('#compared').innerText.includes('both are the same run')")
    assert "worse" not in page.run("document.querySelector('#compared dl').innerText")


def test_a_broken_run_is_shown_as_such(shown: Shown) -> None:
    """It stands among the runs with its problem, can be picked, and another one after it."""
    page = shown.page
    page.tab("Runs")
    page.wait("document.querySelector('#runs').innerText.includes('cannot be read: it is not complete JSON')")
    page.pick("run", "0002, cannot be read")
    page.tab("Summary")
    page.wait("document.querySelector('#summary').innerText.includes('is no readable run')")
    page.pick("run", "0004")
    page.wait("document.querySelector('#summary').innerText.includes('8 in 1 run')")


def test_names_from_files_run_no_script(shown: Shown) -> None:
    """A model called like a script is read as text on every tab."""
    page = shown.page
    page.pick("run", "0001")
    page.tab("Summary")
    page.wait("document.querySelector('#summary').innerText.includes('onerror=')")
    for name in ("Charts", "Cases", "One case", "Compare"):
        page.tab(name)
        page.run("new Promise(done => setTimeout(done, 700))")
    assert page.run("document.title") == "EmoBench"
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0
    page.pick("run", "0004")


def test_nothing_but_this_machine_is_asked(shown: Shown) -> None:
    """After all that: every request of the browser and every connection of the server stayed on loopback."""
    page = shown.page
    assert len(page.requests) > 20
    foreign = [one for one in page.requests if not one.startswith((shown.address, "data:", "blob:"))]
    assert foreign == []
    # The browser refuses what the policy forbids and says so: nothing was even tried.
    assert page.said == []
    hosts = {line.split()[1] for line in shown.asked if line.startswith("asked")}
    assert hosts <= {"127.0.0.1", "localhost", "::1", "None"}
    blocked = "fetch('https://example.org/').then(() => 'went through', () => 'blocked')"
    assert page.run(blocked) == "blocked"
    assert any("Content Security Policy" in line for line in page.said)

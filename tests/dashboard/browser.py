"""A real Chromium driven through its DevTools protocol: open a page, run script, look, and list what was asked for."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect


def chromium() -> str | None:
    """The browser's program, where there is one."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


class Page:
    """One tab. ``requests`` are the addresses of everything it asked for, ``said`` what went wrong in its scripts."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket, self._number = socket, 0
        self.requests: list[str] = []
        self.said: list[str] = []
        for domain in ("Network", "Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result, taking in what happened meanwhile."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=60))
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message["method"] in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            self.requests.append(parameters["request"]["url"] if "request" in parameters else parameters["url"])
        elif message["method"] == "Runtime.exceptionThrown":
            self.said.append(json.dumps(parameters["exceptionDetails"])[:500])
        elif message["method"] == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.said.append(f"{parameters['entry']['text']} {parameters['entry'].get('url', '')}")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, script: str, *, seconds: float = 60) -> Any:
        """Wait until an expression is true; fails with what the page shows."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if found := self.run(script):
                return found
            time.sleep(0.2)
        raise AssertionError(f"never true: {script}\n{self.run('document.body.innerText')[:2000]}\n{self.said}")

    def open(self, address: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=address)

    def press(self, element: str) -> None:
        """Click with the mouse on an element, given as an expression, once it is there."""
        self.wait(f"!!({element})")
        x, y = self.run(
            f"(() => {{ const found = {element}; found.scrollIntoView({{block: 'nearest', inline: 'nearest'}}); "
            "const box = found.getBoundingClientRect(); "
            "return [box.x + Math.min(box.width / 2, 60), box.y + box.height / 2]; })()"
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def tab(self, name: str) -> None:
        """Press the tab of that name."""
        # Gradio keeps a second, hidden row of tabs to measure them.
        self.press(
            "[...document.querySelectorAll('button[role=tab]')]"
            f".find(b => b.innerText.trim() === {name!r} && b.offsetParent && !b.closest('.visually-hidden'))"
        )

    def pick(self, part: str, start: str) -> None:
        """Choose the entry of a dropdown that begins so."""
        self.press(f"document.querySelector('#{part} input')")
        self.press(
            "[...document.querySelectorAll('[role=option]')]"
            f".find(o => (o.getAttribute('aria-label') ?? o.innerText).trim().startsWith({start!r}))"
        )

    def screenshot(self, path: Path) -> None:
        """The whole page as a picture."""
        found = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def browser(folder: Path, *, width: int = 1280, height: int = 1000) -> Iterator[Page]:
    """A browser with an empty profile that finds no host but 127.0.0.1."""
    program = chromium()
    assert program is not None
    command = [
        *(program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"),
        *(f"--user-data-dir={folder}", f"--window-size={width},{height}", "--hide-scrollbars"),
        *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "about:blank"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(_address(folder, process), max_size=None, open_timeout=30) as socket:
            page = Page(socket)
            page.call(
                "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
            )
            yield page
    finally:
        process.terminate()
        process.wait(timeout=30)


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    noted, end = folder / "DevToolsActivePort", time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if noted.is_file() and (lines := noted.read_text().splitlines()):
            with urllib.request.urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=30) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.2)
    raise AssertionError("Chromium did not start")

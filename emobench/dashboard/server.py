"""Server: shows the page on this machine alone. It answers what the page asks for and nothing else.

Gradio brings routes that serve and take files, forward requests and keep histories elsewhere. In front of it stands a
list of the routes the page needs; a request for another one, by another host name or from another page is refused, and
a policy tells the browser to ask nobody but this server.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from emobench.dashboard.page_style import CSS, LIGHT, MONO, SANS
from emobench.dashboard.saved_runs import Shelf
from emobench.errors import SpecError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGES = ("/", "/config", "/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt")
FOLDERS = ("/assets/", "/static/", "/svelte/")
"""Of Gradio's own package."""
QUEUE = ("/gradio_api/queue/", "/gradio_api/heartbeat/")
"""What the page asks for when something is picked."""
EXACT_API = ("/gradio_api/startup-events", "/gradio_api/info", "/gradio_api/theme.css", "/gradio_api/cancel")
POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; "
    "manifest-src 'self'; base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
)


def loopback(host: str) -> str:
    """The address to listen at.

    Raises:
        SpecError: it is not one that only this machine can reach.
    """
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise SpecError(
            f"--host {host}",
            why="the dashboard has no password and is shown on this machine only",
            fix="leave it out, and reach another machine's dashboard through ssh -L",
        )
    return str(address)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket at a loopback address; port 0 takes a free one.

    Raises:
        SpecError: another address, no port, or a port that is taken.
    """
    address = loopback(host)
    if not 0 <= port <= 65535:
        raise SpecError(f"--port {port}", why="a port is a number from 0 to 65535", fix="take one such as 7860")
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((address, port))
        found.listen(64)
    except OSError as error:
        found.close()
        raise SpecError(
            f"--port {port}",
            why=f"it cannot be listened at ({error.strerror})",
            fix="take another, or 0 for a free one",
        ) from error
    return found


def make_app(storage: Path) -> App:
    """The page over the runs of a storage, behind the list of what it may be asked for.

    Raises:
        MissingExtraError: Gradio is not installed.
    """
    from emobench.dashboard.app import build, gradio

    gr = gradio()
    from fastapi import FastAPI  # what Gradio is made of

    page = build(Shelf(storage))
    theme = gr.themes.Default(
        primary_hue="blue",
        font=[gr.themes.Font(name) for name in SANS],
        font_mono=[gr.themes.Font(name) for name in MONO],
    )
    app = gr.mount_gradio_app(
        FastAPI(openapi_url=None),
        page,
        path="/",
        server_name="127.0.0.1",
        footer_links=[],
        run_history=False,
        allowed_paths=[],
        show_error=False,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme,
        css=CSS,
        js=LIGHT,
    )
    return guarded(app)


def guarded(app: App) -> App:
    """The app, asked for the page's own parts, by a loopback name and from its own page only."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await app(scope, receive, send)
            return
        if scope["type"] != "http" or not permitted(scope):
            await _refuse(scope, send)
            return

        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *_HEADERS]
                message = {**message, "headers": headers}
            await send(message)

        await app(scope, receive, with_policy)

    return guard


_HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)


def permitted(scope: Scope) -> bool:
    """Whether a request is for a part of the page, by a loopback name, and from the page itself or typed in."""
    headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
    host, origin = headers.get(b"host", ""), headers.get(b"origin")
    # Another name for this address would let a foreign page read what is shown here.
    if not _is_local(host) or (origin is not None and origin != f"http://{host}"):
        return False
    path = str(scope["path"])
    if ".." in path or "\\" in path:
        return False
    return path in PAGES or path in EXACT_API or path.startswith((*FOLDERS, *QUEUE))


def _is_local(host: str) -> bool:
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]")
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def _refuse(scope: Scope, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"not here\n"})


def serve(storage: Path, listening: socket.socket, *, say: Callable[[str], object]) -> None:
    """Show the page until Ctrl-C.

    Raises:
        MissingExtraError: Gradio is not installed.
    """
    app = make_app(storage)
    import uvicorn  # what Gradio is served by

    address, port = listening.getsockname()[:2]
    name = f"[{address}]" if ":" in address else address
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, ws="none", lifespan="on")
    say(f"the dashboard is at http://{name}:{port}/ until Ctrl-C")
    uvicorn.Server(config).run(sockets=[listening])

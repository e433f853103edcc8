"""A stand-in for the Hugging Face hub on loopback: the few endpoints its client asks for, for models and data sets.

It also serves plain files, for other services. It knows nothing of pytest:

    with HubStandIn() as hub:
        hub.add("owner/name", {"config.json": b"{}"}, kind="models", gated=True)
        hub.tokens["secret"] = {"owner/name"}
        ...  # point the client at hub.address
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

Kind = Literal["models", "datasets"]


@dataclass
class Repo:
    """One repository with a single commit that every branch in ``branches`` points to."""

    name: str
    kind: Kind
    files: dict[str, bytes]
    gated: bool
    commit: str
    branches: set[str] = field(default_factory=lambda: {"main"})


@dataclass
class HubStandIn:
    """A server in a thread of its own; what it is asked for is in ``requests``."""

    repos: dict[tuple[str, str], Repo] = field(default_factory=dict)
    tokens: dict[str, set[str]] = field(default_factory=dict)
    """Token to the gated repositories it may read."""
    plain: dict[str, bytes | int] = field(default_factory=dict)
    """Path to the bytes, or the error status, that a GET of it answers with."""
    redirects: dict[str, str] = field(default_factory=dict)
    """Path to the address that a GET of it is sent to."""
    fail_first: int = 0
    """Requests still to be answered with ``fail_status``, counted down."""
    fail_status: int = 503
    cut: dict[str, int] = field(default_factory=dict)
    """File name to the number of bytes after which its connections break."""
    silent: str | None = None
    """Part of the paths whose requests are taken and never answered."""
    over: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """Method, path and headers (lower case) of every request."""

    def __enter__(self) -> Self:
        stand_in = self

        class Handler(_Handler):
            hub = stand_in

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        """Base address, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, name: str, files: Mapping[str, bytes], *, kind: Kind = "datasets", gated: bool = False) -> Repo:
        """Add a repository, or replace one; its commit is a hash of its files."""
        digest = hashlib.sha1(name.encode(), usedforsecurity=False)
        for path, content in sorted(files.items()):
            digest.update(path.encode() + content)
        repo = Repo(name=name, kind=kind, files=dict(files), gated=gated, commit=digest.hexdigest())
        self.repos[kind, name] = repo
        return repo


class _Handler(BaseHTTPRequestHandler):
    hub: HubStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append((self.command, self.path, {k.lower(): v for k, v in self.headers.items()}))
        if self.hub.silent is not None and self.hub.silent in path:
            self.hub.over.wait()
            self.close_connection = True
        elif self.hub.fail_first > 0:
            self.hub.fail_first -= 1
            self._send(self.hub.fail_status, b"not now")
        elif path in self.hub.redirects:
            self._send(302, b"", {"Location": self.hub.redirects[path]})
        elif path in self.hub.plain:
            content = self.hub.plain[path]
            self._send(content, b"") if isinstance(content, int) else self._send(200, content, name=path)
        elif path.startswith("/api/"):
            self._answer_api(path.split("/")[2:])
        else:
            self._answer_file(path.strip("/").split("/"))

    def _answer_api(self, parts: list[str]) -> None:
        """``KIND/OWNER/NAME[/revision/REV | /tree/REV]``."""
        repo = self.hub.repos.get((parts[0], "/".join(parts[1:3])))
        if repo is None:
            self._refuse(404, "RepoNotFound")
            return
        question, revision = (parts[3], parts[4]) if len(parts) > 4 else ("revision", "main")
        if revision != repo.commit and revision not in repo.branches:
            self._refuse(404, "RevisionNotFound")
        elif question == "tree":
            self._send_json([{"type": "file", "path": name, **_blob(data)} for name, data in repo.files.items()])
        else:
            siblings = [{"rfilename": name, **_blob(data)} for name, data in repo.files.items()]
            self._send_json(
                {
                    "id": repo.name,
                    "sha": repo.commit,
                    "private": False,
                    "gated": "manual" if repo.gated else False,
                    "disabled": False,
                    "downloads": 0,
                    "likes": 0,
                    "tags": [],
                    "siblings": siblings,
                }
            )

    def _answer_file(self, parts: list[str]) -> None:
        """``[datasets/]OWNER/NAME/resolve/REV/FILE``."""
        kind = "models"
        if parts[0] == "datasets":
            kind, parts = "datasets", parts[1:]
        repo = self.hub.repos.get((kind, "/".join(parts[:2])))
        if repo is None or len(parts) < 5 or parts[2] != "resolve":
            self._refuse(404, "RepoNotFound")
            return
        name = "/".join(parts[4:])
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if repo.gated and repo.name not in self.hub.tokens.get(token, set()):
            self._refuse(403 if token else 401, "GatedRepo")
        elif parts[3] != repo.commit and parts[3] not in repo.branches:
            self._refuse(404, "RevisionNotFound")
        elif name not in repo.files:
            self._refuse(404, "EntryNotFound", {"X-Repo-Commit": repo.commit})
        else:
            content = repo.files[name]
            etag = hashlib.sha256(content).hexdigest()
            self._send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": repo.commit}, name=name)

    def _refuse(self, status: int, code: str, headers: Mapping[str, str] | None = None) -> None:
        self._send(status, b"", {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})})

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None, *, name: str = "") -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if name in self.hub.cut:
            self.wfile.write(body[: self.hub.cut.pop(name)])
            self.close_connection = True
        else:
            self.wfile.write(body)


def _blob(data: bytes) -> dict[str, object]:
    """Size and ids of a file as the hub lists one kept in LFS."""
    return {
        "size": len(data),
        "oid": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        "blobId": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        "lfs": {
            "oid": hashlib.sha256(data).hexdigest(),
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "pointerSize": 100,
        },
    }

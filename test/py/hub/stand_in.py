# SPDX-License-Identifier: Apache-2.0
"""A stand-in of the Hugging Face Hub on this machine: the part of its interface that a download uses.

Large files are served as the hub does it: ``resolve`` redirects to another address, which takes ranges, and
says size and SHA-256 in ``X-Linked-Size`` and ``X-Linked-Etag``. Small files come at once, by git's checksum.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

# What the hub keeps in git itself.
_SMALL = 4096
_TOKEN = "Bearer hf_good"


@dataclass
class Repo:
    """A repository: its files by path. ``gated`` and ``private`` ones want a token."""

    files: dict[str, bytes]
    gated: bool = False
    private: bool = False
    branches: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def tree(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit and the files of a branch or commit."""
        for name, files in {"main": self.files, **self.branches}.items():
            commit = _commit(files)
            if revision in (name, commit):
                return commit, files
        return None


@dataclass
class Request:
    method: str
    path: str
    range: str | None
    authorization: str | None


class Hub(ThreadingHTTPServer):
    """The server.

    Attributes:
      repos: by ``USER/REPO``; tests put them in.
      requests: what was asked.
      cut: how many bytes of a large file are sent before the connection ends; None for all.
      cuts: how many connections end so.
      hold: where a large file stops until ``go_on`` is set; None to send it at once.
      extra: what large files have behind their end.
      wrong: large files come with other bytes than they should.
      ranges: whether the address that large files come from takes ranges.
      status: what every request is answered with, if anything.
      listing: changes what ``/api/models`` answers.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        # Another host, as far as clients know.
        self.storage = f"http://localhost:{self.server_port}"
        self.reset()

    def reset(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.requests: list[Request] = []
        self.cut: int | None = None
        self.cuts = 0
        self.hold: int | None = None
        self.go_on = threading.Event()
        self.extra = b""
        self.wrong = False
        self.ranges = True
        self.status: int | None = None
        self.listing = lambda answer: answer

    def asked(self, part: str) -> list[Request]:
        """The requests with ``part`` in their path."""
        return [request for request in self.requests if part in request.path]

    def handle_error(self, request, client_address) -> None:
        """Clients that go away are what some tests are about."""


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield hub
    hub.shutdown()
    hub.server_close()
    thread.join()


def git_checksum(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def checksum(data: bytes) -> str:
    """What the cache calls a file with these bytes."""
    return git_checksum(data) if len(data) <= _SMALL else hashlib.sha256(data).hexdigest()


def _commit(files: dict[str, bytes]) -> str:
    return hashlib.sha1(repr([(path, checksum(data)) for path, data in files.items()]).encode()).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = self.headers
        self.server.requests.append(
            Request(self.command, path, headers.get("Range"), headers.get("Authorization"))
        )
        if self.server.status is not None:
            self._send(self.server.status, b"<html>busy</html>", {"Content-Type": "text/html"})
            return
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and len(parts) > 3:
            self._model("/".join(parts[2:4]), "/".join(parts[5:]) or "main")
        elif parts[0] == "content":
            self._content(parts[1])
        elif "resolve" in parts:
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._error(404, "RepoNotFound")

    def _repo(self, name: str) -> Repo | None:
        """The repository, if whoever asks may see it; else the answer is sent."""
        repo, token = self.server.repos.get(name), self.headers.get("Authorization")
        if token is not None and token != _TOKEN:
            self._error(401, None, "Invalid credentials in Authorization header")
        elif repo is None or (repo.private and token is None):
            self._error(401 if token is None else 404, "RepoNotFound", "Repository not found")
        elif repo.gated and token is None and "/resolve/" in self.path:  # what it has is no secret
            self._error(401, "GatedRepo", "Access to model is restricted.")
        else:
            return repo
        return None

    def _model(self, name: str, revision: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        found = repo.tree(revision)
        if found is None:
            self._error(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return
        commit, files = found
        siblings = []
        for path, data in files.items():
            sibling = {"rfilename": path, "size": len(data), "blobId": git_checksum(data)}
            if len(data) > _SMALL:
                sibling["lfs"] = {"sha256": checksum(data), "size": len(data), "pointerSize": 134}
            siblings.append(sibling)
        answer = {"_id": "1", "id": name, "modelId": name, "sha": commit, "private": repo.private}
        answer |= {"gated": "auto" if repo.gated else False, "siblings": siblings, "tags": []}
        body = json.dumps(self.server.listing(answer)).encode()
        self._send(200, body, {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, path: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        found = repo.tree(revision)
        if found is None or path not in found[1]:
            self._error(404, "EntryNotFound" if found else "RevisionNotFound", "Entry not found")
            return
        commit, files = found
        data = files[path]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{git_checksum(data)}"'}
        if len(data) <= _SMALL:
            self._send(200, data, headers)
            return
        headers |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{checksum(data)}"'}
        self._send(302, b"", {**headers, "Location": f"{self.server.storage}/content/{checksum(data)}"})

    def _content(self, digest: str) -> None:
        """Bytes of a large file, as the network that the hub's storage has sends them."""
        trees = (
            files for repo in self.server.repos.values() for files in (repo.files, *repo.branches.values())
        )
        data = next(data for files in trees for data in files.values() if checksum(data) == digest)
        if self.server.wrong:
            data = bytes(byte ^ 1 for byte in data)
        begin, asked = 0, self.headers.get("Range")
        if asked and self.server.ranges:
            begin = int(asked.removeprefix("bytes=").partition("-")[0])
        headers = {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
        body, cut = data[begin:] + self.server.extra, None
        if self.server.cut is not None and self.server.cuts and self.command == "GET":
            self.server.cuts -= 1
            cut = self.server.cut
        self._send(206 if begin else 200, body, headers, cut)

    def _error(self, status: int, code: str | None, message: str = "") -> None:
        headers = {"X-Error-Message": message} if message else {}
        if code:
            headers["X-Error-Code"] = code
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str], cut: int | None = None) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            if self.server.hold is not None and len(body) > self.server.hold:
                self.wfile.write(body[: self.server.hold])
                self.wfile.flush()
                self.server.go_on.wait(30)
                body = body[self.server.hold :]
            self.wfile.write(body if cut is None else body[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True

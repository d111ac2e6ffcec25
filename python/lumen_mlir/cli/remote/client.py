# SPDX-License-Identifier: Apache-2.0
"""Asks a server over HTTP: a connection for each request, which ends with it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from lumen_mlir.cli.remote.address import Address
from lumen_mlir.cli.remote.events import data_of_events
from lumen_mlir.cli.remote.failures import NotJsonError, Unreachable, refusal, unreachable
from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.version import __version__

_CONNECT_SECONDS = 10.0
# For what a server has at hand. (Answers may take any time.)
ANSWER_SECONDS = 60.0
# Bytes of a response that is read at once.
_MOST = 1 << 26


class Response:
    """What a server answers.

    Attributes:
      connected: what it comes by.
    """

    def __init__(self, address: Address, raw: http.client.HTTPResponse, connected: socket.socket, path: str):
        self._address, self._raw, self._path = address, raw, path
        self.connected = connected

    @property
    def status(self) -> int:
        return self._raw.status

    @property
    def is_stream(self) -> bool:
        """Whether it comes as events."""
        return self._raw.headers.get_content_type() == "text/event-stream"

    def header(self, name: str) -> str | None:
        """A header, if it is there."""
        return self._raw.headers.get(name)

    def check(self) -> None:
        """Raises ``LumenError`` where the server refused."""
        if self.status != 200:
            raise refusal(self._address, self._path, self.status, self._raw.headers, self._read(1 << 16))

    def json(self) -> Any:
        """The body. Raises ``LumenError`` where it is no JSON."""
        text = self._read(_MOST)
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            kind = self._raw.headers.get_content_type()
            raise NotJsonError(
                f"{self._address}: {self._path} is no JSON but {one_line(kind, 80)}; is it the address of a "
                "server of OpenAI's API?"
            ) from None

    def events(self) -> Iterator[str]:
        """The data of its events, as they come. Raises ``LumenError``."""
        return data_of_events(self._piece)

    def _read(self, most: int) -> bytes:
        with _told(self._address):
            data = self._raw.read(most + 1)
        if len(data) > most:
            raise LumenError(f"{self._address}: {self._path} is larger than {most:,} bytes")
        if self._raw.length:
            # (What is announced and does not come is no error of ``http.client``.)
            raise unreachable(self._address, http.client.IncompleteRead(data, self._raw.length))
        return data

    def _piece(self) -> bytes:
        with _told(self._address):
            return self._raw.read1(1 << 16)

    def close(self) -> None:
        """Ends the connection: a server stops what it was writing."""
        _shut(self.connected)
        self._raw.close()


class Client:
    """Asks the server at ``address``; ``key`` is sent with every request.

    Several threads may ask at a time. Raises ``LumenError`` for a key that cannot be sent.
    """

    def __init__(self, address: Address, key: str | None = None):
        self.address = address
        if key is not None and not (key.isascii() and key.isprintable() and key.strip()):
            raise LumenError("the API key has other characters than a header may have")
        self._key = key
        self._open: set[socket.socket] = set()
        self._lock, self._closed = threading.Lock(), False

    def get(self, path: str, seconds: float = ANSWER_SECONDS) -> Any:
        """The JSON at a path. Raises ``LumenError``; ``Refused`` where the server says why."""
        with self.asked("GET", path, None, seconds) as response:
            response.check()
            return response.json()

    def post(self, path: str, body: Mapping[str, Any], seconds: float | None = ANSWER_SECONDS) -> Any:
        """What a path answers to ``body``, which is JSON, too. Raises like ``get``."""
        with self.asked("POST", path, body, seconds) as response:
            response.check()
            return response.json()

    @contextlib.contextmanager
    def asked(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, seconds: float | None = None
    ) -> Iterator[Response]:
        """Like ``ask``; closes it."""
        response = self.ask(method, path, body, seconds)
        try:
            yield response
        finally:
            self.done(response)

    def ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, seconds: float | None = None
    ) -> Response:
        """The response to a request, once its head is there; ``done`` ends it.

        ``seconds``: that the server may be silent; None for any time. Raises ``Unreachable``.
        """
        data = None if body is None else json.dumps(body).encode()
        headers = {"User-Agent": f"lumen/{__version__}", "Connection": "close", "Accept": "*/*"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        connection = self._connection()
        connected: socket.socket | None = None
        try:
            with _told(self.address):
                connection.connect()
                connected = connection.sock
                self._note(connected)
                _watch(connected, seconds)
                connection.request(method, self.address.path + path, data, headers)
                # (From here on the response may be all that holds the socket.)
                return Response(self.address, connection.getresponse(), connected, path)
        except BaseException:
            connection.close()
            self._forget(connected)
            raise

    def done(self, response: Response) -> None:
        """Ends a response, whether it was read or not."""
        response.close()
        self._forget(response.connected)

    def _note(self, connected: socket.socket) -> None:
        with self._lock:
            if self._closed:
                raise Unreachable(f"{self.address}: the client is closed")
            self._open.add(connected)

    def _forget(self, connected: socket.socket | None) -> None:
        if connected is not None:
            connected.close()
            with self._lock:
                self._open.discard(connected)

    def close(self) -> None:
        """Ends all that is open, which wakes whoever waits for it; nothing more can be asked."""
        with self._lock:
            self._closed = True
            connections = list(self._open)
        for connected in connections:
            _shut(connected)

    def _connection(self) -> http.client.HTTPConnection:
        where = self.address.host, self.address.port
        if not self.address.secure:
            return http.client.HTTPConnection(*where, timeout=_CONNECT_SECONDS)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(*where, timeout=_CONNECT_SECONDS, context=context)


@contextlib.contextmanager
def _told(address: Address) -> Iterator[None]:
    """Makes ``Unreachable`` of what goes wrong with a connection."""
    try:
        yield
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        raise unreachable(address, error) from None


def _shut(connected: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _watch(connected: socket.socket, seconds: float | None) -> None:
    """Sets how long the server may be silent. One whose machine is gone is noticed within a minute."""
    connected.settimeout(seconds)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

# SPDX-License-Identifier: Apache-2.0
"""A server as a process: sockets, signals, the log."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from types import FrameType

import uvicorn

from lumen_mlir.errors import LumenError
from lumen_mlir.serve.app import create_app
from lumen_mlir.serve.connections import Connection
from lumen_mlir.serve.server import Server
from lumen_mlir.serve.settings import Settings

# Seconds that a connection may be silent between two requests.
_KEEP_ALIVE = 75
# Seconds that the ends of answers may take which are cut.
_LAST_WORDS = 2.0


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises ``LumenError`` where that is not possible."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
        listening.setblocking(False)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or error
        raise LumenError(f"cannot listen at {host}, port {port}: {why}") from None
    return listening


def check_tls(settings: Settings) -> None:
    """Raises ``LumenError`` where the certificate and its key cannot be used."""
    if settings.tls_certificate is None:
        if settings.tls_key is not None:
            raise LumenError("--tls-key needs --tls-cert")
        return
    for path in (settings.tls_certificate, settings.tls_key):
        if path is not None and not os.path.isfile(path):
            raise LumenError(f"{path}: no such file")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # (Without a password it would ask for one, where the key has one.)
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, password="")
    except (OSError, ValueError) as error:
        raise LumenError(f"{settings.tls_certificate}: is no certificate with its key: {error}") from None


def serve(server: Server, listening: socket.socket) -> None:
    """Answers requests until a signal tells it to stop; a second one ends it at once."""
    process_of(server).run(sockets=[listening])


def process_of(server: Server) -> Process:
    """What answers the requests of ``server``."""
    settings = server.settings
    config = uvicorn.Config(
        create_app(server),
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        timeout_graceful_shutdown=max(1, round(settings.grace + _LAST_WORDS)),
    )
    return Process(config, server)


class Process(uvicorn.Server):
    """Tells the answers when they have to end."""

    def __init__(self, config: uvicorn.Config, server: Server):
        super().__init__(config)
        self._server = server

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal: what has begun may end within the time of grace."""
        if not self.should_exit:
            self._loop.call_soon_threadsafe(self.stop)
        super().handle_exit(sig, frame)

    def stop(self) -> None:
        """Takes no more requests; what has begun may end within the time of grace. In its loop."""
        self.should_exit = True
        self._server.stopping.set()
        self._loop.call_later(self._server.settings.grace, self._server.cut.set)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """See ``uvicorn.Server``."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

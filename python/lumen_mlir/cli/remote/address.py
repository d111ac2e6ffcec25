# SPDX-License-Identifier: Apache-2.0
"""Where a server is."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from lumen_mlir.errors import LumenError, shown

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """A server's address.

    Attributes:
      secure: whether it is asked over TLS.
      host, port: where it listens.
      path: what stands before the paths of the API; empty, or with a slash before it and none behind it.
    """

    secure: bool
    host: str
    port: int
    path: str

    @staticmethod
    def parse(text: str) -> Address:
        """The address that a person writes, such as ``localhost:8080`` or ``https://example.org/v1``.

        Raises ``LumenError``.
        """
        written = text.strip()
        try:
            parts = urlsplit(written if "://" in written else f"http://{written}")
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise LumenError(f"--server is {shown(text)}: {error}") from None
        if parts.scheme not in _PORTS or not host or any(not char.isprintable() for char in written):
            raise LumenError(f"--server is {shown(text)}; http://HOST:PORT or https://HOST was expected")
        if parts.username is not None or parts.query or parts.fragment:
            raise LumenError(
                f"--server is {shown(text)}; a host, a port and a path were expected (--api-key is for keys)"
            )
        # Clients of OpenAI's write the address with the version.
        path = quote(parts.path.rstrip("/").removesuffix("/v1"), safe="/%")
        return Address(parts.scheme == "https", host, port or _PORTS[parts.scheme], path)

    def __str__(self) -> str:
        scheme = "https" if self.secure else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[scheme] else f":{self.port}"
        return f"{scheme}://{host}{port}{self.path}"

# SPDX-License-Identifier: Apache-2.0
"""Why a server gave no answer, in one line."""

from __future__ import annotations

import datetime
import email.utils
import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any

from lumen_mlir.cli.remote.address import Address
from lumen_mlir.errors import LumenError, one_line

# Characters of what a server says.
_MOST = 500


class Unreachable(LumenError):
    """Nobody is there, or the connection was lost."""


class NotJsonError(LumenError):
    """Something else came where JSON was expected: most often a page for people."""


class Refused(LumenError):
    """The server answered with an error.

    Attributes:
      status: of the response.
      code: the server's word for programs, such as "context_length_exceeded"; or None.
      retry_after: seconds after which to try again; or None.
    """

    def __init__(self, message: str, status: int, code: str | None = None, retry_after: float | None = None):
        super().__init__(message)
        self.status, self.code, self.retry_after = status, code, retry_after


def unreachable(address: Address, error: BaseException) -> Unreachable:
    """What ``error`` of a connection means."""
    return Unreachable(f"{address}: {_reason(error)}")


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {one_line(error.verify_message, _MOST)}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({one_line(error.reason or error, _MOST)}); does the server speak http://?"
    if isinstance(error, (socket.gaierror, UnicodeError)):
        return "there is no such host"
    if isinstance(error, TimeoutError):
        return "the server does not answer"
    if isinstance(error, ConnectionRefusedError):
        return "nobody answers there; 'lumen serve MODEL' starts a server"
    if isinstance(error, (http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionError)):
        return "the server closed the connection"
    if isinstance(error, http.client.HTTPException):
        return "the server does not speak HTTP (https:// is for those that speak TLS)"
    return one_line(getattr(error, "strerror", None) or error, _MOST)


def refusal(address: Address, path: str, status: int, headers: Mapping[str, Any], body: bytes) -> Refused:
    """What a response with an error says."""
    said, code = _message(body)
    if 300 <= status < 400:
        to = one_line(headers.get("Location") or "another address", _MOST)
        return Refused(f"{address}: the server sends on to {to}; pass its address to --server", status)
    if status in (401, 403):
        why = said or "the server asks for an API key"
        return Refused(f"{address}: {why} (--api-key or LUMEN_API_KEY gives one)", status, code)
    if status == 404 and code is None:
        why = f"there is no {path}" + (f" ({said})" if said else "")
        return Refused(f"{address}: {why}; is it the address of a server of OpenAI's API?", status)
    said = said or f"the server answers with status {status} {http.client.responses.get(status, '')}".rstrip()
    return Refused(f"{address}: {said}", status, code, _seconds(headers.get("Retry-After")))


def message_of(error: Any) -> tuple[str, str | None]:
    """What an ``error`` of a body, an object or a text, says: its message and its code."""
    if isinstance(error, Mapping):
        code = error.get("code")
        return one_line(error.get("message") or "", _MOST), code if isinstance(code, str) else None
    return one_line(error, _MOST) if isinstance(error, str) else "", None


def _message(body: bytes) -> tuple[str, str | None]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return "", None
    if not isinstance(value, Mapping):
        return "", None
    found = next((value[name] for name in ("error", "detail", "message") if value.get(name)), None)
    return message_of(found)


def _seconds(text: str | None) -> float | None:
    """``Retry-After``: seconds, or a date."""
    if text is None:
        return None
    try:
        return max(float(text), 0.0)
    except ValueError:
        pass
    try:
        then = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if then.tzinfo is None:
        then = then.replace(tzinfo=datetime.timezone.utc)
    return max((then - datetime.datetime.now(datetime.timezone.utc)).total_seconds(), 0.0)

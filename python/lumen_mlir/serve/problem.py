# SPDX-License-Identifier: Apache-2.0
"""What a client is told when its request cannot be answered."""

from __future__ import annotations

import math
from typing import Any

from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.generate.generation import ContextError
from lumen_mlir.generate.request import Late
from lumen_mlir.run.pages import NoRoomError

# The names that OpenAI has for kinds of errors.
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
# Longer messages, which name what the client sent, are cut.
_MOST = 2000


class Problem(LumenError):
    """An error with an HTTP status.

    Attributes:
      status: of the response.
      code: a word for programs, such as "context_length_exceeded"; or None.
      field: of the body, that is wrong; or None.
      retry_after: seconds after which to try again; or None.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        retry_after: float | None = None,
    ):
        super().__init__(one_line(message, _MOST))
        self.status, self.code, self.field, self.retry_after = status, code, field, retry_after

    @staticmethod
    def of(error: BaseException) -> Problem:
        """What a client is told of ``error``, which came while its request was read or answered."""
        if isinstance(error, Problem):
            return error
        if isinstance(error, ContextError):
            return Problem(400, str(error), code="context_length_exceeded")
        if isinstance(error, Late):
            return Problem(504, str(error), code="timeout")
        if isinstance(error, NoRoomError):
            return Problem(503, str(error), code="no_room", retry_after=1)
        if isinstance(error, LumenError):
            return Problem(400, str(error))
        if isinstance(error, MemoryError):
            return Problem(503, "the server is out of memory", code="no_room", retry_after=5)
        return Problem(500, f"internal error: {type(error).__name__}", code="internal_error")

    def saying(self, message: str) -> Problem:
        """The same with another message."""
        return Problem(self.status, message, code=self.code, field=self.field, retry_after=self.retry_after)

    @property
    def type(self) -> str:
        """OpenAI's name for this kind of error."""
        return _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")

    @property
    def headers(self) -> dict[str, str]:
        """Of the response."""
        headers = {}
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, math.ceil(self.retry_after)))
        if self.status in (408, 413):
            # The rest of the request is not read.
            headers["Connection"] = "close"
        if self.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        return headers

    def openai(self) -> dict[str, Any]:
        """The body in the form of OpenAI."""
        error = {"message": str(self), "type": self.type, "param": self.field, "code": self.code}
        return {"error": error}

    def anthropic(self) -> dict[str, Any]:
        """The body in the form of Anthropic."""
        kinds = {413: "request_too_large", 503: "overloaded_error", 504: "timeout_error"}
        kind = kinds.get(self.status, "api_error" if self.type == "server_error" else self.type)
        return {"type": "error", "error": {"type": kind, "message": str(self)}}

    def ollama(self) -> dict[str, Any]:
        """The body in the form of ollama."""
        return {"error": str(self)}

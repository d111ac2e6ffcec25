# SPDX-License-Identifier: Apache-2.0
"""From the bytes of a request to what is asked for, and back to bytes."""

from __future__ import annotations

import logging
import re
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from lumen_mlir.errors import shown
from lumen_mlir.serve.problem import Problem

logger = logging.getLogger(__name__)

T = TypeVar("T", bound=msgspec.Struct)

# Fields that were ignored, each of which is told once.
_told: set[tuple[str, str]] = set()
_MOST_TOLD = 256


async def read(request: Request, kind: type[T]) -> T:
    """The body of ``request``. Raises ``Problem`` where it is not one of ``kind``.

    Fields that are not known are ignored, as clients send what other servers know; the log says so.
    """
    data = await request.body()
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise Problem(400, f"the body is {shown(fields)}; a JSON object was expected")
    try:
        body = msgspec.convert(fields, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        message, field = _told_apart(str(error))
        raise Problem(400, message, field=field) from None
    for name in fields.keys() - {field.encode_name for field in msgspec.structs.fields(kind)}:
        _tell(request.url.path, name)
    return body


def _told_apart(message: str) -> tuple[str, str | None]:
    """What msgspec says of a wrong body, with the field in front; and the field."""
    match = re.fullmatch(r"(.*) - at `\$\.?(.*)`", message, re.DOTALL)
    if match is None:
        return message, None
    return f"{match[2]}: {match[1]}", re.match(r"[^.\[]*", match[2])[0] or None  # type: ignore[index]


def _tell(path: str, name: str) -> None:
    if (path, name) not in _told and len(_told) < _MOST_TOLD:
        _told.add((path, name))
        logger.warning("%s: the field %s is not known, and is ignored", path, shown(name))


def encoded(value: Any) -> bytes:
    """``value`` as JSON."""
    return msgspec.json.encode(value)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A response of JSON."""
    return Response(encoded(value), status, headers, media_type="application/json")

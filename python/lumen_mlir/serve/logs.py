# SPDX-License-Identifier: Apache-2.0
"""The log of a server: lines for people, or of JSON."""

from __future__ import annotations

import datetime
import logging
import sys
from typing import Any

import msgspec

FORMATS = ("text", "json")


def configure(form: str = "text", level: str = "info") -> None:
    """Sends the log to stderr, from now on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    own, http = logging.getLogger("lumen_mlir"), logging.getLogger("uvicorn.error")
    for logger in (own, http):
        logger.handlers, logger.propagate = [handler], False
    own.setLevel(level.upper())
    http.setLevel(logging.WARNING)


def _time(record: logging.LogRecord) -> str:
    moment = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, "fields", {})
        text = (
            record.getMessage()
            if not fields
            else " ".join(f"{name}={value}" for name, value in fields.items())
        )
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return f"{_time(record)} {record.levelname.lower()} {text}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()

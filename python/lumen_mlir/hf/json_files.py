# SPDX-License-Identifier: Apache-2.0
"""The JSON and text files of a folder, read within bounds of size, memory and depth."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lumen_mlir.hf.errors import HFError

# No file of a real folder is larger, weights aside.
MOST_BYTES = 128 << 20
# JSON may take many times its size in memory: about so many bytes for an object or array, and an element.
_CONTAINER_BYTES, _ELEMENT_BYTES = 64, 56
_MOST_MEMORY = 64 << 20
# Escaped surrogates, which are characters in pairs only, and what may be one behind an escaped backslash.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_PAIR = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]")


def read_bytes(path: Path) -> bytes:
    """The bytes of the regular file ``path``. Raises ``HFError``."""
    try:
        # Opening a FIFO for reading would wait for a writer; O_NONBLOCK leaves regular files as they are.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise HFError(f"{path}: is a directory; a file was expected")
            if not stat.S_ISREG(status.st_mode):
                raise HFError(f"{path}: is not a regular file")
            if status.st_size > MOST_BYTES:
                raise HFError(f"{path}: has {status.st_size} bytes; at most {MOST_BYTES} were expected")
            # Some files of the system have no size and no end.
            with open(descriptor, "rb", closefd=False) as file:
                return file.read(status.st_size)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise HFError(f"{path}: cannot be read: {reason}") from None


def read_text(path: Path) -> str:
    """The UTF-8 text of the regular file ``path``. Raises ``HFError``."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise HFError(f"{path}: byte {error.start} is not valid UTF-8 ({error.reason})") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``. Raises ``HFError``."""
    data = read_bytes(path)
    if not data:
        raise HFError(f"{path}: is empty (0 bytes)")
    try:
        value = parse_json(data)
    except ValueError as error:
        raise HFError(f"{path}: is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise HFError(f"{path}: holds a JSON {type(value).__name__}; an object was expected")
    return value


def read_json_if_there(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; an empty one where there is no such file."""
    return read_json(path) if path.exists() else {}


def parse_json(data: bytes, pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value that ``data`` holds; ``pairs`` makes objects, as for ``json.loads``.

    Raises ``ValueError``, with a reason of one line, where it is no JSON, nested too deeply, holds half a
    character, or would take far more memory than its size shows.
    """
    containers = data.count(b"[") + data.count(b"{")
    needed = containers * _CONTAINER_BYTES + data.count(b",") * _ELEMENT_BYTES
    if needed > _MOST_MEMORY + 2 * len(data):
        raise ValueError(f"{len(data)} bytes with {containers} objects and arrays take too much memory")
    try:
        value = json.loads(data, object_pairs_hook=pairs)
        if len(_SURROGATE.findall(data)) != 2 * len(_PAIR.findall(data)):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}: {error.msg}") from None
    except UnicodeEncodeError as error:
        raise ValueError(f"it has half a character, U+{ord(error.object[error.start]):04X}") from None
    except RecursionError:
        raise ValueError("objects and arrays are nested too deeply") from None
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not valid UTF-8 ({error.reason})") from None
    return value

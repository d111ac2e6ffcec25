# SPDX-License-Identifier: Apache-2.0
"""The error of everything that reads Hugging Face folders, and their JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lumen_mlir.errors import LumenError

# No file of a real folder is larger, and JSON takes many times its size in memory.
_MOST_BYTES = 512 << 20


class HFError(LumenError):
    """A model folder that is incomplete, damaged, or of a kind that Lumen does not know."""


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``. Raises ``HFError``."""
    try:
        size = path.stat().st_size
        if size > _MOST_BYTES:
            raise HFError(f"{path}: {size} bytes are too many for a JSON file")
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise HFError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise HFError(f"{path}: is not JSON: {' '.join(str(error).split())}") from None
    except json.JSONDecodeError as error:
        raise HFError(f"{path}: is not JSON: line {error.lineno}: {error.msg}") from None
    if not isinstance(value, dict):
        raise HFError(f"{path}: holds a JSON {type(value).__name__}; an object was expected")
    return value


def read_json_if_there(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``; an empty one where there is no such file."""
    return read_json(path) if path.exists() else {}

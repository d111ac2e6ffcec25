# SPDX-License-Identifier: Apache-2.0
"""Every environment variable that Lumen reads, with its type. They are read when asked for, not at import."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from lumen_mlir.errors import LumenError

T = TypeVar("T")

# Of a team.
MAX_THREADS = 1024

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


@dataclass(frozen=True)
class Variable(Generic[T]):
    """One variable. ``parse`` raises ``ValueError`` for text that is not ``expected``."""

    name: str
    parse: Callable[[str], T]
    expected: str
    default: T
    help: str

    def get(self) -> T:
        """The value; the default where it is unset or empty. ``LumenError`` where it cannot be understood."""
        text = os.environ.get(self.name, "")
        if not text.strip():
            return self.default
        try:
            return self.parse(text.strip())
        except (ValueError, OverflowError):
            raise LumenError(f"{self.name} is {text!r}; expected {self.expected}") from None


def parse_size(text: str) -> int:
    """Bytes from text such as ``500M``, ``20G`` or ``20GB`` (decimal units). Raises ``ValueError``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    if match is None:
        raise ValueError(text)
    return int(float(match[1]) * _UNITS[match[2]])


def _thread_count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MAX_THREADS:
        raise ValueError(text)
    return value


def _folder(text: str) -> Path:
    """``~`` and ``~name`` are homes; where there is no such home the text names no folder."""
    expanded = os.path.expanduser(text)
    # An empty HOME would make it the root folder.
    homeless = not os.path.isabs(expanded) or (text.split("/")[0] == "~" and os.environ.get("HOME") == "")
    if text.startswith("~") and homeless:
        raise ValueError(text)
    return Path(expanded)


THREADS: Variable[int | None] = Variable(
    "LUMEN_THREADS",
    _thread_count,
    f"a whole number from 1 to {MAX_THREADS}",
    None,
    "threads of the team (default: physical cores)",
)
CACHE_DIR: Variable[Path | None] = Variable(
    "LUMEN_CACHE_DIR",
    _folder,
    "a folder (~ needs a home folder)",
    None,
    "folder of the caches (default: the user's cache folder)",
)
CACHE_LIMIT: Variable[int] = Variable(
    "LUMEN_CACHE_LIMIT",
    parse_size,
    "a size such as 500M or 20G (0 turns caching off)",
    20 * 10**9,
    "most bytes the caches may take; the least recently used entries go first (default: 20G)",
)
PLUGINS: Variable[tuple[str, ...]] = Variable(
    "LUMEN_PLUGINS",
    lambda text: tuple(part for part in text.split(os.pathsep) if part),
    f"modules or files with '{os.pathsep}' between them",
    (),
    "Python modules or files that define formats, to be loaded at the start",
)
RUNNER: Variable[tuple[str, ...]] = Variable(
    "LUMEN_RUNNER",
    lambda text: tuple(shlex.split(text)),
    "a command, with quotes where a part of it has spaces",
    (),
    "command that starts a runner, which runs code for targets that this machine cannot run",
)

VARIABLES: tuple[Variable, ...] = (THREADS, CACHE_DIR, CACHE_LIMIT, PLUGINS, RUNNER)

# SPDX-License-Identifier: Apache-2.0
"""What was typed in earlier chats: a file in the user's state folder that several chats may share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import platformdirs
from prompt_toolkit.history import History

logger = logging.getLogger(__name__)

# Of the file. When it has more, the older half goes.
_MOST_BYTES = 1 << 20
# Longer ones are pasted texts, which nobody looks for.
_MOST_CHARACTERS = 20_000


def default_path() -> Path | None:
    """The file of this user; None where there is no home folder."""
    state = os.environ.get("XDG_STATE_HOME", "")
    homeless = os.environ.get("HOME") == "" or not os.path.isabs(os.path.expanduser("~"))
    if homeless and not os.path.isabs(state):
        return None
    return platformdirs.user_state_path("lumen-mlir") / "chat-history"


class SharedHistory(History):
    """A text of JSON per line, the newest last. Chats add lines under a lock; each reads all at its start.

    Nothing here is needed to chat: where the file cannot be used, a warning is given once.

    ``enabled`` is asked whether what is typed is kept.
    """

    def __init__(self, path: Path | None, enabled: Callable[[], bool] = lambda: True):
        super().__init__()
        self.path, self._enabled = path, enabled
        self._warned = False

    def load_history_strings(self) -> Iterable[str]:
        """The newest first."""
        with self._opened() as file:
            return [] if file is None else reversed(_entries(file))
        return []

    def store_string(self, string: str) -> None:
        """Adds a text to the file."""
        if not self._enabled() or len(string) > _MOST_CHARACTERS:
            return
        with self._opened() as file:
            if file is None:
                return
            file.seek(0, os.SEEK_END)
            file.write(_line(string))
            if file.tell() > _MOST_BYTES:
                file.seek(-_MOST_BYTES // 2, os.SEEK_END)
                kept = file.read().partition(b"\n")[2]
                file.seek(0)
                file.truncate()
                file.write(kept)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BinaryIO | None]:
        """The file under its lock, made where it is not there; None where it cannot be used."""
        if self.path is None:
            yield None
            return
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._give_up(error)
            yield None
            return
        with os.fdopen(descriptor, "r+b") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
                file.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("%s: what is typed is not kept: %s", self.path, error.strerror or error)


def _line(text: str) -> bytes:
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _entries(file: BinaryIO) -> list[str]:
    """The texts of a file, the oldest first; lines that are none are left out."""
    file.seek(0)
    found = []
    for line in file.read().splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            text = json.loads(line)
            if isinstance(text, str):
                found.append(text)
    return found

# SPDX-License-Identifier: Apache-2.0
"""Files that grow by whole lines: whatever ends a process, the next one goes on behind the last line."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator

from lumen_mlir.support.interrupts import interrupts_held

# Seconds after which what was written is made to reach the disk.
_SYNC = 1.0
_PIECE = 1 << 20


class LineLog:
    """A file that is only appended to, by one process at a time.

    Call ``lines`` before ``append``. Pipes and devices have no lines yet.

    Args:
      path: it is made where it is not there.

    Attributes:
      torn: what stands behind the last newline, known when ``lines`` has ended.

    Raises ``OSError``; ``BlockingIOError`` where another process has it open as a ``LineLog``.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self._path = os.fspath(path)
        flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        try:
            self._descriptor = os.open(path, os.O_RDWR | flags, 0o666)
        except OSError as error:
            # Pipes that can only be written to.
            if error.errno not in (errno.EACCES, errno.EPERM, errno.ESPIPE):
                raise
            self._descriptor = os.open(path, os.O_WRONLY | flags, 0o666)
        try:
            self.is_regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
            if self.is_regular:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(self._descriptor)
            raise
        self.torn, self._end = b"", 0
        self._synced = time.monotonic()

    def lines(self) -> Iterator[bytes]:
        """Its lines, each without its newline. What follows the last newline is ``torn``."""
        self.torn, self._end = b"", 0
        while self.is_regular and (piece := os.pread(self._descriptor, _PIECE, self._end + len(self.torn))):
            *whole, self.torn = (self.torn + piece).split(b"\n")
            for line in whole:
                self._end += len(line) + 1
                yield line

    def cut(self) -> None:
        """Takes away what is ``torn``."""
        if self.is_regular and self.torn:
            os.ftruncate(self._descriptor, self._end)

    def append(self, line: bytes) -> None:
        """Adds a line. An interrupt waits for it."""
        rest = memoryview(line + b"\n")
        try:
            with interrupts_held():
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            error.filename = self._path
            raise
        if time.monotonic() - self._synced > _SYNC:
            self.sync()

    def sync(self) -> None:
        """Returns when all lines are on the disk."""
        if self.is_regular:
            os.fsync(self._descriptor)
        self._synced = time.monotonic()

    def close(self) -> None:
        """Returns when all lines are on the disk, and lets others open the file."""
        try:
            self.sync()
        finally:
            os.close(self._descriptor)

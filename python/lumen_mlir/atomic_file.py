# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY_SUFFIX = ".tmp"


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that no other process picks; it ends in ``TEMPORARY_SUFFIX``."""
    return path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


def reserve(descriptor: int, size: int) -> None:
    """Set aside ``size`` bytes of disk, so that a full disk is met before the work and not amid it.

    Raises ``OSError`` (``ENOSPC``) where they are not there. File systems that cannot reserve are left alone:
    the file is only given its length.
    """
    if size == 0:
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENODEV):
            raise
        os.ftruncate(descriptor, size)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str], size: int = 0) -> Iterator[BinaryIO]:
    """A binary file that takes the place of ``path`` when the block ends, and leaves nothing if it raises.

    ``size``, where known, reserves that many bytes first. The data is not flushed to the disk (no ``fsync``):
    what is written here can be made again. Raises ``OSError``.
    """
    path = Path(path)
    temporary = temporary_name(path)
    try:
        with open(temporary, "xb+") as file:
            # Whoever can take the lock knows that the file was left behind (the cache sweeps such files).
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            reserve(file.fileno(), size)
            yield file
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise

# SPDX-License-Identifier: Apache-2.0
"""Files that appear whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

TEMPORARY_SUFFIX = ".tmp"

# Links of a chain; the system gives up at 40.
_MOST_LINKS = 40


def temporary_name(path: Path) -> Path:
    """A name beside ``path`` that no other process picks; it ends in ``TEMPORARY_SUFFIX``."""
    # A name may have 255 bytes, and this one is to fit where the other one does.
    begin = path.name.encode("utf-8", "surrogateescape")[:200].decode("utf-8", "ignore")
    return path.with_name(f".{begin}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}")


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
def replacing(path: str | os.PathLike[str], size: int = 0, durable: bool = False) -> Iterator[BinaryIO]:
    """A binary file, to be written from beginning to end, that becomes ``path`` when the block ends.

    If the block raises, nothing is left. A link stays, and what it points to is replaced; an existing file's
    mode stays, too. Devices and pipes cannot be replaced: they get the bytes as they are written. ``size``,
    where known, reserves that many bytes first. ``durable``: the data is on the disk when the block has
    ended, for what cannot be made again. Raises ``OSError``, for folders and sockets too.
    """
    target = _target(Path(path))
    if isinstance(target, int):
        with os.fdopen(target, "wb") as file:
            yield file
        return
    try:
        before = target.stat()
    except FileNotFoundError:
        before = None
    if before is None or stat.S_ISREG(before.st_mode):
        with _replacing(target, before, size, durable) as file:
            yield file
        return
    if stat.S_ISSOCK(before.st_mode):
        raise OSError(errno.ENXIO, "Is a socket")
    # A folder is refused here.
    descriptor = os.open(target, os.O_WRONLY | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "wb") as file:
        yield file


@contextlib.contextmanager
def _replacing(path: Path, before: os.stat_result | None, size: int, durable: bool) -> Iterator[BinaryIO]:
    """``replacing`` for a regular file, or one that is not there yet; ``before`` is its status."""
    temporary = temporary_name(path)
    try:
        with open(temporary, "xb") as file:
            # Whoever can take the lock knows that the file was left behind (the cache sweeps such files).
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            if before is not None:
                _keep_rights(file.fileno(), before)
            reserve(file.fileno(), size)
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            _flush_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename == str(temporary):
            # The name that people know.
            error.filename, error.filename2 = str(path), None
        raise


def _flush_folder(folder: Path) -> None:
    """The new name is on the disk, too. File systems that cannot do that are left alone."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _keep_rights(descriptor: int, before: os.stat_result) -> None:
    """Owner, as far as this user may give files away, and mode of the file that is replaced."""
    with contextlib.suppress(OSError):
        os.fchown(descriptor, before.st_uid, before.st_gid)
    # After the owner: giving a file away takes some bits of its mode.
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & 0o777)


def _target(path: Path) -> Path | int:
    """What the links at ``path`` lead to, there or not; a new descriptor for one of this process's own."""
    for _ in range(_MOST_LINKS):
        # /dev/stdout leads here. To open it anew would begin a file at its beginning, and replacing the file
        # would take it away from others who write to it.
        folder = os.path.realpath(path.parent)
        if path.name.isdigit() and re.fullmatch(r"/proc/(\d+)(/task/\d+)?/fd", folder):
            if int(folder.split("/")[2]) == os.getpid():
                return os.dup(int(path.name))
            return path
        try:
            path = path.parent / os.readlink(path)
        except OSError:
            return path
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))

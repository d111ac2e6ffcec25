# SPDX-License-Identifier: Apache-2.0
"""One file of the cache: a page of header, then the payload; how it is written and checked."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lumen_mlir.atomic_file import reserve, temporary_name
from lumen_mlir.errors import LumenError

HEADER_BYTES = 4096  # a page, so that a payload can be mapped at a page boundary

_MAGIC = b"LUMENC01"
# Magic, payload length, sum of the payload, digest of kind and key; then a digest of those four.
_HEADER = struct.Struct("<8sQQ16s")
_DIGEST_BYTES = 16

_WRITE_BYTES = 32 << 20  # a multiple of a large page


class CacheError(LumenError):
    """An entry that cannot be written, most often because the disk is full."""


class NewEntry:
    """A new entry: ``write`` its payload from beginning to end, then ``commit``. ``Cache.create`` makes it.

    What is written is collected and goes to the file in multiples of a large page: such a file lies in large
    pages of the system's cache, where the file system has them, and a mapping of it can use them. Used as a
    context manager an entry is given up (and leaves nothing) unless it was committed. Where nothing can be
    cached, ``persistent`` is False and the payload stays in memory.
    """

    def __init__(
        self,
        path: Path | None,
        kind: str,
        key: str,
        size: int,
        committed: Callable[[Path], None] = lambda path: None,
    ):
        """``path``: where the entry goes, or None; ``committed`` is called with it once the file is there.

        Raises ``PermissionError``, or ``CacheError`` where the file cannot be made for another reason.
        """
        self._path, self._kind, self._key, self._size = path, kind, key, size
        self._committed = committed
        self._temporary: Path | None = None
        self._descriptor = -1
        total = HEADER_BYTES + size
        if path is not None:
            self._create(path, total)
            total = min(total, _WRITE_BYTES)
        # The bytes of the file from _begin on, of which those before _end are known.
        self._memory = mmap.mmap(-1, total)
        prefer_large_pages(self._memory)
        self._bytes = np.frombuffer(self._memory, np.uint8)
        self._begin, self._end = 0, HEADER_BYTES
        self._sum = 0

    @property
    def persistent(self) -> bool:
        """Whether the entry goes to a file."""
        return self._temporary is not None

    def write(self, place: int, data: np.ndarray) -> None:
        """Writes ``data`` (uint8) behind what was written, at ``place`` of the payload; between them is zero.

        Raises ``CacheError`` where the file cannot be written.
        """
        begin = HEADER_BYTES + place
        if begin < self._end or begin + data.size > HEADER_BYTES + self._size:
            raise ValueError(f"no {data.size} bytes can be written at {place}")
        self._append(None, begin - self._end)
        self._append(data, data.size)

    def commit(self) -> np.ndarray:
        """Put the entry in its place; the payload as a read-only array that stays valid."""
        self._append(None, HEADER_BYTES + self._size - self._end)
        if self._path is None or self._temporary is None:
            self._bytes.flags.writeable = False
            return self._bytes[HEADER_BYTES:]
        self._flush()
        try:
            self._pwrite(_header(self._kind, self._key, self._size, self._sum), 0)
            mapping = mmap.mmap(self._descriptor, HEADER_BYTES + self._size, access=mmap.ACCESS_READ)
            os.replace(self._temporary, self._path)
        except OSError as error:
            raise self._failed(error) from None
        self._temporary = None
        self._close()
        self._committed(self._path)
        prefer_large_pages(mapping)
        return np.frombuffer(mapping, np.uint8)[HEADER_BYTES:]

    def abort(self) -> None:
        """Give the entry up; its file goes away."""
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            self._temporary = None
        self._close()

    def _create(self, path: Path, total: int) -> None:
        temporary = temporary_name(path)
        try:
            self._descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            self._temporary = temporary
            # The lock lasts as long as this process: whoever can take it knows that the file was left behind.
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            reserve(self._descriptor, total)
        except OSError as error:
            self.abort()
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise PermissionError(error.errno, error.strerror) from None
            raise CacheError(
                f"{path.parent}: cannot write a cache entry of {total} bytes: {error.strerror or error}"
            ) from None

    def _append(self, data: np.ndarray | None, size: int) -> None:
        """Adds ``data``, or zeros, writing the memory to the file whenever it is full."""
        done = 0
        while done < size:
            if self._end - self._begin == self._bytes.size:
                self._flush()
            place = self._end - self._begin
            count = min(size - done, self._bytes.size - place)
            self._bytes[place : place + count] = 0 if data is None else data[done : done + count]
            done += count
            self._end += count

    def _flush(self) -> None:
        known = self._bytes[: self._end - self._begin]
        # The header's place is still zero.
        self._sum = (self._sum + checksum(known)) % (1 << 64)
        try:
            self._pwrite(known, self._begin)
        except OSError as error:
            raise self._failed(error) from None
        self._begin = self._end

    def _pwrite(self, data: bytes | np.ndarray, place: int) -> None:
        view = memoryview(data)
        done = 0
        while done < len(view):
            done += os.pwrite(self._descriptor, view[done:], place + done)

    def _failed(self, error: OSError) -> CacheError:
        self.abort()
        return CacheError(f"{self._path}: cannot be written: {error.strerror or error}")

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> NewEntry:
        return self

    def __exit__(self, *exception: object) -> None:
        self.abort()


def checksum(payload: np.ndarray) -> int:
    """The sum of the payload as little-endian 64-bit words (the last padded with zeros), mod 2^64.

    Any single wrong word changes it, and it runs at the speed of memory, so that gigabytes of packed weights
    can be checked at each start.
    """
    whole = payload.size // 8 * 8
    total = int(np.add.reduce(np.frombuffer(payload[:whole], "<u8"), dtype=np.uint64)) if whole else 0
    return (total + int.from_bytes(payload[whole:].tobytes(), "little")) % (1 << 64)


def fault_of(kind: str, key: str, header: bytes, payload: np.ndarray, verify: bool) -> str | None:
    """What is wrong with an entry, or None; ``verify``: read all of the payload for its checksum."""
    fields = header[: _HEADER.size]
    magic, length, total, name = _HEADER.unpack(fields)
    if magic != _MAGIC or header[_HEADER.size : _HEADER.size + _DIGEST_BYTES] != _digest(fields):
        return "its header is not sound"
    if name != _name_digest(kind, key):
        return "it belongs to another key"
    if length != payload.size:
        return f"{payload.size} bytes where {length} were written"
    if verify and total != checksum(payload):
        return "its checksum differs"
    return None


def prefer_large_pages(mapping: mmap.mmap) -> None:
    """Asks for large pages in a mapping, where the system has them."""
    # A kernel without them refuses the advice.
    with contextlib.suppress(OSError):
        mapping.madvise(mmap.MADV_HUGEPAGE)


def _header(kind: str, key: str, size: int, total: int) -> bytes:
    fields = _HEADER.pack(_MAGIC, size, total, _name_digest(kind, key))
    return (fields + _digest(fields)).ljust(HEADER_BYTES, b"\0")


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _name_digest(kind: str, key: str) -> bytes:
    return _digest(f"{kind}/{key}".encode())

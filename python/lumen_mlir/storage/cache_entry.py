# SPDX-License-Identifier: Apache-2.0
"""One file of the cache: a page of header, then the payload; how it is written, trusted and checked."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import mmap
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.storage.atomic_file import reserve, temporary_name
from lumen_mlir.storage.checksum import Checksum
from lumen_mlir.storage.mapping import MappedFile, private_memory

HEADER_BYTES = 4096  # a page, so that a payload can be mapped at a page boundary

_MAGIC = b"LUMENC02"
# Magic, payload length, digest of the payload, digest of kind and key; then a digest of those four.
_HEADER = struct.Struct("<8sQ16s16s")
_DIGEST_BYTES = 16
# Then the length of the entry's label (UTF-8), the label, and a digest of it; zeros where there is none.
_LABEL = _HEADER.size + _DIGEST_BYTES
_LABEL_LENGTH = struct.Struct("<H")
_LABEL_BYTES = 1024
# Gigabytes of packed weights are checked at each start, and pages of keys and values while others wait, by
# what is as fast as memory. The rest is small.
_LARGE = ("packed", "pages")

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
        label: str = "",
    ):
        """``path``: where the entry goes, or None; ``committed`` is called with it once the file is there.

        ``label``: for whom it is made, for people.
        Raises ``PermissionError``, or ``CacheError`` where the file cannot be made for another reason.
        """
        self._path, self._kind, self._key, self._size = path, kind, key, size
        self._committed, self._label = committed, label
        self._temporary: Path | None = None
        self._descriptor = -1
        total = HEADER_BYTES + size
        self._digest = _PayloadDigest(kind)
        if path is not None:
            self._create(path, total)
            total = min(total, _WRITE_BYTES)
        # The bytes of the file from _begin on, of which those before _end are known.
        try:
            self._memory = private_memory(total)
        except LumenError as error:
            self.abort()
            raise CacheError(f"cache entry: {error}") from None
        prefer_large_pages(self._memory)
        self._bytes = np.frombuffer(self._memory, np.uint8)
        self._begin, self._end = 0, HEADER_BYTES

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
            header = _header(self._kind, self._key, self._size, self._digest.value(), self._label)
            self._pwrite(header, 0)
            mapping = MappedEntry.open(self._descriptor, self._path, self._kind, self._key)
            os.replace(self._temporary, self._path)
        except OSError as error:
            raise self._failed(error) from None
        self._temporary = None
        self._close()
        self._committed(self._path)
        return mapping.payload

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
        self._digest.update(known if self._begin else known[HEADER_BYTES:])
        try:
            self._pwrite(known, self._begin)
        except OSError as error:
            raise self._failed(error) from None
        self._begin = self._end

    def _pwrite(self, data: bytes | np.ndarray, place: int) -> None:
        view = memoryview(data)  # type: ignore[arg-type]
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


class MappedEntry(MappedFile):
    """An entry as a mapping. Its times may change (each use sets one), its bytes may not."""

    _name: tuple[str, str]
    _header: bytes

    @classmethod
    def open(cls, descriptor: int, path: Path, kind: str, key: str) -> MappedEntry:
        """Maps the whole file. Raises ``OSError``, or ``ValueError`` where it became shorter just now."""
        self = cls(descriptor, os.fstat(descriptor).st_size, str(path))
        self._name = kind, key
        self._header = self[:HEADER_BYTES]
        prefer_large_pages(self)
        return self

    @property
    def payload(self) -> np.ndarray:
        """A read-only view (uint8)."""
        return np.frombuffer(self, np.uint8)[HEADER_BYTES:]

    def fault(self, verify: bool) -> str | None:
        """What is wrong with the entry, or None; ``verify``: read all of the payload for its checksum."""
        return fault_of(*self._name, self._header, self.payload, verify)

    def _rewritten(self, status: os.stat_result) -> str | None:
        return None if status.st_mtime_ns == self._state[1] else self.fault(verify=True)


class _PayloadDigest:
    """The digest of a payload that comes in pieces; all but the last have a multiple of 4,096 bytes."""

    def __init__(self, kind: str):
        self._hash: Any = Checksum() if kind in _LARGE else hashlib.blake2b(digest_size=_DIGEST_BYTES)

    def update(self, data: np.ndarray) -> None:
        self._hash.update(data)

    def value(self) -> bytes:
        if isinstance(self._hash, Checksum):
            return self._hash.value.to_bytes(_DIGEST_BYTES, "little")
        return self._hash.digest()


def fault_of(kind: str, key: str, header: bytes, payload: np.ndarray, verify: bool) -> str | None:
    """What is wrong with an entry, or None; ``verify``: read all of the payload for its checksum."""
    fields = header[: _HEADER.size]
    if len(fields) < _HEADER.size:
        return f"{len(header)} bytes are less than the header's {HEADER_BYTES}"
    magic, length, digest, name = _HEADER.unpack(fields)
    if magic != _MAGIC or header[_HEADER.size : _HEADER.size + _DIGEST_BYTES] != _digest(fields):
        return "its header is not sound"
    if name != _name_digest(kind, key):
        return "it belongs to another key"
    if length != payload.size:
        return f"{payload.size} bytes where {length} were written"
    if verify:
        found = _PayloadDigest(kind)
        found.update(payload)
        if digest != found.value():
            return "its checksum differs"
    return None


def distrust(status: os.stat_result) -> str | None:
    """Why a file or folder of this status may be somebody else's work, or None.

    Code in the cache is run. So it has to come from the user or the administrator, and nobody else may be
    able to change it. In a sticky folder others can add files, but not replace any.
    """
    if status.st_uid not in (os.geteuid(), 0):
        return f"it belongs to user {status.st_uid}, not to {os.geteuid()}"
    sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
    if status.st_mode & 0o022 and not sticky:
        return f"others may write to it (mode {stat.S_IMODE(status.st_mode):o})"
    return None


def prefer_large_pages(mapping: mmap.mmap) -> None:
    """Asks for large pages in a mapping, where the system has them."""
    # A kernel without them refuses the advice.
    with contextlib.suppress(OSError):
        mapping.madvise(mmap.MADV_HUGEPAGE)


def label_of(path: Path) -> str:
    """For whom an entry was made; empty where that is not known. It is nothing to rely on."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            header = os.read(descriptor, HEADER_BYTES)
        finally:
            os.close(descriptor)
    except OSError:
        return ""
    if len(header) < HEADER_BYTES or not header.startswith(_MAGIC):
        return ""
    begin = _LABEL + _LABEL_LENGTH.size
    (length,) = _LABEL_LENGTH.unpack(header[_LABEL:begin])
    label = header[begin : begin + min(length, _LABEL_BYTES)]
    if header[begin + len(label) : begin + len(label) + _DIGEST_BYTES] != _digest(label):
        return ""
    return label.decode("utf-8", "replace")


def _header(kind: str, key: str, size: int, digest: bytes, label: str) -> bytes:
    fields = _HEADER.pack(_MAGIC, size, digest, _name_digest(kind, key))
    text = label.encode("utf-8", "replace")[:_LABEL_BYTES]
    named = _LABEL_LENGTH.pack(len(text)) + text + _digest(text) if text else b""
    return (fields + _digest(fields) + named).ljust(HEADER_BYTES, b"\0")


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _name_digest(kind: str, key: str) -> bytes:
    return _digest(f"{kind}/{key}".encode())

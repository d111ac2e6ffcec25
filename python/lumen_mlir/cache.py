# SPDX-License-Identifier: Apache-2.0
"""The caches on disk: compiled objects, packed weights, tokenizers, quantized models, tuning results.

An entry is one file: a page of header, then the payload. It is written under a temporary name and renamed, so
other processes see it whole or not at all; it is checked before it is used, and one that is damaged is
removed, with a warning, and made again. Nothing here is needed to run: where the folder cannot be written, a
warning is given once and the work goes on without it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import mmap
import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from lumen_mlir import env
from lumen_mlir.atomic_file import TEMPORARY_SUFFIX, reserve, temporary_name
from lumen_mlir.errors import LumenError

KINDS = ("objects", "packed", "tokenizers", "models", "tunings")

_SUFFIX = ".lumen"
_HEADER_BYTES = 4096  # a page, so that a payload can be mapped at a page boundary
_WRITE_BYTES = 32 << 20  # a multiple of a large page
_MAGIC = b"LUMENC01"
# Magic, payload length, sum of the payload, digest of kind and key; then a digest of those four.
_HEADER = struct.Struct("<8sQQ16s")
_DIGEST_BYTES = 16

logger = logging.getLogger("lumen_mlir.cache")


class CacheError(LumenError):
    """An entry that cannot be written, most often because the disk is full."""


@dataclass(frozen=True)
class Entry:
    """One file of the cache; ``used`` is when it was last read or written (seconds since 1970)."""

    kind: str
    key: str
    path: Path
    size: int
    used: float


def checksum(payload: np.ndarray) -> int:
    """The sum of the payload as little-endian 64-bit words (the last padded with zeros), mod 2^64.

    Any single wrong word changes it, and it runs at the speed of memory, so that gigabytes of packed weights
    can be checked at each start.
    """
    whole = payload.size // 8 * 8
    total = int(np.add.reduce(np.frombuffer(payload[:whole], "<u8"), dtype=np.uint64)) if whole else 0
    return (total + int.from_bytes(payload[whole:].tobytes(), "little")) % (1 << 64)


def prefer_large_pages(mapping: mmap.mmap) -> None:
    """Asks for large pages in a mapping, where the system has them."""
    # A kernel without them refuses the advice.
    with contextlib.suppress(OSError):
        mapping.madvise(mmap.MADV_HUGEPAGE)


class MappedEntry:
    """A new entry being filled: write ``array`` (uint8, 64-byte aligned), then ``commit``.

    ``array`` is memory, which is written to the file in large pieces and given back meanwhile. A file that is
    written so lies in large pages of the system's cache, where the file system has them, and a mapping of it
    can use them; written through a mapping it would lie in small ones, and reading weights would take half as
    long again. Used as a context manager an entry is given up (and leaves nothing) unless it was committed.
    Where nothing can be cached, ``persistent`` is False and ``array`` stays.
    """

    def __init__(self, cache: Cache, kind: str, key: str, size: int):
        self.persistent = False
        self._cache, self._kind, self._key, self._size = cache, kind, key, size
        self._temporary: Path | None = None
        self._descriptor = -1
        if cache._writable(kind, size):
            self._create(cache._path(kind, key))
        self._memory = mmap.mmap(-1, _HEADER_BYTES + size)
        prefer_large_pages(self._memory)
        self.array = np.frombuffer(self._memory, np.uint8)[_HEADER_BYTES:]

    def _create(self, path: Path) -> None:
        total = _HEADER_BYTES + self._size
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
                self._cache._unwritable(error)
                return
            raise CacheError(
                f"{path.parent}: cannot write a cache entry of {total} bytes: {error.strerror or error}"
            ) from None
        self.persistent = True

    def commit(self) -> np.ndarray:
        """Put the entry in its place; the payload as a read-only array that stays valid."""
        payload = self.array
        payload.flags.writeable = False
        if self._temporary is None:
            return payload
        self._memory[:_HEADER_BYTES] = _header(self._kind, self._key, payload)
        path = self._cache._path(self._kind, self._key)
        try:
            self._write()
            mapping = mmap.mmap(self._descriptor, len(self._memory), access=mmap.ACCESS_READ)
            os.replace(self._temporary, path)
        except OSError as error:
            self.abort()
            raise CacheError(f"{path}: cannot be put in its place: {error.strerror or error}") from None
        self._temporary = None
        self._close()
        self._cache._evict(keep=path)
        prefer_large_pages(mapping)
        self.array = np.frombuffer(mapping, np.uint8)[_HEADER_BYTES:]
        return self.array

    def _write(self) -> None:
        """Writes the memory to the file; what is written counts as this process's memory no longer."""
        view = memoryview(self._memory)
        for begin in range(0, len(view), _WRITE_BYTES):
            end = min(begin + _WRITE_BYTES, len(view))
            done = begin
            while done < end:
                done += os.pwrite(self._descriptor, view[done:end], done)
            self._memory.madvise(mmap.MADV_DONTNEED, begin, end - begin)

    def abort(self) -> None:
        """Give the entry up; its file goes away."""
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            self._temporary = None
        self._close()

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> MappedEntry:
        return self

    def __exit__(self, *exception: object) -> None:
        self.abort()


class Cache:
    """The caches in one folder; ``folder`` and ``limit`` (bytes) default to what ``lumen_mlir.env`` says."""

    def __init__(self, folder: str | os.PathLike[str] | None = None, limit: int | None = None):
        chosen = folder if folder is not None else env.CACHE_DIR.get()
        self.folder = Path(chosen) if chosen is not None else platformdirs.user_cache_path("lumen-mlir")
        self.limit = env.CACHE_LIMIT.get() if limit is None else limit
        self._warned: set[str] = set()
        self._swept = False

    def load(self, kind: str, key: str) -> bytes | None:
        """The payload stored under ``key``, or None. A damaged entry is removed, with a warning."""
        payload = self.load_mapped(kind, key)
        return None if payload is None else payload.tobytes()

    def load_mapped(self, kind: str, key: str, verify: bool = True) -> np.ndarray | None:
        """The payload as a read-only uint8 array, mapped and page-aligned, or None.

        ``verify`` reads all of it to compare its checksum; without, only the header and the length are
        checked.
        """
        path = self._path(kind, key)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            self._warn(
                "read", f"cache entry {path} cannot be read ({error.strerror or error}); going on without it"
            )
            return None
        try:
            size = os.fstat(descriptor).st_size
            if size < _HEADER_BYTES:
                return self._discard(path, f"{size} bytes are less than the header's {_HEADER_BYTES}")
            mapping = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
            prefer_large_pages(mapping)
            with contextlib.suppress(OSError):
                os.utime(descriptor)  # "last used", for eviction: access times are often not kept
        except OSError as error:
            return self._discard(path, str(error.strerror or error))
        finally:
            os.close(descriptor)
        payload = np.frombuffer(mapping, np.uint8)[_HEADER_BYTES:]
        fault = _fault(kind, key, mapping[:_HEADER_BYTES], payload, verify)
        return self._discard(path, fault) if fault else payload

    def store(self, kind: str, key: str, payload: bytes | np.ndarray) -> bool:
        """Store ``payload``; False, after a warning, where that is not possible (it raises nothing)."""
        data = np.frombuffer(payload, np.uint8)
        try:
            with self.create(kind, key, data.size) as entry:
                if not entry.persistent:
                    return False
                entry.array[:] = data
                entry.commit()
        except CacheError as error:
            self._warn("store", str(error))
            return False
        return True

    def create(self, kind: str, key: str, size: int) -> MappedEntry:
        """Begin an entry of ``size`` bytes to be filled in place. ``CacheError`` where the disk is full."""
        return MappedEntry(self, kind, key, size)

    def file(self, kind: str, key: str) -> Path | None:
        """Where a file of its own form, without this module's header, is kept; None where nothing can be.

        Whoever uses it writes it under a temporary name and calls ``added``.
        """
        if not self.fits(kind, 0):
            return None
        path = self._path(kind, key)
        with contextlib.suppress(OSError):
            os.utime(path)
        return path

    def fits(self, kind: str, size: int) -> bool:
        """Whether ``size`` more bytes can be kept; a warning where not."""
        return self._writable(kind, size)

    def added(self, path: Path) -> None:
        """After a ``file`` was written: the least recently used others make room for it."""
        self._evict(keep=path)

    def entries(self) -> list[Entry]:
        """Every entry, the most recently used first."""
        found = []
        for kind in KINDS:
            for path in self._files(kind, _SUFFIX):
                with contextlib.suppress(OSError):
                    status = path.stat()
                    found.append(
                        Entry(kind, path.name.removesuffix(_SUFFIX), path, status.st_size, status.st_mtime)
                    )
        return sorted(found, key=lambda entry: entry.used, reverse=True)

    def clear(self) -> tuple[int, int]:
        """Remove every entry; their number and bytes. ``CacheError`` where one cannot be removed."""
        self._sweep()
        entries = self.entries()
        for entry in entries:
            try:
                entry.path.unlink(missing_ok=True)
            except OSError as error:
                raise CacheError(f"{entry.path}: cannot be removed: {error.strerror or error}") from None
        return len(entries), sum(entry.size for entry in entries)

    def _path(self, kind: str, key: str) -> Path:
        if kind not in KINDS or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", key):
            raise ValueError(f"no cache entry can be called {kind!r}, {key!r}")
        return self.folder / kind / (key + _SUFFIX)

    def _files(self, kind: str, suffix: str) -> list[Path]:
        try:
            return [path for path in (self.folder / kind).iterdir() if path.name.endswith(suffix)]
        except OSError:
            return []

    def _writable(self, kind: str, size: int) -> bool:
        """Make the folder; False where it cannot be written or ``size`` bytes would not be kept."""
        if self.limit == 0:
            return False
        if size + _HEADER_BYTES > self.limit:
            self._warn(
                "limit", f"{size} bytes are over the cache's limit of {self.limit} bytes; they are not cached"
            )
            return False
        try:
            (self.folder / kind).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._unwritable(error)
            return False
        if not os.access(self.folder / kind, os.W_OK | os.X_OK):
            self._unwritable(OSError(errno.EACCES, os.strerror(errno.EACCES)))
            return False
        self._sweep()
        return True

    def _sweep(self) -> None:
        """Remove what processes that died while writing have left behind (once per process)."""
        if self._swept:
            return
        self._swept = True
        for kind in KINDS:
            for path in self._files(kind, TEMPORARY_SUFFIX):
                with contextlib.suppress(OSError), open(path, "rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink()

    def _evict(self, keep: Path) -> None:
        """Remove the least recently used entries until the rest fits the limit."""
        entries = self.entries()
        excess = sum(entry.size for entry in entries) - self.limit
        for entry in reversed(entries):
            if excess <= 0:
                break
            if entry.path != keep:
                with contextlib.suppress(OSError):
                    entry.path.unlink()
                    excess -= entry.size

    def _discard(self, path: Path, reason: str) -> None:
        logger.warning("cache entry %s is damaged (%s); it is removed and made again", path, reason)
        with contextlib.suppress(OSError):
            path.unlink()

    def _unwritable(self, error: OSError) -> None:
        self._warn(
            "folder", f"cache folder {self.folder} cannot be written ({error.strerror}); going on without it"
        )

    def _warn(self, topic: str, message: str) -> None:
        """Warn once about each topic: whoever knows that the disk is full need not read it again."""
        if topic not in self._warned:
            self._warned.add(topic)
            logger.warning("%s", message)


def _header(kind: str, key: str, payload: np.ndarray) -> bytes:
    fields = _HEADER.pack(_MAGIC, payload.size, checksum(payload), _name_digest(kind, key))
    return (fields + _digest(fields)).ljust(_HEADER_BYTES, b"\0")


def _fault(kind: str, key: str, header: bytes, payload: np.ndarray, verify: bool) -> str | None:
    """What is wrong with an entry, or None."""
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


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def _name_digest(kind: str, key: str) -> bytes:
    return _digest(f"{kind}/{key}".encode())

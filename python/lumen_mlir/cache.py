# SPDX-License-Identifier: Apache-2.0
"""The caches on disk: compiled objects, packed weights, tokenizers, quantized models, tuning results.

An entry is one file (``cache_entry``). It is written under a temporary name and renamed, so other processes
see it whole or not at all; it is checked before it is used, and one that is damaged is removed, with a
warning, and made again. Nothing here is needed to run: where the folder cannot be written, a warning is given
once and the work goes on without it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import mmap
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from lumen_mlir import env
from lumen_mlir.atomic_file import TEMPORARY_SUFFIX
from lumen_mlir.cache_entry import HEADER_BYTES, CacheError, NewEntry, fault_of, prefer_large_pages

KINDS = ("objects", "packed", "tokenizers", "models", "tunings")

_SUFFIX = ".lumen"

logger = logging.getLogger("lumen_mlir.cache")


@dataclass(frozen=True)
class Entry:
    """One file of the cache; ``used`` is when it was last read or written (seconds since 1970)."""

    kind: str
    key: str
    path: Path
    size: int
    used: float


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
            if size < HEADER_BYTES:
                return self._discard(path, f"{size} bytes are less than the header's {HEADER_BYTES}")
            mapping = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
            prefer_large_pages(mapping)
            with contextlib.suppress(OSError):
                os.utime(descriptor)  # "last used", for eviction: access times are often not kept
        except OSError as error:
            return self._discard(path, str(error.strerror or error))
        finally:
            os.close(descriptor)
        payload = np.frombuffer(mapping, np.uint8)[HEADER_BYTES:]
        fault = fault_of(kind, key, mapping[:HEADER_BYTES], payload, verify)
        return self._discard(path, fault) if fault else payload

    def store(self, kind: str, key: str, payload: bytes | np.ndarray) -> bool:
        """Store ``payload``; False, after a warning, where that is not possible (it raises nothing)."""
        data = np.frombuffer(payload, np.uint8)
        try:
            with self.create(kind, key, data.size) as entry:
                if not entry.persistent:
                    return False
                entry.write(0, data)
                entry.commit()
        except CacheError as error:
            self._warn("store", str(error))
            return False
        return True

    def create(self, kind: str, key: str, size: int) -> NewEntry:
        """Begin an entry of ``size`` bytes. ``CacheError`` where the disk is full."""
        path = self._path(kind, key)
        if not self._writable(kind, size):
            return NewEntry(None, kind, key, size)
        try:
            return NewEntry(path, kind, key, size, self._evict)
        except PermissionError as error:
            self._unwritable(error)
            return NewEntry(None, kind, key, size)

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
        if size + HEADER_BYTES > self.limit:
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

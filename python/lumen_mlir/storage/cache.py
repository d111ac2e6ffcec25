# SPDX-License-Identifier: Apache-2.0
"""The caches on disk: compiled objects, packed weights, tokenizers, quantized models, tuning results, pages.

An entry is one file (``cache_entry``). It is written under a temporary name and renamed, so other processes
see it whole or not at all; it is checked before it is used, and one that is damaged is removed, with a
warning, and made again. Nothing here is needed to run: where the folder cannot be written, or belongs to
somebody who is not to be trusted, a warning is given once and the work goes on without it.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import fcntl
import functools
import logging
import os
import re
import stat
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs

from lumen_mlir import env
from lumen_mlir.storage.atomic_file import TEMPORARY_SUFFIX
from lumen_mlir.storage.cache_entry import (
    HEADER_BYTES,
    CacheError,
    MappedEntry,
    NewEntry,
    distrust,
    fault_of,
    label_of,
)

FAILURES = "failures"

# Of keys and values: they have a limit of their own (``page_cache``).
PAGES = "pages"

KINDS = ("objects", "kernels", "packed", "tokenizers", "models", "tunings", PAGES)

_SUFFIX = ".lumen"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """One file of the cache; ``used`` is when it was last read or written (seconds since 1970)."""

    kind: str
    key: str
    path: Path
    size: int
    used: float

    @property
    def label(self) -> str:
        """The model that it was made for first (others may use it too); empty where nobody said."""
        return label_of(self.path)


def default_folder() -> Path:
    """The user's cache folder, or one among the temporary files where there is no home."""
    # Without HOME and an entry in the password file "~" stays what it is; an empty HOME makes it "/".
    homeless = os.environ.get("HOME") == "" or not os.path.isabs(os.path.expanduser("~"))
    if homeless and not os.path.isabs(os.environ.get("XDG_CACHE_HOME", "")):
        _tell_homeless()
        return temporary_folder()
    return platformdirs.user_cache_path("lumen-mlir")


def temporary_folder() -> Path:
    """A folder of the user's own among the temporary files."""
    return Path(tempfile.gettempdir()) / f"lumen-mlir-{os.geteuid()}"


@functools.cache
def _tell_homeless() -> None:
    logger.warning("there is no home folder (HOME); the cache folder is %s", temporary_folder())


class Cache:
    """The caches in one folder; ``folder`` and ``limit`` (bytes) default to what ``lumen_mlir.env`` says."""

    def __init__(self, folder: str | os.PathLike[str] | None = None, limit: int | None = None):
        chosen = folder if folder is not None else env.CACHE_DIR.get()
        self._own_place = chosen is None
        self.folder = Path(chosen) if chosen is not None else default_folder()
        self.limit = env.CACHE_LIMIT.get() if limit is None else limit
        self.label = ""
        self._warned: set[str] = set()
        self._swept = False

    def labelled(self, label: str) -> Cache:
        """The same cache, for work on a model that people call ``label``: new entries say so."""
        named = copy.copy(self)
        named.label = label
        return named

    def load(self, kind: str, key: str) -> bytes | None:
        """The payload stored under ``key``, or None. A damaged entry is removed, with a warning."""
        mapped = self._map(kind, key)
        if mapped is None:
            return None
        # A copy: what is checked is what is used, whatever happens to the file.
        data = np.frombuffer(mapped[:], np.uint8)
        fault = fault_of(kind, key, data[:HEADER_BYTES].tobytes(), data[HEADER_BYTES:], verify=True)
        return self._discard(self._path(kind, key), fault) if fault else data[HEADER_BYTES:].tobytes()

    def load_mapped(self, kind: str, key: str, verify: bool = True) -> np.ndarray | None:
        """The payload as a read-only uint8 array, mapped and page-aligned, or None.

        ``verify`` reads all of it to compare its checksum; without, only the header and the length are
        checked. Whoever goes on using the array asks ``mapping.check_unchanged`` for its file.
        """
        mapped = self._map(kind, key)
        if mapped is None:
            return None
        fault = mapped.fault(verify)
        return self._discard(self._path(kind, key), fault) if fault else mapped.payload

    def _map(self, kind: str, key: str) -> MappedEntry | None:
        """The file of an entry, if there is one that may be trusted; its content is not checked yet."""
        path = self._path(kind, key)
        folder = self._open_folder(kind)
        if folder is None:
            return None
        descriptor = -1
        try:
            # What is looked at is what is mapped: nobody can exchange it in between.
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
            descriptor = os.open(path.name, flags, dir_fd=folder)
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return self._discard(path, "it is no regular file")
            if reason := distrust(status):
                return self._discard(path, reason, "is not used")
            if status.st_size < HEADER_BYTES:
                return self._discard(
                    path, f"{status.st_size} bytes are less than the header's {HEADER_BYTES}"
                )
            mapped = MappedEntry.open(descriptor, path, kind, key)
            _mark_used(descriptor, status)
            return mapped
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._warn("read", f"cache entry {path} cannot be read ({reason}); going on without it")
            return None
        finally:
            os.close(folder)
            if descriptor >= 0:
                os.close(descriptor)

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
            return NewEntry(path, kind, key, size, self._evict, self.label)
        except PermissionError as error:
            self._unwritable(error)
            return NewEntry(None, kind, key, size)

    def file(self, kind: str, key: str) -> Path | None:
        """Where a file of its own form, without this module's header, is kept; None where nothing can be.

        Whoever uses it writes it under a temporary name and calls ``added``, and knows by itself whether its
        content is sound.
        """
        if not self.fits(kind, 0):
            return None
        path = self._path(kind, key)
        try:
            status = path.lstat()
            reason = distrust(status) if stat.S_ISREG(status.st_mode) else "it is no regular file"
            if reason:
                self._discard(path, reason, "is not used")
            else:
                _mark_used(path, status)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._warn("read", f"cache entry {path} cannot be read ({error.strerror}); going on without it")
            return None
        return path

    def fits(self, kind: str, size: int) -> bool:
        """Whether ``size`` more bytes can be kept; a warning where not."""
        return self._writable(kind, size)

    def added(self, path: Path) -> None:
        """After a ``file`` was written: the least recently used others make room for it."""
        self._evict(keep=path)

    def entries(self, kinds: Sequence[str] = KINDS) -> list[Entry]:
        """Every entry of some kinds, the most recently used first."""
        found = []
        for kind in kinds:
            for path in self._files(kind, _SUFFIX):
                with contextlib.suppress(OSError):
                    status = path.lstat()
                    used = max(status.st_atime, status.st_mtime)
                    found.append(Entry(kind, path.name.removesuffix(_SUFFIX), path, status.st_size, used))
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
        # What the compiler failed on (failures.py) is no entry, but goes too.
        for path in (self.folder / FAILURES).glob("*.mlir"):
            with contextlib.suppress(OSError):
                path.unlink()
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
            os.makedirs(self.folder, 0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                os.mkdir(self.folder / kind, 0o700)
        except OSError as error:
            self._unwritable(error)
            return False
        folder = self._open_folder(kind)
        if folder is None:
            return False
        os.close(folder)
        if not os.access(self.folder / kind, os.W_OK | os.X_OK):
            self._unwritable(OSError(errno.EACCES, os.strerror(errno.EACCES)))
            return False
        self._sweep()
        return True

    def _open_folder(self, kind: str) -> int | None:
        """A descriptor of the folder of a kind; None where there is none, or (with a warning) no safe one."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
        descriptors: list[int] = []
        try:
            for path in (self.folder, self.folder / kind):
                above = descriptors[-1] if descriptors else None
                descriptors.append(os.open(path if above is None else kind, flags, dir_fd=above))
                status = os.fstat(descriptors[-1])
                # These two are Lumen's alone: what an older umask left open is closed, not complained about.
                if (self._own_place or len(descriptors) == 2) and status.st_uid == os.geteuid():
                    status = _closed_to_others(descriptors[-1], status)
                if reason := distrust(status):
                    self._warn("trust", f"cache folder {path} is not used: {reason}")
                    return None
            return descriptors.pop()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            reason = error.strerror or str(error)
            self._warn("read", f"cache folder {path} cannot be read ({reason}); going on without it")
            return None
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

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
        self._shrink([kind for kind in KINDS if kind != PAGES], self.limit, keep)

    def _shrink(self, kinds: Sequence[str], limit: int, keep: Path) -> int:
        """Remove the least recently used entries of some kinds until they fit a limit; the bytes left."""
        entries = self.entries(kinds)
        total = sum(entry.size for entry in entries)
        for entry in reversed(entries):
            if total <= limit:
                break
            if entry.path != keep:
                with contextlib.suppress(OSError):
                    entry.path.unlink()
                    total -= entry.size
        return total

    def _discard(self, path: Path, reason: str, what: str = "is damaged") -> None:
        logger.warning("cache entry %s %s (%s); it is removed and made again", path, what, reason)
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


def _mark_used(file: int | Path, status: os.stat_result) -> None:
    """Notes the time for eviction, as that of access: access itself often is not noted.

    The time of writing stays: who has the file mapped sees by it that the bytes are the same.
    """
    with contextlib.suppress(OSError):
        os.utime(file, ns=(time.time_ns(), status.st_mtime_ns))


def _closed_to_others(descriptor: int, status: os.stat_result) -> os.stat_result:
    """The status of a folder of the user's own, after others may no longer write to it."""
    if status.st_mode & 0o022:
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~0o022)
            return os.fstat(descriptor)
    return status

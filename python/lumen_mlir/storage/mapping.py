# SPDX-License-Identifier: Apache-2.0
"""Maps files that are only read, after looking at what they are, and notices when they change."""

from __future__ import annotations

import ctypes
import hashlib
import mmap
import os
import stat
import threading
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from lumen_mlir._mlir.memory import FileGuard
from lumen_mlir.errors import LumenError
from lumen_mlir.support.interrupts import interrupts_held

Identity = tuple[int, int, int, int]
"""Size, time of the last change in ns, device, inode: what tells files apart, and a file from its past."""

# Samples of a tensor: bytes of each, bytes of the tensor for each of them, fewest and most.
_SAMPLE_BYTES, _SAMPLED_BYTES, _SAMPLES = 1024, 1 << 18, (2, 8)


_Mapped = TypeVar("_Mapped", bound="MappedFile")


class MappedFile(mmap.mmap):
    """A read-only mapping of a whole file, which others may change, cut or remove at any time.

    A file that is removed or replaced by another one is still here. One that is written to or cut is not:
    what it had is lost, so whoever uses its bytes calls ``check_unchanged`` before the result counts. Where
    it has lost pages the mapping reads as zeros (and not as a bus error).
    """

    path: str
    _guard: FileGuard
    _descriptor: int
    # Size, and when it was written and changed; and a digest of some places, where one was taken.
    _state: tuple[int, int, int]
    _sample: tuple[list[tuple[int, int]], bytes] | None

    def __new__(cls: type[_Mapped], descriptor: int, size: int, path: str) -> _Mapped:
        """Maps the first ``size`` bytes. The descriptor stays the caller's. Raises ``OSError``."""
        self = super().__new__(cls, descriptor, size, access=mmap.ACCESS_READ)
        self.path = path
        self._guard = FileGuard(np.frombuffer(self, np.uint8))
        self._descriptor = os.dup(descriptor)
        self._state = _state(os.fstat(self._descriptor))
        self._sample = None
        return self

    def __del__(self) -> None:
        # Before the mapping goes away, whose addresses others may get then.
        if guard := getattr(self, "_guard", None):
            guard.release()
        if (descriptor := getattr(self, "_descriptor", None)) is not None:
            os.close(descriptor)

    def check_unchanged(self) -> None:
        """Raises ``LumenError`` where the file is not what it was when it was opened. Takes a microsecond."""
        status = os.fstat(self._descriptor)
        state = _state(status)
        if state == self._state and not self._guard.lost:
            return
        if fault := self._fault(status):
            raise LumenError(f"{self.path}: changed while it was in use: {fault}; open the model again")
        self._state = state

    def is_at(self, path: str | os.PathLike[str]) -> bool:
        """Whether ``path`` leads to this file."""
        try:
            return os.path.samestat(os.stat(path), os.fstat(self._descriptor))
        except OSError:
            return False

    def sample(self, places: Iterable[tuple[int, int]]) -> bytes:
        """A digest (16 bytes) of some bytes of each place (begin, size), so that another content is noticed.

        The bytes are read, not mapped, so they take no memory. Raises ``LumenError``.
        """
        places = list(places)
        self._sample = places, self._digest(places)
        return self._sample[1]

    def _fault(self, status: os.stat_result) -> str | None:
        """What is wrong with a file whose status is not as before, or that has lost pages; or None."""
        size = self._state[0]
        if status.st_size != size:
            return f"it had {size} bytes and has {status.st_size} now"
        return "it has lost pages" if self._guard.lost else self._rewritten(status)

    def _rewritten(self, status: os.stat_result) -> str | None:
        """What is wrong with a file of the same size whose times are others, or None."""
        size, written, _ = self._state
        if status.st_mtime_ns != written:
            return f"its {size} bytes were written to"
        # A new name or mode is no change. A time of writing that was set back is one.
        if self._sample is not None and self._digest(self._sample[0]) != self._sample[1]:
            return f"its {size} bytes were written to, with the old time of writing"
        return None

    def _digest(self, places: list[tuple[int, int]]) -> bytes:
        digest = hashlib.blake2b(digest_size=16)
        try:
            for begin, size in places:
                if size <= 4 * _SAMPLE_BYTES:
                    digest.update(os.pread(self._descriptor, size, begin))
                    continue
                least, most = _SAMPLES
                last = min(max(size // _SAMPLED_BYTES, least), most) - 1
                for number in range(last + 1):
                    place = begin + (size - _SAMPLE_BYTES) * number // last
                    digest.update(os.pread(self._descriptor, _SAMPLE_BYTES, place))
        except OSError as error:
            raise LumenError(f"{self.path}: cannot be read: {error.strerror or error}") from None
        return digest.digest()


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def files_of(arrays: Iterable[np.ndarray]) -> list[MappedFile]:
    """The mapped files that arrays are views of, each once."""
    found: dict[int, MappedFile] = {}
    for array in arrays:
        owner: Any = array
        while isinstance(owner, (np.ndarray, memoryview)):
            owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
        if isinstance(owner, MappedFile):
            found[id(owner)] = owner
    return list(found.values())


def check_unchanged(files: Iterable[MappedFile]) -> None:
    """Raises ``LumenError`` where one of ``files`` changed while it was in use."""
    for file in files:
        file.check_unchanged()


def map_file(
    path: str, kind: str, error: type[LumenError], magic: bytes = b""
) -> tuple[MappedFile, Identity]:
    """Maps the regular file ``path``, which should be ``kind`` ("a GGUF file") and begin with ``magic``.

    Raises ``error`` where it is not there, not a file, empty, or begins otherwise.
    """
    try:
        # Opening a FIFO for reading would wait for a writer; O_NONBLOCK leaves regular files as they are.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        raise error(f"{path}: cannot be opened: {reason}") from None
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):
            raise error(f"{path}: is a directory; {kind} was expected")
        if not stat.S_ISREG(status.st_mode):
            raise error(f"{path}: is not a regular file")
        if status.st_size == 0:
            raise error(f"{path}: is empty (0 bytes)")
        begin = os.pread(descriptor, len(magic), 0)
        if begin != magic[: len(begin)]:
            raise error(f"{path}: not {kind}: it begins with {begin!r}, not {magic!r}")
        mapping = MappedFile(descriptor, status.st_size, path)
    except (OSError, ValueError) as failure:
        raise error(f"{path}: cannot be read: {getattr(failure, 'strerror', None) or failure}") from None
    finally:
        os.close(descriptor)
    return mapping, (status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)


# Of Linux; newer versions of Python know it, too.
_MAP_NORESERVE = 0x4000


def private_memory(size: int, reserved: bool = True) -> mmap.mmap:
    """``size`` bytes (at least one) of zeros at a page boundary, which count as memory when first touched.

    ``reserved``: False for what is hardly touched, and may be larger than memory.

    Forked processes do not share them, as they would what Python maps by default. Raises ``LumenError`` where
    there is no room.
    """
    try:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (0 if reserved else _MAP_NORESERVE)
        return mmap.mmap(-1, max(size, 1), flags=flags)
    except (OSError, ValueError, OverflowError) as error:
        raise LumenError(f"there is no memory for {size} bytes: {error}") from None


# Linux reads no more ahead for one request than the disk takes at once, which is some megabytes.
_FETCH_BYTES = 1 << 20


def fetch(array: np.ndarray) -> threading.Thread:
    """Has the system read the file that ``array`` is a mapping of into memory, while the caller goes on.

    ``array`` is a contiguous array of any dtype. What is in memory already, or no mapping of a file, stays as
    it is; memory of the process grows when it is used. Returns the thread that asks.
    """

    def ask() -> None:
        madvise = ctypes.CDLL(None).madvise
        madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        begin = array.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
        for place in range(begin, array.ctypes.data + array.nbytes, _FETCH_BYTES):
            # Advice that is not taken changes nothing.
            madvise(place, min(_FETCH_BYTES, array.ctypes.data + array.nbytes - place), mmap.MADV_WILLNEED)

    thread = threading.Thread(target=ask, name="lumen-fetch", daemon=True)
    with interrupts_held():
        thread.start()
    return thread


def release(mapping: mmap.mmap, begin: int, end: int) -> None:
    """Lets the whole pages between two places of a mapping leave resident memory; reading maps them again."""
    begin = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
    length = end // mmap.PAGESIZE * mmap.PAGESIZE - begin
    if length > 0:
        mapping.madvise(mmap.MADV_DONTNEED, begin, length)

# SPDX-License-Identifier: Apache-2.0
"""Maps files that are only read, after looking at what they are."""

from __future__ import annotations

import ctypes
import mmap
import os
import stat
import threading

import numpy as np

from lumen_mlir.errors import LumenError

Identity = tuple[int, int, int, int]
"""Size, time of the last change in ns, device, inode: what tells files apart, and a file from its past."""


def map_file(path: str, kind: str, error: type[LumenError], magic: bytes = b"") -> tuple[mmap.mmap, Identity]:
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
        mapping = mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ)
    except OSError as failure:
        raise error(f"{path}: cannot be read: {failure.strerror or failure}") from None
    finally:
        os.close(descriptor)
    return mapping, (status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)


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
    thread.start()
    return thread


def release(mapping: mmap.mmap, begin: int, end: int) -> None:
    """Lets the whole pages between two places of a mapping leave resident memory; reading maps them again."""
    begin = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
    length = end // mmap.PAGESIZE * mmap.PAGESIZE - begin
    if length > 0:
        mapping.madvise(mmap.MADV_DONTNEED, begin, length)

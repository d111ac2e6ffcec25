# SPDX-License-Identifier: Apache-2.0
"""Mapped files: which are refused, and what is read ahead."""

import ctypes
import mmap
import os
import time

import numpy as np
import pytest

from lumen_mlir.errors import LumenError
from lumen_mlir.storage.mapping import fetch, map_file


def share_in_memory(array):
    """How much of the pages of a mapping the system has in memory, 0 to 1."""
    begin = array.ctypes.data // mmap.PAGESIZE * mmap.PAGESIZE
    length = array.ctypes.data + array.nbytes - begin
    pages = np.zeros(-(-length // mmap.PAGESIZE), np.uint8)
    mincore = ctypes.CDLL(None, use_errno=True).mincore
    mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
    assert mincore(begin, length, pages.ctypes.data) == 0
    return (pages & 1).mean()


def test_fetch_reads_a_file_into_memory(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(24 << 20))
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    mapping, _ = map_file(str(path), "weights", LumenError)
    array = np.frombuffer(mapping, np.uint8)[123:-77]
    if share_in_memory(array) == 1:
        pytest.skip("this file system keeps its files in memory")
    fetch(array).join()
    deadline = time.monotonic() + 30
    while share_in_memory(array) < 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert share_in_memory(array) == 1


def test_fetch_of_memory_changes_nothing():
    array = np.arange(1 << 20)
    fetch(array).join()
    np.testing.assert_array_equal(array, np.arange(1 << 20))


def test_what_cannot_be_mapped_is_named(tmp_path):
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    cases = {
        ".": "is a directory",
        "empty": "is empty",
        "fifo": "is not a regular file",
        "none": "cannot be opened",
    }
    for name, message in cases.items():
        with pytest.raises(LumenError, match=message):
            map_file(str(tmp_path / name), "weights", LumenError)

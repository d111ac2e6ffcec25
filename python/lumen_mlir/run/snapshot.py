# SPDX-License-Identifier: Apache-2.0
"""A sequence's tokens, keys and values in a file, to go on with later or in another process.

A file is: the magic number, the length of the description, the size of the file; the description (JSON), a
digest of what stands before it; the tokens (int32); the pages of each pool, in order; a checksum of tokens
and pages. Numbers are little-endian.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import BinaryIO

import numpy as np

from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.formats.kv_cache import PAGE, pages
from lumen_mlir.run.executor import Executor, Sequence
from lumen_mlir.run.pages import PagePool, first_column
from lumen_mlir.storage.atomic_file import replacing
from lumen_mlir.storage.checksum import Checksum
from lumen_mlir.support.interrupts import interrupts_held

_MAGIC = b"LUMENKV1"
_BEGIN = struct.Struct("<8sIQ")
_DIGEST_BYTES, _CHECKSUM = 16, struct.Struct("<Q")
# Descriptions are far smaller, with the longest notes: what says otherwise is damaged.
_MOST_DESCRIPTION = 1 << 28
# Read and written at once; checksums are of pieces of whole blocks.
_PIECE = 4 << 20


def save(executor: Executor, sequence: Sequence, path: str | os.PathLike[str], notes: str = "") -> int:
    """Writes a sequence to a file, and returns the bytes. Steps of others go on meanwhile.

    ``notes``: a text of the caller's that ``load`` returns.

    The file appears whole or not at all, and is on the disk then. Raises ``LumenError`` where it cannot be
    written; what was at ``path`` is there as before then.
    """
    with Held(executor, sequence) as held:
        return held.write(path, notes)


class Held:
    """The pages of a sequence as they are now, whatever becomes of it: nobody writes to them.

    A context manager, at whose end they are given back.
    """

    def __init__(self, executor: Executor, sequence: Sequence):
        self._executor, self._stack = executor, ExitStack()
        with executor.lock, interrupts_held():
            sequence.check_open()
            self._era = executor.era
            self._tokens = np.array(sequence.tokens, "<i4")
            count = pages(len(self._tokens))
            self._kept = [
                self._stack.enter_context(_kept(executor, each.pool, each.table[each.begin : count]))
                for each in sequence.pages
            ]
            self._pools = [
                _Pool(each.window, each.begin, len(taken), memory.page_bytes)
                for each, taken, memory in zip(sequence.pages, self._kept, executor.memories, strict=True)
            ]

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the pages back."""
        self._stack.close()

    def write(self, path: str | os.PathLike[str], notes: str = "") -> int:
        """See ``save``."""
        executor, tokens, pools = self._executor, self._tokens, self._pools
        header = _header(asdict(executor.identity), tokens.size, pools, notes)
        size = len(header) + tokens.nbytes + sum(pool.bytes for pool in pools) + _CHECKSUM.size
        try:
            with replacing(path, size, durable=True) as file:
                file.write(header)
                body = _Writer(file)
                body.write(tokens.view(np.uint8))
                for memory, pool, taken in zip(executor.memories, pools, self._kept, strict=True):
                    page = np.empty(memory.page_bytes, np.uint8)
                    for column, number in enumerate(taken, pool.begin):
                        with executor.lock:
                            if executor.era is not self._era:
                                raise LumenError("the KV cache was emptied")
                            memory.read(number, page, min(tokens.size - column * PAGE, PAGE))
                        body.write(page)
                body.end()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise LumenError(f"{os.fspath(path)}: the snapshot cannot be written: {reason}") from None
        return size


def load(executor: Executor, path: str | os.PathLike[str]) -> tuple[Sequence, str]:
    """A new sequence with what ``save`` wrote to a file, and its notes. Steps of others go on meanwhile.

    All of the file is checked before. Raises ``LumenError`` where it cannot be read, is damaged, or was
    written with another model or other options; where it does not fit the executor's context; and where the
    KV cache has too few pages or sequences.
    """
    with _opened(path) as file:
        header = _check_header(file)
        _check_fits(executor, header)
        tokens = _check_body(file, header, executor.model.config.vocabulary)
        state = _state(file)
        sequence = _reserved(executor, header)
        try:
            file.seek(header.begin + 4 * header.tokens)
            for memory, pool, held in zip(executor.memories, header.pools, sequence.pages, strict=True):
                page = np.empty(pool.page_bytes, np.uint8)
                for column in range(pool.begin, pool.begin + pool.pages):
                    _read(file, page)
                    with executor.lock:
                        sequence.check_open()
                        memory.write(int(held.table[column]), page)
            if _state(file) != state:
                raise _Damaged("it changes while it is read")
        except BaseException:
            executor.close(sequence)
            raise
        with executor.lock, interrupts_held():
            sequence.check_open()
            sequence.tokens = tokens.tolist()
            executor.publish(sequence)
        return sequence, header.notes


class _Damaged(Exception):
    """What is wrong with a file."""


@dataclass(frozen=True)
class _Pool:
    """What a file has of the layers of one window: pages from column ``begin`` on."""

    window: int | None
    begin: int
    pages: int
    page_bytes: int

    @property
    def bytes(self) -> int:
        return self.pages * self.page_bytes


@dataclass(frozen=True)
class _Header:
    """What stands before tokens and pages, which ``begin`` at this byte."""

    begin: int
    identity: dict
    tokens: int
    pools: list[_Pool]
    notes: str

    @property
    def end(self) -> int:
        """Bytes of the file."""
        return self.begin + 4 * self.tokens + sum(pool.bytes for pool in self.pools) + _CHECKSUM.size


@contextmanager
def _kept(executor: Executor, pool: PagePool, table: np.ndarray) -> Iterator[list[int]]:
    """Pages that nobody writes to for a while. Begun while the executor's lock is held."""
    era, shared = executor.era, [pool.share(page) for page in table.tolist()]
    try:
        yield shared
    finally:
        with executor.lock, interrupts_held():
            # (Where the KV cache was emptied, nobody has a page any more.)
            for page in shared if executor.era is era else ():
                pool.give_back(page)


def _reserved(executor: Executor, header: _Header) -> Sequence:
    """A new sequence with pages that hold nothing yet."""
    with executor.lock, interrupts_held():
        sequence = executor.open()
        try:
            for pool, held in zip(header.pools, sequence.pages, strict=True):
                held.begin = held.end = pool.begin
                for column in range(pool.begin, pool.begin + pool.pages):
                    held.table[column] = held.pool.take()
                    held.end = column + 1
        except BaseException:
            executor.close(sequence)
            raise
        return sequence


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to be read; failures become ``LumenError`` that names it."""
    name = os.fspath(path)
    try:
        # A FIFO would wait for a writer.
        with open(path, "rb", opener=lambda p, flags: os.open(p, flags | os.O_NONBLOCK)) as file:
            yield file
    except _Damaged as error:
        raise LumenError(f"{name}: the snapshot is damaged: {error}") from None
    except LumenError as error:
        raise LumenError(f"{name}: the snapshot cannot be loaded: {error}") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        # The last three where a description has other fields, which no version of Lumen wrote.
        reason = getattr(error, "strerror", None) or one_line(error, 200)
        raise LumenError(f"{name}: the snapshot cannot be read: {reason}") from None


# --- what stands in the file --------------------------------------------------------------------------------


def _header(identity: dict, tokens: int, pools: list[_Pool], notes: str) -> bytes:
    description = {
        "identity": identity,
        "tokens": tokens,
        "pools": [asdict(pool) for pool in pools],
        "notes": notes,
    }
    text = json.dumps(description).encode()
    size = _BEGIN.size + len(text) + _DIGEST_BYTES + 4 * tokens + sum(pool.bytes for pool in pools)
    begin = _BEGIN.pack(_MAGIC, len(text), size + _CHECKSUM.size) + text
    return begin + _digest(begin)


def _check_header(file: BinaryIO) -> _Header:
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise LumenError("it is no regular file")
    begin = file.read(_BEGIN.size)
    if begin[: len(_MAGIC)] != _MAGIC:
        raise LumenError(f"it begins with {begin[: len(_MAGIC)]!r}, not {_MAGIC!r}")
    if len(begin) < _BEGIN.size:
        raise _Damaged(f"it ends after {len(begin)} bytes")
    _, length, size = _BEGIN.unpack(begin)
    if status.st_size != size:
        raise _Damaged(f"it has {status.st_size:,} bytes where {size:,} were written")
    text = file.read(min(length, _MOST_DESCRIPTION))
    if file.read(_DIGEST_BYTES) != _digest(begin + text):
        raise _Damaged("its description is not what was written")
    description = json.loads(text)
    pools = [_Pool(**pool) for pool in description["pools"]]
    header = _Header(file.tell(), description["identity"], description["tokens"], pools, description["notes"])
    if header.end != size:
        raise _Damaged(f"it has {size:,} bytes where its description says {header.end:,}")
    return header


def _check_fits(executor: Executor, header: _Header) -> None:
    """Refuses what was written otherwise than this executor computes, or has no room in it."""
    for memory in executor.memories:
        memory.check()
    if differences := executor.identity.differences(header.identity):
        raise LumenError(f"it was written with {'; '.join(differences)}")
    windows = zip(executor.model.config.windows, executor.memories, strict=True)
    if [(window, memory.page_bytes) for window, memory in windows] != [
        (pool.window, pool.page_bytes) for pool in header.pools
    ]:
        raise _Damaged("its pages are not those of the model")
    count = pages(header.tokens)
    for pool in header.pools:
        if (
            not 0 <= pool.begin <= first_column(pool.window, header.tokens)
            or pool.pages != count - pool.begin
        ):
            raise _Damaged("it lacks pages")
    if header.tokens > executor.context:
        raise LumenError(f"its {header.tokens:,} tokens do not fit a context of {executor.context:,} tokens")


def _check_body(file: BinaryIO, header: _Header, vocabulary: int) -> np.ndarray:
    """The tokens, after all that follows was compared with the checksum."""
    checksum = Checksum()
    left = 4 * header.tokens + sum(pool.bytes for pool in header.pools)
    memory = np.empty(min(left, _PIECE), np.uint8)
    while left:
        piece = memory[: min(left, _PIECE)]
        _read(file, piece)
        checksum.update(piece)
        left -= piece.size
    if file.read() != _CHECKSUM.pack(checksum.value):
        raise _Damaged("its checksum differs")
    file.seek(header.begin)
    tokens = np.frombuffer(file.read(4 * header.tokens), "<i4")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < vocabulary:
        raise _Damaged(f"it has tokens that are not in a vocabulary of {vocabulary:,}")
    return tokens


def _read(file: BinaryIO, out: np.ndarray) -> None:
    if file.readinto(memoryview(out)) != out.size:  # type: ignore[attr-defined, arg-type]
        raise _Damaged("it ends too early")


def _state(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


class _Writer:
    """Writes arrays of bytes one behind the other, and their checksum at the end."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._checksum = Checksum()
        self._memory, self._used = np.empty(_PIECE, np.uint8), 0

    def write(self, data: np.ndarray) -> None:
        done = 0
        while done < data.size:
            count = min(data.size - done, _PIECE - self._used)
            self._memory[self._used : self._used + count] = data[done : done + count]
            self._used += count
            done += count
            if self._used == _PIECE:
                self._flush()

    def end(self) -> None:
        self._flush()
        self._file.write(_CHECKSUM.pack(self._checksum.value))

    def _flush(self) -> None:
        if self._used:
            piece = self._memory[: self._used]
            self._checksum.update(piece)
            self._file.write(memoryview(piece))  # type: ignore[arg-type]
            self._used = 0

# SPDX-License-Identifier: Apache-2.0
"""Snapshots: what is loaded goes on with the bits of what was saved, and nothing else is loaded."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from kv_sequences import ids_of, opened, pages_of, step

from lumen_mlir.errors import LumenError
from lumen_mlir.run import snapshot
from lumen_mlir.run.executor import Executor, Part
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import VOCABULARY, write_family


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "qwen2.gguf"
    write_family(path, "qwen2")
    return path


def free_pages(executor: Executor) -> list[int]:
    return [pool.free for pool in executor._pools]


@pytest.mark.parametrize(
    ("family", "kv_type", "activations"),
    [
        ("qwen2", "f16", "int8"),
        ("qwen3", "q8_0", "int8"),
        ("mistral-window", "f32", "exact"),
        ("exaone4-hybrid", "q8_0", "int8"),
        ("qwen3moe", "f16", "int8"),
    ],
)
def test_goes_on_with_equal_bits(tmp_path, cache, family, kv_type, activations):
    model = write_family(tmp_path / "model.gguf", family)
    options = {"kv_type": kv_type, "activations": activations}
    executor = opened(model, cache, **options)
    text, more = ids_of(0, 150), ids_of(1, 40)
    sequence = executor.open()
    step(executor, sequence, text)
    notes = "배우들의 " * 5 + "\0"
    size = snapshot.save(executor, sequence, tmp_path / "chat.kv", notes)
    assert size == (tmp_path / "chat.kv").stat().st_size
    saved = pages_of(executor, sequence)
    expected = step(executor, sequence, more)
    # Another process would do the same: another executor, its other pages in use, other threads and chunks.
    other = opened(model, cache, threads=2, chunk=16, **options)
    step_of_others = other.open()
    out = np.empty((16, VOCABULARY), np.float32)
    other.run([Part(step_of_others, text[:16], 0, 0)], out)
    loaded, found = snapshot.load(other, tmp_path / "chat.kv")
    assert loaded.tokens == text.tolist() and found == notes
    assert pages_of(other, loaded) == saved
    for begin in range(0, 40, 8):
        rows = np.empty((8, VOCABULARY), np.float32)
        other.run([Part(loaded, more[begin : begin + 8], 150 + begin, 0)], rows)
        np.testing.assert_array_equal(rows, expected[begin : begin + 8])


def test_a_sequence_without_tokens(tmp_path, qwen2, cache):
    executor = opened(qwen2, cache)
    snapshot.save(executor, executor.open(), tmp_path / "empty.kv")
    loaded, notes = snapshot.load(executor, tmp_path / "empty.kv")
    assert loaded.tokens == [] and notes == "" and executor.memories[0].page_bytes > 0
    with pytest.raises(LumenError, match="the sequence is closed"):
        loaded.close()
        snapshot.save(executor, loaded, tmp_path / "empty.kv")


def refused(executor: Executor, path: Path, match: str) -> None:
    """The file is refused in one line that names it, and the executor is as before."""
    before, numbers = free_pages(executor), len(executor._free)
    memory = [cache.array.copy() for each in executor.memories for cache in each._caches]
    with pytest.raises(LumenError, match=match) as error:
        snapshot.load(executor, path)
    assert str(error.value).startswith(f"{path}: the snapshot ") and "\n" not in str(error.value)
    assert free_pages(executor) == before and len(executor._free) == numbers
    caches = [cache.array for each in executor.memories for cache in each._caches]
    assert all(np.array_equal(was, is_) for was, is_ in zip(memory, caches, strict=True))


def test_a_damaged_file_changes_nothing(tmp_path, qwen2, cache):
    executor = opened(qwen2, cache)
    sequence = executor.open()
    step(executor, sequence, ids_of(0, 70))
    path = tmp_path / "chat.kv"
    snapshot.save(executor, sequence, path)
    sound = path.read_bytes()
    body = len(sound) - 8 - 4 * 70 - 2 * executor.memories[0].page_bytes
    places = [*range(0, body, 7), *range(body, body + 300, 31), *range(body + 300, len(sound), 997)]
    for place in [*places, len(sound) - 9, *range(len(sound) - 8, len(sound))]:
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        refused(executor, path, "is damaged|cannot be loaded: it begins with")
    for size in (0, 1, 8, 19, 20, 100, body, body + 5, len(sound) // 2, len(sound) - 1):
        path.write_bytes(sound[:size])
        refused(executor, path, "is damaged: it |cannot be loaded: it begins with")
    path.write_bytes(sound + b"\0")
    refused(executor, path, f"is damaged: it has {len(sound) + 1:,} bytes where {len(sound):,} were written")
    refused(executor, tmp_path / "none.kv", "cannot be read: No such file or directory")
    refused(executor, tmp_path, "cannot be read: Is a directory")
    os.mkfifo(tmp_path / "fifo")
    refused(executor, tmp_path / "fifo", "cannot be loaded: it is no regular file")
    path.write_bytes(sound)
    assert snapshot.load(executor, path)[0].tokens == sequence.tokens


def test_what_does_not_fit(tmp_path, qwen2, cache):
    executor = opened(qwen2, cache)
    sequence = executor.open()
    step(executor, sequence, ids_of(0, 150))
    path = tmp_path / "chat.kv"
    snapshot.save(executor, sequence, path)
    refused(opened(qwen2, cache, kv_type="f32"), path, "written with KV type f16, not f32")
    exact = opened(qwen2, cache, activations="exact")
    refused(exact, path, "written with activations int8, not exact")
    other = opened(write_family(tmp_path / "model.gguf", "qwen3"), cache)
    refused(other, path, "it was written with another model")
    refused(opened(qwen2, cache, context=128), path, "150 tokens do not fit a context of 128 tokens")
    small = opened(qwen2, cache, pool=128)
    refused(small, path, "all 2 pages of the KV cache are taken")
    taken = opened(qwen2, cache, sequences=1)
    taken.open()
    refused(taken, path, "there are 1 sequences already")
    old = opened(qwen2, cache, target="x86-64-v2")
    refused(old, path, "written with target .*, not x86-64-v2")


def test_what_cannot_be_written(tmp_path, qwen2, cache):
    executor = opened(qwen2, cache)
    sequence = executor.open()
    step(executor, sequence, ids_of(0, 70))
    before = free_pages(executor)
    with pytest.raises(LumenError, match=f"the snapshot cannot be written: {os.strerror(errno.ENOENT)}"):
        snapshot.save(executor, sequence, tmp_path / "none" / "chat.kv")
    with pytest.raises(LumenError, match=f"{tmp_path}: the snapshot cannot be written"):
        snapshot.save(executor, sequence, tmp_path)
    with pytest.raises(LumenError, match=f"/dev/full: .* {os.strerror(errno.ENOSPC)}"):
        snapshot.save(executor, sequence, "/dev/full")
    assert free_pages(executor) == before and not list(tmp_path.iterdir())
    # The pages are the sequence's own again: it writes to them without a copy.
    (table,) = [held.table[:2].tolist() for held in sequence.pages]
    step(executor, sequence, ids_of(1, 5))
    assert sequence.pages[0].table[:2].tolist() == table


_SAVER = """
import sys
import numpy as np
from pathlib import Path
from kv_sequences import Cache, ids_of, opened, step
from lumen_mlir.run import snapshot

model, folder, path = sys.argv[1:]
executor = opened(model, Cache(folder), pool=512)
pair = [executor.open(), executor.open()]
for number, sequence in enumerate(pair):
    step(executor, sequence, ids_of(number, 200))
print("ready", flush=True)
while True:
    for sequence in pair:
        snapshot.save(executor, sequence, path)
        print("saved", flush=True)
"""


def test_survives_being_killed(tmp_path, qwen2, cache):
    """A process is killed while it saves: what is there is one of the two sequences, whole."""
    path = tmp_path / "chat.kv"
    command = [sys.executable, "-c", _SAVER, str(qwen2), str(cache.folder), str(path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    executor = opened(qwen2, cache)
    rng = np.random.default_rng(0)
    for _ in range(4):
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            assert process.stdout.readline() == "saved\n"
            # (Each process saves many times; where the kill comes among the writes is chance.)
            time.sleep(rng.random() * 0.02)
            process.send_signal(signal.SIGKILL)
        loaded, _ = snapshot.load(executor, path)
        assert loaded.tokens in (ids_of(0, 200).tolist(), ids_of(1, 200).tolist())
        loaded.close()

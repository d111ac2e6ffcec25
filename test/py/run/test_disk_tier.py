# SPDX-License-Identifier: Apache-2.0
"""Pages on disk: found after a restart and when memory ran out; no harm where they are damaged or lost."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from kv_sequences import CHUNK, CONTEXT, ids_of, opened, pages_of, step

from lumen_mlir.errors import LumenError
from lumen_mlir.run import disk_tier
from lumen_mlir.run.executor import Executor
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage import cache_entry
from lumen_mlir.storage.cache import PAGES, Cache
from lumen_mlir.storage.page_cache import PageCache
from lumen_mlir.testing.families import write_family


@pytest.fixture(scope="module")
def qwen2(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "qwen2.gguf"
    write_family(path, "qwen2")
    return path


@pytest.fixture
def cache(tmp_path) -> Cache:
    return Cache(tmp_path / "cache")


def with_disk(path: Path, cache: Cache, pool: int = 512, size: int | str = "1G", **options) -> Executor:
    return opened(path, cache, pool=pool, kv_disk=size, **options)


def flushed(executor: Executor) -> None:
    assert executor._tier is not None and executor._tier.flush()


def entries(cache: Cache) -> list[Path]:
    return [entry.path for entry in cache.entries([PAGES])]


@pytest.mark.parametrize(
    ("family", "kv_type", "known"),
    [("qwen2", "f16", 128), ("exaone4-hybrid", "q8_0", 128), ("mistral-window", "f32", 128)],
)
def test_found_after_a_restart(tmp_path, cache, family, kv_type, known):
    path = tmp_path / "model.gguf"
    write_family(path, family)
    text = ids_of(0, 150)
    first = with_disk(path, cache, kv_type=kv_type)
    sequence = first.open()
    expected = step(first, sequence, text)
    flushed(first)
    # Another process would do the same.
    second = with_disk(path, cache, kv_type=kv_type, threads=2)
    again = second.open()
    assert again.adopt(text) == known
    # The pages of windows that are not looked back on are not read.
    held = [(each.begin, each.end) for each in again.pages]
    assert held == [(each.first_column(known), known // 64) for each in again.pages]
    (rows,) = [step(second, again, text[known:])]
    np.testing.assert_array_equal(rows, expected[known:])
    for its, were in zip(pages_of(second, again), pages_of(first, sequence), strict=True):
        assert its[-1] == were[-1]
    # What follows from something else is not taken for this.
    others = [with_disk(path, cache, kv_type=kv_type, activations="exact")]
    others.append(with_disk(path, cache, kv_type="f16" if kv_type != "f16" else "f32"))
    assert [other.open().adopt(text) for other in others] == [0, 0]


def test_found_when_memory_ran_out(qwen2, cache):
    executor = with_disk(qwen2, cache, pool=256)
    texts = [ids_of(number, 200) for number in range(4)]
    expected = []
    for text in texts:
        sequence = executor.open()
        assert sequence.adopt(text) == 0
        expected.append(step(executor, sequence, text))
        sequence.close()
    for text, logits in zip(texts, expected, strict=True):
        sequence = executor.open()
        known = sequence.adopt(text)
        assert known >= 192
        np.testing.assert_array_equal(step(executor, sequence, text[known:]), logits[known:])
        # While it is used, others find less room, and what there is room for.
        other = executor.open()
        assert other.adopt(texts[0]) in (0, *range(192, 200))
        other.close()
        sequence.close()
    # All pages are the tree's, or nobody's.
    executor._tree.clear()
    assert [pool.free for pool in executor._pools] == [4]


@pytest.mark.parametrize("damage", ["byte", "cut", "empty", "other"])
def test_a_damaged_page_counts_as_absent(qwen2, cache, caplog, damage):
    first = with_disk(qwen2, cache)
    text = ids_of(0, 150)
    sequence = first.open()
    expected = step(first, sequence, text)
    flushed(first)
    names, name = [], first._tier.root
    for column in range(2):
        name = first._tier.name(name, text[64 * column : 64 * (column + 1)].tobytes())
        names.append(cache.folder / PAGES / f"{name.hex()}-0.lumen")
    assert sorted(names) == sorted(entries(cache))
    sound = names[1].read_bytes()
    changed = bytearray(sound)
    changed[-5] ^= 1
    content = {"byte": bytes(changed), "cut": sound[:5000], "empty": b"", "other": names[0].read_bytes()}
    names[1].write_bytes(content[damage])
    second = with_disk(qwen2, cache)
    again = second.open()
    assert again.adopt(text) == 64
    assert f"cache entry {names[1]} is damaged" in caplog.text and not names[1].exists()
    np.testing.assert_array_equal(step(second, again, text[64:]), expected[64:])
    flushed(second)
    assert names[1].read_bytes()[4096:] == sound[4096:]


_WORKER = """
import sys
from pathlib import Path
import numpy as np
from kv_sequences import ids_of, opened, step
from lumen_mlir.storage.cache import Cache

path, folder, number = sys.argv[1:]
executor = opened(Path(path), Cache(Path(folder)), pool=256, kv_disk="150K")
for turn in range(6):
    # All begin alike, then some go on alike.
    text = np.concatenate([ids_of(0, 64), ids_of((int(number) + turn) % 3, 100)])
    sequence = executor.open()
    known = sequence.adopt(text)
    logits = step(executor, sequence, text[known:])
    print((int(number) + turn) % 3, np.asarray(logits[-1]).tobytes().hex())
    sequence.close()
"""


def test_several_processes_share_the_pages(qwen2, cache):
    """They write the same pages, and remove those of others as the room is small."""
    command = [sys.executable, "-c", _WORKER, qwen2, cache.folder]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    workers = [
        subprocess.Popen([*command, str(number)], stdout=subprocess.PIPE, env=environment, text=True)
        for number in range(3)
    ]
    lines = [line.split() for worker in workers for line in worker.communicate(timeout=60)[0].splitlines()]
    assert [worker.returncode for worker in workers] == [0, 0, 0] and len(lines) == 18
    plain = opened(qwen2, cache, pool=512)
    for number in range(3):
        text = np.concatenate([ids_of(0, 64), ids_of(number, 100)])
        sequence = plain.open()
        expected = step(plain, sequence, text)[-1].tobytes().hex()
        sequence.close()
        assert {row for name, row in lines if name == str(number)} == {expected}
    assert entries(cache)


def test_the_least_recently_used_go_first(qwen2, cache):
    executor = with_disk(qwen2, cache)
    size = executor.memories[0].page_bytes + 4096
    limit = 16 * size
    executor = with_disk(qwen2, cache, size=limit)
    texts = [ids_of(number, 130) for number in range(20)]
    for number, text in enumerate(texts):
        sequence = executor.open()
        sequence.adopt(text)
        step(executor, sequence, text)
        sequence.close()
        flushed(executor)
        assert sum(path.stat().st_size for path in entries(cache)) <= limit + size
        if number == 6:
            # Used again, by another.
            other = with_disk(qwen2, cache, size=limit).open()
            assert other.adopt(texts[0]) == 128
    fresh = with_disk(qwen2, cache, size=limit)
    found = [fresh.open().adopt(text) if number in (3, 19) else None for number, text in enumerate(texts)]
    assert found[3] == 0 and found[19] == 128
    # The other kinds of entries have their own limit.
    assert any(entry.kind != PAGES for entry in cache.entries())


def test_a_full_disk_is_told_once(qwen2, cache, caplog, monkeypatch):
    def full(descriptor: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    executor = with_disk(qwen2, cache)
    text = ids_of(0, 200)
    monkeypatch.setattr(cache_entry, "reserve", full)
    sequence = executor.open()
    rows = step(executor, sequence, text)
    flushed(executor)
    monkeypatch.undo()
    assert caplog.text.count(os.strerror(errno.ENOSPC)) == 1 and not entries(cache)
    plain = opened(qwen2, cache)
    np.testing.assert_array_equal(rows, step(plain, plain.open(), text))


def test_a_slow_disk_makes_nobody_wait(qwen2, cache, monkeypatch):
    """Pages that find no room among those that wait are not kept, until memory needs their place."""
    executor = with_disk(qwen2, cache, pool=256)
    go_on = threading.Event()
    store = PageCache.store
    monkeypatch.setattr(PageCache, "store", lambda *what: go_on.wait(60) and store(*what))
    monkeypatch.setattr(disk_tier, "_WAITING_BYTES", 2 * executor.memories[0].page_bytes)
    text = ids_of(0, 200)
    sequence = executor.open()
    expected = step(executor, sequence, text)
    sequence.close()
    assert len(executor._tier._writer._waiting) == 2
    # What waits is found, too.
    assert all(executor._tier.has(*where) for where in first_names(executor, text, 2))
    go_on.set()
    flushed(executor)
    assert len(entries(cache)) == 2
    # Another text takes all pages, one of which is not on disk yet.
    other = executor.open()
    step(executor, other, ids_of(1, 250))
    other.close()
    flushed(executor)
    again = executor.open()
    assert again.adopt(text) == 192
    np.testing.assert_array_equal(step(executor, again, text[192:]), expected[192:])


def first_names(executor: Executor, text: np.ndarray, count: int) -> list[tuple[bytes, int]]:
    names, name = [], executor._tier.root
    for column in range(count):
        name = executor._tier.name(name, text[64 * column : 64 * (column + 1)].tobytes())
        names.append((name, 0))
    return names


@pytest.mark.parametrize("value", ["4 parsecs", -1, 1.5, True, "", None, "-4G"])
def test_sizes_that_are_none(value):
    with pytest.raises(LumenError, match="kv_disk is .*; a size such as 500M or 4G was expected"):
        SessionOptions(context=CONTEXT, chunk=CHUNK, kv_disk=value)


def test_sizes():
    assert SessionOptions(kv_disk="4G").kv_disk_bytes == 4 * 10**9
    assert SessionOptions(kv_disk=5).kv_disk_bytes == 5
    assert SessionOptions().kv_disk_bytes == 0

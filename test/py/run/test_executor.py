# SPDX-License-Identifier: Apache-2.0
"""Steps of many sequences: each gets what it gets alone, whatever it shares a step with."""

from __future__ import annotations

import numpy as np
import pytest

from lumen_mlir.errors import LumenError
from lumen_mlir.models import Model
from lumen_mlir.run.executor import Executor, Part
from lumen_mlir.run.pages import PagePool, SequencePages
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import VOCABULARY, write_family

CONTEXT, CHUNK = 256, 32


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def ids_of(number: int, length: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, VOCABULARY, length).astype(np.int32)


def alone(model: Model, options: SessionOptions, cache: Cache, ids: np.ndarray) -> np.ndarray:
    session = Stepper(model, options, cache=cache)
    return np.concatenate([session.step(ids[i : i + CHUNK], i).copy() for i in range(0, len(ids), CHUNK)])


def run(executor: Executor, parts: list[Part]) -> list[np.ndarray]:
    """The logits of each part."""
    counts = [len(part.tokens) - part.first for part in parts]
    out = np.full((sum(counts), executor.model.config.vocabulary), np.nan, np.float32)
    executor.run(parts, out)
    return np.split(out, np.cumsum(counts)[:-1])


# Lengths of the sequences; each step takes from the ones that are left so many tokens, in this order.
LENGTHS = [1, 37, 70, 64, 130, 9, 200]
STEPS = [[(4, 20), (0, 1), (5, 9)], [(1, 12), (2, 3), (6, 17)], [(3, 1), (1, 25), (6, 1), (2, 1)]]


@pytest.mark.parametrize(
    ("family", "kv_type", "activations", "threads"),
    [
        ("qwen2", "f16", "int8", 1),
        ("qwen3", "q8_0", "int8", 2),
        ("exaone4-hybrid", "f32", "exact", 2),
        ("mistral-window", "q8_0", "int8", 1),
        ("qwen3moe", "f16", "int8", 2),
    ],
)
def test_sequences_do_not_change_one_another(tmp_path, cache, family, kv_type, activations, threads):
    model = Model.open(write_family(tmp_path / "model.gguf", family))
    options = SessionOptions(
        context=CONTEXT, chunk=CHUNK, kv_type=kv_type, activations=activations, threads=threads
    )
    executor = Executor(model, options, sequences=len(LENGTHS), pool=13 * 64, cache=cache)
    texts = [ids_of(number, length) for number, length in enumerate(LENGTHS)]
    expected = [alone(model, options, cache, ids) for ids in texts]
    sequences = [executor.open() for _ in LENGTHS]
    done, compared = [0] * len(LENGTHS), 0
    step = 0
    while any(position < len(ids) for position, ids in zip(done, texts, strict=True)):
        # First as the steps say, then whatever is left, a token of each.
        rest = [(n, 1) for n, ids in enumerate(texts) if done[n] < len(ids)]
        parts = []
        for number, count in STEPS[step] if step < len(STEPS) else rest:
            tokens = texts[number][done[number] : done[number] + count]
            parts.append(
                Part(sequences[number], tokens, done[number], (number + step) % 2 * len(tokens) // 2)
            )
        for part, logits in zip(parts, run(executor, parts), strict=True):
            number = sequences.index(part.sequence)
            end = part.position + len(part.tokens)
            np.testing.assert_array_equal(logits, expected[number][part.position + part.first : end])
            done[number], compared = end, compared + len(logits)
        step += 1
    assert compared > 200


def test_pages_are_shared_and_given_back(tmp_path, cache):
    model = Model.open(write_family(tmp_path / "model.gguf", "qwen2"))
    options = SessionOptions(context=128, chunk=CHUNK)
    executor = Executor(model, options, sequences=3, cache=cache)
    first, second, third = (executor.open() for _ in range(3))
    with pytest.raises(LumenError, match="there are 3 sequences already, as many as may be"):
        executor.open()
    tokens = ids_of(0, CHUNK)
    (expected,) = run(executor, [Part(first, tokens, 0, CHUNK - 1)])
    run(executor, [Part(second, tokens, 0, CHUNK)])
    with pytest.raises(LumenError, match="all 2 pages of the KV cache are taken"):
        run(executor, [Part(third, tokens, 0, CHUNK)])
    # The others are unharmed, and what one gives back another takes.
    run(executor, [Part(first, tokens[:1], CHUNK, 1)])
    second.close()
    again = run(executor, [Part(third, tokens, 0, CHUNK - 1)])[0]
    np.testing.assert_array_equal(again, expected)
    assert executor.open().number == second.number


@pytest.mark.parametrize(
    ("family", "kv_type"), [("qwen2", "f16"), ("exaone4-hybrid", "q8_0"), ("qwen3", "f32")]
)
def test_prefixes_are_computed_once(tmp_path, cache, family, kv_type):
    """What begins with pages of others has the bits of what computes all of it."""
    model = Model.open(write_family(tmp_path / "model.gguf", family))
    options = SessionOptions(context=CONTEXT, chunk=CHUNK, kv_type=kv_type)
    executor = Executor(model, options, sequences=3, pool=512, prefixes=True, cache=cache)
    first, other = ids_of(0, 200), ids_of(0, 200)
    other[150:] = ids_of(1, 50)

    def through(sequence, ids, position):
        rows = []
        for begin in range(position, len(ids), CHUNK):
            tokens = ids[begin : begin + CHUNK]
            rows += run(executor, [Part(sequence, tokens, begin, 0)])
        return np.concatenate(rows)

    expected = [alone(model, options, cache, ids) for ids in (first, other)]
    sequence = executor.open()
    assert sequence.adopt(first) == 0
    np.testing.assert_array_equal(through(sequence, first, 0), expected[0])
    again = executor.open()
    # Of a window that looks back 8 positions or more, only the pages at the end are left.
    known = again.adopt(other)
    assert known == 150 or (known == 0 and family == "exaone4-hybrid")
    np.testing.assert_array_equal(through(again, other, known), expected[1][known:])
    # The same once more, to its end: all but one token is known, in whole blocks.
    third = executor.open()
    known = third.adopt(other)
    assert known == 192
    np.testing.assert_array_equal(through(third, other, known), expected[1][known:])
    executor.forget()
    for each in (sequence, again, third):
        with pytest.raises(LumenError, match="the sequence is closed, or the KV cache was emptied"):
            run(executor, [Part(each, first[:1], 0, 0)])
        each.close()
    assert executor.open().adopt(first) == 0


@pytest.mark.parametrize("kv_type", ["f16", "q8_0"])
def test_forks_go_their_own_ways(tmp_path, cache, kv_type):
    model = Model.open(write_family(tmp_path / "model.gguf", "qwen2"))
    options = SessionOptions(context=CONTEXT, chunk=CHUNK, kv_type=kv_type)
    executor = Executor(model, options, sequences=2, cache=cache)
    begin, ends = ids_of(0, 30), [ids_of(1, 60), ids_of(2, 60)]
    sequence = executor.open()
    run(executor, [Part(sequence, begin, 0, 30)])
    pair = [sequence, sequence.fork()]
    assert pair[1].tokens == begin.tolist()
    for step in range(0, 60, 15):
        parts = [
            Part(each, end[step : step + 15], 30 + step, 0) for each, end in zip(pair, ends, strict=True)
        ]
        for logits, end in zip(run(executor, parts), ends, strict=True):
            whole = alone(model, options, cache, np.concatenate([begin, end]))
            np.testing.assert_array_equal(logits, whole[30 + step : 45 + step])


def test_what_a_step_refuses(tmp_path, cache):
    model = Model.open(write_family(tmp_path / "model.gguf", "qwen2"))
    executor = Executor(model, SessionOptions(context=128, chunk=CHUNK), sequences=2, cache=cache)
    pair = [executor.open(), executor.open()]
    nothing = np.empty((0, model.config.vocabulary), np.float32)
    with pytest.raises(LumenError, match="a step takes 1 to 32 tokens, not 34"):
        executor.run([Part(sequence, ids_of(0, 17), 0, 17) for sequence in pair], nothing)
    with pytest.raises(LumenError, match="a step takes 1 to 32 tokens, not 0"):
        executor.run([], nothing)
    with pytest.raises(LumenError, match=r"logits are float32 \[1, \d+\], not float32 \[0, "):
        executor.run([Part(pair[0], ids_of(0, 3), 0, 2)], nothing)
    part = Part(pair[0], ids_of(0, 3), 0, 3)
    with pytest.raises(LumenError, match="a step takes a sequence once"):
        executor.run([part, part], nothing)
    other = Executor(model, executor.options, cache=cache)
    with pytest.raises(LumenError, match="a step takes sequences of its own executor only"):
        other.run([part], nothing)
    executor.run([part], nothing)
    pair[0].close()
    pair[0].close()
    for use in (lambda: executor.run([part], nothing), lambda: pair[0].adopt([1]), pair[0].fork):
        with pytest.raises(LumenError, match="the sequence is closed"):
            use()
    # Closed twice, its number is free once.
    executor.open()
    with pytest.raises(LumenError, match="there are 2 sequences already"):
        executor.open()


@pytest.mark.parametrize("family", ["qwen2", "exaone4-hybrid"])
def test_a_step_that_does_not_end(tmp_path, cache, monkeypatch, family):
    """Where a step fails or is interrupted, sequences have what they had before its positions."""
    model = Model.open(write_family(tmp_path / "model.gguf", family))
    options = SessionOptions(context=CONTEXT, chunk=CHUNK)
    executor = Executor(model, options, sequences=3, pool=256, prefixes=True, cache=cache)
    text, others = ids_of(0, 120), [ids_of(1, 30), ids_of(2, 20)]
    first, second = executor.open(), executor.open()
    for begin in range(0, 120, 30):
        run(executor, [Part(first, text[begin : begin + 30], begin, 30)])
    run(executor, [Part(second, others[1], 0, 20)])

    # It goes back, is computed, and is interrupted before that is noted.
    repeat = executor.sections[0]._call.repeat

    def interrupted():
        repeat()
        raise KeyboardInterrupt

    # (Of exaone4's window only 8 positions are kept, so it cannot go back beyond the last step.)
    position = 80 if family == "qwen2" else 95
    monkeypatch.setattr(executor.sections[0]._call, "repeat", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(executor, [Part(first, others[0], position, 30), Part(second, others[0][:1], 20, 1)])
    monkeypatch.undo()
    assert first.tokens == text[:position].tolist() and second.tokens == others[1].tolist()
    whole = np.concatenate([text[:position], others[0]])
    expected = alone(model, options, cache, whole)
    # There is no room: the pool has four pages, of which the two sequences have three.
    long = ids_of(3, 100)
    third = executor.open()
    for begin in range(0, 60, 30):
        run(executor, [Part(third, long[begin : begin + 30], begin, 30)])
    with pytest.raises(LumenError, match="pages of the KV cache are taken"):
        run(executor, [Part(first, others[0][:2], position, 2), Part(third, long[60:90], 60, 30)])
    assert first.tokens == text[:position].tolist() and third.tokens == long[:60].tolist()
    third.close()
    (logits,) = run(executor, [Part(first, others[0], position, 0)])
    np.testing.assert_array_equal(logits, expected[position:])
    # What others find are the tokens that were computed last.
    first.close()
    again = executor.open()
    known = again.adopt(whole)
    assert known >= 64 or family != "qwen2"
    for begin in range(known, len(whole), CHUNK):
        tokens = whole[begin : begin + CHUNK]
        (logits,) = run(executor, [Part(again, tokens, begin, 0)])
        np.testing.assert_array_equal(logits, expected[begin : begin + len(tokens)])


def test_what_was_not_computed_is_not_found(tmp_path, cache):
    """Measurements step where nothing is before: others must not take that for a text of zeros."""
    model = Model.open(write_family(tmp_path / "model.gguf", "qwen2"))
    executor = Executor(
        model, SessionOptions(context=256, chunk=CHUNK), sequences=2, pool=512, prefixes=True, cache=cache
    )
    sequence = executor.open()
    run(executor, [Part(sequence, ids_of(0, CHUNK), 100, CHUNK)])
    assert sequence.tokens == []
    assert executor.open().adopt(np.zeros(150, np.int32)) == 0


def test_no_page_is_lost_where_a_copy_fails():
    def fail(source: int, target: int) -> None:
        raise LumenError("no copies today")

    pool = PagePool(4, fail)
    held = [SequencePages(pool, np.zeros(16, np.int32), None) for _ in range(2)]
    held[0].hold(0, 70)
    held[1].adopt(held[0].table[:2].tolist(), 0)
    with pytest.raises(LumenError, match="no copies today"):
        held[1].hold(70, 1)
    assert pool.free == 2
    # What begins with pages of others gives its own back.
    held[1].adopt([], 0)
    held[0].clear()
    assert pool.free == 4


def test_pages_of_a_window():
    """Random steps forth and back: what can be resumed is there, and no page is lost or held twice."""
    rng = np.random.default_rng(0)
    for window in (None, 1, 30, 64, 65, 200):
        pool = PagePool(40)
        held = [SequencePages(pool, np.zeros(16, np.int32), window) for _ in range(2)]
        end = [0, 0]
        for _ in range(200):
            which = int(rng.integers(2))
            pages, count = held[which], int(rng.integers(1, 40))
            position = int(rng.choice([end[which], rng.integers(end[which] + 1), 0]))
            if position + count > 16 * 64 or not pages.can_resume(position):
                continue
            pages.hold(position, count)
            end[which] = position + count
            places = pages.places(np.arange(max(position - (window or 10**6) + 1, 0), position + count))
            assert len(set(places.tolist())) == len(places)
            columns = [each.table[each.begin : each.end].tolist() for each in held]
            taken = [*columns[0], *columns[1]]
            assert len(set(taken)) == len(taken) == pool.size - pool.free
        for pages in held:
            pages.clear()
        assert pool.free == pool.size

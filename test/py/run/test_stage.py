# SPDX-License-Identifier: Apache-2.0
"""Stages of a model, each with its own keys and values, compute what one process computes, bit for bit."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from kv_sequences import CHUNK, CONTEXT, ids_of

from lumen_mlir.errors import LumenError
from lumen_mlir.models import Model
from lumen_mlir.run.kv_identity import KvIdentity
from lumen_mlir.run.pages import NoRoomError
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stage import Stage, Work, cut
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import FAMILIES, VOCABULARY, WIDTH, write_family

TEXTS = [ids_of(0, 120), ids_of(1, 61), ids_of(2, 9)]


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    write_family(path := tmp_path_factory.mktemp("model") / "model.gguf", "llama")
    return path


def stages_of(path, cache: Cache, layers: list[range], sequences: int = 3, pool: int = 512, **options):
    settings = SessionOptions(**{"context": CONTEXT, "chunk": CHUNK, "threads": 1, **options})
    return [Stage(path, each, settings, sequences=sequences, pool=pool, cache=cache) for each in layers]


def step(stages: list[Stage], work: list[Work]) -> np.ndarray:
    """The logits of a step, of which each stage gets what was sent."""
    states = None
    for stage in stages:
        states = stage.run(*pickle.loads(pickle.dumps((work, states))))
    return states


def in_parallel(stages: list[Stage], texts: list[np.ndarray], size: int) -> list[np.ndarray]:
    """The logits of texts, of each of which a step has up to ``size`` tokens, or some more."""
    done, rows = [0] * len(texts), [[] for _ in texts]
    while any(position < len(text) for position, text in zip(done, texts, strict=True)):
        work = [
            Work(number, text[position : position + size + number], position, 0)
            for number, (text, position) in enumerate(zip(texts, done, strict=True))
            if position < len(text)
        ]
        logits = step(stages, work)
        for each in work:
            count = len(each.tokens)
            rows[each.sequence].append(logits[:count])
            logits, done[each.sequence] = logits[count:], done[each.sequence] + count
    for stage in stages:
        for number in range(len(texts)):
            stage.close(number)
    return [np.concatenate(each) for each in rows]


@pytest.mark.parametrize(
    ("family", "kv_type"),
    [("llama", "q8_0"), ("exaone4-hybrid", "f32"), ("qwen3moe", "f16"), ("hyperclovax", "f16")],
)
def test_stages_have_the_bits_of_one(tmp_path, cache, family, kv_type):
    """Two and three of them, prompts in pieces, several sequences in a step, places that are used again."""
    write_family(path := tmp_path / "model.gguf", family)
    model, total = Model.open(path), FAMILIES[family].layers
    (whole,) = stages_of(path, cache, [range(total)], kv_type=kv_type)
    expected = in_parallel([whole], TEXTS, 9)
    for count in (2, 3):
        stages = stages_of(path, cache, cut(model, count), kv_type=kv_type)
        assert [len(stage.model.layers) for stage in stages] == [len(each) for each in cut(model, count)]
        for size in (9, 5):
            for found, rows in zip(in_parallel(stages, TEXTS, size), expected, strict=True):
                np.testing.assert_array_equal(found, rows)


def test_a_written_text(path, cache):
    """Token by token behind a prompt of which only the last logits are wanted; a step that is run again."""

    def written(stages):
        tokens = TEXTS[0][:30]
        logits = step(stages, [Work(7, tokens, 0, len(tokens) - 1)])
        assert logits.shape == (1, VOCABULARY)
        found = []
        for position in range(len(tokens), len(tokens) + 20):
            found.append(int(logits[-1].argmax()))
            work = [Work(7, np.array(found[-1:], np.int32), position, 0)]
            # As where a later stage has failed: the first one has run already.
            stages[0].run(work)
            logits = step(stages, work)
        return found

    total = FAMILIES["llama"].layers
    assert written(stages_of(path, cache, [range(1), range(1, total)])) == written(
        stages_of(path, cache, [range(total)])
    )


def test_a_stage_has_its_own_weights_and_caches(path, cache):
    first, last = stages_of(path, cache, [range(1), range(1, 4)])
    names = [set(stage.model.tensors) for stage in (first, last)]
    # (It is the output matrix, too.)
    assert names[0] & names[1] == {"token_embd.weight"}
    assert "output_norm.weight" in names[1] and "blk.0.attn_q.weight" in names[0]
    shapes = [stage._executor.memories[0].page_bytes for stage in (first, last)]
    assert shapes[1] == 3 * shapes[0]
    identities = [KvIdentity.of(s.model, s.options, [("x", 1)], CONTEXT) for s in (first, last)]
    assert identities[0].model != identities[1].model


@pytest.mark.parametrize(
    "layers", [range(0), range(2, 5), range(-1, 2), range(0, 4, 2), [0, 1], None], ids=str
)
def test_wrong_layers(path, layers):
    with pytest.raises(LumenError, match=r"a part of range\(4\) was expected"):
        Stage(path, layers)


def test_wrong_steps(path, cache):
    first, last = stages_of(path, cache, [range(1), range(1, 4)], sequences=2, pool=64)
    work = [Work(0, TEXTS[0][:5], 0, 0)]
    states = first.run(work)
    assert states.shape == (5, WIDTH) and states.dtype == np.float32
    for stage, given, message in (
        (first, states, "takes no hidden states"),
        (last, None, r"begins with hidden states float32 \[5, 64\], not NoneType"),
        (last, states[:4], r"not float32 \[4, 64\]"),
        (last, states.astype(np.float64), "not float64"),
    ):
        with pytest.raises(LumenError, match=message):
            stage.run(work, given)
    for wrong in (
        Work(0, np.array([VOCABULARY]), 0, 0),
        Work(0, TEXTS[0][:5], CONTEXT, 0),
        Work(0, [], 0, 0),
    ):
        with pytest.raises(LumenError):
            first.run([wrong])
    with pytest.raises(NoRoomError, match="pages of the KV cache are taken"):
        first.run([Work(1, TEXTS[0][:5], 0, 0)])
    with pytest.raises(NoRoomError, match="2 sequences already"):
        first.run([Work(2, TEXTS[0][:5], 0, 0)])
    first.close(0), first.close(9)
    np.testing.assert_array_equal(first.run([Work(1, TEXTS[0][:5], 0, 0)]), states)


def test_cuts(path):
    model = Model.open(path)
    assert cut(model, 1) == [range(4)] and cut(model, 4) == [range(i, i + 1) for i in range(4)]
    for count in (2, 3):
        found = cut(model, count)
        assert [layer for each in found for layer in each] == list(range(4)) and all(found)
    for count in (0, 5, True, "2"):
        with pytest.raises(LumenError, match="1 to 4 were expected"):
            cut(model, count)

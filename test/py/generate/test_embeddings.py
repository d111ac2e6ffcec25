# SPDX-License-Identifier: Apache-2.0
"""Texts as vectors: what the interpreter computes, alone and beside others, cut into steps or not."""

from __future__ import annotations

import asyncio
import dataclasses
import threading

import numpy as np
import pytest

import lumen_mlir
from lumen_mlir.errors import LumenError
from lumen_mlir.generate import embeddings
from lumen_mlir.generate.asynchronous import AsyncLLM
from lumen_mlir.generate.generation import ContextError
from lumen_mlir.generate.request import Cancelled, Late
from lumen_mlir.models import Model
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import FAMILIES, WIDTH, write_family

CONTEXT, VOCABULARY = 256, 300
LENGTHS = (1, 2, 31, 33, 64, 65, 150, CONTEXT)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


def ids_of(seed: int, count: int) -> list[int]:
    return np.random.default_rng(seed).integers(1, VOCABULARY, count).tolist()


TEXTS = [ids_of(seed, length) for seed, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module", params=["qwen3", "exaone4-hybrid", "qwen3moe"])
def path(request, tmp_path_factory):
    """An own output matrix or the embedding's, windows, experts."""
    write_family(
        path := tmp_path_factory.mktemp("family") / "model.gguf", request.param, vocabulary=VOCABULARY
    )
    return path


def opened(path, cache, **options):
    return lumen_mlir.LLM(
        path, cache=cache, **{"context": CONTEXT, "threads": 1, "kv_type": "f32", **options}
    )


def of_rows(rows: np.ndarray, pooling: str) -> np.ndarray:
    pooled = {"last": rows[-1], "cls": rows[0], "mean": rows.mean(0)}[pooling]
    return pooled / np.linalg.norm(pooled)


@pytest.fixture(scope="module")
def states(path):
    """Hidden states of all texts, by the interpreter: logits are their products with the output matrix."""
    session = ReferenceSession(Model.open(path).without_head(), context=CONTEXT, kv_type="f32")
    return [session.step(ids, 0) for ids in TEXTS]


def test_logits_are_products_of_hidden_states(path, states):
    model = Model.open(path)
    logits = ReferenceSession(model, context=CONTEXT, kv_type="f32").step(TEXTS[2], 0)
    name = "output.weight" if "output.weight" in model.tensors else "token_embd.weight"
    matrix = model.weight(name).view(np.float32)
    np.testing.assert_allclose(states[2] @ matrix.T, logits, atol=1e-4)


@pytest.mark.parametrize("pooling", embeddings.POOLINGS)
def test_it_is_what_the_interpreter_computes(path, cache, states, pooling):
    with opened(path, cache, activations="exact") as llm:
        found = llm.embed(TEXTS, pooling)
    expected = np.array([of_rows(rows, pooling) for rows in states])
    assert found.shape == (len(TEXTS), WIDTH) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_bits_depend_on_nothing_else(path, cache, pooling):
    """Neither on the other texts, nor on steps and threads, nor on texts that are written meanwhile."""
    with opened(path, cache) as llm:
        alone = np.array([llm.embed(ids, pooling) for ids in TEXTS])
        np.testing.assert_array_equal(llm.embed(TEXTS, pooling), alone)
        np.testing.assert_array_equal(llm.embed(TEXTS[::-1], pooling)[::-1], alone)
    with opened(path, cache, chunk=7, threads=2, sequences=3, kv_pool=2 * CONTEXT) as llm:
        once, generation = (llm.generate(TEXTS[2], 40, temperature=0, ignore_eos=True) for _ in range(2))
        once.text()
        writing = threading.Thread(target=generation.text)
        writing.start()
        np.testing.assert_array_equal(llm.embed(TEXTS, pooling), alone)
        writing.join()
        assert generation.tokens == once.tokens and len(once.tokens) == 40
        llm.set_threads(1)
        np.testing.assert_array_equal(llm.embed(TEXTS[3], pooling), alone[3])


def test_weights_are_there_once(path, cache):
    with opened(path, cache) as llm:
        llm.embed([5])
        own, whole = llm._embedder._executor.weights, llm.executor.weights
        packed = [key for key in own if key[1] is not None]
        assert packed and all(own[key] is whole[key] for key in packed)


@pytest.fixture(scope="module")
def llm(cache):
    with lumen_mlir.LLM(context=128, cache=cache) as llm:
        yield llm


def test_texts_and_token_ids(llm):
    text = "오늘 본 영화는"
    one = llm.embed(text)
    assert one.shape == (256,) and abs(np.linalg.norm(one) - 1) < 1e-6
    np.testing.assert_array_equal(llm.embed(np.array(llm.tokenize(text))), one)
    np.testing.assert_array_equal(llm.embed([text, llm.tokenize("가")]), [one, llm.embed("가")])
    assert not np.array_equal(llm.embed(text, "mean"), one)


def test_fewer_dimensions_have_length_one_again(llm):
    whole, cut = llm.embed("가"), llm.embed("가", dimensions=8)
    np.testing.assert_allclose(cut, whole[:8] / np.linalg.norm(whole[:8]), atol=1e-6)


def test_the_first_token_is_that_of_a_text_alone(llm):
    ids = llm.tokenize("오늘 본 영화는")
    np.testing.assert_array_equal(llm.embed(ids, "cls"), llm.embed(ids[:1], "last"))


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        ([], {}, "there are no tokens"),
        (["가", []], {}, "there are no tokens"),
        ([["a"]], {}, "a token id is"),
        ([[1 << 20]], {}, "outside the vocabulary"),
        (3, {}, "token ids are 3"),
        ("가", {"pooling": "max"}, "unknown pooling 'max'; known are last, mean, cls"),
        ("가", {"dimensions": 0}, "dimensions is 0"),
        ("가", {"dimensions": 257}, "vectors have 256 numbers"),
        ("가", {"timeout": 0}, "timeout is 0"),
        ("가", {"priority": "high"}, "priority is"),
    ],
)
def test_what_is_refused(llm, texts, options, message):
    with pytest.raises(LumenError, match=message):
        llm.embed(texts, **options)


def test_a_text_longer_than_the_context_is_refused(llm):
    with pytest.raises(ContextError, match="text 1 is 129 tokens long, but the context is 128 tokens"):
        llm.embed([[5], [5] * 129])
    assert llm.embed([5] * 128).shape == (256,)


def test_a_text_for_which_there_is_no_room_is_refused(cache):
    with lumen_mlir.LLM(context=256, kv_pool=64, cache=cache) as llm:
        with pytest.raises(LumenError, match="there is room for 64"):
            llm.embed([[5], [5] * 65])
        assert llm.embed([[5], [5] * 64]).shape == (2, 256)


def test_it_can_be_given_up(llm):
    expected = llm.embed("가")
    begun = llm.embeddings([[5] * 128] * 50)
    begun.cancel()
    with pytest.raises(Cancelled):
        begun.vectors()
    with pytest.raises(Late, match="in time"):
        llm.embed([[5] * 128] * 50, timeout=1e-9)
    np.testing.assert_array_equal(llm.embed("가"), expected)


def test_asyncio(llm):
    async def ask():
        asked = AsyncLLM(llm)
        one, two = await asyncio.gather(asked.embed("가"), asked.embed(["나", "다"], "mean"))
        slow = asyncio.ensure_future(asked.embed([[5] * 128] * 200))
        await asyncio.sleep(0.01)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        return one, two

    one, two = asyncio.run(ask())
    np.testing.assert_array_equal(one, llm.embed("가"))
    np.testing.assert_array_equal(two, llm.embed(["나", "다"], "mean"))


def test_a_closed_model_embeds_nothing(cache):
    with lumen_mlir.LLM(context=64, cache=cache) as llm:
        begun = llm.embeddings(["가"])
    for ask in (begun.vectors, lambda: llm.embed("가")):
        with pytest.raises(LumenError, match="the model is closed"):
            ask()


def with_pooling(folder, number: int):
    family = FAMILIES["qwen3"]
    keys = {**family.keys, "pooling_type": number}
    return write_family(
        folder / f"{number}.gguf", dataclasses.replace(family, keys=keys), vocabulary=VOCABULARY
    )


@pytest.mark.parametrize(("number", "pooling"), [(0, "last"), (1, "mean"), (2, "cls"), (3, "last")])
def test_the_file_says_how_to_pool(tmp_path, cache, number, pooling):
    with opened(with_pooling(tmp_path, number).path, cache, engine="reference") as llm:
        found = llm.embed(TEXTS[2])
        same = [np.allclose(found, llm.embed(TEXTS[2], each), atol=1e-5) for each in embeddings.POOLINGS]
        assert same == [each == pooling for each in embeddings.POOLINGS]


def test_a_file_that_ranks_gives_no_vectors(tmp_path):
    with pytest.raises(LumenError, match="pooling_type is 4, which is no pooling of embeddings"):
        embeddings.file_pooling(Model.open(with_pooling(tmp_path, 4)))

# SPDX-License-Identifier: Apache-2.0
"""A model in two parts: the step of one begins where that of the other ends, and no bit changes."""

from __future__ import annotations

import numpy as np
import pytest
from kv_sequences import CHUNK, CONTEXT, ids_of, pages_of, step

from lumen_mlir import ir
from lumen_mlir.models import Model
from lumen_mlir.run import executor as executor_module
from lumen_mlir.run import snapshot
from lumen_mlir.run.device import place_of
from lumen_mlir.run.executor import Executor, Part
from lumen_mlir.run.placement import Assignment
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import FAMILIES, VOCABULARY, write_family


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Cache:
    return Cache(tmp_path_factory.mktemp("cache"))


def opened(path, cache: Cache, monkeypatch, cut: int | None, **options) -> Executor:
    """An executor of a model that is cut behind so many layers."""

    def assign(model: Model, options: SessionOptions) -> list[Assignment]:
        total = model.config.layers
        layers = [range(total)] if cut is None else [range(cut), range(cut, total)]
        parts = [model] if cut is None else [model.part(each) for each in layers]
        return [Assignment(part, place_of()) for part in parts]

    settings = SessionOptions(**{"context": CONTEXT, "chunk": CHUNK, "threads": 1, **options})
    with monkeypatch.context() as patch:
        patch.setattr(executor_module, "assign", assign)
        return Executor(Model.open(path), settings, sequences=3, pool=512, prefixes=True, cache=cache)


def in_parallel(executor: Executor, texts: list[np.ndarray]) -> list[np.ndarray]:
    """The logits of texts, of which each step has some tokens of all."""
    sequences, done = [executor.open() for _ in texts], [0] * len(texts)
    rows: list[list[np.ndarray]] = [[] for _ in texts]
    while any(position < len(text) for position, text in zip(done, texts, strict=True)):
        parts, numbers = [], []
        for number, text in enumerate(texts):
            tokens = text[done[number] : done[number] + 5 + number]
            if len(tokens):
                parts.append(Part(sequences[number], tokens, done[number], len(tokens) // 2))
                numbers.append(number)
        out = np.empty((sum(len(part.tokens) - part.first for part in parts), VOCABULARY), np.float32)
        executor.run(parts, out)
        for number, part in zip(numbers, parts, strict=True):
            rows[number].append(out[: len(part.tokens) - part.first].copy())
            out = out[len(part.tokens) - part.first :]
            done[number] += len(part.tokens)
    for sequence in sequences:
        sequence.close()
    return [np.concatenate(each) for each in rows]


@pytest.mark.parametrize(
    ("family", "cut", "kv_type"),
    [
        ("llama", 3, "q8_0"),
        ("exaone4-hybrid", 3, "f32"),
        ("qwen3moe", 2, "f16"),
        *(
            pytest.param(*case, marks=pytest.mark.matrix)
            for case in (("qwen2", 1, "f16"), ("qwen3-window", 1, "f16"), ("hyperclovax", 2, "q8_0"))
        ),
    ],
)
def test_two_parts_have_the_bits_of_the_whole(tmp_path, cache, monkeypatch, family, cut, kv_type):
    """Windows and rotary embeddings that only one part has, tied embeddings, experts; files of the other."""
    write_family(path := tmp_path / "model.gguf", family)
    whole, parts = (opened(path, cache, monkeypatch, each, kv_type=kv_type) for each in (None, cut))
    assert [len(section.model.layers) for section in parts.sections] == [cut, FAMILIES[family].layers - cut]
    texts = [ids_of(0, 120), ids_of(1, 61), ids_of(2, 9)]
    for expected, found in zip(in_parallel(whole, texts), in_parallel(parts, texts), strict=True):
        np.testing.assert_array_equal(found, expected)
    # What one has computed, others begin with.
    rows, pages = [], []
    for executor in (whole, parts):
        sequence = executor.open()
        known = sequence.adopt(texts[0][:100])
        assert known >= 64
        first = step(executor, sequence, texts[0][known:100])
        fork = sequence.fork()
        rows.append([first, step(executor, fork, texts[2]), step(executor, sequence, texts[1])])
        snapshot.save(executor, sequence, tmp_path / f"{len(executor.sections)}.kv")
        pages.append(pages_of(executor, sequence))
    assert pages[0] == pages[1]
    for expected, found in zip(*rows, strict=True):
        np.testing.assert_array_equal(found, expected)
    again = opened(path, cache, monkeypatch, cut, kv_type=kv_type)
    loaded, _ = snapshot.load(again, tmp_path / "2.kv")
    assert pages_of(again, loaded) == pages[1]


def test_a_part_has_what_it_needs(tmp_path):
    """Weights by layer; the embedding table in both parts where it is the output, too."""
    for family, tied in (("qwen2", False), ("llama", True)):
        write_family(path := tmp_path / f"{family}.gguf", family)
        model = Model.open(path)
        first, last = model.part(range(2)), model.part(range(2, 4))
        assert (first.is_first, first.is_last, last.is_first, last.is_last) == (True, False, False, True)
        shared = {"token_embd.weight"} if tied else set()
        assert set(first.tensors) & set(last.tensors) == shared
        assert {**first.tensors, **last.tensors} == model.tensors
        assert all(not name.startswith(("output", "blk.2", "blk.3")) for name in first.tensors)
        whole = model.part(range(4))
        with ir.Context():
            assert whole == model and str(whole.module()) == str(model.module())

# SPDX-License-Identifier: Apache-2.0
"""Of most rows a GPU gives its largest logits instead of all, and texts are the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from emulated import EMULATED_GPU, ROOT, RUNNERS, VULKAN

import lumen_mlir
from lumen_mlir.compiler import targets
from lumen_mlir.generate.generation import TokenDraw
from lumen_mlir.models import Model
from lumen_mlir.reference import ops
from lumen_mlir.run import device
from lumen_mlir.run.compiled_step import selected_group
from lumen_mlir.run.cuda import Cuda
from lumen_mlir.run.executor import Executor, Part
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.gpu import EmulatedDriver
from lumen_mlir.testing.synthetic import Shape, write_synthetic

VOCABULARY = 2117
# Of one step together. The last ones need all logits.
CHOICES = (
    {"temperature": 0},
    {"temperature": 0, "ignore_eos": True, "repeat_penalty": 1.5},
    {"top_k": 9, "seed": 1},
    {"top_k": 6, "seed": 2, "presence_penalty": 0.5, "logit_bias": {3: -100.0, 70: 1.0}},
    {"top_k": 5, "typical_p": 0.5, "temperature": 2.0, "seed": 3},
    {"top_k": 0, "seed": 4},
    {"top_k": 4, "seed": 5, "logprobs": 2},
)


class CountingDriver(EmulatedDriver):
    """Counts the bytes that are read from it."""

    def __init__(self):
        super().__init__(ROOT, RUNNERS)
        self.bytes_read = 0

    def read(self, address: int, target: int, size: int) -> None:
        self.bytes_read += size
        super().read(address, target, size)


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.gguf"
    write_synthetic(path, Shape(64, 1, 2, 1, 32, 96, VOCABULARY, 64, True), seed=1)
    return path


def texts(llm: lumen_mlir.LLM, choices, count: int = 4) -> list[list[int]]:
    """Tokens of texts that are written together."""
    generations = [llm.generate([5 + i, 6, 7], count, **choice) for i, choice in enumerate(choices)]
    for generation in generations:
        generation.begin()
    for generation in generations:
        generation.text()
    return [list(generation.tokens) for generation in generations]


@pytest.mark.gpu
def test_texts_are_those_of_all_logits(tmp_path, model, monkeypatch):
    """Alone and together; and less is read from the device."""
    driver = CountingDriver()
    with device.using(Cuda(driver)):
        options = {"target": EMULATED_GPU, "chunk": 16, "cache": Cache(tmp_path / "cache")}
        llm = lumen_mlir.LLM(model, sequences=len(CHOICES), **options)
        assert llm.executor.selects
        together, driver.bytes_read = texts(llm, CHOICES), 0
        alone = [texts(llm, [{}] * i + [choice], 4)[i] for i, choice in enumerate(CHOICES[:2])]
        driver.bytes_read = 0
        few = texts(llm, CHOICES[:1])
        assert 0 < driver.bytes_read < 4 * VOCABULARY
        with monkeypatch.context() as patched:
            patched.setattr(TokenDraw, "ask", lambda self, vocabulary: None)
            driver.bytes_read = 0
            assert texts(llm, CHOICES[:1]) == few
            assert driver.bytes_read >= 4 * 4 * VOCABULARY
            assert texts(llm, CHOICES) == together
    assert alone == together[:2] and few == together[:1]
    assert len({tuple(tokens) for tokens in together}) > 3


class Note:
    """Takes groups, or says that all logits are needed."""

    token = None

    def __init__(self, wanted: int, takes: bool):
        self.wanted, self._takes = wanted, takes
        self.values = self.numbers = np.empty(0)

    def take(self, values: np.ndarray, numbers: np.ndarray) -> bool:
        self.values, self.numbers = values.copy(), numbers.copy()
        return self._takes


def check_rows(executor: Executor) -> None:
    """Rows that are asked for, and rows that are not, in one step after the other."""
    tokens = np.arange(3, 13, dtype=np.int32)
    shape = (8, executor.model.config.vocabulary)
    sequence, expected = executor.open(), np.empty(shape, np.float32)
    executor.run([Part(sequence, tokens, 0, 2)], expected)
    keys = ops.group_keys(expected, 64)
    for asks in (
        [],
        [Note(2, True)],
        [Note(3, True), None, Note(1, False), Note(1000, True), None, Note(5, True)],
        [Note(1, True) for _ in range(8)],
    ):
        sequence.close()
        sequence, out = executor.open(), np.full(shape, 99, np.float32)
        executor.run([Part(sequence, tokens, 0, 2)], out, asks)
        for row in range(8):
            ask = asks[row] if row < len(asks) else None
            is_taken = ask is not None and ask._takes
            np.testing.assert_array_equal(out[row], 99 if is_taken else expected[row])
            if ask is not None:
                ranks = np.arange(min(ask.wanted, -(-shape[1] // 64)))
                values, numbers = ops.largest_groups(expected, keys, np.full_like(ranks, row), ranks, 64)
                np.testing.assert_array_equal(ask.values, values)
                np.testing.assert_array_equal(ask.numbers, numbers[:, 0])
    # A step of which no logits are wanted.
    executor.run([Part(sequence, tokens, 0, 10)], np.empty((0, shape[1]), np.float32), [])


@pytest.mark.gpu
def test_rows_that_are_asked_for(tmp_path, model):
    with device.using(Cuda(EmulatedDriver(ROOT, RUNNERS))):
        options = SessionOptions(target=EMULATED_GPU.name, chunk=16)
        check_rows(Executor(Model.open(model), options, cache=Cache(tmp_path / "cache")))


@pytest.mark.gpu
@pytest.mark.vulkan
@pytest.mark.matrix
def test_rows_that_are_asked_for_with_vulkan(tmp_path, model):
    options = SessionOptions(target=VULKAN.name, chunk=16)
    executor = Executor(Model.open(model), options, cache=Cache(tmp_path / "cache"))
    assert executor.selects
    check_rows(executor)


def test_where_logits_are_at_hand(tmp_path, model):
    """On the CPU nothing is asked; nor of logits that are few."""
    executor = Executor(Model.open(model), cache=Cache(tmp_path / "cache"))
    assert not executor.selects and len(executor.engine.signatures["step"].outs) == 1
    out, ask = np.empty((1, VOCABULARY), np.float32), Note(1, True)
    executor.run([Part(executor.open(), np.array([5], np.int32), 0, 0)], out, [ask])
    assert not ask.values.size and np.isfinite(out).all()


def test_which_steps_select(model):
    """Those that compute logits, on GPUs; where there are too few for a group, none does."""
    whole = Model.open(model)
    assert selected_group(whole, EMULATED_GPU) == selected_group(whole, VULKAN) == 64
    assert not selected_group(whole, targets.get("generic"))
    assert not selected_group(replace(whole, layers=range(0)), EMULATED_GPU)
    for vocabulary, group in ((63, 0), (64, 64), (1 << 17, 64), (151936, 128), (262144, 128), (10**6, 256)):
        other = replace(whole, config=replace(whole.config, vocabulary=vocabulary))
        assert selected_group(other, EMULATED_GPU) == group

# SPDX-License-Identifier: Apache-2.0
"""The whole forward pass of the embedded model, compiled, against the reference interpreter."""

import numpy as np
import pytest
from sequences import numbers, rows_of

import lumen_mlir
from lumen_mlir import formats, ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.data import embedded_model_path
from lumen_mlir.formats import packing
from lumen_mlir.models import Model
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.run.engine import aligned_empty

CONTEXT = 64
TOKENS = np.random.default_rng(0).integers(0, 8192, 20).astype(np.int32)


@pytest.fixture(scope="module")
def model():
    return Model.open(embedded_model_path())


class Step:
    """The compiled step with the weights packed by NumPy."""

    def __init__(self, model: Model, target: str, activations: str, kv: type):
        self.model, self.kv = model, kv
        self.target = targets.get(target)
        if self.target.missing():
            pytest.skip(f"this CPU lacks {', '.join(self.target.missing())}")
        with ir.Context():
            module = model.module(kv_type={np.float16: "f16", np.float32: "f32"}[kv], max_tokens=len(TOKENS))
            options = CompilerOptions(activations)
            self.engine = lumen_mlir.compile(module, self.target, 2, options, use_cache=False)
        self.weights = [self._weight(argument) for argument in self.engine.signatures["step"].inputs[9:]]
        self.rope = model.rope_tables(CONTEXT)[0]

    def _weight(self, argument) -> np.ndarray:
        info, array = self.model.tensors[argument.name], self.model.weight(argument.name)
        if len(info.shape) == 1:
            return array
        if argument.alignment == 64:
            fmt = formats.get(info.type)
            packed = packing.pack(fmt, array, *self.target.tile(fmt))
            array = aligned_empty(argument.shape)
            array[:] = packed
        return array.reshape(-1)

    def run(self, chunks: list[int], threads: int = 2) -> np.ndarray:
        self.engine.set_threads(threads)
        caches = [np.zeros(shape, self.kv) for shape in self.model.cache_shapes(CONTEXT)]
        begin, results = 0, []
        for size in chunks:
            results.append(self.step(begin, size, numbers(0, size), caches))
            begin += size
        return np.concatenate(results)

    def step(self, begin: int, size: int, rows: np.ndarray, caches: list[np.ndarray]) -> np.ndarray:
        """The logits of the chosen rows of a step with the only sequence; its pages are in order."""
        tokens, (positions, runs) = TOKENS[begin : begin + size], rows_of([(0, begin, size)])
        where = [positions, rows, runs, positions, numbers(0, 1)[None]]
        return self.engine.invoke("step", tokens, *where, self.rope, *caches, *self.weights)[0]


@pytest.mark.parametrize("target", ["native", pytest.param("generic", marks=pytest.mark.matrix)])
def test_against_the_reference(model, target):
    expected = ReferenceSession(model, context=CONTEXT, kv_type="f32").step(TOKENS, 0)
    result = Step(model, target, "exact", np.float32).run([len(TOKENS)])
    assert np.linalg.norm(result - expected) <= 1e-5 * np.linalg.norm(expected)


def test_threads_and_chunks_change_nothing(model):
    step = Step(model, "native", "int8", np.float16)
    expected = step.run([20], threads=1)
    for threads in (1, 2, 3):
        for chunks in ([20], [1] * 20, [8, 8, 4], [7, 13]):
            np.testing.assert_array_equal(step.run(chunks, threads), expected)


def test_chosen_rows(model):
    step = Step(model, "native", "int8", np.float16)
    expected = step.run([20])
    caches = [np.zeros(shape, np.float16) for shape in model.cache_shapes(CONTEXT)]
    rows = np.array([19, 3, 17], np.int32)
    np.testing.assert_array_equal(step.step(0, 20, rows, caches), expected[rows])

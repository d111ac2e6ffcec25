# SPDX-License-Identifier: Apache-2.0
"""Steps of models whose every buffer lies beside memory that nobody may touch."""

from __future__ import annotations

import faulthandler
import os
import resource
from dataclasses import replace

import numpy as np
import pytest

from lumen_mlir.models import Model
from lumen_mlir.run import engine
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing import guarded
from lumen_mlir.testing.families import write_family
from lumen_mlir.testing.synthetic import Shape, write_synthetic

# Nothing is a multiple of a tile: 3 heads of 32 on a width of 96, 301 tokens; contexts end amid a page.
ODD = Shape(96, 2, 3, 1, 32, 160, 301, 1024, False)
MIXTURE = Shape(96, 2, 3, 1, 32, 96, 301, 1024, False, "qwen3moe", 5, 2)


def in_child(work) -> int:
    """The status of a forked child that runs ``work``: 0, or what ended it."""
    child = os.fork()
    if not child:
        faulthandler.disable()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            work()
        except BaseException as error:
            print(repr(error))
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1]


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "begin"])
@pytest.mark.parametrize(("size", "dtype"), [(1, np.int8), (4096, np.uint8), (1031, np.float32)])
def test_arrays_beside_forbidden_memory(size, dtype, at_end):
    array = guarded.copy(np.arange(size).astype(dtype), at_end=at_end)
    assert array.size == size and np.array_equal(array, np.arange(size).astype(dtype))
    begin = engine.address_of(array)
    outside = begin + array.nbytes if at_end else begin - 1

    def touch():
        np.ctypeslib.ctypes.c_byte.from_address(outside).value = 1

    assert os.WIFSIGNALED(in_child(touch))
    assert in_child(lambda: array.fill(1)) == 0
    assert guarded.array((0, 3), at_end=at_end).shape == (0, 3)


def guard(session: Stepper, at_end: bool) -> None:
    """Gives a session copies of all its buffers, each beside forbidden memory."""
    executor = session.executor
    (section,) = executor.sections
    section.weights = {key: guarded.copy(weight, at_end=at_end) for key, weight in section.weights.items()}
    executor.engine._arena = guarded.array((executor.engine.arena_bytes,), at_end=at_end)
    executor._allocate(1, 0, None, lambda shape, dtype: guarded.copy(np.zeros(shape, dtype), at_end=at_end))
    # Of the rows of a step, those that there are end where the memory does only in full chunks.
    session._sequence = executor.open()


def steps(session: Stepper, at_end: bool | None) -> np.ndarray:
    """Logits of a prompt in full chunks, one that ends the context, and tokens one by one before that."""
    ids = np.random.default_rng(0).integers(session.model.config.vocabulary, size=session.context).tolist()
    chunk, vocabulary, rows = session.options.chunk, session.model.config.vocabulary, []
    ends = [
        *range(chunk, session.context - 2, chunk),
        session.context - 2,
        session.context - 1,
        session.context,
    ]
    for begin, end in zip([0, *ends], ends, strict=False):
        shape = (end - begin, vocabulary)
        out = np.empty(shape, np.float32)
        if at_end is not None:
            out = guarded.array(shape, np.float32, at_end=at_end)
        rows.append(session.step(ids[begin:end], begin, out=out).copy())
    return np.concatenate(rows)


@pytest.mark.parametrize(
    ("format", "shape", "options"),
    [
        ("q4_k_m", replace(ODD, hidden=256, heads=5, feed_forward=512), dict(context=37, chunk=16)),
        ("q8_0", ODD, dict(context=37, chunk=16, kv_type="q8_0")),
        ("f16", ODD, dict(context=35, chunk=32, kv_type="f32", activations="exact")),
        ("q4_0", MIXTURE, dict(context=50, chunk=11, threads=3)),
    ],
    ids=["q4_k_m", "q8_0-cache", "exact", "mixture"],
)
def test_steps_stay_inside(tmp_path, format, shape, options):
    write_synthetic(tmp_path / "model.gguf", shape, format)
    check(Stepper(Model.open(tmp_path / "model.gguf"), SessionOptions(**options), cache=Cache(tmp_path)))


def check(session: Stepper) -> None:
    """The steps of a session never leave its buffers, and are the same beside forbidden memory."""
    expected = steps(session, None)
    for at_end in (True, False):

        def work(at_end=at_end):
            guard(session, at_end)
            np.testing.assert_array_equal(steps(session, at_end), expected)

        assert in_child(work) == 0, "a step left its buffers"


def test_steps_with_windows_stay_inside(tmp_path):
    """Also on pages that were given back."""
    model = Model.open(write_family(tmp_path / "model.gguf", "exaone4-hybrid"))
    check(Stepper(model, SessionOptions(context=201, chunk=16), cache=Cache(tmp_path)))

# SPDX-License-Identifier: Apache-2.0
"""A mixture of experts of quantized weights as a session runs it."""

from __future__ import annotations

import numpy as np
import pytest

from lumen_mlir import LLM
from lumen_mlir.errors import LumenError
from lumen_mlir.models import Model
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.testing.synthetic import Shape, write_synthetic

TOKENS = np.random.default_rng(4).integers(0, 301, 37)


@pytest.fixture(scope="module", params=["q4_k_m"])
def path(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("moe") / f"{request.param}.gguf"
    write_synthetic(path, "tiny-moe", request.param, layers=1, vocabulary=301)
    return path


@pytest.mark.parametrize("activations", ["int8", pytest.param("exact", marks=pytest.mark.matrix)])
def test_against_the_reference(path, activations):
    model = Model.open(path)
    expected = ReferenceSession(model, context=64, kv_type="f32", activations=activations).step(TOKENS, 0)
    options = SessionOptions(context=64, kv_type="f32", activations=activations, threads=2)
    session = Stepper(model, options)
    logits = session.step(TOKENS, 0).copy()
    bound = 1e-4 if activations == "exact" else 2e-2
    assert np.linalg.norm(logits - expected) < bound * np.linalg.norm(expected)
    for chunk, threads in ((10, 3), (5, 1)):
        session.set_threads(threads)
        for begin in range(0, len(TOKENS), chunk):
            piece = TOKENS[begin : begin + chunk]
            np.testing.assert_array_equal(session.step(piece, begin), logits[begin : begin + chunk])


def test_generates(path):
    text = LLM(path, context=64, kv_type="f32", threads=1).generate(
        [5, 9, 2], 8, temperature=0, ignore_eos=True
    )
    text.text()
    assert len(text.tokens) == 8


def test_experts_of_odd_width_are_refused(tmp_path):
    """A tile of rows must not hold two experts: so it is said, and with which numbers."""
    path = tmp_path / "odd.gguf"
    write_synthetic(path, Shape(64, 1, 2, 1, 32, 36, 301, 64, True, "qwen3moe", 4, 2), "f16")
    with pytest.raises(LumenError, match="needs experts of a multiple of .* rows, got 36"):
        Stepper(Model.open(path), SessionOptions(context=64))

# SPDX-License-Identifier: Apache-2.0
"""Every family as a tiny random model, against the logits of transformers (llama.cpp for EXAONE 3.x)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from emulated import EMULATED, EMULATED_GPU, EMULATED_LAUNCHES, VULKAN, WASM, marks_of

from lumen_mlir.models import Model
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.run.tuning import Tuning
from lumen_mlir.testing.families import FAMILIES, tokens, write_family

DATA = Path(__file__).parents[2] / "data" / "families"
# LongRoPE chooses by the length of the context; the others do not depend on it.
CONTEXT = 64
# Dense, with a window, with biases and scales, and with experts.
FEW = ("qwen3-window", "hyperclovax-bias", "qwen2moe", "exaone4")


def on_other_architectures() -> list:
    """Families with targets of other architectures and activations.

    Each family with one of those in an emulator, in turn; with WebAssembly, GPUs and Vulkan those of ``FEW``.
    """
    result = []
    groups = (EMULATED, WASM, (EMULATED_GPU,), (EMULATED_LAUNCHES,), (VULKAN,))
    for group in groups:
        kinds = [(target.name, activations) for target in group for activations in ("int8", "exact")]
        for number, name in enumerate(FAMILIES):
            for place, kind in enumerate(kinds):
                usual = place == number % len(kinds) and (group is EMULATED or name in FEW)
                if group == (VULKAN,) and not usual:
                    continue
                marks = [*marks_of(kind[0]), *([] if usual else [pytest.mark.matrix])]
                result.append(pytest.param(name, *kind, marks=marks))
    return result


def distance(actual: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """The open model, its prompt and the other engine's logits."""
    with np.load(DATA / f"{request.param}.npz") as data:
        expected = data["logits"]
    vocabulary = expected.shape[1]
    path = tmp_path_factory.mktemp("families") / f"{request.param}.gguf"
    own = FAMILIES[request.param].hf_class
    model = Model.open(write_family(path, request.param, vocabulary=None if own else vocabulary))
    return model, tokens(vocabulary), expected


def test_reference(family):
    model, ids, expected = family
    session = ReferenceSession(model, context=CONTEXT, kv_type="f32")
    assert distance(session.step(ids, 0), expected) < 1e-4


def test_compiled(family):
    """In chunks shorter than the windows and longer, and token by token: the same bits."""
    model, ids, expected = family
    options = SessionOptions(context=CONTEXT, kv_type="f32", activations="exact", chunk=32, threads=2)
    session = Stepper(model, options, tuned=Tuning(tile_tokens=2))  # which is less to compile
    chunks = [session.step(ids[begin : begin + 32], begin).copy() for begin in (0, 32)]
    logits = np.concatenate(chunks)
    assert distance(logits, expected) < 1e-4
    single = np.concatenate([session.step([token], i).copy() for i, token in enumerate(ids)])
    np.testing.assert_array_equal(single, logits)


@pytest.mark.parametrize(("family", "target", "activations"), on_other_architectures(), indirect=["family"])
def test_other_architectures(family, target, activations):
    """Logits and the most likely tokens are the reference's, in chunks and on one thread and two."""
    model, ids, _ = family
    settings = dict(context=CONTEXT, kv_type="f32", activations=activations)
    expected = ReferenceSession(model, **settings).step(ids, 0)
    session = Stepper(model, SessionOptions(**settings, target=target, chunk=32, threads=2))
    chunks = [session.step(ids[begin : begin + 32], begin).copy() for begin in (0, 32)]
    logits = np.concatenate(chunks)
    assert distance(logits, expected) < 1e-4
    np.testing.assert_array_equal(logits.argmax(axis=1), expected.argmax(axis=1))
    session.set_threads(1)
    single = np.concatenate([session.step([token], i).copy() for i, token in enumerate(ids)])
    np.testing.assert_array_equal(single, logits)


def test_half_precision_cache(family):
    model, ids, expected = family
    session = ReferenceSession(model, context=CONTEXT, kv_type="f16")
    assert distance(session.step(ids, 0), expected) < 2e-3

# SPDX-License-Identifier: Apache-2.0
"""Models with sliding windows: what is kept of the past, and what is forgotten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lumen_mlir import LLM
from lumen_mlir.errors import LumenError
from lumen_mlir.models import Attention, Model
from lumen_mlir.models.config import ModelConfig
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.testing.families import VOCABULARY, write_family

CONTEXT, CHUNK = 256, 16


@pytest.fixture(scope="module", params=["mistral-window", "exaone4-hybrid", "qwen3-window"])
def model(request, tmp_path_factory):
    return Model.open(write_family(tmp_path_factory.mktemp("window") / "model.gguf", request.param))


@pytest.fixture(scope="module")
def session(model):
    return Stepper(model, SessionOptions(context=CONTEXT, kv_type="f32", activations="exact", chunk=CHUNK))


def run(session: Stepper, ids: np.ndarray, chunk: int) -> np.ndarray:
    return np.concatenate([session.step(ids[i : i + chunk], i).copy() for i in range(0, len(ids), chunk)])


def test_far_beyond_the_window(model, session):
    """Over 20 times the window, on pages that were given back before: as with all of the past and a mask."""
    ids = np.random.default_rng(1).integers(0, VOCABULARY, 200)
    whole = ReferenceSession(model, context=CONTEXT, kv_type="f32").step(ids, 0)
    logits = run(session, ids, CHUNK)
    assert np.linalg.norm(logits - whole) < 1e-4 * np.linalg.norm(whole)
    for chunk in (1, 7):
        np.testing.assert_array_equal(run(session, ids, chunk), logits)


def test_memory_is_bounded_by_the_window(model):
    config = model.config
    shapes = model.cache_shapes(100_000, CHUNK)
    for (window, layers), keys, values in zip(config.windows.items(), shapes[::2], shapes[1::2], strict=True):
        pages = -(-100_000 // 64) if window is None else 2
        assert keys == (layers, config.kv_heads, 4 * pages, config.head_size, 16)
        assert values == (layers, config.kv_heads, 4 * pages, 16, config.head_size)
    assert sum(config.windows.values()) == config.layers


@pytest.mark.parametrize("window", [1, 8, 64, 100])
@pytest.mark.parametrize("chunk", [1, 2, 16, 65, 512])
def test_pages_of_a_window_and_a_step(window, chunk):
    """However they lie, they need no more pages than there are, and one place needs all."""
    spans = ((max(p - window + 1, 0) // 64, (p + chunk - 1) // 64) for p in range(1000, 1064))
    assert ModelConfig.cache_pages(window, 100_000, chunk) == max(last - first + 1 for first, last in spans)
    assert ModelConfig.cache_pages(window, 33, chunk) == 1


def test_going_back(session):
    """A step may go back as long as the pages hold what it attends to, and start anew at any time."""
    ids = np.random.default_rng(2).integers(0, VOCABULARY, 120)
    expected = run(session, ids, CHUNK)
    np.testing.assert_array_equal(session.step(ids[110:], 110), expected[110:])
    assert session.can_resume(110) and not session.can_resume(60) and session.can_resume(0)
    with pytest.raises(LumenError, match="cannot go back to position 60: of sliding windows only the last"):
        session.step(ids[60:61], 60)
    np.testing.assert_array_equal(session.step(ids[:8], 0), expected[:8])


def test_a_prompt_that_was_forgotten_is_computed_again(tmp_path):
    path = tmp_path / "model.gguf"
    write_family(path, "mistral-window", vocabulary=300)
    ids = np.random.default_rng(3).integers(0, 300, 150).tolist()
    options = {"context": CONTEXT, "kv_type": "f32", "activations": "exact", "chunk": CHUNK}
    llm, fresh = LLM(path, sequences=1, **options), LLM(path, **options)
    llm.last_logits(ids)
    np.testing.assert_array_equal(llm.last_logits([*ids, 5]), fresh.last_logits([*ids, 5]))
    # The pages of its first tokens were needed for its last ones.
    again = llm.generate(ids[:40], 1)
    again.text()
    assert again.evaluated == 40
    np.testing.assert_array_equal(llm.last_logits(ids[:40]), fresh.last_logits(ids[:40]))


def test_two_rotary_embeddings(tmp_path):
    """Windows with one base and all of the past with another: a table for each."""
    model = Model.open(write_family(tmp_path / "model.gguf", "qwen3"))
    rope = model.config.rope
    far, near = Attention(None, replace(rope, base=1e6, factor=2.0)), Attention(8, rope)
    config = replace(model.config, attentions=(near, far, near, far))
    both = replace(model, config=config)
    assert config.ropes == (near.rope, far.rope) and len(both.rope_tables(9)) == 2
    ids = np.random.default_rng(4).integers(0, VOCABULARY, 40)
    expected = ReferenceSession(both, context=64, kv_type="f32").step(ids, 0)
    session = Stepper(both, SessionOptions(context=64, kv_type="f32", activations="exact", chunk=CHUNK))
    logits = run(session, ids, CHUNK)
    assert np.linalg.norm(logits - expected) < 1e-4 * np.linalg.norm(expected)
    for same in (near, far):
        alone = replace(model, config=replace(config, attentions=(replace(same, window=None),) * 4))
        other = ReferenceSession(alone, context=64, kv_type="f32").step(ids, 0)
        assert np.linalg.norm(other - expected) > 0.1 * np.linalg.norm(expected)

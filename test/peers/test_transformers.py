# SPDX-License-Identifier: Apache-2.0
"""Both engines against transformers, live: other seeds than the stored data, and the stored data again."""

from __future__ import annotations

import numpy as np
import peers
import pytest
from reference_data import TINY, tiny

from lumen_mlir.data import embedded_model_path


@pytest.mark.parametrize("shape", peers.SHAPES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_models(open_session, shape, seed, tmp_path):
    model, path = peers.tiny_qwen2(shape, seed), tmp_path / "m.gguf"
    peers.write_gguf(path, model, "f32")
    ids = np.random.default_rng(seed).integers(0, peers.SHAPES[shape][5], 60)
    expected = peers.transformers_logits(model, ids)
    assert peers.distance(open_session(path, kv_type="f32").step(ids, 0), expected) < 1e-5
    session = open_session(path)
    rows = [session.step([token], position)[0].copy() for position, token in enumerate(ids)]
    assert peers.distance(np.stack(rows), expected) < 2e-3


@pytest.mark.parametrize("name", TINY)
def test_stored_logits_are_transformers(name):
    case = tiny(name)
    again = peers.transformers_logits(peers.transformers_model(case.path), case.ids)
    assert peers.distance(again, case.logits) < 1e-5


def test_embedded_model(open_session):
    ids = np.random.default_rng(0).integers(0, 8000, 64)
    expected = peers.transformers_logits(peers.transformers_model(embedded_model_path()), ids)
    logits = open_session(embedded_model_path(), kv_type="f32").step(ids, 0)
    assert peers.distance(logits, expected) < 1e-5

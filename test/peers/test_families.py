# SPDX-License-Identifier: Apache-2.0
"""The tiny models of every family beside transformers and llama.cpp, live."""

from __future__ import annotations

from pathlib import Path

import family_peers
import numpy as np
import peers
import pytest

from lumen_mlir.models import Model
from lumen_mlir.session import Session, SessionOptions
from lumen_mlir.testing import families
from lumen_mlir.testing.families import FAMILIES

DATA = Path(__file__).parents[1] / "data" / "families"


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.hf_class])
def test_stored_logits_are_those_of_transformers(name):
    with np.load(DATA / f"{name}.npz") as data:
        assert peers.distance(family_peers.transformers_logits(FAMILIES[name]), data["logits"]) < 1e-6


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.llama_cpp])
def test_llama_cpp(name, tmp_path, record_property):
    """The same F16 file, with float32 KV caches: llama.cpp rounds activations to half precision."""
    path = tmp_path / "model.gguf"
    expected = family_peers.llama_cpp_logits(FAMILIES[name], path, "f16")
    options = SessionOptions(context=128, kv_type="f32", activations="exact", threads=1)
    session = Session(Model.open(path), options)
    ids = families.tokens(family_peers.LLAMA_VOCABULARY)
    error = peers.distance(session.step(ids, 0), expected)
    record_property("relative_error", error)
    print(f"{name}: {error:.1e}")
    assert error < 2e-3

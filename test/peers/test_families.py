# SPDX-License-Identifier: Apache-2.0
"""The tiny models of every family beside transformers and llama.cpp, live."""

from __future__ import annotations

from pathlib import Path

import family_peers
import numpy as np
import peers
import pytest

from lumen_mlir.models import Model
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.testing import families
from lumen_mlir.testing.families import FAMILIES

DATA = Path(__file__).parents[1] / "data" / "families"


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.hf_class])
def test_stored_logits_are_those_of_transformers(name):
    with np.load(DATA / f"{name}.npz") as data:
        assert peers.distance(family_peers.transformers_logits(FAMILIES[name]), data["logits"]) < 1e-6


@pytest.mark.parametrize("type_name", ["f32", "f16"])
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.llama_cpp])
def test_llama_cpp(name, type_name, tmp_path, record_property):
    """The same file, with float32 KV caches; of F16 files the median over the tokens."""
    if type_name == "f16" and "expert_count" in FAMILIES[name].keys:
        pytest.skip("llama.cpp rounds activations to half precision, which sends tokens to other experts")
    path = tmp_path / "model.gguf"
    expected = family_peers.llama_cpp_logits(FAMILIES[name], path, type_name)
    options = SessionOptions(context=128, kv_type="f32", activations="exact", threads=1)
    session = Stepper(Model.open(path), options)
    logits = session.step(families.tokens(family_peers.LLAMA_VOCABULARY), 0)
    rows = [peers.distance(mine, theirs) for mine, theirs in zip(logits, expected, strict=True)]
    error = float(np.median(rows)) if type_name == "f16" else peers.distance(logits, expected)
    record_property("relative_error", error)
    print(f"{name} {type_name}: {error:.1e}")
    assert error < {"f32": 1e-5, "f16": 2e-3}[type_name]

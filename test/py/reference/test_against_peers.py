# SPDX-License-Identifier: Apache-2.0
"""The reference against the stored outputs of transformers and llama.cpp."""

from __future__ import annotations

import numpy as np
import pytest
from reference_data import TINY, distance, greedy, partings, tiny

from lumen_mlir.data import embedded_model_path
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.models import Model
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.testing.convert import convert_weights


@pytest.mark.parametrize("name", TINY)
def test_agrees_with_transformers(name):
    case = tiny(name)
    wide = ReferenceSession(Model.open(case.path), kv_type="f32").step(case.ids, 0)
    assert distance(wide, case.logits) < 1e-5
    narrow = ReferenceSession(Model.open(case.path), kv_type="f16").step(case.ids, 0)
    assert distance(narrow, case.logits) < 2e-3


@pytest.mark.parametrize("type_name", ["f32", "bf16"])
def test_float_types(type_name, tmp_path):
    case = tiny("narrow-f16")
    path = tmp_path / "m.gguf"
    convert_weights(GGUFFile.open(case.path), path, type_name)
    logits = ReferenceSession(Model.open(path), kv_type="f32").step(case.ids, 0)
    # float16 has three bits more than bfloat16, so the latter rounds the weights.
    low, high = (0, 1e-5) if type_name == "f32" else (1e-3, 0.1)
    assert low < distance(logits, case.logits) < high


@pytest.mark.parametrize("name", [name for name in TINY if "f16" not in name])
def test_int8_activations_cost_no_more_than_llama_cpps(name):
    case = tiny(name)
    logits = ReferenceSession(Model.open(case.path), kv_type="f32", activations="int8").step(case.ids, 0)
    assert distance(logits, case.logits) < 1.2 * case.llama_cpp_distance


def test_int8_activations_on_the_embedded_model():
    entry = greedy()["distance"]
    ids, model = np.array(entry["ids"]), Model.open(embedded_model_path())
    exact = ReferenceSession(model, kv_type="f32").step(ids, 0)
    int8 = ReferenceSession(model, kv_type="f32", activations="int8").step(ids, 0)
    assert distance(int8, exact) < 1.2 * entry["llama_cpp"]


def generate(session: ReferenceSession, ids: list[int], count: int) -> list[int]:
    tokens = [int(session.step(ids, 0, first=len(ids) - 1)[0].argmax())]
    while len(tokens) < count:
        tokens.append(int(session.step([tokens[-1]], len(ids) + len(tokens) - 1)[0].argmax()))
    return tokens


@pytest.mark.parametrize("activations", ["exact", "int8"])
def test_stored_tokens_are_the_references(activations):
    """A few prompts; all of them take longer than a unit test should."""
    model, data = Model.open(embedded_model_path()), greedy()
    session = ReferenceSession(model, context=128, activations=activations)
    for number in (1, 4, 9):
        stored = data["reference"][activations][number]
        assert generate(session, data["ids"][number], 24) == stored["tokens"][:24]


@pytest.mark.parametrize("activations", ["exact", "int8"])
def test_llama_cpps_tokens(activations):
    data = greedy()
    ours = [entry["tokens"] for entry in data["reference"][activations]]
    parted = partings(ours, data["llama_cpp"]["q8_0"])
    print("\n".join(parted))
    assert len(parted) <= 2


def test_llama_cpps_tokens_of_float16_weights(tmp_path):
    path = tmp_path / "f16.gguf"
    convert_weights(GGUFFile.open(embedded_model_path()), path, "f16")
    data, session = greedy(), ReferenceSession(Model.open(path), context=64)
    ours = [generate(session, ids, 12) for ids in data["ids"]]
    parted = partings(ours, data["llama_cpp"]["f16-of-q8_0"])
    print("\n".join(parted))
    assert len(parted) <= 2

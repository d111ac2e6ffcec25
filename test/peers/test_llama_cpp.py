# SPDX-License-Identifier: Apache-2.0
"""Both engines against llama.cpp, live."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import peers
import pytest
from reference_data import TINY, greedy, partings, tiny

from lumen_mlir import LLM
from lumen_mlir.data import embedded_model_path

QUANTIZED = [name for name in TINY if "f16" not in name]


@pytest.mark.parametrize("name", QUANTIZED)
def test_int8_activations_cost_no_more(open_session, name):
    case = tiny(name)
    theirs = peers.distance(peers.LlamaCpp(case.path, 64, kv_type="f32").logits(case.ids), case.logits)
    ours = open_session(case.path, kv_type="f32", activations="int8").step(case.ids, 0)
    print(f"{name}: llama.cpp {theirs:.4f} from exact, ours {peers.distance(ours, case.logits):.4f}")
    assert theirs == pytest.approx(case.llama_cpp_distance, rel=0.2)
    assert peers.distance(ours, case.logits) < 1.2 * theirs


def generate(session, ids: list[int], count: int) -> list[int]:
    tokens = [int(session.step(ids, 0, first=len(ids) - 1)[0].argmax())]
    while len(tokens) < count:
        tokens.append(int(session.step([tokens[-1]], len(ids) + len(tokens) - 1)[0].argmax()))
    return tokens


def compare(open_session: Callable, path: Path, activations: str, count: int = 32) -> None:
    """At least 8 of 10 prompts continue as llama.cpp continues them; prints where the others part."""
    llama = peers.LlamaCpp(path, 128)
    ids = [llama.tokenize(text) for text in greedy()["prompts"]]
    assert ids == greedy()["ids"]
    theirs = [dict(zip(("tokens", "gaps"), llama.greedy(prompt, count), strict=True)) for prompt in ids]
    session = open_session(path, context=128, activations=activations)
    parted = partings([generate(session, prompt, count) for prompt in ids], theirs)
    print("\n".join(parted) or "all equal")
    assert len(parted) <= 2


@pytest.mark.parametrize("activations", ["exact", "int8"])
def test_greedy_tokens_of_q8_0(open_session, activations):
    compare(open_session, embedded_model_path(), activations)


@pytest.mark.parametrize("pooling", ["last", "mean", "cls"])
def test_embeddings(f16_model, pooling):
    """Of length one, so that products are cosines."""
    texts = ["오늘 본 영화는", "이 영화는 정말 재미있어요. 다시 보고 싶네요."]
    theirs = peers.embed(f16_model, texts, pooling, 128)
    with LLM(f16_model, context=128, activations="exact") as llm:
        ours = llm.embed(texts, pooling)
    assert ours.shape == theirs.shape
    cosines = (ours * theirs).sum(axis=1)
    print(f"{pooling}: {cosines}")
    assert cosines.min() > 0.9999
    # Texts differ by more than that.
    assert float(ours[0] @ ours[1]) < 0.999 or pooling == "cls"


def test_greedy_tokens_of_f16(open_session, f16_model):
    compare(open_session, f16_model, "exact")


def test_greedy_tokens_of_the_original_f16_file(open_session):
    path = os.environ.get("LUMEN_TEST_F16_MODEL")
    if not path:
        pytest.skip("LUMEN_TEST_F16_MODEL does not name the embedded model's F16 file")
    compare(open_session, Path(path), "exact")


def test_logits_of_float16_weights(open_session, f16_model):
    """llama.cpp rounds activations to float16 there, so the two stay closer than with int8."""
    ids = np.array(greedy()["distance"]["ids"])
    theirs = peers.LlamaCpp(f16_model, 128).logits(ids)
    assert peers.distance(open_session(f16_model).step(ids, 0), theirs) < 2e-3

# SPDX-License-Identifier: Apache-2.0
"""Perplexity: llama.cpp's method, its numbers, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lumen_mlir import LLM
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.perplexity import Perplexity, perplexity

DATA = Path(__file__).parents[2] / "data"
TEXT = (DATA / "heldout.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    from lumen_mlir.storage.cache import Cache

    return LLM(context=256, cache=Cache(tmp_path_factory.getbasetemp() / "cache"))


def by_hand(llm, ids, context):
    """The definition, token by token."""
    losses = []
    for begin in range(0, len(ids) - context + 1, context):
        part = list(ids[begin : begin + context])
        if llm.tokenizer.add_bos:
            part[0] = llm.tokenizer.bos
        logits = llm.logits(part).astype(np.float64)
        for row in range(context // 2, context - 1):
            losses.append(np.log(np.exp(logits[row]).sum()) - logits[row, ids[begin + row + 1]])
    return np.array(losses)


@pytest.mark.parametrize("context", [4, 33, 100])
def test_definition(llm, context):
    ids = llm.tokenize(TEXT[:1500], special=False)[: 3 * context + 2]
    losses = by_hand(llm, ids, context)
    result = perplexity(llm, ids, context=context)
    assert (result.parts, result.tokens, result.context) == (3, 3 * (context - context // 2 - 1), context)
    assert result.value == pytest.approx(np.exp(losses.mean()), rel=1e-5)
    standard_error = losses.std() / (len(losses) - 1) ** 0.5
    assert result.error == pytest.approx(result.value * standard_error, rel=1e-4)
    assert str(result) == f"{result.value:.4f} ± {result.error:.4f}"


def test_the_first_token_of_a_part(llm, monkeypatch):
    ids = llm.tokenize(TEXT[:1000], special=False)[:96]
    plain = perplexity(llm, ids, context=32)
    monkeypatch.setattr(llm.tokenizer, "add_bos", not llm.tokenizer.add_bos)
    changed = perplexity(llm, ids, context=32)
    assert changed.value != plain.value
    assert changed.value == pytest.approx(np.exp(by_hand(llm, ids, 32).mean()), rel=1e-5)


def test_llama_cpps_number(llm):
    """``make_reference.py`` let llama.cpp compute it for the same file and text."""
    stored = json.loads((DATA / "embedded-perplexity.json").read_text())
    result = llm.perplexity(TEXT, context=stored["context"], parts=stored["parts"])
    assert result.tokens == stored["tokens"]
    assert result.value == pytest.approx(stored["value"], rel=2e-3)
    assert result.error == pytest.approx(stored["error"], rel=1e-2)


def test_how_the_work_is_cut_changes_nothing(llm, monkeypatch):
    from lumen_mlir.generate import scheduler as module

    ids = llm.tokenize(TEXT[:2000], special=False)[:200]
    whole = perplexity(llm, ids, context=100)
    monkeypatch.setattr(module, "_LOGITS", 7 * llm.model.config.vocabulary)
    pieces = perplexity(llm, ids, context=100)
    assert pieces == whole
    other = LLM(context=100, chunk=37, cache=llm.cache if hasattr(llm, "cache") else None)
    assert perplexity(other, ids, context=100) == whole


def test_progress(llm):
    seen: list[tuple[Perplexity, int]] = []
    ids = llm.tokenize(TEXT[:2000], special=False)[:200]
    result = perplexity(llm, ids, context=50, parts=3, progress=lambda *arguments: seen.append(arguments))
    assert [(estimate.parts, count) for estimate, count in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[-1][0] == result


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("짧다", {"context": 64}, r"the text has \d tokens; two parts of 64 need 128: take a longer text"),
        ("", {"context": 64}, r"the text has \d tokens"),
        (TEXT, {"context": 257}, "a part of 257 tokens was asked for; 4 to 256, the model's context"),
        (TEXT, {"context": 3}, "a part of 3 tokens was asked for"),
        (TEXT, {"context": 64, "parts": 0}, "0 parts were asked for; at least 1 was expected"),
        ([9000] * 200, {"context": 64}, "9000 are not in a vocabulary of 8192|outside the vocabulary"),
    ],
)
def test_refused(llm, text, options, message):
    with pytest.raises(LumenError, match=message):
        perplexity(llm, text, **options)

# SPDX-License-Identifier: Apache-2.0
"""A text has the same bits alone, beside others, behind a known prefix, after preemption, and from a file."""

from __future__ import annotations

import gc

import numpy as np
import pytest

import lumen_mlir
from lumen_mlir.generate.cost_curve import CostCurve
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import write_family

CONTEXT, VOCABULARY = 256, 300
CASES = [
    ("qwen2", "f16", "int8"),
    ("qwen3", "f32", "exact"),
    ("exaone4-hybrid", "q8_0", "int8"),
    ("mistral-window", "f16", "int8"),
    ("qwen3moe", "q8_0", "int8"),
    ("qwen3moe", "f16", "exact"),
]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def opened(request, tmp_path_factory, cache):
    family, kv_type, activations = request.param
    path = tmp_path_factory.mktemp(family) / "model.gguf"
    write_family(path, family, vocabulary=VOCABULARY)

    def open_(threads, **options):
        options = {"context": CONTEXT, "chunk": 32, "kv_pool": 16 * CONTEXT, **options}
        return lumen_mlir.LLM(
            path, threads=threads, kv_type=kv_type, activations=activations, cache=cache, **options
        )

    open_.path = path
    return open_


def ids_of(seed: int, count: int) -> list[int]:
    return np.random.default_rng(seed).integers(1, VOCABULARY, count).tolist()


def start(llm, ids, count=40, seed=7, **options):
    """Sampled, with likelihoods: other bits of the logits give other ones, or other tokens."""
    options = {"temperature": 1.5, "top_k": 0, "min_p": 0, "logprobs": 3, "ignore_eos": True, **options}
    return llm.generate(ids, count, seed=seed, **options)


def result(generation) -> tuple:
    generation.text()
    records = [(record.token, record.logprob, *record.top) for record in generation.logprobs]
    assert len(records) == 40
    return records


@pytest.fixture(scope="module")
def prompt():
    return ids_of(0, 150)


@pytest.fixture(scope="module")
def alone(opened, prompt):
    return result(start(opened(1), prompt))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("others", [0, 1, 3, 7, 15])
def test_beside_others(opened, prompt, alone, threads, others):
    """Of any length, some of which end and others begin meanwhile."""
    llm = opened(threads)
    rng = np.random.default_rng(others)
    lengths = [1, 63, 64, 65, 200, *rng.integers(1, 170, 10).tolist()][:others]
    runs = [start(llm, ids_of(i, n), int(rng.integers(1, 80)), seed=i) for i, n in enumerate(lengths, 1)]
    # Some have come before it, and are in their prompts or behind them.
    for run in runs[::2]:
        run.begin()
    own = start(llm, prompt)
    if runs:
        next(runs[0], None)
    own.begin()
    for run in runs[1::2]:
        run.begin()
    assert result(own) == alone
    for run in runs:
        run.text()


def test_behind_prefixes(opened, prompt, alone):
    """Of whole pages, and of parts of pages."""
    llm = opened(2)
    for length in (70, 100, 150):
        start(llm, [*prompt[:length], 5], 1).text()
        run = start(llm, prompt)
        assert result(run) == alone
        llm.forget()
    start(llm, prompt, 3).text()
    run = start(llm, prompt)
    assert result(run) == alone and run.evaluated < len(prompt)


def test_with_others_that_begin_alike(opened, prompt, alone):
    """All come at once: what they share is computed once, for all of them."""
    with opened(1) as llm:
        texts = [start(llm, prompt)] + [start(llm, [*prompt[:70], 1 + n, 5], 3) for n in range(3)]
        for text in texts:
            text.begin()
        assert result(texts[0]) == alone
        for text in texts[1:]:
            text.text()
        computed = sum(text.evaluated for text in texts)
        # Whole pages are shared: of the other prompts 64 tokens of 72.
        assert computed == len(prompt) + 3 * 8


def test_after_preemption(opened, prompt, alone):
    """There is room for one or two of them."""
    llm = opened(2, kv_pool=CONTEXT, sequences=2)
    runs = [start(llm, prompt), *(start(llm, ids_of(i, 150), 100, seed=i) for i in range(1, 5))]
    for run in runs:
        run.begin()
    for _ in range(5):
        for run in runs:
            next(run, None)
    assert result(runs[0]) == alone
    assert sum(run.request.preempted for run in runs) > 0


def test_from_files(opened, prompt, alone, tmp_path):
    llm = opened(1)
    with llm.session() as session:
        session.extend(prompt)
        session.save(tmp_path / "text.kv")
    del llm
    gc.collect()
    loaded = opened(2).load_session(tmp_path / "text.kv")
    run = loaded.generate("", 40, temperature=1.5, top_k=0, min_p=0, seed=7, logprobs=3, ignore_eos=True)
    assert result(run) == alone and run.evaluated == 1


def test_from_pages_on_disk(opened, prompt, alone):
    first = opened(1, kv_disk="1G")
    assert result(start(first, prompt)) == alone
    first.close()
    second = opened(2, kv_disk="1G")
    run = start(second, prompt)
    assert result(run) == alone and run.evaluated <= 150 - 64


class SomeRight:
    """Guesses what is known to come; every fifth token is another one."""

    look = 0

    def __init__(self, ids):
        self.ids, self.proposed, self.right = ids, 0, 0

    def propose(self, ids, most, total, costs):
        drafts = self.ids[len(ids) : len(ids) + min(most, 7)]
        return [token if (len(ids) + i) % 5 else (token + 1) % VOCABULARY for i, token in enumerate(drafts)]

    def learn(self, proposed, right):
        self.proposed, self.right = self.proposed + proposed, self.right + right

    def release(self):
        pass


@pytest.mark.parametrize("threads", [1, 2])
def test_with_speculation(opened, prompt, alone, threads, monkeypatch):
    """Sampled texts, some of whose guesses are right, and texts that repeat themselves."""
    llm = opened(threads)
    other = start(llm, ids_of(3, 90), 60, seed=3)
    other.begin()
    known = [*prompt, *(record[0] for record in alone)]
    with monkeypatch.context() as patch:
        patch.setattr("lumen_mlir.generate.llm.NgramGuess", lambda: SomeRight(known))
        run = start(llm, prompt, speculate=True)
    assert result(run) == alone and 20 < run.guess.right < run.guess.proposed
    # As if guesses cost nothing.
    monkeypatch.setattr(CostCurve, "seconds", lambda self, tokens, pairs=0: 1.0)
    plain = start(llm, prompt, temperature=0.0)
    again = start(llm, prompt, temperature=0.0, speculate=True)
    assert result(again) == result(plain)


@pytest.mark.parametrize("threads", [1, 2])
def test_with_a_draft(opened, prompt, alone, threads, monkeypatch):
    """The same model as its own draft: it is right about greedy texts, and seldom about sampled ones."""
    llm = opened(threads, draft=opened.path)
    # As if guesses cost nothing.
    monkeypatch.setattr(CostCurve, "seconds", lambda self, *_: self is not llm.draft.guesser.costs)
    run = start(llm, prompt)
    assert result(run) == alone and run.guess.proposed > 0
    plain = start(llm, prompt, temperature=0.0, speculate=False)
    greedy = start(llm, prompt, temperature=0.0)
    assert plain.guess is None and result(greedy) == result(plain) and greedy.guess.right > 25
    # Beside others.
    others = [start(llm, ids_of(i, 20 * i), 60, seed=i, temperature=i % 2) for i in range(1, 8)]
    own, again = start(llm, prompt), start(llm, prompt, temperature=0.0)
    for each in (*others, own, again):
        each.begin()
    assert result(own) == alone and result(again) == result(start(llm, prompt, temperature=0.0))
    for other in others:
        other.text()
    assert sum(other.guess.right for other in others) > 60
    llm.close()

# SPDX-License-Identifier: Apache-2.0
"""Guesses: what is guessed, when it pays, and that texts end where they end without guesses."""

from __future__ import annotations

import pytest
from parrot import Bytes, Parrot

from lumen_mlir import LumenError
from lumen_mlir.generate.cost_curve import CostCurve
from lumen_mlir.generate.generation import Generation
from lumen_mlir.generate.sampling import Sampler
from lumen_mlir.generate.speculation import NgramGuess


def costs(slope: float, scale: float = 1.0) -> CostCurve:
    """A step takes ``scale`` seconds, and ``slope`` times as much more for each token."""
    curve = CostCurve(512)
    for tokens in (*range(1, 8), 8, 16, 32):
        curve.add(tokens, scale * (1 + slope * tokens))
    return curve


def test_what_is_guessed():
    guess = NgramGuess()
    assert guess.propose([1, 2, 3, 4, 5, 6], 8, 1, costs(0)) == []
    # What stood behind the longest run of the same tokens, where it stood last.
    assert guess.propose([1, 2, 3, 4, 5, 6, 9, 2, 3], 8, 1, costs(0)) == [4, 5, 6, 9, 2, 3]
    ids = [1, 2, 3, 4, 5, 6, 9, 2, 3, 7, 7, 2, 3]
    assert guess.propose(ids, 8, 1, costs(0)) == [7, 7, 2, 3]
    assert guess.propose(ids, 2, 1, costs(0)) == [7, 7]
    assert guess.propose([*ids, 4, 5], 3, 1, costs(0)) == [6, 9, 2]
    assert NgramGuess().propose([*ids, 8, 8], 3, 1, costs(0)) == []


@pytest.mark.parametrize(
    "written, guessed",
    [
        ([1, 2, 3, 4], [5, 6, 7]),
        ([1, 2, 3, 4, 50], [5, 6, 7]),  # put in, or in place of 5
        ([1, 2, 3, 4, 50, 6], [7, 8, 9]),
        ([1, 2, 3, 4, 6], [7, 8, 9]),  # left out
        ([1, 2, 3, 4, 50, 51, 5], [6, 7, 8]),
        ([1, 2, 3, 4, *range(50, 55)], []),  # too long ago
        ([1, 2, 3, 4, *range(50, 55), 5], []),
        ([1, 2, 3, 4, *range(50, 55), 5, 6], [7, 8, 9]),
        ([1, 2, 3, 4, 19], [5, 6, 7]),  # too far away
    ],
)
def test_a_text_is_followed_through_changes(written, guessed):
    prompt = [90, *range(1, 21), 91]
    guess = NgramGuess()
    for count in range(1, len(written) + 1):
        drafts = guess.propose([*prompt, *written[:count]], 3, 1, costs(0))
    assert drafts == guessed


def test_guesses_pay_or_are_left_out():
    ids = [*range(20), *range(10)]
    assert NgramGuess().propose(ids, 16, 1, CostCurve(512)) == []
    assert (
        len(NgramGuess().propose(ids, 16, 1, costs(0.01)))
        > len(NgramGuess().propose(ids, 16, 1, costs(0.2)))
        > 0
    )
    assert NgramGuess().propose(ids, 16, 1, costs(3.0)) == []
    # What is wrong again and again is tried seldom, but tried: 400 steps take less than 3 % longer.
    guess, tried, lost = NgramGuess(), 0, 0.0
    for _ in range(400):
        if drafts := guess.propose(ids, 16, 1, costs(0.05)):
            tried += 1
            lost += 0.05 * len(drafts) / 1.05
            guess.learn(len(drafts), 0)
    assert tried > 3 and lost < 12 and (guess.proposed > tried, guess.right) == (True, 0)
    for _ in range(20):
        guess.learn(4, 4)
    assert len(guess.propose(ids, 16, 1, costs(0.05))) == 16


@pytest.mark.parametrize("scale, late", [(1.0, [0, 0, 0, 0]), (1e-4, [0, 1, 2, 3])])
def test_where_steps_are_short_not_all_tokens_are_looked_at(scale, late):
    """What is repeated is found at most three tokens later."""
    found = []
    for length in range(30, 34):
        ids = [*range(length), *range(10)]
        guess, curve = NgramGuess(), costs(0, scale)
        counts = range(20, len(ids))
        asked = (count for count in counts if count >= guess.look)
        first = next(count for count in asked if guess.propose(ids[:count], 4, 1, curve))
        found.append(first - length - 2)
        # From then on, every token.
        for count in range(first + 1, len(ids)):
            assert count >= guess.look and guess.propose(ids[:count], 4, 1, curve)
    assert sorted(found) == late


def test_guesses_that_do_not_pay_are_seldom_looked_at(monkeypatch):
    looked, with_guesses = [], CostCurve.with_guesses
    monkeypatch.setattr(CostCurve, "with_guesses", lambda *of: looked.append(of[2] == 1) or with_guesses(*of))
    ids, guess, curve = [*range(20)] * 8, NgramGuess(), costs(3.0)
    assert not any(guess.propose(ids[:count], 16, 1, curve) for count in range(30, 110))
    assert sum(looked) == 10
    # Once they are right, they are looked at again.
    guess.learn(2, 2)
    guess.propose(ids[:110], 16, 1, curve)
    assert sum(looked) == 11


@pytest.mark.parametrize("options", [{}, {"max_tokens": 37}, {"stop": "ghi"}, {"stop_token_ids": [ord("h")]}])
@pytest.mark.parametrize("context", [10_000, 50])
def test_texts_end_where_they_end(options, context, monkeypatch):
    """Also in the middle of guesses."""
    monkeypatch.setattr(CostCurve, "seconds", lambda self, tokens, pairs=0: 1.0)
    text = b"abcdefghij" * 3 + b"xyz" + b"abcdefghij" * 5
    runs, calls = [], []
    for guess in (None, NgramGuess()):
        parrot = Parrot(text, context=context)
        run = Generation(
            parrot.batcher(), Bytes(), Sampler(temperature=0.0), (1,), guess=guess, logprobs=1, **options
        )
        run.text()
        runs.append((run.output, run.tokens, run.finish_reason, run.stopped_by, len(run.logprobs)))
        calls.append(parrot.calls)
    assert runs[0] == runs[1]
    if len(runs[0][1]) > 20:
        assert calls[1] < 0.7 * calls[0] and guess.right > 0


def test_through_the_model(tmp_path):
    import lumen_mlir
    from lumen_mlir.storage.cache import Cache

    llm = lumen_mlir.LLM(cache=Cache(tmp_path), context=256)
    prompt = "배우들의 연기가 정말 일품이었어요. 배우들의 연기가"
    texts = [llm.generate(prompt, 40, temperature=0, speculate=on).text() for on in (False, True)]
    assert texts[0] == texts[1]
    with pytest.raises(LumenError, match="speculate is 1; True or False was expected"):
        llm.generate("a", speculate=1)

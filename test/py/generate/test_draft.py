# SPDX-License-Identifier: Apache-2.0
"""A draft guesses: no text changes, whatever it says; it is asked where that pays."""

from __future__ import annotations

import numpy as np
import pytest
from parrot import Bytes, Parrot

from lumen_mlir.generate.batcher import Batcher
from lumen_mlir.generate.draft import DraftModel
from lumen_mlir.generate.generation import Generation
from lumen_mlir.generate.many import Generations
from lumen_mlir.generate.sampling import Sampler
from lumen_mlir.generate.scheduler import Scheduler

TEXT = bytes(np.random.default_rng(0).integers(97, 123, 400).tolist())
OTHER = bytes(97 + (byte - 90) % 26 for byte in TEXT)


class Clock:
    now = 0.0


class Timed(Parrot):
    """Takes time: a step so much, and each of its tokens so much."""

    def __init__(self, text, clock, step, token, fails=(), **options):
        super().__init__(text, **options)
        self.clock, self.times, self.fails, self.sizes = clock, (step, token), fails, []

    def run(self, parts):
        if self.calls in self.fails:
            self.calls += 1
            raise self.fails[self.calls - 1]
        total = sum(len(tokens) for _, tokens, _, _ in parts)
        self.clock.now += self.times[0] + self.times[1] * total
        self.sizes.append(total)
        for sequence, _, position, _ in parts:
            assert position <= len(sequence.tokens)
        # The likeliest token is nearly certain.
        return 8 * super().run(parts)


def written(model_text, draft_text=None, *, texts=1, draft=(0.1, 0.01), prompt=20, most=None, **options):
    """Writes texts by a model whose steps take 1 second, and 0.05 for each token.

    Returns the seconds, the model, the draft and the texts.
    """
    clock = Clock()
    model = Timed(model_text, clock, 1.0, 0.05, prompt=prompt)
    second = guesser = None
    if draft_text is not None:
        second = Timed(draft_text, clock, *draft, prompt=prompt, **options)
        guesser = DraftModel(second, 257, Bytes.end_tokens, lambda: clock.now)
    batcher = Batcher(Scheduler(model, lambda: clock.now, guesser=guesser))
    runs = [
        Generation(
            batcher,
            Bytes(),
            Sampler(temperature=0.0),
            [65 + n, *range(prompt - 1)],
            max_tokens=most,
            guess=None if guesser is None else guesser.guess(),
        )
        for n in range(texts)
    ]
    found = Generations(batcher, runs, texts).texts()
    # What ended is released by the next step.
    assert model.open_sequences == 0 and (second is None or second.open_sequences == 0)
    return clock.now, model, second, found


@pytest.mark.parametrize("texts", [1, 4, 8])
def test_a_draft_that_is_right_saves_steps(texts):
    plain, alone, _, expected = written(TEXT, texts=texts)
    seconds, model, draft, found = written(TEXT, TEXT, texts=texts)
    assert found == expected == [TEXT.decode()] * texts
    assert model.calls < 0.4 * alone.calls and seconds < 0.55 * plain
    # A step of the draft is for all texts.
    assert texts * draft.calls < 1.2 * sum(draft.sizes)


@pytest.mark.parametrize("costs", [(0.02, 0.01), (0.1, 0.01), (0.3, 0.05), (1.0, 0.05), (3.0, 0.2)])
@pytest.mark.parametrize("texts", [1, 4, 8])
def test_a_draft_that_is_wrong_costs_little(costs, texts):
    """Although it is sure of what it says. Part of the time goes to guesses at what stood there before."""
    plain, _, _, expected = written(TEXT, texts=texts)
    seconds, _, draft, found = written(TEXT, OTHER, texts=texts, draft=costs)
    assert found == expected and seconds < 1.07 * plain
    # It was tried, and given up.
    assert 3 <= draft.calls < 0.3 * len(TEXT)


@pytest.mark.parametrize("texts", [1, 4])
def test_a_draft_as_slow_as_the_model_is_not_asked(texts):
    plain, _, _, expected = written(TEXT, texts=texts)
    seconds, _, draft, found = written(TEXT, TEXT, texts=texts, draft=(1.0, 0.05))
    assert found == expected and seconds < 1.04 * plain
    assert set(draft.sizes) <= {1, 16}


def test_a_draft_that_is_right_now_and_then_is_tried_again():
    """It is wrong for long, and right behind that."""
    text = 2 * TEXT
    draft = OTHER + OTHER[: len(TEXT) // 2] + text[len(TEXT) * 3 // 2 :]
    plain, _, _, expected = written(text)
    seconds, model, _, found = written(text, draft, draft=(0.05, 0.01))
    assert found == expected and model.calls < len(text) - 60

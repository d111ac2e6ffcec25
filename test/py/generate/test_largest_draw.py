# SPDX-License-Identifier: Apache-2.0
"""Tokens drawn from groups of the largest logits are those that all logits give, or none is drawn."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from lumen_mlir.generate.largest_draw import LargestDraw
from lumen_mlir.generate.sampling import Sampler, SamplingError
from lumen_mlir.reference import ops

CHOICES = (
    {"temperature": 0.0},
    {"temperature": 0.0, "top_k": 0},
    {"top_k": 1},
    {"top_k": 40, "top_p": 0.95, "min_p": 0.05},
    {"top_k": 7, "top_p": 0.5, "min_p": 0.0},
    {"top_k": 20, "top_p": 1.0, "min_p": 0.3, "temperature": 2.5},
    {"top_k": 30, "typical_p": 0.7},
    {"top_k": 0, "top_p": 1.0, "min_p": 0.1},
    {"top_k": 100, "top_p": 0.0},
)
CHANGES = (
    {},
    {"repeat_penalty": 1.3},
    {"repeat_penalty": 0.7},
    {"presence_penalty": 0.5, "frequency_penalty": 0.25},
    {"presence_penalty": -1.0},
    {"logit_bias": {3: -100.0, 17: 2.0, 299: 0.5, 10**6: 1.0}},
    {"logit_bias": {5: 100.0}},
)


def groups_of(logits: np.ndarray, wanted: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """The groups that a step gives of one row."""
    rows = logits[np.newaxis]
    ranks = np.arange(min(wanted, -(-logits.size // size)))
    values, numbers = ops.largest_groups(rows, ops.group_keys(rows, size), np.zeros_like(ranks), ranks, size)
    return values, numbers[:, 0]


def row(rng: np.random.Generator, size: int, kind: str) -> np.ndarray:
    values = rng.standard_normal(size).astype(np.float32)
    match kind:
        case "equals":
            return np.round(2 * values)
        case "all equal":
            return np.zeros(size, np.float32)
        case "few":
            values[rng.random(size) < 0.99] = -np.inf
            values[size // 2] = 1
            return values
        case "together":
            # The largest are in one group, and some stand out.
            values[64:128] += 5
            values[rng.integers(size)] += 9
            return 3 * values
    return 4 * values


def both(sampler: Sampler, logits: np.ndarray, wanted: int, banned: np.ndarray | None = None):
    """What is drawn from the groups, and from all logits. The sampler has drawn once."""
    groups = groups_of(logits, wanted, 128 if logits.size % 2 and logits.size > 1000 else 64)
    found = sampler.find_largest(*groups, logits.size, banned)
    other = sampler.fork()
    if found is not None:
        other.accept_drawn(found)
    if banned is not None:
        logits = logits.copy()
        logits[banned] = -np.inf
    expected = sampler.sample(logits)
    if found is not None:
        assert other.number == sampler.number
    return found, expected


@pytest.mark.parametrize("kind", ["any", "equals", "all equal", "few", "together"])
def test_tokens_are_those_of_all_logits(kind):
    """Over filters, changes of logits, sizes and seeds; as many groups as are wanted always suffice where
    nothing makes logits larger."""
    rng = np.random.default_rng(len(kind))
    drawn = missed = 0
    for choice, change, size in itertools.product(CHOICES, CHANGES, (64, 301, 4999)):
        sampler = Sampler(**choice, **change, seed=int(rng.integers(1000)))
        sampler.accept(rng.integers(0, size, 30).tolist())
        banned = rng.integers(0, size, 2).astype(np.int32) if rng.random() < 0.5 else None
        grows = change.get("repeat_penalty", 1) < 1 or "logit_bias" in change
        grows |= change.get("presence_penalty", 0) < 0
        for _ in range(3):
            logits = row(rng, size, kind)
            wanted = sampler.wanted + (0 if banned is None else 2)
            found, expected = both(sampler, logits, wanted, banned)
            assert found in (None, expected), (choice, change, size)
            drawn, missed = drawn + (found is not None), missed + (found is None)
            # (The min-p filter alone says of no group beforehand that it suffices. A repeated logit of 0
            # stays 0, as large as one that is not there may be.)
            if not grows and choice.get("top_k") != 0 and kind in ("any", "together"):
                assert found is not None, (choice, change, size)
    assert drawn > missed


def test_too_few_groups_give_nothing_else():
    """Whatever part of the groups there is, the token is right or missing."""
    rng = np.random.default_rng(5)
    for choice, change, count in itertools.product(CHOICES, CHANGES, (1, 2, 5, 20)):
        sampler = Sampler(**choice, **change, seed=1)
        found, expected = both(sampler, row(rng, 2000, "equals"), count)
        assert found in (None, expected)


def test_masks():
    """A mask leaves out some of the largest: where too many, all logits are needed."""
    rng = np.random.default_rng(3)
    drawn = missed = 0
    for choice, share in itertools.product(CHOICES, (0.01, 0.3, 0.9, 1.0)):
        sampler = Sampler(**choice, seed=2)
        draw = LargestDraw.of(sampler, 20_000, int, allowed=np.zeros(1, np.int32))
        assert draw is not None and draw.wanted == sampler.wanted + 32
        for _ in range(3):
            logits = row(rng, 5000, "any")
            words = np.packbits(rng.random(4992) < share, bitorder="little").view(np.int32)
            found = sampler.find_largest(*groups_of(logits, sampler.wanted + 32), logits.size, allowed=words)
            token = sampler.sample(logits, allowed=words)
            assert found in (None, token)
            drawn, missed = drawn + (found is not None), missed + (found is None)
    assert drawn > missed > 0


def test_what_needs_all_logits():
    rng = np.random.default_rng(0)
    logits = row(rng, 4999, "any")
    assert Sampler(top_k=0).wanted == 0 == Sampler(top_k=0, top_p=1.0, min_p=0.0).wanted
    assert Sampler(top_k=0).find_largest(*groups_of(logits, 5), logits.size) is None
    assert Sampler(temperature=0).find_largest(*groups_of(logits, 0), logits.size) is None
    # No token can be drawn: whoever has all logits says which one is the reason.
    for place, value in ((77, np.nan), (77, np.inf), (slice(None), -np.inf)):
        wrong = logits.copy()
        wrong[place] = value
        sampler = Sampler(temperature=0)
        assert sampler.find_largest(*groups_of(wrong, 3), wrong.size) is None
        with pytest.raises(SamplingError, match="no token can be drawn"):
            sampler.sample(wrong)


def test_groups_that_are_none():
    values, numbers = groups_of(np.arange(300, dtype=np.float32), 2)
    sampler = Sampler(temperature=0)
    assert sampler.find_largest(values, numbers, 300) == 299
    for wrong, message in (
        ((values[:1], numbers, 300), "each group has logits and a number"),
        ((values[:, :0].copy(), numbers, 300), "each group has logits and a number"),
        ((values, numbers, 63), "a row has no fewer logits than a group"),
        ((values, numbers * 0, 300), "no numbers of groups"),
        ((values, numbers + 1, 300), "no numbers of groups"),
        ((values, numbers - 5, 300), "no numbers of groups"),
        ((values.astype(np.float64), numbers, 300), "groups of logits"),
    ):
        with pytest.raises(SamplingError, match=message):
            sampler.find_largest(*wrong)


def test_a_draw_is_accepted_when_it_is_used():
    """A step may be lost before; then the same token is drawn again."""
    given = []
    sampler = Sampler(top_k=5, seed=3, repeat_penalty=1.5)
    banned = np.array([8], np.int32)
    draw = LargestDraw.of(sampler, 4999, lambda token: given.append(token) or token, banned)
    assert draw is not None and draw.wanted == 6
    logits = row(np.random.default_rng(2), 4999, "any")
    assert draw.take(*groups_of(logits, draw.wanted)) and draw.take(*groups_of(logits, draw.wanted))
    assert sampler.number == 0 and not given
    token = draw.finish()
    assert sampler.number == 1 and given == [token]
    logits[8] = -np.inf
    assert Sampler(top_k=5, seed=3, repeat_penalty=1.5).sample(logits) == token
    # Where nearly all are needed, or all.
    assert LargestDraw.of(sampler, 128 * 6, int) is not None
    assert LargestDraw.of(sampler, 128 * 6 - 1, int) is None
    assert LargestDraw.of(Sampler(top_k=0), 4999, int) is None
    assert not draw.take(*(array[:0] for array in groups_of(logits, 1)))

# SPDX-License-Identifier: Apache-2.0
"""The sampler against a plain statement of each filter, its determinism, and its refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.sampling import Sampler, largest

OFF = dict(top_k=0, top_p=1.0, min_p=0.0)


def row(size: int, seed: int = 0, scale: float = 3.0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32) * np.float32(scale)


def expected_probabilities(logits, temperature, top_k, top_p, min_p) -> dict[int, float]:
    """The definition, token by token, in llama.cpp's order."""
    order = sorted(range(len(logits)), key=lambda i: (-float(logits[i]), i))
    if top_k:
        order = order[:top_k]

    def softmax(tokens, temperature=1.0):
        weights = [math.exp((float(logits[i]) - float(logits[tokens[0]])) / temperature) for i in tokens]
        return [weight / sum(weights) for weight in weights]

    if top_p < 1:
        total, size = 0.0, 0
        for p in softmax(order):
            total, size = total + p, size + 1
            if total >= top_p:
                break
        order = order[:size]
    probabilities = softmax(order)
    order = [i for i, p in zip(order, probabilities, strict=True) if p >= min_p * probabilities[0]]
    return dict(zip(order, softmax(order, temperature), strict=True))


@pytest.mark.parametrize("size", [5, 300, 5000])
@pytest.mark.parametrize(
    "options",
    [
        dict(temperature=1.0, **OFF),
        dict(temperature=0.5, top_k=40, top_p=0.95, min_p=0.05),
        dict(temperature=2.0, top_k=3, top_p=1.0, min_p=0.0),
        dict(temperature=1.0, top_k=0, top_p=0.7, min_p=0.0),
        dict(temperature=1.0, top_k=0, top_p=0.9999, min_p=0.0),
        dict(temperature=0.8, top_k=0, top_p=1.0, min_p=0.2),
        dict(temperature=1.0, top_k=1, top_p=0.5, min_p=1.0),
    ],
)
def test_frequencies(size, options):
    logits = row(size)
    expected = expected_probabilities(logits, **options)
    sampler, draws = Sampler(seed=1, **options), 1000
    counts: dict[int, int] = {}
    for _ in range(draws):
        token = sampler.sample(logits)
        counts[token] = counts.get(token, 0) + 1
    assert counts.keys() <= expected.keys()
    for token, p in expected.items():
        assert abs(counts.get(token, 0) / draws - p) < 5 * math.sqrt(p / draws) + 5 / draws


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 99), st.sampled_from([0.0, 0.3, 3.0]))
def test_largest(size, count, seed, scale):
    logits = np.round(row(size, seed, scale), 1)
    expected = sorted(range(size), key=lambda i: (-logits[i], i))[:count]
    assert largest(logits, count).tolist() == expected


def test_greedy():
    logits = row(1000)
    assert Sampler(temperature=0).sample(logits) == logits.argmax()
    assert Sampler(temperature=0).sample(np.zeros(10, np.float32)) == 0
    assert Sampler(temperature=0, seed=3).sample(logits.astype(np.float16)) == logits.argmax()


def test_penalty():
    logits = np.array([2.0, 1.9, -1.0, -1.1], np.float32)
    kept = logits.copy()
    sampler = Sampler(temperature=0, repeat_penalty=1.5)
    assert [sampler.sample(logits) for _ in range(3)] == [0, 1, 0]
    assert np.array_equal(logits, kept)
    negative = Sampler(temperature=0, repeat_penalty=1.5)
    negative.accept([2, 99])
    assert negative.sample(np.array([-9.0, -9.0, -1.0, -1.1], np.float32)) == 3
    short = Sampler(temperature=0, repeat_penalty=10, repeat_last=1)
    assert [short.sample(logits) for _ in range(4)] == [0, 1, 0, 1]
    assert [Sampler(temperature=0, repeat_penalty=10, repeat_last=0).sample(logits) for _ in range(2)] == [
        0,
        0,
    ]


def test_seed():
    logits = row(5000)
    draw = lambda seed: [s.sample(logits) for s in [Sampler(seed=seed)] for _ in range(20)]  # noqa: E731
    assert draw(7) == draw(7) and draw(7) != draw(8)
    assert draw(None) != draw(None)


def test_what_other_programs_write_for_off():
    logits = row(500)
    best = {Sampler(temperature=5.0, top_p=0, top_k=k).sample(logits) for k in (0, 40, -1) for _ in range(9)}
    assert best == {logits.argmax()}
    draw = lambda **options: [s.sample(logits) for s in [Sampler(**options)] for _ in range(20)]  # noqa: E731
    assert draw(top_k=-1, seed=3) == draw(top_k=0, seed=3)
    assert draw(seed=-1) != draw(seed=-1) and Sampler(seed=-1).seed is None
    assert draw(seed=np.int64(3), top_k=np.int32(9), temperature=np.float32(1)) == draw(
        seed=3, top_k=9, temperature=1
    )


def test_minus_infinity_is_never_drawn():
    logits = np.full(500, -np.inf, np.float32)
    logits[[3, 200]] = 0.0
    sampler = Sampler(temperature=5.0, seed=0, **OFF)
    assert {sampler.sample(logits) for _ in range(50)} == {3, 200}
    assert {Sampler(top_k=40, seed=s).sample(logits) for s in range(50)} == {3, 200}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (dict(temperature=-0.1), "temperature is -0.1"),
        (dict(temperature=math.nan), "temperature is nan"),
        (dict(temperature=math.inf), "temperature is inf"),
        (dict(temperature="hot"), "temperature is 'hot'"),
        (dict(top_k=-2), "top_k is -2; expected a whole number of at least -1"),
        (dict(top_k=1.5), "top_k is 1.5"),
        (dict(top_p=-0.1), "top_p is -0.1; expected a number at least 0 and at most 1"),
        (dict(top_p=1.01), "top_p is 1.01"),
        (dict(min_p=1.5), "min_p is 1.5"),
        (dict(repeat_penalty=0), "repeat_penalty is 0"),
        (dict(seed=-2), "seed is -2"),
        (dict(seed=True), "seed is True"),
        (dict(seed=1.0), "seed is 1.0"),
        (dict(top_k=np.float32(4)), "top_k is "),
        (dict(min_p=np.bool_(True)), "min_p is "),
        (dict(temperature=10**400), "temperature is inf"),
        (dict(temperature=np.zeros(9)), "temperature is array"),
        (dict(repeat_last=-1), "repeat_last is -1"),
    ],
)
def test_bad_options(options, part):
    with pytest.raises(LumenError) as caught:
        Sampler(**options)
    assert part in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "logits",
    [np.zeros((2, 3)), np.zeros(0), np.array([0, np.nan]), np.array([np.inf, 0]), np.full(9, -np.inf)],
)
@pytest.mark.parametrize("temperature", [0, 1])
def test_bad_logits(logits, temperature):
    with pytest.raises(LumenError, match="logit"):
        Sampler(temperature=temperature).sample(logits)


def test_tiny_temperature_does_not_overflow():
    logits = row(100)
    assert Sampler(temperature=1e-300, seed=0).sample(logits) == logits.argmax()

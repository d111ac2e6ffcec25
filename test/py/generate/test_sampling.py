# SPDX-License-Identifier: Apache-2.0
"""The sampler against plain statements of what it does, its determinism, and its refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumen_mlir._mlir import sampling as native
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.sampling import Sampler, SamplingError, largest, sample_batch
from lumen_mlir.reference import sampling as reference
from lumen_mlir.reference.sampling import ReferenceSampler
from lumen_mlir.support.threads import ThreadTeam

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
        (dict(seed=1 << 63), "seed is 9223372036854775808; at most 2^63 - 1"),
        (dict(typical_p=1.1), "typical_p is 1.1"),
        (dict(presence_penalty=2.5), "presence_penalty is 2.5; expected a number at least -2 and at most 2"),
        (dict(frequency_penalty=math.nan), "frequency_penalty is nan"),
        (dict(logit_bias=[1]), "logit_bias is [1]; a mapping"),
        (dict(logit_bias={"a": 1}), "a token of logit_bias is 'a'"),
        (dict(logit_bias={-1: 1}), "a token of logit_bias is -1"),
        (dict(logit_bias={1: 101}), "a bias of logit_bias is 101"),
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
    assert Sampler(temperature=5e-324, seed=0).sample(logits) == logits.argmax()


def test_huge_temperature_draws_what_can_be():
    logits = np.array([-np.inf, 3, -np.inf, 0, -3e38], np.float32)
    sampler = Sampler(temperature=1e300, seed=0, **OFF)
    assert {sampler.sample(logits) for _ in range(99)} == {1, 3, 4}


# --- the native sampler and the reference -------------------------------------------------------------------


def logits_of(kind: str, size: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "equal":
        return np.full(size, 1.5, np.float32)
    logits = (rng.standard_normal(size) * {"flat": 0.1, "large": 1e6}.get(kind, 3)).astype(np.float32)
    if kind == "ties":
        return logits.round()
    if kind == "masked":
        logits[rng.random(size) < 0.9] = -np.inf
        logits[rng.integers(size)] = 0
    return logits


KINDS = ["usual", "flat", "equal", "ties", "large", "masked"]


def agree(parameters: dict, size: int, kind: str, seed: int, count: int = 3) -> None:
    """Both draw the same tokens, from the same logits and behind the same prompt."""
    rng = np.random.default_rng(seed)
    ours, plain = Sampler(seed=seed, **parameters), ReferenceSampler(seed=seed, **parameters)
    prompt = rng.integers(0, size + 3, rng.integers(0, 100)).tolist()
    ours.accept(prompt)
    plain.accept(prompt)
    for number in range(count):
        logits = logits_of(kind, size, seed + number)
        allowed = None
        if seed % 3 == 0:
            allowed = rng.integers(-(1 << 31), 1 << 31, rng.integers(1, size // 32 + 2)).astype(np.int32)
        try:
            expected: int | str = plain.sample(logits, allowed)
        except LumenError as error:
            expected = str(error)
        try:
            got: int | str = ours.sample(logits, allowed=allowed)
        except SamplingError as error:
            got = str(error)
        assert got == expected, (parameters, size, kind, seed, number)


@settings(max_examples=400, deadline=None)
@given(
    st.fixed_dictionaries(
        {
            "temperature": st.sampled_from([0, 1e-300, 0.3, 1.0, 1.7, 1e30]),
            "top_k": st.sampled_from([0, 1, 7, 40, 600]),
            "typical_p": st.sampled_from([1.0, 1.0, 0.9, 0.3, 0.0]),
            "top_p": st.sampled_from([1.0, 0.95, 0.5, 0.0, 1 - 2**-53]),
            "min_p": st.sampled_from([0.0, 0.05, 0.9, 1.0, 1e-9]),
            "repeat_penalty": st.sampled_from([1.0, 1.3, 0.7, 1e300]),
            "repeat_last": st.sampled_from([0, 1, 64]),
            "presence_penalty": st.sampled_from([0.0, 0.0, 1.5, -0.3]),
            "frequency_penalty": st.sampled_from([0.0, 0.0, 0.1, -2.0]),
            "logit_bias": st.sampled_from([None, {0: 100, 3: -100, 5000: 1.25}]),
        }
    ),
    st.sampled_from([1, 5, 129, 512, 513, 3000, 20_000]),
    st.sampled_from(KINDS),
    st.integers(0, 1 << 62),
)
def test_native_code_draws_as_the_reference(parameters, size, kind, seed):
    agree(parameters, size, kind, seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("filters", [{}, {"top_p": 0.95}, {"typical_p": 0.9}, {"top_k": 40, "min_p": 0.05}])
def test_large_vocabularies(kind, filters):
    agree({"temperature": 1.0, **OFF, **filters}, 151_936, kind, seed=1, count=2)


def test_weights():
    """They are powers of e, and their sums are exact in any order."""
    values = np.float32(3) - np.linspace(0, 20, 100_001, dtype=np.float32)
    unit = reference.unit_of(values.size)
    weights = reference.weights_of(values, 1.0, unit)
    exact = np.exp(values.astype(np.float64) - 3)
    assert weights[0] == 1 and np.abs(weights - exact).max() < 2e-7
    assert (np.abs(weights - exact) <= 2e-6 * exact + unit / 2).all()
    shuffled = np.random.default_rng(0).permutation(weights)
    assert weights.cumsum()[-1] == shuffled.cumsum()[-1] == weights[::-1].sum()
    assert native.log_sum(values) == (3, pytest.approx(math.log(exact.sum()), abs=1e-6))
    for value in (1e-300, 0.05, 0.7071, 1.0, 3.5, 1e300):
        assert reference.logarithm(value) == pytest.approx(math.log(value), rel=1e-15)


# --- random numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("philox", [reference.philox, native.philox])
def test_known_answers(philox):
    """Those of the authors of Philox."""
    ones, pi = 0xFFFFFFFF, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    words = lambda *arguments: " ".join(f"{word:08x}" for word in philox(*arguments))  # noqa: E731
    assert words([0] * 4, [0] * 2) == "6627e8d5 e169c58d bc57ac4c 9b00dbd8"
    assert words([ones] * 4, [ones] * 2) == "408f276d 41c83b0e a20bc7c6 6d5451fd"
    assert words(pi, [0xA4093822, 0x299F31D0]) == "d16cfe09 94fdcceb 5001e420 24126ea1"


def test_numbers_depend_on_their_place_alone():
    logits = row(5000)
    sampler = Sampler(seed=9, temperature=2.0)
    tokens = [sampler.sample(logits) for _ in range(12)]
    assert len(set(tokens)) > 3 and sampler.number == 12
    other = Sampler(seed=9, temperature=2.0)
    assert [other.sample(logits, number=i) for i in (7, 3, 11)] == [tokens[i] for i in (7, 3, 11)]
    assert other.number == 12
    other.number = 5
    assert other.sample(logits) == tokens[5]
    for wrong in (-1, 1.5, "1"):
        with pytest.raises(SamplingError, match="number is"):
            other.number = wrong


def test_forks():
    """A fork draws what the original would, and neither changes the other."""
    logits = row(300, scale=0.5)
    parameters = dict(seed=4, temperature=1.5, repeat_penalty=1.4, presence_penalty=0.7, repeat_last=5)
    sampler, plain = Sampler(**parameters), Sampler(**parameters)
    for each in (sampler, plain):
        each.accept([1, 2, 3])
        each.sample(logits)
    fork = sampler.fork()
    ahead = [fork.sample(logits) for _ in range(30)]
    assert [plain.sample(logits) for _ in range(30)] == ahead
    assert [sampler.sample(logits) for _ in range(30)] == ahead
    # Tokens that were drawn elsewhere leave the same state behind.
    restored = Sampler(**parameters)
    first = Sampler(**parameters)
    first.accept([1, 2, 3])
    restored.accept([1, 2, 3])
    restored.accept([first.sample(logits)], written=True)
    restored.number = 1
    assert [restored.sample(logits) for _ in range(30)] == ahead


# --- penalties, biases, masks -------------------------------------------------------------------------------


def test_penalties_of_openai():
    """They count what was drawn, not the prompt, for as long as the text is."""
    logits = np.array([3.0, 2.4, 1.0], np.float32)
    sampler = Sampler(temperature=0, presence_penalty=1.0, repeat_last=0)
    sampler.accept([0, 0])
    assert [sampler.sample(logits) for _ in range(4)] == [0, 1, 0, 0]
    sampler = Sampler(temperature=0, frequency_penalty=0.5)
    assert [sampler.sample(logits) for _ in range(5)] == [0, 0, 1, 0, 1]


def test_bias():
    logits = row(300)
    best = int(logits.argmax())
    assert Sampler(temperature=0, logit_bias={best: -100}).sample(logits) != best
    sampler = Sampler(logit_bias={7: 100, 10**12: 5, np.int64(400): np.float32(1)}, seed=0)
    assert {sampler.sample(logits) for _ in range(20)} == {7}


def test_masks():
    logits = row(300)
    words = np.zeros(10, np.int32)
    words[[0, 3]] = 1 << 5, -(1 << 31)  # tokens 5 and 127
    for parameters in (dict(temperature=0), dict(temperature=9.0, **OFF), dict()):
        sampler = Sampler(seed=1, **parameters)
        drawn = {sampler.sample(logits, allowed=words) for _ in range(40)}
        assert drawn <= {5, 127} and (parameters == dict(temperature=0) or len(drawn) == 2 or not parameters)
    assert Sampler().sample(logits, allowed=np.full(1, 2, np.uint32)) == 1
    with pytest.raises(SamplingError, match="logit 0 is -inf; no token can be drawn"):
        Sampler().sample(logits, allowed=np.zeros(10, np.int32))
    for wrong in (np.zeros(10), [1, 2], "ab"):
        with pytest.raises(SamplingError, match="an array of int32 was expected"):
            Sampler().sample(logits, allowed=wrong)


# --- batches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches(threads):
    """Each text has the tokens that it has alone, also where another fails."""
    many = [
        dict(temperature=0), dict(), dict(temperature=1.0, **OFF), dict(temperature=1.0, top_k=0, min_p=0.0),
        dict(repeat_penalty=1.3, temperature=1.3), dict(typical_p=0.5, frequency_penalty=1.0), dict(top_k=3),
    ]  # fmt: skip
    alone = [Sampler(seed=i, **parameters) for i, parameters in enumerate(many)]
    batched = [Sampler(seed=i, **parameters) for i, parameters in enumerate(many)]
    team = ThreadTeam(threads) if threads else None
    masks = [None] * len(many)
    masks[2] = np.full(100, 0x55555555, np.int32)
    for number in range(6):
        logits = np.stack([row(3000, seed=10 * number + i) for i in range(len(many))])
        expected = [
            sampler.sample(logits[i], allowed=masks[i])
            for i, sampler in enumerate(alone)
            if i != 1 or number != 4
        ]
        if number == 4:
            logits[1] = np.nan
        tokens = sample_batch(batched, logits, masks if number % 2 == 0 else [], team)
        if number % 2:
            alone[2], batched[2] = batched[2].fork(), batched[2]
            expected[2] = tokens[2]
        if number == 4:
            assert isinstance(tokens[1], SamplingError) and "logit 0 is nan" in str(tokens.pop(1))
        assert tokens == expected


def test_bad_batches():
    sampler = Sampler()
    for samplers, logits in (
        ([sampler], np.zeros((2, 3))), ([sampler], np.zeros(3)), ([sampler], np.zeros((1, 0))),
        ([sampler, sampler], np.zeros((2, 3))), ([], np.zeros((2, 3))),
    ):  # fmt: skip
        with pytest.raises(SamplingError):
            sample_batch(samplers, logits)
    assert sample_batch([sampler], np.eye(1, 3, 1) * 99) == [1]
    assert sample_batch([], np.zeros((0, 3), np.float32)) == []

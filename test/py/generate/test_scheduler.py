# SPDX-License-Identifier: Apache-2.0
"""The scheduler on an engine that is made up: what it computes, in which order, and what it never does."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lumen_mlir.errors import LumenError
from lumen_mlir.generate import scheduler
from lumen_mlir.generate.cost_curve import CostCurve
from lumen_mlir.generate.request import Cancelled, Late, Request, Run
from lumen_mlir.generate.scheduler import Scheduler
from lumen_mlir.run.pages import NoRoomError

PAGE = 64


class FakeSequence:
    def __init__(self, engine: FakeSteps):
        self.engine, self.tokens, self.pages = engine, [], 0

    def adopt(self, tokens):
        known = 0
        if self.engine.prefixes:
            room = self.engine.free * PAGE
            while (
                known + PAGE < min(len(tokens), room)
                and tuple(tokens[: known + PAGE]) in self.engine.prefixes
            ):
                known += PAGE
        self.engine.take(self, known)
        self.tokens = list(tokens[:known])
        return known

    def truncate(self, length):
        del self.tokens[length:]

    def close(self):
        self.engine.free += self.pages
        self.engine.live.remove(self)
        self.pages = 0


class FakeSteps:
    """Takes pages as a KV cache does, and time by the number of tokens. A "logit" is what has been read."""

    def __init__(self, chunk=32, context=512, capacity=1024, sequences=8, prefixes=None, pair=0.0):
        self.chunk, self.context, self.capacity, self.sequences = chunk, context, capacity, sequences
        self.free, self.live, self.now, self.prefixes = capacity // PAGE, [], 0.0, prefixes
        self.sizes: list[tuple[int, int]] = []
        # What a token of a prompt takes for each position that it attends to.
        self.pair = pair
        self.row_width, self.selects = 2, False

    def forget(self):
        for sequence in self.live:
            sequence.pages, sequence.tokens = 0, []
        self.free, self.live = self.capacity // PAGE, []

    def open(self):
        if len(self.live) == self.sequences:
            raise NoRoomError("no more sequences")
        sequence = FakeSequence(self)
        self.live.append(sequence)
        return sequence

    def take(self, sequence, length):
        needed = -(-length // PAGE) - sequence.pages
        if needed > self.free:
            raise NoRoomError("all pages are taken")
        self.free -= max(needed, 0)
        sequence.pages += max(needed, 0)

    def run(self, parts):
        total = sum(len(tokens) for _, tokens, _, _ in parts)
        assert 1 <= total <= self.chunk and len({id(part[0]) for part in parts}) == len(parts)
        for sequence, tokens, position, first in parts:
            assert len(sequence.tokens) == position and 0 <= first <= len(tokens) and len(tokens)
            self.take(sequence, position + len(tokens))
        rows = []
        for sequence, tokens, _, first in parts:
            for i, token in enumerate(tokens.tolist()):
                sequence.tokens.append(token)
                if i >= first:
                    rows.append(np.array([sum(sequence.tokens), len(sequence.tokens)]))
                if self.prefixes is not None and len(sequence.tokens) % PAGE == 0:
                    self.prefixes.add(tuple(sequence.tokens))
        self.now += 1.0 + 0.05 * total
        self.now += self.pair * sum(len(ids) * (at + len(ids) / 2) for _, ids, at, _ in parts if len(ids) > 1)
        self.sizes.append((total, sum(len(tokens) == 1 for _, tokens, _, _ in parts)))
        return np.array(rows).reshape(-1, 2)


def request(prompt, answer, runs=lambda: 1, **options) -> Request:
    """Continues a prompt by so many tokens, each of which depends on all before it.

    ``runs``: how many of them come at once.
    """
    left = [answer]

    def draw(logits):
        assert logits[1] == len(made.ids) and logits[0] == sum(made.ids), "other tokens were computed"
        if not left[0]:
            return None
        count = min(runs(), left[0])
        left[0] -= count
        tokens = expected(made.ids, count)[len(made.ids) :]
        return tokens[0] if count == 1 else Run(tokens, ends=not left[0])

    made = Request(list(prompt), draw, most=10**9, read_ahead=10**9, **options)
    return made


def expected(prompt, answer) -> list[int]:
    ids = list(prompt)
    for _ in range(answer):
        ids.append((sum(ids) * 7 + 1) % 97)
    return ids


class SomeGuess:
    """Guesses tokens of which so many are right, as chance has it, whatever they cost."""

    look = 0

    def __init__(self, rng: random.Random):
        self.rng, self.proposed, self.right = rng, 0, 0

    def propose(self, ids, most, total, costs):
        count = self.rng.randint(0, min(most, 6))
        drafts = expected(ids, count)[len(ids) :]
        for place in range(count):
            if self.rng.random() < 0.3:
                drafts[place] = self.rng.randrange(97)
        return drafts

    def learn(self, proposed, right):
        assert 0 <= right <= proposed and proposed
        self.proposed, self.right = self.proposed + proposed, self.right + right

    def release(self):
        pass


def run(engine: FakeSteps, *requests: Request, most=10_000) -> None:
    chosen = Scheduler(engine, lambda: engine.now)
    for each in requests:
        chosen.submit(each)
    for _ in range(most):
        if not chosen.step():
            return
    raise AssertionError("no end")


def test_each_gets_what_it_gets_alone():
    engine = FakeSteps()
    prompts = [range(n) for n in (1, 40, 200, 7, 300)]
    requests = [request(prompt, 30) for prompt in prompts]
    run(engine, *requests)
    for each, prompt in zip(requests, prompts, strict=True):
        assert each.ids == expected(prompt, 30) and each.error is None and each.state == "done"
    assert engine.free == engine.capacity // PAGE and not engine.live


@pytest.mark.parametrize(("pair", "least"), [(0.0, 20), (1e-5, 12), (1e-4, 4)])
def test_who_writes_does_not_wait_for_prompts(pair, least):
    """While a long prompt is read, steps take at most three times what they take without it, also where its
    tokens attend to many others.
    """
    engine = FakeSteps(chunk=256, context=4096, capacity=8192, pair=pair)
    chosen = Scheduler(engine, lambda: engine.now)
    writers = [request(range(3), 2000) for _ in range(4)]
    for each in writers:
        chosen.submit(each)
    for _ in range(20):
        chosen.step()
    idle = engine.now
    chosen.step()
    idle = engine.now - idle
    late = request(range(4000), 5)
    chosen.submit(late)
    times = []
    while late.computed < 4000 and late.state != "done":
        before, lengths = engine.now, [len(each.ids) for each in writers]
        chosen.step()
        times.append(engine.now - before)
        assert all(len(each.ids) == n + 1 for each, n in zip(writers, lengths, strict=True))
    longest = sorted(times)[int(0.99 * len(times))]
    assert longest <= 3 * idle, (longest / idle, max(times) / idle)
    # And the prompt comes on: most of the time goes to it.
    assert 4000 / len(times) > least


def test_who_is_patient_waits_for_prompts():
    engine = FakeSteps(chunk=256, context=4096, capacity=8192)
    chosen = Scheduler(engine, lambda: engine.now)
    writers = [request(range(3), 300, patient=True) for _ in range(3)]
    for each in writers:
        chosen.submit(each)
    for _ in range(5):
        chosen.step()
    chosen.submit(request(range(4000), 5))
    chosen.step()
    assert engine.sizes[-1] == (256, 3)
    # One is enough that is not.
    chosen.submit(request(range(1), 300))
    for _ in range(3):
        chosen.step()
    assert engine.sizes[-1][0] < 100


def test_room_is_made_and_nothing_is_lost():
    """More than fits at the end: some begin again, and have the same text."""
    engine = FakeSteps(capacity=10 * PAGE, sequences=8)
    prompts = [range(i, i + 60) for i in range(6)]
    requests = [request(prompt, 330) for prompt in prompts]
    run(engine, *requests)
    for each, prompt in zip(requests, prompts, strict=True):
        assert each.ids == expected(prompt, 330) and each.error is None
    assert sum(each.preempted for each in requests) > 0
    assert engine.free == engine.capacity // PAGE


def test_a_request_that_is_too_long_fails_alone():
    engine = FakeSteps(capacity=4 * PAGE, context=10_000)
    with pytest.raises(LumenError, match="the prompt is 257 tokens long, but there is room for 256"):
        Scheduler(engine).submit(request(range(257), 1))
    with pytest.raises(LumenError, match="the prompt is empty"):
        Scheduler(engine).submit(request([], 1))
    long, short = request(range(200), 100), request(range(5), 10)
    run(engine, long, short)
    assert str(long.error) == "all pages are taken" and len(long.ids) == 257
    assert short.ids == expected(range(5), 10) and short.error is None


def test_priorities_and_their_end():
    engine = FakeSteps(sequences=1)
    order = []
    requests = []
    for number, priority in enumerate((0, 0, 5, 1)):
        made = request(range(3), 2, priority=priority)
        draw = made.draw
        made.draw = lambda logits, draw=draw, number=number: order.append(number) or draw(logits)
        requests.append(made)
    run(engine, *requests)
    assert list(dict.fromkeys(order)) == [2, 3, 0, 1]


def test_who_waits_long_comes_before_who_is_important(monkeypatch):
    monkeypatch.setattr(scheduler, "_AGING", 10)
    engine = FakeSteps(sequences=1)
    chosen = Scheduler(engine, lambda: engine.now)
    patient = request(range(3), 2)
    chosen.submit(request(range(3), 2, priority=3))
    chosen.submit(patient)
    for _ in range(400):
        if patient.state == "done":
            break
        # One that is more important is always there.
        if chosen.waiting < 2:
            chosen.submit(request(range(3), 2, priority=3))
        chosen.step()
    assert patient.state == "done"


def test_giving_up():
    engine = FakeSteps(sequences=2, chunk=8)
    chosen = Scheduler(engine, lambda: engine.now)
    waits, reads, writes = request(range(30), 3), request(range(300), 3), request(range(2), 300)
    others = request(range(4), 20)
    for each in (reads, writes, waits, others):
        chosen.submit(each)
    chosen.step()
    assert (waits.state, reads.state, writes.state) == ("waiting", "running", "running")
    for each in (waits, reads, writes):
        chosen.cancel(each)
    chosen.step()
    assert all(each.state == "done" and isinstance(each.error, Cancelled) for each in (waits, reads, writes))
    while chosen.step():
        pass
    assert others.ids == expected(range(4), 20) and engine.free == engine.capacity // PAGE


def test_deadlines():
    engine = FakeSteps()
    late, fine = request(range(5), 1000, deadline=30.0), request(range(5), 40, deadline=1e9)
    run(engine, late, fine)
    assert isinstance(late.error, Late) and len(late.ids) > 10
    assert fine.error is None and fine.ids == expected(range(5), 40)


def test_what_a_request_raises_ends_it_alone():
    engine = FakeSteps()
    bad, good = request(range(5), 10), request(range(6), 10)
    bad.draw = lambda logits: 1 // 0
    run(engine, bad, good)
    assert isinstance(bad.error, ZeroDivisionError) and good.ids == expected(range(6), 10)
    assert engine.free == engine.capacity // PAGE


def test_prefixes_are_not_read_again():
    text = list(range(200))
    engine = FakeSteps(prefixes={tuple(text[:n]) for n in (64, 128, 192)})
    made = request(text, 3)
    run(engine, made)
    assert made.known == 192 and made.ids == expected(text, 3)
    assert engine.sizes[0] == (8, 0)


def test_what_prompts_begin_with_is_read_once():
    """They come at once: one reads, the others wait for what they share with it, and for no more."""
    text = [n % 90 for n in range(256)]
    engine = FakeSteps(chunk=128, context=1024, capacity=8192, prefixes=set())
    requests = [request([*text, n, *range(20 + n)], 10) for n in range(6)]
    other = request(range(50, 90), 10)
    run(engine, *requests, other)
    for n, each in enumerate(requests):
        assert each.ids == expected([*text, n, *range(20 + n)], 10)
        assert each.known == (256 if n else 0)
    total = 256 + sum(21 + n for n in range(6)) + 40
    assert sum(size for size, _ in engine.sizes) == total + 7 * 9 + 7
    # Who shares nothing waits for nobody; and all go on as soon as the prefix is there.
    assert other.known == 0 and len(engine.sizes) < 20


def test_nobody_waits_for_one_that_does_not_read():
    text = [n % 90 for n in range(300)]
    engine = FakeSteps(chunk=16, context=1024, capacity=8192, prefixes=set())
    chosen = Scheduler(engine, lambda: engine.now)
    first, second, third = (request([*text, n], 5, priority=n // 2) for n in range(3))
    chosen.submit(first)
    chosen.submit(second)
    chosen.step()
    assert (first.state, second.state, second.leader) == ("running", "waiting", first)
    # Who is more important waits for none that comes later.
    chosen.submit(third)
    chosen.step()
    assert third.state == "running" and second.state == "waiting"
    chosen.cancel(first)
    chosen.step()
    assert second.leader is third
    chosen.cancel(third)
    chosen.step()
    assert second.state == "running"
    while chosen.step():
        pass
    assert second.ids == expected([*text, 1], 5)


def test_guesses_that_are_right_save_steps():
    prompts = [range(5), range(7, 40)]
    lengths = []
    for guesses in ([None, None], [SomeGuess(random.Random(1)), SomeGuess(random.Random(2))]):
        engine = FakeSteps()
        requests = [request(prompt, 60) for prompt in prompts]
        for each, guess in zip(requests, guesses, strict=True):
            each.guess = guess
        run(engine, *requests)
        for each, prompt in zip(requests, prompts, strict=True):
            assert each.ids == expected(prompt, 60) and each.error is None
        lengths.append(len(engine.sizes))
    assert lengths[1] < 0.6 * lengths[0]
    assert all(0 < guess.right < guess.proposed for guess in guesses)


def test_runs_are_computed_together():
    """Tokens that come along with one that was drawn take no step of their own."""
    engine = FakeSteps()
    made = request(range(5), 60, runs=lambda: 6)
    run(engine, made)
    assert made.ids == expected(range(5), 60) and made.error is None
    assert [size for size, _ in engine.sizes] == [5, *[6] * 9]


@pytest.mark.parametrize("most", range(1, 13))
def test_runs_end_where_there_is_room_for_no_more(most):
    made = request(range(5), 60, runs=lambda: 6)
    made.most = 5 + most
    run(FakeSteps(), made)
    assert made.ids == expected(range(5), most) and list(made.unread) == made.ids[5:]


@pytest.mark.parametrize("length", [4, 200])
def test_runs_are_no_prompts_and_long_ones_hold_nobody_up(length):
    """While a prompt is read, a text goes on by a run each step; others do not wait for a long one."""
    engine = FakeSteps(chunk=256, context=8192, capacity=30_000)
    chosen = Scheduler(engine, lambda: engine.now)
    writer, runner = request(range(3), 3000), request(range(4), 3000, runs=lambda: length)
    chosen.submit(writer)
    for _ in range(20):
        chosen.step()
    idle = engine.now
    chosen.step()
    idle = engine.now - idle
    chosen.submit(runner)
    while len(runner.ids) == 4:
        chosen.step()
    chosen.submit(request(range(4000), 5, priority=1))
    for _ in range(60):
        before, lengths = engine.now, (len(writer.ids), len(runner.ids))
        chosen.step()
        assert engine.now - before <= 3 * idle and len(writer.ids) == lengths[0] + 1
        # A short one does not wait for the prompt, which comes first.
        assert length > 4 or len(runner.ids) == lengths[1] + 4


def test_guesses_and_runs():
    """Guesses are right or wrong, whatever comes of a run."""
    for seed in range(300):
        rng = random.Random(seed)
        engine = FakeSteps()
        made = request(range(3), 40, runs=lambda rng=rng: rng.choice((1, 1, 2, 5)))
        made.guess, made.most = SomeGuess(rng), 3 + rng.choice((20, 39, 40, 100))
        run(engine, made)
        assert made.ids == expected(range(3), min(40, made.most - 3)) and made.error is None
        assert engine.free == engine.capacity // PAGE
    assert made.guess.right > 0


@pytest.mark.parametrize("count", [1, 3])
def test_guesses_take_nobody_s_room(count):
    """Where pages are few, a step goes without guesses before anyone begins again or fails."""
    results = []
    for guess in (False, True):
        engine = FakeSteps(capacity=count * PAGE, context=10_000)
        requests = [request(range(i, i + 20), PAGE - 20) for i in range(count)]
        for i, each in enumerate(requests):
            each.guess = SomeGuess(random.Random(i)) if guess else None
        chosen = Scheduler(engine, lambda engine=engine: engine.now)
        chosen._need = lambda each: PAGE
        for each in requests:
            chosen.submit(each)
        while chosen.step():
            pass
        results.append([(each.ids, each.error, each.preempted) for each in requests])
        assert engine.free == count
    assert results[0] == results[1]
    assert all(error is None and not preempted for _, error, preempted in results[1])


@pytest.mark.parametrize("part", range(10))
def test_random_schedules(part):
    """No page is lost, every request ends, with the text that it has alone or for a reason."""
    for seed in range(part * 1000, part * 1000 + 1000):
        rng = random.Random(seed)
        engine = FakeSteps(
            rng.choice((1, 2, 8, 64)),
            rng.choice((64, 200)),
            PAGE * rng.choice((2, 3, 6)),
            rng.choice((1, 2, 5)),
            rng.choice((None, set())),
        )
        chosen = Scheduler(engine, lambda engine=engine: engine.now)
        made, steps = [], 0
        for _ in range(rng.randrange(1, 7)):
            size = rng.choice((1, 5, 63, 64, 65, 130))
            prompt, answer = [rng.randrange(97) for _ in range(size)], rng.randrange(12)
            if made and rng.random() < 0.4:
                prompt[: size // 2] = made[0][1][: size // 2]
            most = rng.choice((1, 1, 3, 30))
            runs = lambda rng=rng, n=most: rng.randint(1, n)  # noqa: E731
            each = request(prompt, answer, runs, priority=rng.randrange(3))
            each.most = min(engine.context, size + 12)
            if rng.random() < 0.4:
                each.guess = SomeGuess(random.Random(rng.random()))
            if rng.random() < 0.1:
                each.deadline = engine.now + rng.random() * 40
            try:
                chosen.submit(each)
                made.append((each, prompt, answer))
            except LumenError:
                assert size > min(engine.context, engine.capacity)
            for _ in range(rng.randrange(6)):
                chosen.step()
                if made and rng.random() < 0.05:
                    chosen.cancel(rng.choice(made)[0])
        while chosen.step():
            steps += 1
            assert steps < 5000, f"no end: {seed}"
        assert engine.free == engine.capacity // PAGE and not engine.live
        assert not chosen.waiting and not chosen.running
        for each, prompt, answer in made:
            assert each.state == "done"
            whole = expected(prompt, answer)[: each.most]
            if each.error is None:
                assert each.ids == whole, seed
            else:
                assert each.ids == whole[: len(each.ids)], seed


def test_cost_curve():
    costs = CostCurve(100)
    assert costs.seconds(5) is None and costs.most_within(1.0, 3, 50) == 3
    costs.add(1, 1.0)
    assert costs.has_measured(1) and not costs.has_measured(2) and costs.seconds(4) == 4.0
    costs.add(64, 2.0)
    assert costs.has_measured(100) and not costs.has_measured(63)
    assert costs.seconds(1) == 1.0 and costs.seconds(64) == 2.0 and costs.seconds(128) == 4.0
    assert costs.seconds(32) == pytest.approx(1 + 31 / 63)
    assert costs.most_within(1.5, 1, 100) == 32 and costs.most_within(0.1, 7, 100) == 7
    assert costs.most_within(9.0, 1, 100) == 100
    for _ in range(100):
        costs.add(1, 3.0)
    assert costs.seconds(1) == pytest.approx(3.0)
    # Small steps each have a place of their own; longer ones share one, and count by their tokens.
    for tokens in (3, 5, 6, 8, 12):
        costs.add(tokens, tokens / 2)
    assert [costs.seconds(tokens) for tokens in (3, 4, 5, 6, 8)] == [1.5, 2.0, 2.5, 3.0, 4.0]
    # One that takes long for another reason changes little.
    costs.add(8, 1000.0)
    assert costs.seconds(8) == pytest.approx(4.8)
    # The machine may have become faster since. Prompts are long ago as a rule.
    for _ in range(300):
        costs.add(1, 0.1)
    assert not costs.has_measured(8) and costs.has_measured(64) and costs.seconds(8) < 1.0

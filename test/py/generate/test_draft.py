# SPDX-License-Identifier: Apache-2.0
"""A draft guesses: no text changes, whatever it says; it is asked where that pays."""

from __future__ import annotations

import numpy as np
import pytest
from parrot import Bytes, Parrot

import lumen_mlir
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.batcher import Batcher
from lumen_mlir.generate.cost_curve import CostCurve
from lumen_mlir.generate.draft import DraftModel
from lumen_mlir.generate.generation import Generation
from lumen_mlir.generate.many import Generations
from lumen_mlir.generate.sampling import Sampler
from lumen_mlir.generate.scheduler import Scheduler
from lumen_mlir.run.pages import NoRoomError
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.families import write_family
from lumen_mlir.testing.scripted import write_scripted

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


@pytest.mark.parametrize("error", [NoRoomError("no page"), LumenError("a fault"), ZeroDivisionError()])
def test_errors_of_the_draft_end_no_text(error):
    _, alone, _, expected = written(TEXT, texts=2)
    fails = {call: error for call in (0, 20, 21, 22, 60, 90)}
    _, model, draft, found = written(TEXT, TEXT, texts=2, fails=fails)
    assert found == expected and model.calls < alone.calls and draft.calls > 90


def test_there_is_no_room_for_the_draft():
    """It has one text at a time, as the reference has."""
    _, alone, _, expected = written(TEXT, texts=3)
    _, model, _, found = written(TEXT, TEXT, texts=3, sequences=1)
    assert found == expected
    _, model, draft, found = written(TEXT, TEXT, texts=3, sequences=0)
    assert found == expected and draft.calls == 0


def test_a_draft_with_a_shorter_context():
    _, alone, _, expected = written(TEXT)
    _, model, draft, found = written(TEXT, TEXT, context=200)
    assert found == expected and 200 < model.calls < alone.calls


def test_others_do_not_wait_for_the_draft_to_read():
    """It reads a long prompt a part at a time."""
    clock = Clock()
    model = Timed(TEXT, clock, 1.0, 0.01, prompt=3000)
    draft = Timed(TEXT, clock, 0.05, 0.002, prompt=3000)
    guesser = DraftModel(draft, 257, Bytes.end_tokens, lambda: clock.now)
    batcher = Batcher(Scheduler(model, lambda: clock.now, guesser=guesser))
    run = Generation(
        batcher, Bytes(), Sampler(temperature=0.0), [1] * 3000, max_tokens=300, guess=guesser.guess()
    )
    next(run)
    times = []
    while True:
        before = clock.now
        if next(run, None) is None:
            break
        if clock.now > before:
            times.append(clock.now - before)
    assert run.output == TEXT[:300].decode() and run.guess.right > 150
    assert max(times) < 2.5 * 1.01 and max(draft.sizes) < 1000


@pytest.mark.parametrize("part", range(3))
def test_random_schedules(part):
    """Every text is what it is without a draft, and nothing stays open."""
    for seed in range(part * 10, part * 10 + 10):
        rng = np.random.default_rng(seed)
        clock, sizes = Clock(), {"chunk": int(rng.choice([2, 8, 64])), "prompt": 30}
        draft_text = bytes(a if rng.random() < 0.7 else b for a, b in zip(TEXT, OTHER, strict=True))
        fails = {int(call): NoRoomError("no page") for call in rng.integers(0, 200, 6)}
        sequences = int(rng.choice([1, 3, 8]))
        model = Timed(TEXT, clock, 1.0, 0.01, sequences=sequences, **sizes)
        second = Timed(draft_text, clock, 0.05, 0.001, fails, sequences=int(rng.integers(1, 9)), **sizes)
        guesser = DraftModel(second, 257, Bytes.end_tokens, lambda clock=clock: clock.now)
        batcher = Batcher(Scheduler(model, lambda clock=clock: clock.now, guesser=guesser))
        texts = [
            Generation(
                batcher,
                Bytes(),
                Sampler(temperature=0.0),
                [65 + n, *range(29)],
                max_tokens=int(rng.integers(1, 120)),
                guess=guesser.guess() if rng.random() < 0.8 else None,
            )
            for n in range(6)
        ]
        lengths = {text: text._max_tokens for text in texts}
        while texts:
            text = texts[int(rng.integers(len(texts)))]
            if next(text, None) is None:
                assert text.output == TEXT[: lengths[text]].decode() and text.finish_reason == "length"
                texts.remove(text)
            elif rng.random() < 0.01:
                text.close()
                assert TEXT.decode().startswith(text.output)
                texts.remove(text)
        # What ended is released by the next step.
        batcher.wait(lambda: True)
        batcher.close(LumenError("closed"))
        assert model.open_sequences == second.open_sequences == 0


# --- models that compute ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model.gguf"
    write_family(path, "llama", vocabulary=300)
    return path


@pytest.fixture
def opened(path, cache, monkeypatch):
    """Opens the model, with itself as its draft, as if guesses cost nothing."""
    models = []

    def seconds(curve, *_):
        return float(not any(curve is llm.draft.guesser.costs for llm in models))

    def open_(**options):
        options = {"draft": path, "context": 256, "chunk": 32, "threads": 2, **options}
        llm = lumen_mlir.LLM(path, cache=cache, **options)
        models.append(llm)
        return llm

    monkeypatch.setattr(CostCurve, "seconds", seconds)
    yield open_
    for llm in models:
        llm.close()


def start(llm, seed=0, count=60, length=50, **options):
    ids = np.random.default_rng(seed).integers(1, 300, length).tolist()
    return llm.generate(ids, count, **{"temperature": 0.0, "ignore_eos": True, "seed": 1, **options})


def open_sequences(llm):
    return llm.draft.executor._most_sequences - len(llm.draft.executor._free)


def test_few_steps_and_closing(opened):
    llm = opened()
    expected = start(llm, speculate=False)
    expected.text()
    run = start(llm)
    assert run.text() == expected.output and run.guess.right > 40
    next(cut := start(llm, 1))
    cut.close()
    interrupted = start(llm, 2)
    next(interrupted)
    # (What is given up is so at the next step.)
    start(llm, 3, 2).text()
    assert open_sequences(llm) == 1
    llm.forget()
    assert interrupted.text() and start(llm).text() == expected.output
    llm.set_threads(1)
    assert llm.draft.executor.threads == 1 and start(llm).text() == expected.output
    running = start(llm, 4)
    next(running)
    draft = llm.draft
    llm.close()
    for ask in (lambda: llm.draft, running.text):
        with pytest.raises(LumenError, match="the model is closed"):
            ask()
    assert draft.executor.threads == 1


def test_preemption_and_no_pages(opened):
    """There is room for one or two texts: some begin again, and the draft has as little room."""
    llm = opened(kv_pool=256, sequences=2)
    alone = [start(llm, seed, 120, speculate=False).text() for seed in range(5)]
    runs = [start(llm, seed, 120) for seed in range(5)]
    for run in runs:
        run.begin()
    for run in runs:
        next(run)
    assert [run.output + run.text() for run in runs] == alone
    assert sum(run.request.preempted for run in runs) > 0
    # The draft's own pages are taken.
    taken = [pool.take() for pool in llm.draft.executor._pools for _ in range(pool.free)]
    llm.draft.executor._tree.forget()
    assert [start(llm, seed, 120).text() for seed in range(5)] == alone and taken


def test_the_reference_has_drafts(opened):
    llm = opened(engine="reference", context=64)
    expected = start(llm, 0, 8, 5, speculate=False).text()
    run = start(llm, 0, 8, 5)
    assert run.text() == expected and run.guess.right > 0


def test_tokens_must_be_the_same(path, cache, tmp_path):
    def refused(draft):
        with pytest.raises(LumenError) as found:
            lumen_mlir.LLM(path, cache=cache, draft=draft)
        return str(found.value).removeprefix(f"{draft}: ")

    with pytest.raises(LumenError, match="No such file"):
        lumen_mlir.LLM(path, cache=cache, draft=tmp_path / "none.gguf")
    with pytest.raises(LumenError, match="the path of a model was expected, got int"):
        lumen_mlir.LLM(path, cache=cache, draft=3)
    other = tmp_path / "other.gguf"
    write_scripted(other, ["one", "two"])
    assert refused(other).startswith("a draft must have the tokens of the model: token ")


def test_one_may_have_more_tokens(cache, tmp_path, monkeypatch):
    """At the end. What only one of the two has is no guess."""
    words = ["zero", "one", "two", "three"] * 2
    short, longer = tmp_path / "short.gguf", tmp_path / "longer.gguf"
    write_scripted(short, words[:5])
    ids = write_scripted(longer, words[:5], control=["<more>", "</s>"], eos="</s>")
    most = ids["<more>"]
    for model, draft in ((short, longer), (longer, short)):
        with lumen_mlir.LLM(model, cache=cache, draft=draft) as llm:
            seconds = lambda curve, *_, llm=llm: float(curve is not llm.draft.guesser.costs)  # noqa: E731
            monkeypatch.setattr(CostCurve, "seconds", seconds)
            run = llm.generate("zero", 40, temperature=0)
            assert run.text() == "onetwothreezero" * 10 and run.guess.right > 20
            assert llm.draft.guesser._vocabulary == most
            if model is longer:
                # The draft cannot read it.
                run = llm.generate([most, ids["zero"]], 40, temperature=0)
                assert run.text() == "onetwothreezero" * 10
                assert run.guess.proposed == run.guess.ngrams.proposed


def test_a_budget_counts_the_draft(path, cache):
    from lumen_mlir.run.memory import footprint

    run = {"cache": cache, "kv_type": "f32"}
    with lumen_mlir.LLM(path, draft=path, context=256, **run) as llm:
        alone = footprint(llm.model, llm.options, cache).total
        # Its own keys and values are f16.
        assert llm.draft.executor.options.kv_type == "f16"
    budget = 2 * alone
    for draft, context in ((None, 256), (path, 256)):
        with lumen_mlir.LLM(path, memory_budget=budget, draft=draft, **run) as llm:
            assert llm.context == context
    with lumen_mlir.LLM(path, memory_budget=int(1.75 * alone), draft=path, **run) as llm:
        assert llm.context == llm.draft.executor.context < 256
    with pytest.raises(LumenError, match=r"is too small: .* the draft \S+ [kM]?B: \S+ [kM]?B in all"):
        lumen_mlir.LLM(path, memory_budget=alone, draft=path, **run)

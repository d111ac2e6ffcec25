# SPDX-License-Identifier: Apache-2.0
"""The generation loop on a model that says what it is told to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parrot import END, Bytes, Parrot

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.generation import Generation, StopFilter
from lumen_mlir.generate.logprobs import LogprobRecorder
from lumen_mlir.generate.sampling import Sampler

GREEDY = dict(temperature=0.0)


def generation(text: str | bytes, *, context: int = 10_000, prompt=(1,), **options) -> Generation:
    data = text.encode() if isinstance(text, str) else text
    parrot = Parrot(data, context, len(prompt))
    return Generation(parrot.batcher(), Bytes(), Sampler(**GREEDY), prompt, **options)


def test_pieces_are_whole_characters():
    run = generation("영화 ok")
    assert list(run) == ["영", "화", " ", "o", "k"]
    assert (run.finish_reason, len(run.tokens), run.evaluated, run.decoded) == ("end", 9, 1, 9)
    assert run.prompt_seconds > 0 and run.decode_seconds > 0


def test_length():
    run = generation("영화", max_tokens=4)
    assert (run.text(), run.finish_reason, run.tokens) == ("영", "length", list("영화".encode()[:4]))
    run = generation("abc", max_tokens=0)
    assert (run.text(), run.finish_reason, run.tokens) == ("", "length", [])
    assert run.request.state == "waiting"


def test_context():
    # Three tokens fit; the logits behind the third still give a fourth.
    run = generation("abcdef", context=3)
    assert (run.text(), run.finish_reason) == ("abc", "context")
    with pytest.raises(LumenError, match="^the prompt is 4 tokens long, but the context is 3 tokens$"):
        generation("abc", context=3, prompt=(1, 2, 3, 4))


def test_broken_bytes_become_replacement_characters():
    assert generation(b"a\xffb").text() == "a\ufffdb"


def test_ignore_eos():
    run = generation("ab", ignore_eos=True, max_tokens=5)
    assert run.text() == "ab!~~" and run.finish_reason == "length"


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(prompt=()), "the prompt is empty"),
        (dict(max_tokens=-1), "max_tokens is -1"),
        (dict(stop=["x", ""]), "a stop string is empty"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(LumenError, match=message):
        generation("abc", **options)


def test_stop():
    run = generation("one two three", stop=["three", " two"])
    assert (run.text(), run.finish_reason) == ("one", "stop")
    assert generation("abcab", stop=["abx", "cabx"]).text() == "abcab"
    assert generation("끝.\n\n더", stop=["\n\n"]).text() == "끝."


@given(
    st.lists(st.tuples(st.text("ab", max_size=3), st.booleans()), max_size=8),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_stop_filter_with_hidden_pieces(pieces, stops):
    """A string ends the text where it is complete in all that came, or in what is shown of it."""
    found, text = StopFilter(stops), ""
    whole, shown = [], []
    for piece, hidden in pieces:
        text += found.feed(piece, hidden)
        for character in piece:
            whole.append((character, hidden))
        shown = [place for place, (_, hidden) in enumerate(whole) if not hidden]
        begins = []
        for places in (range(len(whole)), shown):
            joined = "".join(whole[place][0] for place in places)
            begins += [places[joined.find(stop)] for stop in stops if stop in joined]
        expected = "".join(whole[place][0] for place in shown if not begins or place < min(begins))
        assert (found.found is not None) == bool(begins) and expected.startswith(text)
        if begins:
            assert text == expected
            break
    else:
        assert text + found.finish() == "".join(whole[place][0] for place in shown)


def test_held_back_text_is_not_given_early():
    run = generation("xENx", stop=["END"])
    assert list(run) == ["x", "ENx"]


@given(
    st.lists(st.text("ab", max_size=3), max_size=8),
    st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_stop_filter_does_not_depend_on_the_pieces(pieces, stops):
    whole = "".join(pieces)
    found = StopFilter(stops)
    given_out = []
    for character in whole:
        given_out.append(found.feed(character))
        assert not any(stop in "".join(given_out) for stop in stops)
    by_character = "".join(given_out) + found.finish()
    ends = [whole.find(stop) + len(stop) for stop in stops if stop in whole]
    if not ends:
        assert by_character == whole and found.found is None
    else:
        # The string that is complete first ends the text, from where it (or one complete as early) begins.
        end = min(ends)
        begins = [end - len(stop) for stop in stops if whole[:end].endswith(stop)]
        assert found.found and by_character == whole[: min(begins)]
    in_pieces = StopFilter(stops)
    text = "".join(map(in_pieces.feed, pieces)) + in_pieces.finish()
    assert (in_pieces.found is None) == (found.found is None)
    assert in_pieces.found in (None, *(stop for stop in stops if stop in whole))
    assert whole.startswith(text)


# --- stop tokens and log probabilities ----------------------------------------------------------------------


def test_stop_tokens():
    run = generation("ab!c", stop_token_ids=[ord("!"), ord("c")])
    assert (run.text(), run.finish_reason, run.stopped_by) == ("ab", "stop", ord("!"))
    assert run.tokens == list(b"ab")
    # End tokens that are banned do not end a text, stop tokens do.
    run = generation("ab", ignore_eos=True, stop_token_ids=np.array([ord("~")]))
    assert (run.text(), run.finish_reason, run.stopped_by) == ("ab!", "stop", ord("~"))
    run = generation("ab", stop_token_ids=iter(()))
    assert (run.text(), run.finish_reason, run.stopped_by) == ("ab", "end", END)
    # A character that the token leaves unfinished is left out; what was held back for a string is not.
    data = "x영".encode()
    run = generation(data, stop=["xy"], stop_token_ids=[data[-1]])
    assert (run.text(), run.finish_reason, run.tokens) == ("x", "stop", list(data[:-1]))


def test_what_stopped_a_text():
    run = generation("one two", stop=["wo", "two"])
    assert (run.text(), run.finish_reason, run.stopped_by) == ("one ", "stop", "two")
    assert generation("abc", max_tokens=2).stopped_by is None
    run = generation("abc", max_tokens=2)
    assert (run.text(), run.finish_reason, run.stopped_by) == ("ab", "length", None)
    # A string that the stop token completes.
    run = generation("ab!", stop=["b!"], stop_token_ids=[ord("!")])
    assert (run.text(), run.finish_reason, run.stopped_by) == ("a", "stop", "b!")


def expected_logprobs(said: int) -> np.ndarray:
    logits = np.zeros(END + 1)
    logits[ord("!")] = 1
    logits[said] = 2
    return logits - np.log(np.exp(logits).sum())


def test_logprobs():
    run = generation("ab", logprobs=2)
    assert run.logprobs == []
    assert next(run) == "a" and len(run.logprobs) == 1
    assert run.text() == "b" and len(run.logprobs) == len(run.tokens) == 2
    for record, token in zip(run.logprobs, b"ab", strict=True):
        assert (record.token, record.bytes, record.text) == (token, bytes([token]), chr(token))
        assert record.logprob == pytest.approx(expected_logprobs(token)[token], abs=1e-6)
        assert [other.token for other in record.top] == [token, ord("!")]
        assert record.top[1].logprob == pytest.approx(expected_logprobs(token)[ord("!")], abs=1e-6)
    assert generation("ab").logprobs is None
    run = generation("ab", logprobs=0, max_tokens=1)
    assert run.text() == "a" and run.logprobs[0].top == ()
    run = generation("ab", logprobs=5, max_tokens=0)
    assert run.text() == "" and run.logprobs == []
    # All tokens, where more are asked for.
    run = generation("a", logprobs=1000)
    assert run.text() == "a" and len(run.logprobs[0].top) == END + 1
    assert sum(np.exp(other.logprob) for other in run.logprobs[0].top) == pytest.approx(1, abs=1e-6)
    assert run.logprobs[0].top[-1].bytes == b""


def test_logprobs_are_the_models():
    """Neither the filters of sampling nor the ban of end tokens change them."""
    parrot = Parrot(b"ab")
    sampler = Sampler(temperature=3.0, top_k=1, repeat_penalty=1.5, seed=1)
    run = Generation(parrot.batcher(), Bytes(), sampler, (1,), logprobs=1, ignore_eos=True, max_tokens=3)
    assert run.text() == "ab!"
    assert [record.top[0].token for record in run.logprobs] == [ord("a"), ord("b"), END]
    assert run.logprobs[2].logprob == pytest.approx(expected_logprobs(END)[ord("!")], abs=1e-6)


def test_logprobs_of_text_that_is_held_back():
    run = generation("xENDy", stop=["END"], logprobs=0)
    assert list(run) == ["x"] and bytes(record.token for record in run.logprobs) == b"xEND"


def test_logprobs_of_extreme_logits():
    logits = np.array([3e38, -3e38, -np.inf, 3e38], np.float32)
    record = LogprobRecorder(Bytes(), 4).record(logits, 0)
    assert [other.token for other in record.top] == [0, 3, 1]
    expected = [-np.log(2), -np.log(2), -2 * float(np.float32(3e38))]
    assert [other.logprob for other in record.top] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(logprobs=-1), "logprobs is -1; expected a whole number of at least 0"),
        (dict(logprobs=1.5), "logprobs is 1.5; expected a whole number"),
        (dict(logprobs=True), "logprobs is True; expected a whole number"),
        (dict(logprobs=1001), "logprobs is 1001; at most 1000 can be listed"),
        (dict(stop_token_ids=[257]), "stop token 257 is outside the vocabulary of 257 tokens"),
        (dict(stop_token_ids=[-1]), "stop token -1 is outside"),
        (dict(stop_token_ids=3), "token ids are 3; a list of whole numbers was expected"),
        (dict(stop_token_ids=["a"]), "a token id is 'a'; a whole number was expected"),
        (dict(stop_token_ids=[1] * 2000), "there are more than 1024 stop tokens"),
    ],
)
def test_refused_stop_tokens_and_logprobs(options, message):
    with pytest.raises(LumenError, match=message):
        generation("abc", **options)

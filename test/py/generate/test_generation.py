# SPDX-License-Identifier: Apache-2.0
"""The generation loop on a model that says what it is told to."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.generation import Generation, StopFilter
from lumen_mlir.generate.sampling import Sampler
from lumen_mlir.text.tokenizer import StreamDecoder

END = 256
GREEDY = dict(temperature=0.0)


class Bytes:
    """A tokenizer whose tokens are the 256 bytes and an end token."""

    end_tokens = frozenset({END})

    def stream(self, special=False):
        return StreamDecoder(self, special)

    def token_bytes(self, token, special=False):
        return b"" if token == END else bytes([token])


class Parrot:
    """Says ``text`` and then the end token, whatever the prompt."""

    def __init__(self, text: bytes, context: int = 10_000, prompt: int = 1):
        self.script = [*text, END]
        self.context = context
        self.lock = threading.RLock()
        self.prompt = prompt
        self.calls = 0

    def reusable(self, ids):
        return 0

    def last_logits(self, ids):
        self.calls += 1
        place = len(ids) - self.prompt
        logits = np.zeros(END + 1, np.float32)
        logits[self.script[place] if place < len(self.script) else ord("~")] = 2
        logits[ord("!")] = 1
        return logits


def generation(text: str | bytes, *, context: int = 10_000, prompt=(1,), **options) -> Generation:
    data = text.encode() if isinstance(text, str) else text
    parrot = Parrot(data, context, len(prompt))
    return Generation(parrot, Bytes(), Sampler(**GREEDY), prompt, **options)


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
    assert run._evaluator.calls == 0


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
        assert found.found == bool(begins) and expected.startswith(text)
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
        assert by_character == whole and not found.found
    else:
        # The string that is complete first ends the text, from where it (or one complete as early) begins.
        end = min(ends)
        begins = [end - len(stop) for stop in stops if whole[:end].endswith(stop)]
        assert found.found and by_character == whole[: min(begins)]
    in_pieces = StopFilter(stops)
    text = "".join(map(in_pieces.feed, pieces)) + in_pieces.finish()
    assert in_pieces.found == found.found
    assert whole.startswith(text)

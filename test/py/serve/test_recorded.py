# SPDX-License-Identifier: Apache-2.0
"""Log probabilities stand beside the content that came of their tokens, however a text is cut into pieces."""

from __future__ import annotations

import itertools

import chat_models as models
import pytest

from lumen_mlir.generate.logprobs import TokenLogprob
from lumen_mlir.serve.recorded import RecordedParser
from lumen_mlir.text.answers.deltas import Answer, ContentText, ReasoningText


class Marked:
    """What stands between < and > is reasoning; blanks are held back until something follows."""

    is_thinking = False

    def __init__(self):
        self._inside, self._held = False, ""

    def feed(self, text):
        deltas = []
        for character in text:
            if character in "<>":
                self._inside = character == "<"
            elif self._inside:
                deltas.append(ReasoningText(character))
            elif character == " ":
                self._held += character
            else:
                deltas.append(ContentText(self._held + character))
                self._held = ""
        return deltas

    def finish(self):
        return [ContentText(self._held)] if self._held else []


def records_of(tokens):
    return [TokenLogprob(number, token, -0.5) for number, token in enumerate(tokens)]


def read(chunks):
    """What a parser makes of ``chunks``: pairs of a text and the tokens that come with it."""
    parser = RecordedParser(Marked())
    found = [parsed for text, records in chunks for parsed in parser.feed(text, records)]
    found += parser.finish([])
    answer = Answer.of(delta for parsed in found for delta in parsed.deltas)
    of_content = [record for parsed in found for record in parsed.records[parsed.marks :]]
    everything = [record for parsed in found for record in parsed.records]
    return answer.content, answer.reasoning, of_content, everything


# 한 is three bytes, here of two tokens.
TOKENS = [b"<", b"th", b"ink", b">", b"a", b" ", b"\xed\x95", b"\x9c", b"<", b"x", b">c", b" ", b"b"]
TEXT = b"".join(TOKENS).decode()
CONTENT = [b"a", b" ", b"\xed\x95", b"\x9c", b">c", b" ", b"b"]


@pytest.mark.parametrize("size", range(1, len(TOKENS) + 1))
def test_pieces_of_tokens(size):
    """So many tokens are read at a time."""
    records = records_of(TOKENS)
    chunks, sent = [], 0
    for begin in range(0, len(TOKENS), size):
        whole = b"".join(TOKENS[: begin + size]).decode("utf-8", "ignore")
        chunks.append((whole[sent:], records[begin : begin + size]))
        sent = len(whole)
    content, reasoning, of_content, everything = read(chunks)
    assert (content, reasoning) == ("a 한c b", "thinkx")
    assert everything == records
    assert [record.bytes for record in of_content] == CONTENT


def test_pieces_do_not_matter():
    """Texts come later than their tokens where a stop string might have begun, and are cut within them."""
    records = records_of(TOKENS)
    whole = read([(TEXT, records)])
    for first, second in itertools.combinations(range(len(TEXT) + 1), 2):
        parts = (TEXT[:first], TEXT[first:second], TEXT[second:])
        cut = read([(parts[0], records), (parts[1], []), (parts[2], [])])
        assert cut == whole


def test_what_is_never_shown():
    """Tokens whose text a stop string took away are told, as marks."""
    content, _, of_content, everything = read([("ab", records_of([b"a", b"b", b"stop"]))])
    assert content == "ab" and [record.bytes for record in of_content] == [b"a", b"b"]
    assert [record.bytes for record in everything] == [b"a", b"b", b"stop"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with models.serving_both(tmp_path_factory.mktemp("models")) as running:
        yield running


def test_chats_have_all_records(server):
    """Also those of reasoning, calls and marks, as they are tokens of the answer; streamed or not."""
    body = {
        "model": "caller",
        "messages": [{"role": "user", "content": "?"}],
        "temperature": 0,
        "logprobs": True,
    }
    tools = [{"type": "function", "function": {"name": models.NAME, "parameters": models.PARAMETERS}}]
    answer = server.post("/v1/chat/completions", {**body, "tools": tools}).json()["choices"][0]
    records = answer["logprobs"]["content"]
    assert [record["token"] for record in records] == models.CALLER_TOKENS[:-1]
    choices = [
        event["choices"][0] for event in server.events("/v1/chat/completions", {**body, "tools": tools})
    ]
    came = [record for choice in choices if choice["logprobs"] for record in choice["logprobs"]["content"]]
    assert came == records
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    assert text == answer["message"]["content"] == models.CONTENT


def test_records_of_content(server):
    tools = [{"type": "function", "name": models.NAME, "parameters": models.PARAMETERS}]
    body = {"model": "caller", "input": "?", "temperature": 0, "top_logprobs": 1, "tools": tools}
    message = server.post("/v1/responses", body).json()["output"][1]
    assert [record["token"] for record in message["content"][0]["logprobs"]] == models.SAID

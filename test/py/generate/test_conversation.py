# SPDX-License-Identifier: Apache-2.0
"""What a conversation keeps when questions are asked, taken back and asked again."""

from __future__ import annotations

import pytest

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.conversation import Conversation


def said(conversation):
    return [message["content"] for message in conversation.request()]


@pytest.fixture
def talk():
    talk = Conversation("Be kind.")
    for question, answer in (("one?", "1"), ("two?", "2")):
        talk.ask(question)
        talk.answer(answer)
    return talk


def test_turns(talk):
    assert said(talk) == ["Be kind.", "one?", "1", "two?", "2"]
    assert (talk.turns, talk.question, talk.answered) == (2, "two?", True)
    assert [message["role"] for message in talk.request()] == ["system", *["user", "assistant"] * 2]
    talk.system = None
    assert said(talk) == ["one?", "1", "two?", "2"]
    talk.clear()
    assert (said(talk), talk.turns, talk.question, talk.answered) == ([], 0, None, False)


def test_a_question_without_an_answer_gives_way(talk):
    talk.ask("three?")
    assert not talk.answered
    talk.ask("four?")
    assert said(talk)[-2:] == ["2", "four?"] and talk.turns == 3
    talk.answer("4")
    with pytest.raises(LumenError, match="there is no question to answer"):
        talk.answer("5")


def test_undo(talk):
    copy = talk.copy()
    assert talk.undo() == 1 and said(talk) == ["Be kind.", "one?", "1"]
    assert talk.undo(5) == 1 and said(talk) == ["Be kind."]
    assert talk.undo() == 0
    assert said(copy)[1:] == ["one?", "1", "two?", "2"]


def test_retry(talk):
    talk.retry()
    assert said(talk)[-1] == "two?" and not talk.answered
    talk.retry()
    assert said(talk)[-1] == "two?"
    with pytest.raises(LumenError, match="nothing was asked yet"):
        Conversation("a").retry()


def test_what_follows_a_question_goes_with_it():
    """Answers that call functions are several messages."""
    talk = Conversation()
    talk.ask("weather?")
    talk.messages += [
        {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {}}]},
        {"role": "tool", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ]
    talk.retry()
    assert said(talk) == ["weather?"]
    assert talk.undo() == 1 and talk.messages == []


def test_json(talk):
    assert said(Conversation.from_json(talk.to_json())) == said(talk)
    assert Conversation.from_json(talk.to_json()).system == "Be kind."
    bare = Conversation.from_json([{"role": "user", "content": [{"type": "text", "text": "a"}]}])
    assert (bare.system, said(bare)) == (None, ["a"])
    assert said(Conversation.from_json({"messages": []})) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (5, "'messages' is 5; a list of messages was expected"),
        ({}, "'messages' is None"),
        ({"messages": "a"}, "'messages' is 'a'"),
        ([1], "message 0 is 1; expected a mapping"),
        ([{"role": "user", "content": 5}], "message 0: the content is 5"),
        ([{"role": "user"}], "question 0 is .*; text was expected"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "of type 'image_url'; the model reads text"),
    ],
)
def test_what_is_no_conversation(value, message):
    with pytest.raises(LumenError, match=message):
        Conversation.from_json(value)

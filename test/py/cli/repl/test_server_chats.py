# SPDX-License-Identifier: Apache-2.0
"""Whole chats with models of a server: every command does what it does with a model in the same process."""

from __future__ import annotations

import json

import pytest
from answer_templates import QWEN3
from scripted_http import DONE, STREAM, event, response, scripted_http
from server_fixture import serving

from lumen_mlir.cli.remote.address import Address
from lumen_mlir.cli.remote.client import Client
from lumen_mlir.cli.remote.model import RemoteOpener
from lumen_mlir.cli.repl.session import converse
from lumen_mlir.cli.repl.settings import Settings
from lumen_mlir.cli.repl.talk import Chat
from lumen_mlir.cli.report import Reporter
from lumen_mlir.testing.scripted import write_scripted

CHAT = "/v1/chat/completions"
CONTROL = ["<|im_start|>", "<|im_end|>"]
MARKS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
CALL = ["<tool_call>", '\n{"name": "weather", ', '"arguments": {"city": "서울"}}\n', "</tool_call>"]
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
PLAIN = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}<|assistant|>"
PLAIN_CONTROL = ["<|user|>", "<|assistant|>", "<|end|>", "</s>"]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")

    def written(name, *tokens, template=QWEN3, **options):
        path = folder / f"{name}.gguf"
        options.setdefault("eos", "<|im_end|>")
        write_scripted(path, tokens, **options, user_defined=MARKS, template=template, context=400)
        return str(path)

    models = (
        written(
            "thinks", "\n", "<think>", "\nhm\n", "</think>", "\n\nYes", "!", "<|im_end|>", control=CONTROL
        ),
        written("calls", "\n", *CALL, "<|im_end|>", control=CONTROL),
        written("plain", "<|assistant|>", "Other", "</s>", control=PLAIN_CONTROL, eos="</s>", template=PLAIN),
    )
    with serving(*models, options={"engine": "reference"}) as running:
        yield running


class Lines:
    """A ``Reader`` of lines that are there; one that is no text is called first."""

    def __init__(self, lines, edited=None):
        self._lines, self._edited = list(lines), edited

    def read(self, text=""):
        while self._lines and callable(self._lines[0]):
            self._lines.pop(0)()
        if not self._lines:
            raise EOFError
        return self._lines.pop(0)

    def edit(self, text):
        return self._edited


@pytest.fixture
def talk(server, capsys):
    """Runs a chat; what it printed, what it said on stderr, and the chat."""

    def run(*lines, model=None, edited=None, system=None, fixed=None, url=None, **settings):
        opener = RemoteOpener(Client(Address.parse(url or server.url)))
        values = Settings({"temperature": 0, **settings})
        reader = Lines(lines, edited)
        chat = Chat(
            opener.first(model),
            Reporter(),
            reader,
            opener.another,
            system=system,
            settings=values,
            fixed=fixed,
        )
        converse(chat)
        out, err = capsys.readouterr()
        return out, err.splitlines()[1:], chat

    return run


SHOWN = "<think>\nhm\n</think>\n\nYes!\n"
ANSWER = {"role": "assistant", "content": "Yes!", "reasoning_content": "hm"}


def test_a_conversation(talk):
    out, err, chat = talk("one?", "two?", "/stats", system="Be kind.")
    assert out.startswith(SHOWN * 2) and err == []
    assert chat.conversation.request() == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one?"},
        ANSWER,
        {"role": "user", "content": "two?"},
        ANSWER,
    ]
    # What both prompts begin with is computed once.
    assert chat.last.work().computed < chat.last.work().prompt
    lines = out.splitlines()
    assert "answer 6 tokens" in lines[-2] and "of 400 tokens (" in lines[-2] and lines[-1] == "2 turns"


def test_taking_back(talk):
    _, err, chat = talk("one?", "two?", "/undo", "/regen", "/edit", edited="three?")
    assert [each["content"] for each in chat.conversation.request()] == ["three?", "Yes!"]
    assert err[0] == "lumen: took 1 turn back; 1 turn left"
    assert "the answer is the same unless a setting changed" in err[1]
    _, err, chat = talk("/regen", "one?", "/clear", temperature=0.8)
    assert err == ["lumen: error: nothing was asked yet", "lumen: the conversation begins anew"]


def test_settings(talk):
    out, err, _ = talk("/set max_tokens 3", "one?", "/set max_tokens -1", "/set special off", "two?")
    assert out == "max_tokens 3\n<think>\nhm\n</think>\n\nmax_tokens -1\nspecial off\nhm\n\nYes!\n"
    out, err, _ = talk("/set stop Y", "one?", "/set top_k x")
    assert out == "stop 'Y'\n<think>\nhm\n</think>\n\n" and "top_k is 'x'" in err[0]
    out, _, _ = talk("/set verbose", "/show parameters", temperature=0.5)
    assert "temperature        0.5\n" in out and "top_k              40 (default)\n" in out


def test_show(talk, server):
    out, err, _ = talk("/show", "/show template", "/system Hm.", "one?", "/show messages", "/model")
    lines = out.splitlines()
    for line in ("model       thinks", f"server      {server.url}", "context     400 of 400 tokens"):
        assert line in lines
    assert any(line.startswith("program     lumen ") for line in lines) and QWEN3 in out
    assert f"system: Hm.\nuser: one?\nassistant: {SHOWN}" in out
    assert out.endswith("thinks\nthere are also calls, plain\n")


def test_models(talk):
    out, err, chat = talk("one?", "/model plain", "/stats", "two?", "/model plian", "/model", "/think off")
    assert out.startswith(f"{SHOWN}there is no answer yet\n") and "\nOther\nplain\n" in out
    assert err[0] == "lumen: the model is plain now"
    assert "the model 'plian' is not here; did you mean 'plain'?" in err[1]
    assert err[2] == "lumen: error: the chat template of this model has no switch for thinking"
    assert chat.conversation.request()[1] == ANSWER
    out, err, _ = talk("/think off", model="thinks")
    assert (out, err) == ("think off\n", [])


def test_calls(talk):
    out, _, chat = talk("서울 날씨?", "/show messages", model="calls", fixed={"tools": TOOLS})
    shown = '<tool_call>\n{"name": "weather", "arguments": {"city": "서울"}}\n</tool_call>\n'
    assert out == f"{shown}user: 서울 날씨?\nassistant: {shown}\n"
    (call,) = chat.conversation.request()[1]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city": "서울"}'}


def test_files(talk, tmp_path):
    note, path = tmp_path / "note.txt", tmp_path / "talk.json"
    note.write_text("The sky is blue.")
    (tmp_path / "long").write_text("x" * 500)
    lines = (f"/read {note}", f"/read {tmp_path / 'long'}", "why?", f"/save {path}")
    _, err, _ = talk(*lines)
    assert err[0].endswith("tokens that go with the next message")
    assert "tokens, and the context 400 tokens (the server's option -c makes it longer)" in err[1]
    saved = json.loads(path.read_text())
    assert saved["model"] == "thinks" and saved["messages"][1] == ANSWER
    _, err, chat = talk(f"/load {path}", "two?", model="plain")
    assert "held with thinks" in err[1]
    contents = [each["content"] for each in chat.conversation.request()]
    assert contents == ["The sky is blue.\n\nwhy?", "Yes!", "two?", "Other"]


def test_a_full_context(talk):
    _, err, chat = talk("one?", "long " * 300, "two?")
    assert len(err) == 1 and "but the context is 400 tokens (/undo takes a turn back" in err[0]
    assert err[0].endswith("/clear begins anew, the server's option -c makes it longer)")
    assert [each["content"] for each in chat.conversation.request()] == ["one?", "Yes!", "two?", "Yes!"]


# --- other servers, and broken ones -------------------------------------------------------------------------


def scripted(*answers):
    """A server that answers questions one after the other, and has no ``/props``."""
    left = list(answers)

    def answer(asked):
        if asked.path == "/v1/models":
            return response({"data": [{"id": "it", "max_model_len": 512}]})
        return left.pop(0) if asked.path == CHAT else response({"detail": "Not Found"}, 404)

    return scripted_http(answer)


def said(text, **delta):
    return STREAM + event({"content": text, **delta})


def test_what_servers_do_not_tell(talk, tmp_path):
    (tmp_path / "note").write_text("abc")
    whole = said("Hi", reasoning_content="hm") + event({}, "stop") + DONE
    with scripted(whole, whole) as other:
        out, err, _ = talk(
            "/show",
            "/show template",
            "/think on",
            f"/read {tmp_path / 'note'}",
            "one?",
            "/stats",
            "two?",
            url=other.url,
        )
    assert "context  512 tokens\n" in out and "the server has not said what the answer took\n" in out
    assert err == [
        f"lumen: error: {other.url}: the server does not tell its chat template",
        f"lumen: {tmp_path / 'note'}: 3 characters that go with the next message",
    ]
    # What was thought is for people: some servers refuse it.
    sent = other.asked[-1].body["messages"]
    assert sent[1] == {"role": "assistant", "content": "Hi"}
    assert other.asked[-1].body["chat_template_kwargs"] == {"enable_thinking": True}


def test_a_server_that_goes_away(talk):
    """What came stays, the chat goes on, and a call that was cut off is none."""
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x": '}}
    answers = (
        said("so far"),
        b"",
        response({"error": {"message": "tired"}}, 503),
        STREAM + event({"tool_calls": [call]}),
        said("back") + event({}, "stop") + DONE,
    )
    with scripted(*answers) as other:
        out, err, chat = talk("one?", "two?", "three?", "four?", "five?", url=other.url)
    assert out.splitlines() == ["so far", "<tool_call>", '{"name": "f", "arguments": {"x": ', "back"]
    contents = [each["content"] for each in chat.conversation.request()]
    assert contents == ["one?", "so far", "five?", "back"]
    assert [line.removeprefix(f"lumen: error: {other.url}: ") for line in err] == [
        "the server closed the connection",
        "the server closed the connection",
        "tired",
        "the server closed the connection",
    ]


def test_a_server_that_is_gone(talk):
    with scripted() as other:
        opener = RemoteOpener(Client(Address.parse(other.url)))
        model = opener.first(None)
    chat = Chat(model, Reporter(), Lines(["one?", "/model it"]), opener.another)
    converse(chat)
    assert chat.conversation.request() == [] and chat.model is model


def test_calls_in_conversations_that_were_loaded(talk, tmp_path):
    """Servers take the arguments of a call as text, in whatever form a file has them."""
    path = tmp_path / "talk.json"
    calls = [
        {"type": "function", "function": {"name": "날씨", "arguments": each}}
        for each in ({"x": 1}, '{"y": 2}')
    ]
    question = {"role": "user", "content": "one?"}
    answered = {"role": "assistant", "content": "So:", "tool_calls": calls}
    path.write_text(json.dumps([question, answered]))
    with scripted(said("Hi") + event({}, "stop") + DONE) as other:
        out, err, _ = talk(f"/load {path}", "/show messages", "two?", url=other.url)
    shown = [
        f'<tool_call>\n{{"name": "날씨", "arguments": {each}}}\n</tool_call>\n'
        for each in ('{"x": 1}', '{"y": 2}')
    ]
    assert out == f"user: one?\nassistant: So:\n{''.join(shown)}\nHi\n" and len(err) == 1
    sent = other.asked[-1].body["messages"][1]["tool_calls"]
    assert [each["function"]["arguments"] for each in sent] == ['{"x": 1}', '{"y": 2}']

# SPDX-License-Identifier: Apache-2.0
"""Whole chats, with models that say what they are told to."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lumen_mlir import LLM
from lumen_mlir.cli.repl.actions import ACTIONS
from lumen_mlir.cli.repl.local import LocalModel
from lumen_mlir.cli.repl.session import converse
from lumen_mlir.cli.repl.settings import NAMES, Settings
from lumen_mlir.cli.repl.talk import Chat
from lumen_mlir.cli.report import Reporter
from lumen_mlir.errors import LumenError
from lumen_mlir.testing.scripted import write_scripted
from lumen_mlir.text.named_templates import NAMED as NAMED_TEMPLATES

CONTROL = ["<s>", "</s>", "[A]", "[B]", "[C]"]
# The end of a question chooses the answer, and thinking another one.
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    "{% if enable_thinking is defined and not enable_thinking %}[B]"
    "{% elif 'nothing' in messages[-1].content %}[C]{% else %}[A]{% endif %}"
)
SCRIPTS = [["[A]", "Yes", ", ", "indeed", "</s>"], ["[B]", "No", " thought", "</s>"], ["[C]", "</s>"]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "talks.gguf"
    write_scripted(path, SCRIPTS, control=CONTROL, bos="<s>", eos="</s>", template=TEMPLATE, context=160)
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "other.gguf"
    script = ["[A]", "Other", "</s>"]
    template = "{% for m in messages %}{{ m.content }}{% endfor %}[A]"
    write_scripted(path, script, control=CONTROL, bos="<s>", eos="</s>", template=template)
    return path


class Lines:
    """A ``Reader`` of lines that are there; an exception among them is raised."""

    def __init__(self, lines, edited=None):
        self.lines, self.edited, self.asked = list(lines), edited, None

    def read(self, text=""):
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        if isinstance(line, type):
            raise line
        return line

    def edit(self, text):
        self.asked = text
        return self.edited


def open_model(path):
    return LocalModel(LLM(path, engine="reference"))


@pytest.fixture
def talk(model, capsys):
    """Runs a chat; what it printed, what it said on stderr, and the chat."""

    def run(*lines, edited=None, change=None, system=None, single_turn=False, **settings):
        values = Settings({"temperature": 0, **settings})
        reader = Lines(lines, edited)
        chat = Chat(open_model(model), Reporter(), reader, open_model, system=system, settings=values)
        if change is not None:
            change(chat)
        converse(chat, single_turn)
        out, err = capsys.readouterr()
        first, *said = err.splitlines()
        assert first.startswith("lumen: /help lists the commands")
        return out, said, chat

    return run


def said(chat):
    return [message["content"] for message in chat.conversation.request()]


def test_a_conversation(talk):
    out, err, chat = talk("one?", "", "  ", "  two?  ")
    assert (out, err) == ("Yes, indeed\nYes, indeed\n", [])
    assert said(chat) == ["one?", "Yes, indeed", "two?", "Yes, indeed"]
    # What both prompts begin with is computed once.
    assert chat.last.work().computed < chat.last.work().prompt


@pytest.mark.parametrize("word", ["/bye", "/exit", "/QUIT", "/q", " /bye "])
def test_the_end(talk, word):
    out, err, _ = talk(word, "never")
    assert (out, err) == ("", [])


def test_slashes(talk):
    _, err, chat = talk("//help me", "/usr/bin/env is a path", "/42 is a number", "    indented\n  code\n")
    assert said(chat)[::2] == [
        "/help me",
        "/usr/bin/env is a path",
        "/42 is a number",
        "    indented\n  code",
    ]
    out, err, chat = talk("/clear\n/bye\nis what I typed")
    assert said(chat)[0] == "/clear\n/bye\nis what I typed"
    out, err, chat = talk("/udno", "/", "/zzz a b")
    assert (out, said(chat)) == ("", [])
    assert "there is no command '/udno'; did you mean '/undo'?" in err[0]
    assert all(line.startswith("lumen: error: there is no command") for line in err) and len(err) == 3


def test_help(talk):
    out, _, _ = talk("/help")
    assert all(f"\n{action.usage}" in f"\n{out}" for action in ACTIONS.values())
    assert max(map(len, out.splitlines())) <= 80


def test_the_page_has_every_command():
    page = (Path(__file__).parents[4] / "docs" / "chat.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(/[^`]+)`", page.replace("\\|", "|"), re.M)
    assert rows == [action.usage for action in ACTIONS.values()]
    assert all(f"`{name}`" in page for name in (*NAMES, *NAMED_TEMPLATES))


def test_undo_and_clear(talk):
    _, err, chat = talk("one?", "two?", "three?", "/undo", "/undo 2", "/undo", "/undo x", "/undo 0", "four?")
    assert said(chat) == ["four?", "Yes, indeed"]
    assert err == [
        "lumen: took 1 turn back; 2 turns left",
        "lumen: took 2 turns back; none left",
        "lumen: error: there is nothing to take back",
        "lumen: error: /undo takes a whole number of at least 1, not 'x'",
        "lumen: error: /undo takes a whole number of at least 1, not '0'",
    ]
    _, _, chat = talk("one?", "/clear", system="Be kind.")
    assert said(chat) == ["Be kind."]


def test_regen(talk):
    out, err, chat = talk("one?", "/think off", "/regen")
    assert out == "Yes, indeed\nthink off\nNo thought\n" and said(chat) == ["one?", "No thought"]
    assert err == ["lumen: the temperature is 0: the answer is the same unless a setting changed"]
    _, err, _ = talk("/regen", "/edit", temperature=0.8)
    assert err == ["lumen: error: nothing was asked yet"] * 2


def test_regen_draws_something_else_with_a_fixed_seed(talk):
    seeds = []

    def change(chat):
        ask = chat.model.llm.chat
        chat.model.llm.chat = lambda *given, **options: (
            seeds.append(options["seed"]) or ask(*given, **options)
        )

    talk("one?", "/regen", "/regen", "two?", change=change, seed=7, temperature=0.8)
    assert seeds == [7, 8, 9, 7]


def test_edit(talk):
    out, _, chat = talk("one?", "two?", "/edit", edited="three?")
    assert chat.reader.asked == "two?"
    assert said(chat) == ["one?", "Yes, indeed", "three?", "Yes, indeed"]
    for unchanged in (None, "  "):
        _, err, chat = talk("one?", "/edit", edited=unchanged)
        assert said(chat) == ["one?", "Yes, indeed"] and err == ["lumen: the question stays as it is"]
    # A question that is too long leaves the one before.
    _, err, chat = talk("one?", "/edit", edited="long " * 200)
    assert said(chat) == ["one?", "Yes, indeed"] and "tokens long, but the context is 160" in err[0]


def test_system(talk):
    out, err, chat = talk("/system", "/system Be kind.\nBe brief.", "/show system", "hm?", '/system ""')
    assert out == "there is no system text\nBe kind.\nBe brief.\nYes, indeed\n"
    assert said(chat) == ["hm?", "Yes, indeed"] and len(err) == 2
    _, _, chat = talk("/set system Be kind.")
    assert said(chat) == ["Be kind."]


def test_settings(talk):
    out, err, chat = talk("/set temperature 2", "/set", "/set parameter top_k x", "/set max_tokens 2", "one?")
    assert "temperature        2\n" in out and "top_p              0.95 (default)\n" in out
    assert out.endswith("max_tokens 2\nYes, \n")
    assert err == ["lumen: error: top_k is 'x'; expected a whole number of at least -1"]
    assert chat.settings.values == {"temperature": 2.0, "max_tokens": 2}
    out, err, _ = talk("/set verbose", "one?")
    assert len(err) == 1 and "answer 3 tokens" in err[0] and "of 160 tokens" in err[0]


def test_thinking_needs_a_switch(talk, other):
    out, err, _ = talk("/think off", "/think", "/think sideways", f"/model {other}", "/think on", "/nothink")
    assert out == "think off\nthink on\n"
    assert err[0] == "lumen: error: think: on or off was expected, not 'sideways'"
    assert err[2:] == ["lumen: error: the chat template of this model has no switch for thinking"] * 2


def test_show(talk, model):
    out, err, _ = talk("/show", "/show parameters", "/show template", "/show messages", "/show mesages")
    for line in (f"model       {model}", "context     160 of 160 tokens", "temperature        0", TEMPLATE):
        assert line in out.splitlines()
    assert "nothing was said" in out and "did you mean 'messages'?" in err[0]
    out, _, _ = talk("one?", "/show messages", system="Hm.")
    assert out.endswith("system: Hm.\nuser: one?\nassistant: Yes, indeed\n")


def test_stats(talk):
    out, _, _ = talk("/stats", "one?", "/stats")
    lines = out.splitlines()
    assert lines[0] == "there is no answer yet" and lines[1].startswith("0 turns, peak memory ")
    assert "answer 3 tokens at " in lines[3] and "of 160 tokens (" in lines[3]
    assert lines[4].startswith("1 turn, peak memory ")


def test_read(talk, tmp_path):
    note, empty, long = tmp_path / "my note.txt", tmp_path / "empty", tmp_path / "long"
    note.write_text("\nThe sky is blue.\n")
    empty.write_text(" \n")
    long.write_text("word " * 200)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    lines = [f"/read '{note}'", f"/read {note}", "Why?", "Really?"]
    _, err, chat = talk(*lines)
    assert said(chat)[::2] == ["The sky is blue.\n\nThe sky is blue.\n\nWhy?", "Really?"]
    assert len(err) == 2 and err[0].endswith("tokens that go with the next message")
    names = ("empty", "long", "binary", "none", "")
    _, err, chat = talk(*(f"/read {tmp_path / name}" for name in names), "/read", "/read -", "Why?")
    assert said(chat) == ["Why?", "Yes, indeed"]
    for line, message in zip(
        err,
        ("has no text", "and the context 160 tokens", "is UTF-16", "No such file", "Is a directory",
         "/read needs the path of a file", "/read needs the path of a file"),
        strict=True,
    ):  # fmt: skip
        assert line.startswith("lumen: error: ") and message in line


def test_save_and_load(talk, model, tmp_path):
    path = tmp_path / "talk.json"
    _, err, _ = talk("one?", "two?", "/set top_k 3", f"/save {path}", system="Be kind.")
    assert err == [f"lumen: wrote 2 turns to {path}"]
    saved = json.loads(path.read_text())
    assert (saved["model"], saved["settings"]) == (str(model), {"temperature": 0, "top_k": 3})
    out, err, chat = talk(f"/load {path}", "three?")
    assert said(chat) == ["Be kind.", "one?", "Yes, indeed", "two?", "Yes, indeed", "three?", "Yes, indeed"]
    assert chat.settings.values == saved["settings"] and err == [f"lumen: read 2 turns from {path}"]
    saved["model"] = "gone.gguf"
    path.write_text(json.dumps(saved))
    _, err, _ = talk(f"/load {path}")
    assert err[1] == "lumen: they were held with gone.gguf (/model MODEL goes on with another model)"
    # What fails leaves the conversation alone.
    path.write_text("{")
    _, err, chat = talk("one?", f"/load {path}", f"/load {tmp_path}", f"/save {path}", "/save", "two?")
    assert said(chat) == ["one?", "Yes, indeed", "two?", "Yes, indeed"]
    assert len(err) == 4 and all(line.startswith("lumen: error: ") for line in err)
    assert path.read_text() == "{"


def test_model(talk, model, other, tmp_path):
    out, err, chat = talk(
        "one?", f"/model {tmp_path}/none.gguf", "/model", f"/model {other}", "/stats", "two?"
    )
    assert out.splitlines()[:3] == ["Yes, indeed", str(model), "there is no answer yet"]
    assert "none.gguf: cannot be opened" in err[0] and err[1] == f"lumen: the model is {other} now"
    assert said(chat) == ["one?", "Yes, indeed", "two?", "Other"]


class Interrupted:
    """A generation that Ctrl-C stops behind some pieces."""

    def __init__(self, generation, count):
        self._generation, self._count = generation, count

    def __iter__(self):
        for _ in range(self._count):
            yield next(self._generation)
        raise KeyboardInterrupt

    def __getattr__(self, name):
        return getattr(self._generation, name)


def interrupting(count, times=1):
    """The first answers are stopped behind so many pieces."""

    def change(chat):
        ask, left = chat.model.llm.chat, [times]

        def asked(*given, **options):
            left[0] -= 1
            answer = ask(*given, **options)
            return Interrupted(answer, count) if left[0] >= 0 else answer

        chat.model.llm.chat = asked

    return change


def test_a_stopped_answer_stays(talk):
    out, err, chat = talk("one?", "two?", change=interrupting(2))
    assert said(chat) == ["one?", "Yes, ", "two?", "Yes, indeed"]
    assert (out, err) == ("Yes, \nYes, indeed\n", [])


def test_an_answer_that_never_began(talk):
    told = "lumen: there is no answer; /regen asks again, another question takes the place of this one"
    _, err, chat = talk("one?", "two?", change=interrupting(0))
    assert said(chat) == ["two?", "Yes, indeed"] and err == [told]
    _, err, chat = talk("one?", "/regen", change=interrupting(0), temperature=0.8)
    assert said(chat) == ["one?", "Yes, indeed"] and err == [told]
    # Where there was an answer already, it stays.
    _, err, chat = talk("say nothing", "/undo", "one?", change=None)
    assert said(chat) == ["one?", "Yes, indeed"] and err[0] == told


def test_regen_that_is_stopped_keeps_the_answer_before(talk):
    def change(chat):
        ask, calls = chat.model.llm.chat, []

        def asked(*given, **options):
            calls.append(1)
            answer = ask(*given, **options)
            return Interrupted(answer, 0) if len(calls) == 2 else answer

        chat.model.llm.chat = asked

    _, _, chat = talk("one?", "/regen", change=change)
    assert said(chat) == ["one?", "Yes, indeed"]


def test_ctrl_c_at_the_prompt(talk):
    hint = "lumen: /bye or Ctrl-D ends the chat"
    _, err, chat = talk(KeyboardInterrupt, "one?", KeyboardInterrupt, "two?")
    assert err == [] and len(said(chat)) == 4
    _, err, _ = talk(KeyboardInterrupt, KeyboardInterrupt, "one?")
    assert err == [hint]


def test_a_full_context(talk):
    _, err, chat = talk("one?", "long " * 200, "two?")
    assert said(chat) == ["one?", "Yes, indeed", "two?", "Yes, indeed"]
    assert err == [
        "lumen: error: the prompt is 1031 tokens long, but the context is 160 tokens "
        "(/undo takes a turn back, /clear begins anew, -c at the start makes it longer)"
    ]
    _, err, chat = talk("x" * 138, ignore_eos=True)
    assert "warning: the context is full: /undo takes a turn back" in err[-1]


def test_failures_do_not_end_a_chat(talk):
    def change(chat):
        failures = [LumenError("broken"), OSError(5, "Input/output error"), MemoryError()]
        ask = chat.model.llm.chat

        def asked(*given, **options):
            if failures:
                raise failures.pop(0)
            return ask(*given, **options)

        chat.model.llm.chat = asked

    _, err, chat = talk("a", "b", "c", "d", change=change)
    assert said(chat) == ["d", "Yes, indeed"]
    assert [line.removeprefix("lumen: error: ") for line in err] == [
        "broken",
        "[Errno 5] Input/output error",
        "MemoryError",
    ]


def test_lines_that_are_no_text(talk):
    """Bytes that are no UTF-8 come as halves of characters, or as errors of the reader."""
    korean = "안녕".encode().decode("ascii", "surrogateescape")
    _, err, chat = talk("a\udcff\udc80b", "\ud800", korean, LumenError, "two?")
    assert said(chat)[::2] == ["a��b", "?", "안녕", "two?"] and len(err) == 1


def test_a_reader_that_went_away_ends_it(talk):
    def change(chat):
        def gone(*given, **options):
            raise BrokenPipeError

        chat.model.llm.chat = gone

    with pytest.raises(BrokenPipeError):
        talk("one?", change=change)


def test_single_turn(talk):
    out, _, chat = talk("/set top_k 3", "one?", "two?", single_turn=True)
    assert out == "top_k 3\nYes, indeed\n" and said(chat) == ["one?", "Yes, indeed"]

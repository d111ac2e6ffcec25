# SPDX-License-Identifier: Apache-2.0
"""Messages of several lines, and how they are typed on terminals that can edit."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from lumen_mlir.cli.repl.reader import PlainReader, joined, unfinished
from lumen_mlir.cli.repl.toolkit import CommandCompleter, ToolkitReader


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["hello"], "hello"),
        (["one\\", "two\\", "three"], "one\ntwo\nthree"),
        (['"""one', 'two"""'], "one\ntwo"),
        (['"""', "one", "", "two", '"""'], "one\n\ntwo"),
        (['"""all at once"""'], "all at once"),
        (['/system """', "Be kind.", 'Be brief."""'], "/system Be kind.\nBe brief."),
        (['/set system """a', 'b"""'], "/set system a\nb"),
        (['x = """'], 'x = """'),
        (['say """hi'], 'say """hi'),
        (['"""a""" and """b"""'], '"""a""" and """b"""'),
        (["C:\\", ""], "C:\n"),
    ],
)
def test_lines(lines, message, monkeypatch):
    for count in range(1, len(lines)):
        assert unfinished("\n".join(lines[:count]))
    assert joined("\n".join(lines)) == message
    given = iter(lines)
    monkeypatch.setattr("builtins.input", lambda prompt: next(given))
    assert PlainReader().read() == message
    assert next(given, None) is None


@pytest.fixture
def type_():
    """What is read where such keys are pressed."""
    with ExitStack() as stack:
        pipe = stack.enter_context(create_pipe_input())
        stack.enter_context(create_app_session(input=pipe, output=DummyOutput()))
        reader = ToolkitReader(InMemoryHistory(), input=pipe, output=DummyOutput())

        def press(keys: str, method: str = "read", text: str = ""):
            pipe.send_text(keys)
            return getattr(reader, method)(text)

        yield press


def test_editing(type_):
    assert type_("hello\r") == "hello"
    # Hangul, wide and combined, is removed by the character.
    assert type_("안녕하세요\x7f\x7f!\r") == "안녕하!"
    assert type_("👩‍👩‍👧 한\x01>\r") == ">👩‍👩‍👧 한"
    # The arrow finds earlier messages.
    assert type_("\x1b[A\x1b[A?\r") == "안녕하!?"


def test_several_lines(type_):
    assert type_("one\x1b\rtwo\r") == "one\ntwo"
    assert type_("one\\\rtwo\r") == "one\ntwo"
    assert type_('"""one\r\rtwo"""\r') == "one\n\ntwo"
    # Enter in the middle of a text sends all of it.
    assert type_("one\x1b\rtwo\x1b[A\r") == "one\ntwo"


def test_pasted_text_is_one_message(type_):
    assert type_("\x1b[200~first line\n  second\r\n/bye\n\x1b[201~\r") == "first line\n  second\n/bye\n"


def test_interrupts(type_):
    with pytest.raises(KeyboardInterrupt):
        type_("half a mess\x03")
    with pytest.raises(EOFError):
        type_("\x04")
    assert type_("again\r") == "again"


def test_edit(type_):
    assert type_("!\r", "edit", "what") == "what!"
    assert type_("!\x03", "edit", "what") is None


def completions(text):
    found = CommandCompleter().get_completions(Document(text), CompleteEvent())
    return [text[: len(text) + each.start_position] + each.text for each in found]


def test_completion(tmp_path):
    assert completions("/s") == ["/system", "/set", "/show", "/stats", "/save"]
    assert completions("/set te") == ["/set temperature"]
    assert completions("/show ") == [f"/show {each}" for each in
                                     ("info", "parameters", "system", "template", "messages")]  # fmt: skip
    assert completions("/think o") == ["/think on", "/think off"]
    assert completions("hello /s") == completions("/nothing a") == completions("/set temperature 0") == []
    (tmp_path / "말.txt").touch()
    (tmp_path / "folder").mkdir()
    assert completions(f"/read {tmp_path}/말") == [f"/read {tmp_path}/말.txt"]
    assert completions(f"/load {tmp_path}/f") == [f"/load {tmp_path}/folder"]

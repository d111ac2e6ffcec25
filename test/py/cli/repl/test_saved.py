# SPDX-License-Identifier: Apache-2.0
"""Conversations in files."""

from __future__ import annotations

import json

import pytest

from lumen_mlir.cli.repl.saved import Saved, load, save
from lumen_mlir.cli.repl.settings import Settings
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.conversation import Conversation

TURN = [{"role": "user", "content": "안녕?\n"}, {"role": "assistant", "content": "<think>a</think>네"}]


def test_round_trip(tmp_path):
    path = str(tmp_path / "talk.json")
    settings = Settings({"temperature": 0.5, "stop": ["a\n"], "max_tokens": -1, "think": False})
    save(path, Saved(Conversation("Be kind.", TURN), settings, "model.gguf"))
    read = load(path)
    assert (read.conversation.system, read.conversation.messages) == ("Be kind.", TURN)
    assert (read.settings.values, read.model) == (settings.values, "model.gguf")
    # What is there is replaced only where it is of the same kind.
    save(path, Saved(Conversation(), Settings(), None))
    assert load(path).conversation.request() == []


def test_files_of_others_stay(tmp_path):
    for name, text in (("notes.txt", "mine"), ("data.json", '{"messages": []}'), ("empty", "")):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(LumenError, match=f"{name}: is there already and is no saved conversation"):
            save(str(path), Saved(Conversation(), Settings(), None))
        assert path.read_text() == text
    with pytest.raises(LumenError, match="cannot be written: No such file or directory"):
        save(str(tmp_path / "none" / "talk.json"), Saved(Conversation(), Settings(), None))


def test_messages_of_other_programs(tmp_path):
    path = tmp_path / "openai.json"
    path.write_text(json.dumps([{"role": "system", "content": "Hm."}, *TURN]), encoding="utf-8")
    read = load(str(path))
    assert (read.conversation.system, read.conversation.turns, read.settings.values) == ("Hm.", 1, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "talk.json: is not JSON: line 1: "),
        ("[" * 100_000, "talk.json: is not JSON: "),
        ("5", "talk.json: 'messages' is 5; a list of messages was expected"),
        ('{"messages": [{"role": "user"}]}', "talk.json: question 0 is .*; text was expected"),
        ('{"messages": [], "settings": 5}', "talk.json: 'settings' is 5; an object was expected"),
        ('{"messages": [], "settings": {"x": 5}}', "talk.json: 'settings': there is no setting 'x'"),
        ('{"messages": [], "settings": {"top_p": 5}}', "talk.json: top_p is 5; expected a number"),
        ('{"messages": [], "settings": {"think": 1}}', "talk.json: think is 1; True or False was expected"),
        ('{"messages": [], "settings": {"max_tokens": []}}', "talk.json: max_tokens is "),
        ('{"messages": [], "model": 5}', "talk.json: 'model' is 5; a text was expected"),
    ],
)
def test_refused(tmp_path, text, message):
    path = tmp_path / "talk.json"
    path.write_text(text)
    with pytest.raises(LumenError, match=message):
        load(str(path))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(LumenError, match="none.json: cannot be opened: No such file or directory"):
        load(str(tmp_path / "none.json"))
    (tmp_path / "korean.json").write_bytes("안녕 하세요".encode("cp949"))
    with pytest.raises(LumenError, match="is not valid UTF-8.*CP949"):
        load(str(tmp_path / "korean.json"))

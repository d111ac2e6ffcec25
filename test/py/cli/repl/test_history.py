# SPDX-License-Identifier: Apache-2.0
"""What was typed is there in the next chat, and chats at the same time do not lose each other's."""

from __future__ import annotations

import stat
import subprocess
import sys

from lumen_mlir.cli.repl import history
from lumen_mlir.cli.repl.history import SharedHistory, default_path


def loaded(path):
    """The oldest first."""
    return list(SharedHistory(path).load_history_strings())[::-1]


def test_next_chat(tmp_path):
    path = tmp_path / "state" / "chat-history"
    assert loaded(path) == []
    chat = SharedHistory(path)
    for text in ("안녕", "two\nlines", "/set temperature 0", '"quoted" \\'):
        chat.append_string(text)
    assert loaded(path) == ["안녕", "two\nlines", "/set temperature 0", '"quoted" \\']
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_is_not_kept(tmp_path):
    keeps = True
    chat = SharedHistory(tmp_path / "h", lambda: keeps)
    chat.store_string("a")
    chat.store_string("x" * 100_000)
    keeps = False
    chat.store_string("secret")
    assert loaded(tmp_path / "h") == ["a"]
    nowhere = SharedHistory(None)
    nowhere.store_string("a")
    assert list(nowhere.load_history_strings()) == []


def test_several_chats(tmp_path):
    code = (
        "import sys; from pathlib import Path; from lumen_mlir.cli.repl.history import SharedHistory\n"
        "for n in range(200): SharedHistory(Path(sys.argv[1])).store_string(f'{sys.argv[2]} {n}')"
    )
    path = tmp_path / "h"
    chats = [subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in "ab"]
    assert [chat.wait(timeout=60) for chat in chats] == [0, 0]
    texts = loaded(path)
    assert len(texts) == 400
    for name in "ab":
        assert [text for text in texts if text[0] == name] == [f"{name} {n}" for n in range(200)]


def test_a_long_history_loses_its_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "_MOST_BYTES", 1000)
    chat = SharedHistory(tmp_path / "h")
    for number in range(300):
        chat.store_string(f"message {number}")
        assert (tmp_path / "h").stat().st_size <= 1000
    texts = loaded(tmp_path / "h")
    assert texts == [f"message {n}" for n in range(300 - len(texts), 300)] and len(texts) > 25


def test_damaged_files(tmp_path, caplog):
    path = tmp_path / "h"
    path.write_bytes(b'"good"\n\xff\xfe\n5\n{"a": 1}\n"half')
    assert loaded(path) == ["good"]
    (tmp_path / "file").write_text("")
    chat = SharedHistory(tmp_path / "file" / "h")
    assert list(chat.load_history_strings()) == []
    chat.store_string("a")
    (record,) = caplog.records
    assert "/file/h: what is typed is not kept: " in record.getMessage()


def test_place(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "lumen-mlir" / "chat-history"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "")
    assert default_path() is None

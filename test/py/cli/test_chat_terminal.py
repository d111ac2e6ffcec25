# SPDX-License-Identifier: Apache-2.0
"""``lumen chat`` on real terminals: keys, signals, colours, and what is kept for the next chat."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import subprocess
import sys
import termios
import time

import pytest
from server_fixture import serving

from lumen_mlir.testing.scripted import write_scripted

CONTROL = ["<s>", "</s>", "[A]", "[B]"]
TEMPLATE = (
    "{% for m in messages %}{{ m.content }}{% endfor %}"
    "{{ '[B]' if 'endless' in messages[-1].content else '[A]' }}"
)
SCRIPTS = [
    ["[A]", "<think>", "hm", "</think>", "Yes", ".", "</s>"],
    ["[B]", "on"],
    ["on", " and"],
    [" and", " on"],
    [" on", " and"],
]

# With every prompt, terminals are told to mark what is pasted.
READY = "\x1b[?2004h"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "talks.gguf"
    # So long that no answer reaches its end within a test.
    write_scripted(path, SCRIPTS, control=CONTROL, bos="<s>", eos="</s>", template=TEMPLATE, context=200_000)
    return path


class Terminal:
    """A chat on a terminal of its own."""

    def __init__(self, environment, model, *arguments, term="xterm", tee=None, **variables):
        self._main, side = pty.openpty()
        command = [sys.executable, "-m", "lumen_mlir", "chat", str(model), "--temp", "0", *arguments]
        kept = {name: value for name, value in environment.items() if name != "NO_COLOR"}
        self.process = subprocess.Popen(
            command,
            stdin=side,
            stdout=side if tee is None else tee,
            stderr=side,
            env={**kept, "TERM": term, **variables},
            start_new_session=True,
            # Else Ctrl-C would be a signal for nobody.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(side)
        self.said = ""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._main)

    def wait_for(self, text: str, seconds: float = 60) -> str:
        """Reads until ``text``; what came before it."""
        deadline = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < deadline and self._read(), f"{text!r} is not in {self.said!r}"
        before, _, self.said = self.said.partition(text)
        return before

    def _read(self) -> bool:
        if not select.select([self._main], [], [], 60)[0]:
            return False
        with contextlib.suppress(OSError):
            self.said += os.read(self._main, 65536).decode("utf-8", "replace")
            return True
        return False

    def type(self, keys: str) -> None:
        os.write(self._main, keys.encode())

    def end(self) -> str:
        """The rest of what is said, until the process ends by itself."""
        while self._read():
            pass
        assert self.process.wait(timeout=60) == 0
        return self.said


@pytest.fixture
def chat(environment, model, tmp_path):
    def start(*arguments, model=model, **options):
        state = {"XDG_STATE_HOME": str(tmp_path)}
        return Terminal(environment, model, *arguments, **{**state, **options})

    return start


def test_chats(chat, tmp_path):
    """Keys and signals; the next chat finds what was typed in this one."""
    with chat("-q") as terminal:
        terminal.wait_for(READY)
        terminal.type("안녕하세요\x7f\x7f!\r")
        assert "\x1b[2mhm" in terminal.wait_for("Yes.")
        terminal.wait_for(READY)
        terminal.type("/show messages\r")
        terminal.wait_for("user: 안녕하!")
        terminal.wait_for("assistant: <think>hm</think>Yes.")
        terminal.wait_for(READY)
        # Ctrl-C stops an answer: the terminal makes a signal of it. What was said until then stays.
        terminal.type("endless\r")
        terminal.wait_for("on and on and on")
        terminal.type("\x03")
        terminal.wait_for(READY)
        terminal.type("/show messages\r")
        terminal.wait_for("assistant: on and on")
        terminal.wait_for(READY)
        # At the prompt it takes the line away.
        terminal.type("half\x03")
        terminal.wait_for(READY)
        terminal.type("\x04")
        assert "Traceback" not in terminal.end()
    assert (tmp_path / "lumen-mlir" / "chat-history").stat().st_mode & 0o777 == 0o600
    with chat("-q", "-st", NO_COLOR="1") as terminal:
        terminal.wait_for(READY)
        # Three up: past "/show messages", "endless" and the other "/show messages".
        terminal.type("\x1b[A\x1b[A\x1b[A\x1b[A?\r")
        terminal.wait_for("안녕하!?")
        assert "\x1b[2m" not in terminal.wait_for("<think>hm</think>Yes.")
        assert "Traceback" not in terminal.end()


def test_terminals_that_cannot_move_the_cursor(chat):
    with chat("-q", term="dumb") as terminal:
        terminal.wait_for("> ")
        terminal.type("one\\\n")
        terminal.wait_for(". ")
        terminal.type("안녕\n")
        terminal.wait_for("Yes.")
        terminal.wait_for("> ")
        terminal.type("/show messages\n")
        terminal.wait_for("user: one")
        assert "안녕" in terminal.wait_for("> ")
        # Python's input() shows the prompt and then waits: a signal in between is seen at the next key.
        time.sleep(0.3)
        terminal.type("\x03")
        terminal.wait_for("> ")
        terminal.type("\x04")
        said = terminal.end()
        assert "\x1b" not in said and "Traceback" not in said


def test_answers_in_a_file(chat, tmp_path):
    """Prompts and notes stay on the terminal."""
    with open(tmp_path / "log", "w+b") as file, chat(tee=file) as terminal:
        terminal.wait_for("> ")
        terminal.type("hi\n")
        terminal.wait_for("> ")
        terminal.type("\x04")
        assert "tokens at" in terminal.end()
        assert (tmp_path / "log").read_text() == "<think>hm</think>Yes.\n"


def test_servers(chat, model):
    """Ctrl-C ends the connection: the server stops, and what came stays."""
    with serving(str(model), options={"engine": "reference"}) as server:
        with chat("-q", model=f"--server={server.url}") as terminal:
            terminal.wait_for(READY)
            terminal.type("hi\r")
            assert "\x1b[2mhm" in terminal.wait_for("Yes.")
            terminal.wait_for(READY)
            terminal.type("endless\r")
            terminal.wait_for("on and on and on")
            assert server.metric("vllm:num_requests_running") == 1
            terminal.type("\x03")
            terminal.wait_for(READY)
            server.wait(lambda: server.metric("vllm:num_requests_running") == 0)
            terminal.type("/stats\r")
            assert "answer " in terminal.wait_for("of 32,768 tokens")
            terminal.wait_for(READY)
            terminal.type("/show messages\r")
            terminal.wait_for("assistant: on and on")
            terminal.wait_for(READY)
            terminal.type("\x04")
            assert "Traceback" not in terminal.end()
        assert server.metric("vllm:request_success_total", finished_reason="abort") == 1

# SPDX-License-Identifier: Apache-2.0
"""Lines by prompt_toolkit: editing, history, completion, pasted texts as one message."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.history import History
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts import CompleteStyle

from lumen_mlir.cli.repl.actions import ACTIONS, find_name
from lumen_mlir.cli.repl.reader import CONTINUATION, PROMPT, joined, unfinished
from lumen_mlir.cli.streams import raw


class ToolkitReader:
    """A ``Reader`` for terminals that can move the cursor."""

    def __init__(self, history: History, input: Input | None = None, output: Output | None = None):
        self._session: PromptSession[str] = PromptSession(
            PROMPT,
            multiline=True,
            prompt_continuation=CONTINUATION,
            history=history,
            completer=CommandCompleter(),
            complete_style=CompleteStyle.READLINE_LIKE,
            complete_while_typing=False,
            enable_history_search=True,
            enable_open_in_editor=True,
            tempfile_suffix=".txt",
            reserve_space_for_menu=0,
            key_bindings=_bindings(),
            input=input,
            output=output or _terminal(),
        )

    def read(self, text: str = "") -> str:
        return joined(self._session.prompt(default=text))

    def edit(self, text: str) -> str | None:
        """Prefills the prompt (Ctrl-X Ctrl-E opens it in the editor); Ctrl-C leaves the text as it is."""
        try:
            return self.read(text)
        except (KeyboardInterrupt, EOFError):
            return None


def _terminal() -> Output:
    output = Vt100_Output.from_pty(raw(sys.stdout), term=os.environ.get("TERM"))
    # No questions for the place of the cursor: not all terminals answer, and typing ahead gets in between.
    output.enable_cpr = False
    return output


def _bindings() -> KeyBindings:
    bindings = KeyBindings()

    @bindings.add("enter")
    def enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if unfinished(buffer.text):
            buffer.cursor_position = len(buffer.text)
            buffer.newline(copy_margin=False)
        else:
            buffer.validate_and_handle()

    @bindings.add("escape", "enter")
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    return bindings


class CommandCompleter(Completer):
    """Completes commands, and what they are about."""

    def __init__(self) -> None:
        self._paths = PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What ``prompt_toolkit`` asks for."""
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, argument = text.partition(" ")
        if not space:
            yield from _starting(name, ACTIONS)
            return
        action = ACTIONS.get(find_name(name))
        if action is None:
            return
        if action.takes_path:
            yield from self._paths.get_completions(Document(argument), complete_event)
        elif argument == argument.lstrip() and " " not in argument:
            yield from _starting(argument, action.words())


def _starting(begin: str, names: Iterable[Any]) -> Iterable[Completion]:
    return (Completion(name, start_position=-len(begin)) for name in names if name.startswith(begin))

# SPDX-License-Identifier: Apache-2.0
"""The loop of a chat: a message or a command, and what follows from it."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable

from lumen_mlir.cli.repl.actions import perform
from lumen_mlir.cli.repl.reader import PlainReader, Reader
from lumen_mlir.cli.repl.talk import Chat
from lumen_mlir.cli.text import whole
from lumen_mlir.errors import LumenError
from lumen_mlir.generate.generation import ContextError

# A slash and a word. A path is none, and neither is a pasted text whose first line looks like one.
_COMMAND = re.compile(r"[ \t]*/[A-Za-z_?-]*(?:[ \t]|\s*\Z)")


def open_reader(keeps_history: Callable[[], bool]) -> Reader:
    """What reads from this terminal. ``keeps_history`` is asked whether what is typed is kept."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        return PlainReader()
    # Imported here because it takes longer than a message needs that came by -p.
    from lumen_mlir.cli.repl.history import SharedHistory, default_path
    from lumen_mlir.cli.repl.toolkit import ToolkitReader

    return ToolkitReader(SharedHistory(default_path(), keeps_history))


def converse(chat: Chat, single_turn: bool = False) -> None:
    """Reads and answers until the person ends it, or once."""
    chat.note("/help lists the commands; Ctrl-C stops an answer, /bye or Ctrl-D ends the chat")
    interrupts = 0
    while not chat.ended:
        try:
            text = whole(chat.reader.read())
            interrupts = 0
            if _handle(chat, text) and single_turn:
                return
        except EOFError:
            return
        except LumenError as error:  # a line that is no text
            chat.fail(error)
        except KeyboardInterrupt:
            interrupts += 1
            if interrupts > 1:
                chat.note("/bye or Ctrl-D ends the chat")


def _handle(chat: Chat, text: str) -> bool:
    """Does what a text says; whether it was a question. What fails is told, and the chat goes on."""
    if not text.strip():
        return False
    asks = _COMMAND.match(text) is None
    try:
        if asks:
            # The first line of a text of several may be indented, as code is.
            text = text.strip("\n").rstrip() if "\n" in text else text.strip()
            chat.ask(text.removeprefix("/") if text.startswith("//") else text)
        else:
            perform(chat, text)
    except BrokenPipeError:
        raise
    except ContextError as error:
        chat.fail(f"{error} (/undo takes a turn back, /clear begins anew, {chat.model.longer})")
    except (LumenError, OSError, MemoryError) as error:
        chat.fail(error)
    return asks

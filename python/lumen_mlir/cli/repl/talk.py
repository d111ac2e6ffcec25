# SPDX-License-Identifier: Apache-2.0
"""A chat in progress: a model, what was said, and how answers are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import click

from lumen_mlir.cli.repl.display import AnswerWriter
from lumen_mlir.cli.repl.model import Answer, Model
from lumen_mlir.cli.repl.reader import Reader
from lumen_mlir.cli.repl.settings import Settings
from lumen_mlir.cli.report import Reporter, counted, rated
from lumen_mlir.cli.streams import tell
from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.generate.conversation import Conversation


class Chat:
    """What the commands work on.

    Args:
      open_model: opens the model of a name, ready to chat. It raises ``LumenError``.
      fixed: arguments of ``LLM.chat`` that do not change.

    Attributes:
      model: what answers.
      conversation: what was said.
      settings: what was set.
      attached: texts that go with the next question.
      last: the last answer; None before the first, and for another model.
      ended: whether the chat is to end.
    """

    def __init__(
        self,
        model: Model,
        reporter: Reporter,
        reader: Reader,
        open_model: Callable[[str], Model],
        *,
        system: str | None = None,
        settings: Settings | None = None,
        fixed: Mapping[str, Any] | None = None,
    ):
        self.model, self.reporter, self.reader = model, reporter, reader
        self.conversation = Conversation(system)
        self.settings = settings or Settings()
        self.attached: list[str] = []
        self.last: Answer | None = None
        self.ended = False
        self._open_model = open_model
        self._fixed = dict(fixed or {})
        # How often the last question was asked again, so that a fixed seed draws something else.
        self._again = 0

    def show(self, text: str) -> None:
        """Prints what was asked for."""
        click.echo(text)

    def note(self, text: str) -> None:
        """Says what was done, unless quiet."""
        self.reporter.say(text)

    def fail(self, error: object) -> None:
        """Says what went wrong."""
        tell(f"lumen: error: {one_line(error) or type(error).__name__}")

    # --- asking ---------------------------------------------------------------------------------------------

    def ask(self, question: str) -> None:
        """Asks, and shows the answer. Raises ``LumenError``; then nothing was asked."""
        before, attached = self.conversation.copy(), self.attached
        self.attached, self._again = [], 0
        self.conversation.ask("\n\n".join([*attached, question]))
        self._answer(before)

    def ask_again(self) -> None:
        """Gets another answer to the last question. Where it has no text, the one before stays."""
        before = self.conversation.copy()
        self.conversation.retry()
        self._again += 1
        self._answer(before)
        if not self.conversation.answered:
            self.conversation = before

    def ask_instead(self, question: str) -> None:
        """Takes the last question back and asks another one. Raises ``LumenError``; then it stays."""
        before = self.conversation.copy()
        self.conversation.undo()
        self.conversation.ask(question)
        self._again = 0
        self._answer(before)

    def _answer(self, before: Conversation) -> None:
        """Shows the answer to the last question as it comes, and keeps it; Ctrl-C ends it."""
        try:
            answer = self.model.chat(self.conversation.request(), **self._arguments())
        except BaseException:
            self.conversation = before
            raise
        self.last = answer
        try:
            writer = AnswerWriter(answer)
            try:
                with suppress(KeyboardInterrupt):
                    for piece in answer:
                        writer.write(piece)
            finally:
                writer.close()
        finally:
            answer.close()
            message = answer.message()
            if message is not None:
                self.conversation.answer(message.pop("content"), **message)
        self._tell_how_it_ended(answer)

    def _arguments(self) -> dict[str, Any]:
        arguments = {"max_tokens": None, **self._fixed, **self.settings.request()}
        if arguments.get("seed", -1) >= 0:
            arguments["seed"] += self._again
        return arguments

    def _tell_how_it_ended(self, answer: Answer) -> None:
        if not self.conversation.answered:
            self.note("there is no answer; /regen asks again, another question takes the place of this one")
        if answer.finish_reason == "context":
            self.note(
                "warning: the context is full: /undo takes a turn back, /clear begins anew, "
                f"and {self.model.longer}"
            )
        if self.settings.get("verbose"):
            self.note(self.rates())

    def rates(self) -> str:
        """How fast the last answer was, and what it takes of the context, in a line."""
        if self.last is None:
            return "there is no answer yet"
        run = self.last.work()
        if run is None:
            return "the server has not said what the answer took"
        said = (
            f"prompt {counted(run.prompt, 'token')}, "
            f"{rated(f'{run.computed:,} computed', run.computed, run.prompt_seconds)}; "
            f"answer {rated(counted(run.tokens, 'token'), run.decoded, run.decode_seconds)}"
        )
        used, room = run.prompt + run.tokens, self.model.context
        if room is None:
            return said
        return f"{said}; context {used:,} of {room:,} tokens ({used / room:.0%})"

    # --- models ---------------------------------------------------------------------------------------------

    def change_model(self, name: str) -> None:
        """Goes on with another model. Raises ``LumenError``; then the one before stays."""
        opened = self._open_model(name)
        self.model, before = opened, self.model
        self.last = None
        before.close()

    def attach(self, name: str, text: str) -> None:
        """Adds a text to the next question. Raises ``LumenError`` for one that is too long."""
        room, size = self.model.context, counted(len(text), "character")
        # No token is longer than this.
        is_long = room is not None and len(text) > 256 * room
        count = None if is_long else self.model.count(text)
        if count is not None:
            size = counted(count, "token")
        if room is not None and (is_long or (count or 0) > room):
            raise LumenError(f"{name}: has {size}, and the context {room:,} tokens ({self.model.longer})")
        self.attached.append(text)
        self.note(f"{name}: {size} that go with the next message")

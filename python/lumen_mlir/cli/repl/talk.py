# SPDX-License-Identifier: Apache-2.0
"""A chat in progress: a model, what was said, and how answers are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli.repl.display import AnswerWriter
from lumen_mlir.cli.repl.reader import Reader
from lumen_mlir.cli.repl.settings import Settings
from lumen_mlir.cli.report import Reporter, counted, rated
from lumen_mlir.cli.streams import tell
from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.generate.conversation import Conversation

if TYPE_CHECKING:
    from lumen_mlir.generate.generation import Generation
    from lumen_mlir.generate.llm import LLM


class Chat:
    """What the commands work on.

    Args:
      open_model: opens the model at a path, ready to chat. It raises ``LumenError``.
      fixed: arguments of ``LLM.chat`` that do not change.

    Attributes:
      llm: the model.
      conversation: what was said.
      settings: what was set.
      attached: texts that go with the next question.
      last: the last answer; None before the first, and for another model.
      ended: whether the chat is to end.
    """

    def __init__(
        self,
        llm: LLM,
        reporter: Reporter,
        reader: Reader,
        open_model: Callable[[str], LLM],
        *,
        system: str | None = None,
        settings: Settings | None = None,
        fixed: Mapping[str, Any] | None = None,
    ):
        self.llm, self.reporter, self.reader = llm, reporter, reader
        self.conversation = Conversation(system)
        self.settings = settings or Settings()
        self.attached: list[str] = []
        self.last: Generation | None = None
        self.ended = False
        self._open_model = open_model
        self._fixed = dict(fixed or {})
        # How often the last question was asked again, so that a fixed seed draws something else.
        self._again = 0

    @property
    def model_path(self) -> str:
        """Where the model is."""
        return os.fspath(self.llm.model.file.path)

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
        writer: AnswerWriter | None = None
        try:
            generation = self.llm.chat(self.conversation.request(), **self._arguments())
            self.last = generation
            writer = AnswerWriter(self.llm, generation)
            with suppress(KeyboardInterrupt):
                for piece in generation:
                    writer.write(piece)
        finally:
            if writer is not None:
                writer.close()
            if writer is not None and writer.text.strip():
                self.conversation.answer(writer.text)
            elif writer is None:
                self.conversation = before
        self._tell_how_it_ended(generation)

    def _arguments(self) -> dict[str, Any]:
        arguments = {"max_tokens": None, **self._fixed, **self.settings.request()}
        if arguments.get("seed", -1) >= 0:
            arguments["seed"] += self._again
        return arguments

    def _tell_how_it_ended(self, generation: Generation) -> None:
        if not self.conversation.answered:
            self.note("there is no answer; /regen asks again, another question takes the place of this one")
        if generation.finish_reason == "context":
            self.note(
                "warning: the context is full: /undo takes a turn back, /clear begins anew, "
                "and -c at the start makes it longer"
            )
        if self.settings.get("verbose"):
            self.note(self.rates())

    def rates(self) -> str:
        """How fast the last answer was, and what it takes of the context, in a line."""
        run = self.last
        if run is None:
            return "there is no answer yet"
        used = len(run.prompt) + len(run.tokens)
        return (
            f"prompt {counted(len(run.prompt), 'token')}, "
            f"{rated(f'{run.evaluated:,} computed', run.evaluated, run.prompt_seconds)}; "
            f"answer {rated(counted(len(run.tokens), 'token'), run.decoded, run.decode_seconds)}; "
            f"context {used:,} of {self.llm.context:,} tokens ({used / self.llm.context:.0%})"
        )

    # --- models ---------------------------------------------------------------------------------------------

    def change_model(self, path: str) -> None:
        """Goes on with another model. Raises ``LumenError``; then the one before stays."""
        opened = self._open_model(path)
        self.llm, before = opened, self.llm
        self.last = None
        before.close()

    def attach(self, name: str, text: str) -> None:
        """Adds a text to the next question. Raises ``LumenError`` for one that is too long."""
        room = self.llm.context
        # No token is longer than this.
        count = len(self.llm.tokenize(text)) if len(text) <= 256 * room else None
        if count is None or count > room:
            size = f"{len(text):,} characters" if count is None else f"{count:,} tokens"
            raise LumenError(f"{name}: has {size}, and the context {room:,} tokens (-c makes it longer)")
        self.attached.append(text)
        self.note(f"{name}: {counted(count, 'token')} that go with the next message")

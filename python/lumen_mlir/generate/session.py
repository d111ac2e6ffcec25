# SPDX-License-Identifier: Apache-2.0
"""A text, or a conversation, that goes on: what stands before is not computed again."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.conversation import Conversation
from lumen_mlir.generate.generation import Generation
from lumen_mlir.generate.prompts import Prompts

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from lumen_mlir.generate.parameters import Parameters


class SessionError(LumenError):
    """What was loaded is no session."""


class Model(Protocol):
    """What is asked of a model: ``LLM`` is one."""

    prompts: Prompts

    def tokenize(self, text: str, *, add_bos: bool) -> list[int]:
        """The token ids of a text."""

    def detokenize(self, ids: Iterable[int], *, special: bool) -> str:
        """The text of token ids."""

    def last_logits(self, ids: Sequence[int]) -> Any:
        """Computes the text."""

    def save_text(self, ids: Sequence[int], path: str | os.PathLike[str], notes: str) -> int:
        """Writes keys and values of a text to a file."""

    def generate(
        self, prompt: list[int], max_tokens: int | None, **parameters: Unpack[Parameters]
    ) -> Generation:
        """Continues a text."""

    def chat(
        self, messages: Sequence[Mapping[str, Any]], max_tokens: int | None, **parameters: Unpack[Parameters]
    ) -> Generation:
        """Answers."""


class Session:
    """One text of a model, which grows. ``LLM.session`` makes it.

    A model has any number of sessions, which know nothing of one another; each may be used from any thread.
    A session costs no more than its text: keys and values are in the KV cache that all share, and where they
    had to make room for others, they are computed once more. Use it as a context manager, or ``close`` it,
    when it is not needed any more.

    Attributes:
      llm: its model.
    """

    def __init__(self, llm: Model, ids: Sequence[int] = (), conversation: Conversation | None = None):
        self.llm = llm
        self._conversation = Conversation() if conversation is None else conversation
        self._ids = list(ids)
        # What is being written, and whether it answers a question.
        self._current: Generation | None = None
        self._answers = False
        self._closed = False
        self._turn = threading.RLock()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session of {len(self.ids)} tokens>" if not self._closed else "<Session, closed>"

    @property
    def ids(self) -> list[int]:
        """The token ids of its text: prompts and what was written behind them, as far as it was read."""
        with self._turn:
            written = [] if self._current is None else [*self._current.prompt, *self._current.tokens]
            return written or list(self._ids)

    @property
    def conversation(self) -> Conversation:
        """What ``chat`` has said so far: a copy."""
        with self._turn:
            said = self._conversation.copy()
            if self._current is not None and self._answers and self._current.output:
                said.answer(self._current.output)
            return said

    @property
    def text(self) -> str:
        """Its text, control tokens too."""
        return self.llm.detokenize(self.ids, special=True)

    def generate(
        self, prompt: str | Iterable[int] = "", max_tokens: int | None = 256, **parameters: Unpack[Parameters]
    ) -> Generation:
        """Appends ``prompt`` (text or token ids) and what the model writes behind it.

        The parameters are those of ``LLM.generate``. What was being written before ends where it was read to.
        """
        with self._turn:
            ids = self._begin(prompt)
            if not ids:
                ids = self.llm.prompts.of_text("")
            return self._write(self.llm.generate(ids, max_tokens, **parameters), answers=False)

    def extend(self, text: str | Iterable[int]) -> None:
        """Appends a text (or token ids), and computes it: what is asked for next begins without waiting."""
        with self._turn:
            ids = self._begin(text)
            if ids:
                self.llm.last_logits(ids)
                self._ids = ids

    def chat(
        self, message: str | Sequence[Mapping[str, Any]], max_tokens: int | None = None, **parameters: Any
    ) -> Generation:
        """The model's answer to ``message``, after all that was said in this session before.

        ``message``: a user's text, or messages (mappings with ``role`` and ``content``; a system's message
        only at the beginning). The other parameters are those of ``LLM.chat``. An answer counts as far as it
        was read.
        """
        with self._turn:
            self._settle()
            conversation = self._conversation.copy()
            if isinstance(message, str):
                conversation.ask(message)
            else:
                said = [*conversation.request(), *message]
                conversation = Conversation.from_json(said)
            generation = self.llm.chat(conversation.request(), max_tokens, **parameters)
            self._conversation = conversation
            return self._write(generation, answers=True)

    def reset(self) -> None:
        """Begins with an empty text, and nothing said."""
        with self._turn:
            self._settle()
            self._ids = []
            self._conversation = Conversation()

    def fork(self) -> Session:
        """Another session that begins with the same text and the same conversation."""
        with self._turn:
            self._settle()
            return Session(self.llm, self._ids, self._conversation.copy())

    def save(self, path: str | os.PathLike[str]) -> int:
        """Writes its text, its conversation, keys and values to a file; returns the bytes.

        ``LLM.load_session`` goes on with it, also in another process. The file appears whole or not at all.
        Raises ``LumenError`` where it cannot be written, and where the text is empty.
        """
        with self._turn:
            self._settle()
            if not self._ids:
                raise LumenError("the session has no text to save")
            said = json.dumps({"ids": self._ids, **self._conversation.to_json()}, ensure_ascii=False)
            return self.llm.save_text(self._ids, path, said)

    @staticmethod
    def of_notes(llm: Model, notes: str) -> Session:
        """The session that a file's notes tell of. Raises ``SessionError`` where they tell of none."""
        try:
            said = json.loads(notes)
            ids = llm.prompts.checked(said["ids"])
            conversation = Conversation.from_json(said)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise SessionError("it is no session") from None
        return Session(llm, ids, conversation)

    def close(self) -> None:
        """Ends it, and what is being written. Whatever is asked of it later is a ``LumenError``."""
        with self._turn:
            if not self._closed:
                self._settle()
                self._closed = True

    def _begin(self, text: str | Iterable[int]) -> list[int]:
        """The ids of its text and of what comes behind."""
        self._settle()
        if text == "":
            return list(self._ids)
        if isinstance(text, str) and self._ids:
            return [*self._ids, *self.llm.tokenize(text, add_bos=False)]
        return [*self._ids, *self.llm.prompts.of_text(text)]

    def _write(self, generation: Generation, answers: bool) -> Generation:
        self._current, self._answers = generation, answers
        return generation

    def _settle(self) -> None:
        """What was being written ends here."""
        if self._closed:
            raise LumenError("the session is closed")
        if self._current is not None:
            self._current.close()
            self._ids, self._conversation = self.ids, self.conversation
            self._current = None

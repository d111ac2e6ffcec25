# SPDX-License-Identifier: Apache-2.0
"""What a chat needs of a model, wherever that runs: ``local`` has one of this process, ``cli.remote`` one
of a server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from lumen_mlir.cli.report import Reporter
    from lumen_mlir.generate.sampling import Sampling


@dataclass(frozen=True)
class Work:
    """What an answer took.

    Attributes:
      prompt: tokens of the prompt.
      computed: those of them that were not known from before.
      tokens: of the answer.
      decoded: those of them that came in ``decode_seconds`` (the first comes with the prompt).
      prompt_seconds, decode_seconds: time that was waited for the first token, and for the others.
    """

    prompt: int
    computed: int
    tokens: int
    decoded: int
    prompt_seconds: float
    decode_seconds: float


class Answer(Iterator[str], Protocol):
    """An answer that is being written: an iterator of its pieces, as they are shown.

    Attributes:
      finish_reason: None while it is written; "context" where there was no room for more.
      prompt_end: the last characters of the prompt, which may have begun the thinking.
    """

    @property
    def finish_reason(self) -> str | None: ...

    @property
    def prompt_end(self) -> str: ...

    def message(self) -> dict[str, Any] | None:
        """What stays of it in the conversation, as far as it came; None where it said nothing."""

    def work(self) -> Work | None:
        """What it took; None where that is not known."""

    def close(self) -> None:
        """Gives up what has not come."""


class Model(Protocol):
    """A model that is ready to chat.

    Attributes:
      name: where it is, or what it is called.
      names: of the models that are there beside it, with its own; empty where that is not known.
      context: tokens; None where that is not known.
      longer: what makes the context longer, in words.
      sampling: how it draws where nothing is set; None where that is not known.
      template: the source of its chat template. Raises ``LumenError`` where that is not known.
      can_switch_thinking: whether the template lets it think or not; None where that is not known.
    """

    @property
    def name(self) -> str: ...

    @property
    def names(self) -> Sequence[str]: ...

    @property
    def context(self) -> int | None: ...

    @property
    def longer(self) -> str: ...

    @property
    def sampling(self) -> Sampling | None: ...

    @property
    def template(self) -> str: ...

    @property
    def can_switch_thinking(self) -> bool | None: ...

    def count(self, text: str) -> int | None:
        """Tokens of a text; None where that cannot be known."""

    def info(self) -> list[tuple[str, str]]:
        """What there is to say about it: names and values."""

    def memory(self) -> int | None:
        """Most bytes that this process had in memory for it; None where it is elsewhere."""

    def prepare(self, reporter: Reporter, sampling: Mapping[str, Any], fixed: Mapping[str, Any]) -> None:
        """Says what holds for it beside the ``sampling`` that was asked for, and checks what cannot change.

        Raises ``LumenError``.
        """

    def chat(self, messages: Sequence[Mapping[str, Any]], **parameters: Any) -> Answer:
        """The answer to ``messages``, with the parameters of ``LLM.chat``. Raises ``LumenError``."""

    def summarize(self, reporter: Reporter, answer: Answer) -> None:
        """Says at the end what an answer took."""

    def close(self) -> None:
        """Lets it go."""


class Opener(Protocol):
    """Opens models with what the command line says. Both functions raise ``LumenError``."""

    def first(self, name: str | None) -> Model:
        """The model that the command line names."""

    def another(self, name: str) -> Model:
        """One for the rest of a conversation."""

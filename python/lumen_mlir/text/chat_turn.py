# SPDX-License-Identifier: Apache-2.0
"""One turn of a chat, as programs without Jinja can write it: what stands around a user's text."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from lumen_mlir.gguf.model_file import ModelFile
from lumen_mlir.text.chat import KEY, ChatError, ChatTemplate
from lumen_mlir.text.special_text import LETTERS, Hidden, SpecialTexts
from lumen_mlir.text.tokenizer import Tokenizer

logger = logging.getLogger(__name__)

# Texts that templates may treat differently, and none does that only frames a turn.
_PROBES = ("a", "Hello, how are you?\nI am fine.", "한국어 글", "1 < 2 && 'x' \"y\"", "/no_think", "x" * 500)


@dataclass(frozen=True)
class ChatTurn:
    """The texts around a user's.

    ``before`` ends and ``after`` begins with a control token, or is empty; ``left`` and ``right`` stand
    between them and the user's text, which is text whatever is written in it. ``strips``: white space at its
    ends is taken away.
    """

    before: str
    left: str
    right: str
    after: str
    strips: bool

    @staticmethod
    def of_template(template: ChatTemplate, tokenizer: Tokenizer) -> ChatTurn | None:
        """The turn of ``template``; None where it does more than put texts around the user's.

        A date that the template writes is today's. Raises ``ChatError`` where it fails.
        """
        if template.stops:
            return None

        def rendered(text: str) -> str:
            return template.render([{"role": "user", "content": text}])

        mark = LETTERS[-1]
        whole = rendered(mark)
        left, found, right = whole.partition(mark)
        if not found or mark in right:
            return None
        strips = rendered("  \n x \n ") == f"{left}x{right}"
        if not strips and rendered("  \n x \n ") != f"{left}  \n x \n {right}":
            return None
        if any(rendered(text) != left + text + right for text in _PROBES):
            return None
        hidden = Hidden()
        hidden.letters[mark] = mark
        parts = SpecialTexts.of(tokenizer).parts(whole, hidden)
        place = next(place for place, (text, _) in enumerate(parts) if mark in text)
        before = "".join(text for text, _ in parts[:place])
        after = "".join(text for text, _ in parts[place + 1 :])
        inner_left, _, inner_right = parts[place][0].partition(mark)
        return ChatTurn(before, inner_left, inner_right, after, strips)

    @staticmethod
    def of_file(file: ModelFile, tokenizer: Tokenizer) -> ChatTurn | None:
        """The turn of a model's own template; None, with a warning, where it has one that cannot be kept."""
        if file.metadata.string(KEY, None) is None:
            return None
        try:
            turn = ChatTurn.of_template(ChatTemplate.from_gguf(file, tokenizer), tokenizer)
        except ChatError as error:
            logger.warning("the chat template is left out: %s", error)
            return None
        if turn is None:
            logger.warning("the chat template is left out: it does more than put texts around a message")
        return turn

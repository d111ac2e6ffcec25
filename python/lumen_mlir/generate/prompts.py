# SPDX-License-Identifier: Apache-2.0
"""From texts and messages to the token ids of a prompt."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.models import Model
from lumen_mlir.support.arguments import tokens_of
from lumen_mlir.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lumen_mlir.text.answer_format import AnswerFormat
    from lumen_mlir.text.chat import ChatTemplate
    from lumen_mlir.text.special_text import SpecialTexts

logger = logging.getLogger(__name__)

# Longer than any context: enough of an iterable without an end.
_MOST_TOKENS = 1 << 24


def is_list_of_prompts(prompt: Any) -> TypeGuard[Sequence[str | Sequence[int]]]:
    """True for a list of texts or of lists of token ids; False for a text and for a list of token ids."""
    return isinstance(prompt, (list, tuple)) and bool(prompt) and isinstance(prompt[0], (str, list, tuple))


class Prompts:
    """Makes the prompts of a model.

    Args:
      given: a chat template in place of the file's own: the name of one, or its source.
    """

    def __init__(self, model: Model, tokenizer: Tokenizer, given: str | None = None):
        self._file, self._vocabulary = model.file, model.config.vocabulary
        self._tokenizer, self._given = tokenizer, given
        # What was passed to the chat template that it does not use, which is told once.
        self._unused: set[str] = set()

    def checked(self, ids: Iterable[int]) -> list[int]:
        """Token ids as they come from outside (lists, NumPy arrays), checked."""
        vocabulary = self._vocabulary
        tokens = []
        for token in itertools.islice(tokens_of(ids), _MOST_TOKENS):
            if not 0 <= token < vocabulary:
                raise LumenError(f"token id {token} is outside the vocabulary of {vocabulary} tokens")
            tokens.append(token)
        if not tokens:
            raise LumenError("there are no tokens to compute")
        return tokens

    def of_text(self, prompt: str | Iterable[int]) -> list[int]:
        """The ids of a text, or ids; an empty text stands for the token that begins one."""
        tokenizer = self._tokenizer
        if not isinstance(prompt, str):
            given: Iterable[int] = prompt.tolist() if isinstance(prompt, np.ndarray) else prompt
            return self.checked(given) if not isinstance(given, (list, tuple)) or given else []
        # A text that goes on has no end.
        ids = tokenizer.encode(prompt, add_eos=False)
        return ids if ids or tokenizer.bos is None else [tokenizer.bos]

    def of_whole_text(self, text: str | Iterable[int]) -> list[int]:
        """The ids of a text that nothing follows, with the end token where the file wants one; or ids."""
        return self.checked(self._tokenizer.encode(text) if isinstance(text, str) else text)

    def of_messages(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        enable_thinking: bool | None,
        variables: Mapping[str, Any] | None,
        escape_special: bool,
    ) -> tuple[list[int], list[str]]:
        """The ids of a conversation, and the strings at which an answer stops; see ``LLM.chat``."""
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        if variables is not None and not isinstance(variables, Mapping):
            raise LumenError(f"the variables are {shown(variables)}; a mapping was expected")
        if tools is not None and not isinstance(tools, Sequence):
            raise LumenError(f"the tools are {shown(tools)}; a list of descriptions was expected")
        given = dict(variables or {})
        if enable_thinking is not None:
            given["enable_thinking"] = enable_thinking
        if tools:
            given["tools"] = tools
        template = self.tool_template if tools else self.chat_template
        for name in given:
            if name not in template.variables and name != "tools" and name not in self._unused:
                self._unused.add(name)
                logger.warning("the model's chat template does not use '%s'", name)
        prompt, hidden = template.render_hidden(messages, self.special_texts, escape_special, **given)
        ids = self.special_texts.encode(self._tokenizer, prompt, hidden)
        bos = self._tokenizer.bos
        if self._tokenizer.add_bos and bos is not None and ids[:1] != [bos]:
            ids.insert(0, bos)
        return ids, list(template.stops)

    @cached_property
    def special_texts(self) -> SpecialTexts:
        """The control tokens as texts."""
        from lumen_mlir.text.special_text import SpecialTexts

        return SpecialTexts.of(self._tokenizer)

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The chat template: the one that was given, or the file's own; ``ChatError`` where there is none."""
        from lumen_mlir.text.chat import ChatTemplate

        if self._given is not None:
            return ChatTemplate.given(self._given, self._tokenizer)
        return ChatTemplate.from_gguf(self._file, self._tokenizer)

    @cached_property
    def answer_format(self) -> AnswerFormat:
        """How answers are written; ``ChatError`` where there is no chat template."""
        from lumen_mlir.text.answer_format import AnswerFormat

        return AnswerFormat.of(self.tool_template, self._tokenizer)

    @cached_property
    def tool_template(self) -> ChatTemplate:
        """The template for conversations with tools, which few models have besides their usual one."""
        from lumen_mlir.text.chat import KEY, ChatTemplate

        if self._given is not None or f"{KEY}.tool_use" not in self._file.metadata:
            return self.chat_template
        return ChatTemplate.from_gguf(self._file, self._tokenizer, "tool_use")

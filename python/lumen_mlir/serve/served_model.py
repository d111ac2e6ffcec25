# SPDX-License-Identifier: Apache-2.0
"""A model that is loaded, as requests see it."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from lumen_mlir.generate.asynchronous import AsyncGeneration, AsyncLLM
from lumen_mlir.generate.embeddings import Embeddings
from lumen_mlir.generate.generation import Generation
from lumen_mlir.generate.llm import LLM
from lumen_mlir.gguf.description import size_text
from lumen_mlir.grammar.grammar import Grammar
from lumen_mlir.text.chat_messages import ChatError

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Threads that render templates and cut texts into tokens.
_HELPERS = 2


class ServedModel:
    """An open model under its name.

    Attributes:
      name: what clients call it.
      llm: itself.
      created: when it was loaded, in seconds of Unix time.
      closed: it is let go; texts that it was writing fail.
    """

    def __init__(self, name: str, llm: LLM):
        self.name, self.llm = name, llm
        self.created = int(time.time())
        self.closed = False
        self._async = AsyncLLM(llm)
        self._helpers = ThreadPoolExecutor(_HELPERS, "lumen-prompts")

    def prepare(self) -> None:
        """Finds out how the model writes its answers, and says what was not found out. Takes a while."""
        try:
            format = self.llm.answer_format
        except ChatError as error:
            logger.warning("%s: conversations are refused: %s", self.name, error)
            return
        if format.reasoning_problem is not None:
            logger.warning("%s: reasoning is not told apart: %s", self.name, format.reasoning_problem)
        if format.tools_problem is not None:
            logger.info("%s: tools are refused: %s", self.name, format.tools_problem)

    @property
    def abilities(self) -> dict[str, bool]:
        """Whether it talks, reasons and calls tools."""
        try:
            format = self.llm.answer_format
        except ChatError:
            return {"chat": False, "reasoning": False, "tools": False}
        return {"chat": True, "reasoning": format.reasoning is not None, "tools": format.tools is not None}

    async def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Calls what takes long for the loop, such as a chat template, in another thread."""
        return await asyncio.get_running_loop().run_in_executor(self._helpers, function, *arguments)

    def reading(self, generation: Generation) -> AsyncGeneration:
        """``generation``, to be read by the running loop."""
        return self._async.reading(generation)

    async def vectors(self, embeddings: Embeddings) -> np.ndarray:
        """See ``AsyncLLM.vectors``."""
        return await self._async.vectors(embeddings)

    def behind_reasoning(self, grammar: Grammar, prompt: str) -> Grammar:
        """``grammar``, for an answer to ``prompt`` before which the model may think."""
        return dataclasses.replace(grammar, lead=self.llm.answer_format.lead_rules(prompt))

    async def close(self) -> None:
        """Lets the model go."""
        self.closed = True
        await self._async.close()
        self._helpers.shutdown(wait=False)

    @property
    def weight_bytes(self) -> int:
        """Bytes of its weights, as the file has them."""
        return sum(tensor.nbytes for tensor in self.llm.model.tensors.values())

    def token_bytes(self, token: int) -> bytes:
        """What a token stands for, of control tokens their name."""
        tokenizer = self.llm.tokenizer
        # Embedding tables may have more rows than the vocabulary has tokens.
        return tokenizer.token_bytes(token, special=True) if token < len(tokenizer) else b""

    @property
    def kv_capacity(self) -> int:
        """Tokens that its KV cache has room for."""
        return getattr(self.llm.executor, "capacity", self.llm.context)

    @property
    def description(self) -> str:
        """For the log."""
        config = self.llm.model.config
        return (
            f"{config.architecture}, {config.layers} layers of width {config.width}, "
            f"context {self.llm.context}, {size_text(self.weight_bytes)} of weights"
        )

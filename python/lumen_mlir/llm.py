# SPDX-License-Identifier: Apache-2.0
"""A language model as people use it: text in, text out.

For example::

    llm = lumen_mlir.LLM("model.gguf", threads=2, context=4096)
    for piece in llm.generate("오늘 본 영화는", max_tokens=64):
        print(piece, end="", flush=True)
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lumen_mlir.cache import Cache
from lumen_mlir.errors import LumenError
from lumen_mlir.generation import Generation
from lumen_mlir.model_file import open_model_file
from lumen_mlir.models import Model
from lumen_mlir.sampling import Sampler
from lumen_mlir.session_options import Progress, SessionOptions, Timings, silent
from lumen_mlir.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lumen_mlir import ir
    from lumen_mlir.chat import ChatTemplate
    from lumen_mlir.perplexity import Perplexity

logger = logging.getLogger("lumen_mlir.llm")

ENGINES = ("compiled", "reference")


class LLM:
    """An open model, its tokenizer, and an engine that runs it. For one thread of Python at a time.

    Args:
      path: a GGUF file or a Hugging Face folder; None for the model that comes with the package.
      engine: "compiled", or "reference" for the slow NumPy interpreter that the compiler is tested against.
      cache: where compiled code and packed weights are kept; by default the user's cache.
      progress: called with what is being done ("load", "compile", "pack"), how much of it and of how much.
      format: what the weights of a folder are quantized to, such as "q4_k_m"; by default nothing.
      pre_tokenizer: how text is cut into words, where the file does not say or says it wrongly.
      memory_budget: bytes, or text such as "2G", that weights, KV cache and intermediates may take: the
        context, and KV type f16, give way to it. ``lumen_mlir.memory.footprint`` says what a run takes.
      options: the fields of ``SessionOptions``: ``threads``, ``context``, ``kv_type``, ``activations``,
        ``target``, ``chunk``, ``pack_cache``, ``profile``.

    Attributes:
      model: the checked file: ``model.config``, ``model.file``, ``model.tensors``.
      tokenizer: ``lumen_mlir.tokenizer.Tokenizer``.
      session: what runs the steps, with its KV cache.
      context: tokens that fit the KV cache.
      timings: seconds that opening took.

    Raises ``LumenError``, with one line that says what is wrong.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        engine: str = "compiled",
        cache: Cache | None = None,
        progress: Progress = silent,
        format: str | None = None,
        pre_tokenizer: str | None = None,
        memory_budget: int | str | None = None,
        **options: Any,
    ):
        if engine not in ENGINES:
            raise LumenError(f"unknown engine '{engine}'; known are {', '.join(ENGINES)}")
        self.options = SessionOptions.of(**options)
        self.engine = engine
        cache = Cache() if cache is None else cache
        start = time.perf_counter()
        progress("load", 0, 1)
        file = open_model_file(
            path,
            format=format,
            pre_tokenizer=pre_tokenizer,
            cache=cache,
            threads=self.options.thread_count(),
            progress=progress,
        )
        self.model = Model.open(file)
        self.tokenizer = Tokenizer.from_gguf(self.model.file, cache, pre_tokenizer)
        progress("load", 1, 1)
        self.timings = Timings(load=time.perf_counter() - start)
        if memory_budget is not None:
            from lumen_mlir import memory

            budget = memory.parse_budget(memory_budget)
            self.options, _ = memory.fit(self.model, self.options, budget, cache, progress)
        self.session = self._open_session(cache, progress)
        self.context: int = self.session.context
        # What was passed to the chat template that it does not use, which is told once.
        self._unused: set[str] = set()
        # The ids whose keys and values the KV cache holds.
        self._held: list[int] = []

    def _open_session(self, cache: Cache, progress: Progress):
        if self.engine == "compiled":
            from lumen_mlir.session import Session

            return Session(self.model, self.options, cache=cache, progress=progress, timings=self.timings)
        from lumen_mlir.reference import ReferenceSession

        return ReferenceSession(
            self.model,
            context=self.options.context_of(self.model),
            kv_type=self.options.kv_type,
            activations=self.options.activations,
        )

    @property
    def threads(self) -> int:
        """Threads of the team; 1 for the reference."""
        return self.session.threads if self.engine == "compiled" else 1

    def set_threads(self, count: int) -> None:
        """Goes on with another team of threads. It changes no result."""
        if self.engine == "compiled":
            self.session.set_threads(count)

    # --- text and tokens ------------------------------------------------------------------------------------

    def tokenize(self, text: str, *, special: bool = True, add_bos: bool | None = None) -> list[int]:
        """The token ids of ``text``; see ``Tokenizer.encode``."""
        return self.tokenizer.encode(text, special=special, add_bos=add_bos)

    def detokenize(self, ids: Iterable[int], *, special: bool = False) -> str:
        """The text of token ids, control tokens only if ``special``."""
        return self.tokenizer.decode(ids, special)

    # --- the network ----------------------------------------------------------------------------------------

    @cached_property
    def module(self) -> ir.Module:
        """The model as a module of the ``lumen`` dialect, before any pass."""
        from lumen_mlir import ir

        with ir.Context():
            return self.model.module(kv_type=self.options.kv_type, max_tokens=self.options.chunk)

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """The logits behind every token of ``ids``: float32 [tokens, vocabulary]."""
        ids = self._checked(ids)
        if len(ids) > self.context:
            raise LumenError(f"{len(ids)} tokens do not fit the context of {self.context} tokens")
        result = np.empty((len(ids), self.model.config.vocabulary), np.float32)
        self.forget()
        for begin in range(0, len(ids), self.options.chunk):
            piece = ids[begin : begin + self.options.chunk]
            self.session.step(piece, begin, 0, out=result[begin : begin + len(piece)])
        self._held = ids
        return result

    def last_logits(self, ids: Sequence[int]) -> np.ndarray:
        """The logits behind the last token of ``ids``: float32 [vocabulary], valid until the next step.

        What the KV cache holds of ``ids`` is not computed again.
        """
        start = self.reusable(ids)
        held, new = self._held[:start], self._checked(ids[start:])
        if len(ids) > self.context:
            raise LumenError(f"{len(ids)} tokens do not fit the context of {self.context} tokens")
        self.forget()
        for begin in range(0, len(new), self.options.chunk):
            piece = new[begin : begin + self.options.chunk]
            last = begin + len(piece) == len(new)
            # Only the last token's logits are wanted: earlier chunks compute none.
            logits = self.session.step(piece, start + begin, len(piece) - last)
        self._held = held + new
        return logits[-1]

    def reusable(self, ids: Sequence[int]) -> int:
        """How many of the first ``ids`` need not be computed again; the last always is."""
        most = max(min(len(self._held), len(ids) - 1), 0)
        if self._held[:most] != list(ids[:most]):
            most = next(i for i in range(most) if self._held[i] != ids[i])
        # The rings of sliding windows may have forgotten what was so long ago.
        return most if self.engine == "reference" or self.session.can_resume(most) else 0

    def forget(self) -> None:
        """Makes the KV cache count as empty."""
        # Before every step: one that is interrupted leaves rows in the cache that belong to nothing.
        self._held = []

    def _checked(self, ids: Sequence[int]) -> list[int]:
        vocabulary = self.model.config.vocabulary
        ids = [int(token) for token in ids]
        if not ids:
            raise LumenError("there are no tokens to compute")
        for token in (min(ids), max(ids)):
            if not 0 <= token < vocabulary:
                raise LumenError(f"token id {token} is outside the vocabulary of {vocabulary} tokens")
        return ids

    def perplexity(self, text: str | Sequence[int], **parameters: Any) -> Perplexity:
        """How well the model predicts ``text``; the parameters are those of ``lumen_mlir.perplexity``."""
        from lumen_mlir.perplexity import perplexity

        return perplexity(self, text, **parameters)

    # --- generation -----------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str | Sequence[int],
        max_tokens: int | None = 256,
        *,
        temperature: float = 0.8,
        top_k: int = 40,
        top_p: float = 0.95,
        min_p: float = 0.05,
        repeat_penalty: float = 1.0,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        ignore_eos: bool = False,
    ) -> Generation:
        """Continues ``prompt`` (text or token ids): an iterator of text pieces.

        ``temperature`` 0 takes the likeliest token each time; the other parameters are those of ``Sampler``.
        Generation ends at an end token (unless ``ignore_eos``, which bans them), before a ``stop`` string,
        after ``max_tokens`` (None: no limit) or where the context is full. An empty text stands for the token
        that begins one. Raises ``LumenError`` at once for parameters out of range and a prompt longer than
        the context.
        """
        sampler = Sampler(temperature, top_k, top_p, min_p, repeat_penalty, seed)
        return Generation(
            self,
            self.tokenizer,
            sampler,
            self._prompt_ids(prompt),
            max_tokens=max_tokens,
            stop=[stop] if isinstance(stop, str) else list(stop),
            ignore_eos=ignore_eos,
        )

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        enable_thinking: bool | None = None,
        variables: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> Generation:
        """The model's answer to ``messages`` (mappings with ``role`` and ``content``).

        They become a prompt by the file's own template, which also gets ``tools`` (descriptions of functions
        that the model may call), ``enable_thinking`` (where it is not None) and any other ``variables``.
        ``parameters`` are those of ``generate``.
        """
        given = dict(variables or {})
        if enable_thinking is not None:
            given["enable_thinking"] = enable_thinking
        if tools:
            given["tools"] = list(tools)
        template = self.tool_template if tools else self.chat_template
        for name in given:
            if name not in template.variables and name != "tools" and name not in self._unused:
                self._unused.add(name)
                logger.warning("the model's chat template does not use '%s'", name)
        text = template.render(messages, **given)
        ids = self.tokenizer.encode(text, special=True, add_bos=False)
        return self.generate(ids, max_tokens, **parameters)

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The file's chat template; ``ChatError`` where it has none."""
        from lumen_mlir.chat import ChatTemplate

        return ChatTemplate.from_gguf(self.model.file, self.tokenizer)

    @cached_property
    def tool_template(self) -> ChatTemplate:
        """The template for conversations with tools, which few models have besides their usual one."""
        from lumen_mlir.chat import KEY, ChatTemplate

        if f"{KEY}.tool_use" not in self.model.file.metadata:
            return self.chat_template
        return ChatTemplate.from_gguf(self.model.file, self.tokenizer, "tool_use")

    def _prompt_ids(self, prompt: str | Sequence[int]) -> list[int]:
        if not isinstance(prompt, str):
            return self._checked(prompt) if len(prompt) else []
        ids = self.tokenize(prompt)
        return ids if ids or self.tokenizer.bos is None else [self.tokenizer.bos]

# SPDX-License-Identifier: Apache-2.0
"""A language model as people use it: text in, text out.

For example::

    llm = lumen_mlir.LLM("model.gguf", threads=2, context=4096)
    for piece in llm.generate("오늘 본 영화는", max_tokens=64):
        print(piece, end="", flush=True)
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.generate.engines import check_engine, open_session
from lumen_mlir.generate.generation import Generation, stop_strings
from lumen_mlir.generate.model_source import open_model_file
from lumen_mlir.generate.sampling import Sampler, Sampling
from lumen_mlir.gguf.description import label
from lumen_mlir.models import Model
from lumen_mlir.run.session_options import Progress, SessionOptions, Timings, silent
from lumen_mlir.storage.cache import Cache
from lumen_mlir.support.arguments import tokens_of
from lumen_mlir.support.locks import turn_lock
from lumen_mlir.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lumen_mlir import ir
    from lumen_mlir.generate.perplexity import Perplexity
    from lumen_mlir.text.chat import ChatTemplate
    from lumen_mlir.text.special_text import SpecialTexts

logger = logging.getLogger(__name__)

# Longer than any context: enough of an iterable without an end.
_MOST_TOKENS = 1 << 24


class LLM:
    """An open model, its tokenizer, and an engine that runs it.

    Several threads may use one: their steps take turns. The KV cache holds one text, so texts that are
    generated at the same time are slow: each step computes what the other one overwrote. Use it as a context
    manager, or ``close`` it, to let the memory go before Python does.

    Args:
      path: a GGUF file, a Hugging Face folder, or a name of the hub such as "hf:USER/REPO:q4_k_m"; None for
        the model that comes with the package.
      engine: "compiled", or "reference" for the slow NumPy interpreter that the compiler is tested against.
      cache: where compiled code and packed weights are kept; by default the user's cache.
      progress: called with what is being done, how much of it is done, and of how much: "download" (bytes
        from the hub), "load" (files and tokenizer), "quantize" (a folder, with ``format``), "compile" and
        "pack", as far as the caches do not save them. Calls come from the thread that opens the model. What
        the function raises ends the work, leaves nothing half-made in the cache, and comes out of ``LLM``.
      format: what the weights of a folder are quantized to, such as "q4_k_m"; by default nothing.
      pre_tokenizer: how text is cut into words, where the file does not say or says it wrongly.
      chat_template: in place of the file's own, the name of one (``text.named_templates``) or its source.
      memory_budget: bytes, or text such as "2G", that weights, KV cache and intermediates may take: the
        context, and KV type f16, give way to it. ``lumen_mlir.run.memory.footprint`` says what a run takes.
      options: the fields of ``SessionOptions``: ``threads``, ``context``, ``kv_type``, ``activations``,
        ``target``, ``chunk``, ``pack_cache``, ``profile``.

    Attributes:
      model: the checked file: ``model.config``, ``model.file``, ``model.tensors``.
      tokenizer: ``lumen_mlir.text.tokenizer.Tokenizer``.
      session: what runs the steps, with its KV cache.
      context: tokens that fit the KV cache.
      sampling: how tokens are drawn where ``generate`` is not told; a model's makers may have chosen.
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
        chat_template: str | None = None,
        memory_budget: int | str | None = None,
        **options: Any,
    ):
        self.engine = check_engine(engine)
        if not callable(progress):
            raise LumenError(f"progress is {shown(progress)}; a function was expected")
        self.options = SessionOptions.of(**options)
        # Held while the KV cache and what is known of it change. ``_held`` is true only with it.
        self.lock = turn_lock()
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
        self._path = "the model that comes with Lumen" if path is None else os.fspath(path)
        self.model = Model.open(file)
        cache = cache.labelled(label(file))
        self.tokenizer = Tokenizer.from_gguf(self.model.file, cache, pre_tokenizer)
        self._given_template = chat_template
        progress("load", 1, 1)
        self.timings = Timings(load=time.perf_counter() - start)
        if memory_budget is not None:
            from lumen_mlir.run import memory

            budget = memory.parse_budget(memory_budget)
            self.options, _ = memory.fit(self.model, self.options, budget, cache, progress)
        self.session = open_session(engine, self.model, self.options, cache, progress, self.timings)
        self.context: int = self.session.context
        self.sampling = Sampling.of_metadata(self.model.file.path, self.model.file.metadata)
        # What was passed to the chat template that it does not use, which is told once.
        self._unused: set[str] = set()
        # The ids whose keys and values the KV cache holds.
        self._held: list[int] = []

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets weights, KV cache and code go, when no step needs them any more.

        Whatever is asked of the model later is a ``LumenError``; closing again is not.
        """
        with self.lock:
            for name in _CLOSED:
                self.__dict__.pop(name, None)
            self.forget()

    def __getattr__(self, name: str) -> Any:
        # Only what is not there comes here.
        if name in _CLOSED and "_held" in self.__dict__:
            raise LumenError(f"{self._path}: the model is closed")
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __repr__(self) -> str:
        if "session" not in self.__dict__:
            return f"<LLM {self._path!r}, closed>"
        config, threads = self.model.config, self.threads
        return (
            f"<LLM {self._path!r}: {config.architecture}, {config.layers} x {config.width}, "
            f"context {self.context}, {threads} thread{'' if threads == 1 else 's'}>"
        )

    @property
    def threads(self) -> int:
        """Threads of the team; 1 for the reference."""
        return self.session.threads if self.engine == "compiled" else 1

    def set_threads(self, count: int) -> None:
        """Goes on with another team of threads. It changes no result."""
        with self.lock:
            session = self.session
            if self.engine == "compiled":
                session.set_threads(count)

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
        self._check_length(ids)
        result = np.empty((len(ids), self.model.config.vocabulary), np.float32)
        with self.lock:
            self.forget()
            for begin in range(0, len(ids), self.options.chunk):
                piece = ids[begin : begin + self.options.chunk]
                self.session.step(piece, begin, 0, out=result[begin : begin + len(piece)])
            self._held = ids
        return result

    def last_logits(self, ids: Sequence[int]) -> np.ndarray:
        """The logits behind the last token of ``ids``: float32 [vocabulary], valid until the next step.

        What the KV cache holds of ``ids`` is not computed again. Where several threads use the model, hold
        ``lock`` until the logits are used.
        """
        ids = ids if type(ids) is list else self._checked(ids)
        with self.lock:
            start = self.reusable(ids)
            held, new = self._held[:start], self._checked(ids[start:])
            self._check_length(ids)
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
        ids = ids if type(ids) is list else self._checked(ids)
        with self.lock:
            most = max(min(len(self._held), len(ids) - 1), 0)
            try:
                if self._held[:most] != ids[:most]:
                    most = next(i for i in range(most) if self._held[i] != ids[i])
            except Exception:  # elements that are no numbers may raise anything
                raise LumenError(f"token ids are {shown(ids)}; whole numbers were expected") from None
            # The rings of sliding windows may have forgotten what was so long ago.
            return most if self.engine == "reference" or self.session.can_resume(most) else 0

    def forget(self) -> None:
        """Makes the KV cache count as empty."""
        # Before every step: one that is interrupted leaves rows in the cache that belong to nothing.
        with self.lock:
            self._held = []

    def _check_length(self, ids: Sequence[int]) -> None:
        if len(ids) > self.context:
            raise LumenError(f"{len(ids)} tokens do not fit the context of {self.context} tokens")

    def _checked(self, ids: Iterable[int]) -> list[int]:
        """Token ids as they come from outside (lists, NumPy arrays), checked."""
        vocabulary = self.model.config.vocabulary
        tokens = []
        for token in itertools.islice(tokens_of(ids), _MOST_TOKENS):
            if not 0 <= token < vocabulary:
                raise LumenError(f"token id {token} is outside the vocabulary of {vocabulary} tokens")
            tokens.append(token)
        if not tokens:
            raise LumenError("there are no tokens to compute")
        return tokens

    def perplexity(self, text: str | Sequence[int], **parameters: Any) -> Perplexity:
        """How well the model predicts ``text``; the parameters are those of ``generate.perplexity``."""
        from lumen_mlir.generate.perplexity import perplexity

        with self.lock:
            return perplexity(self, text, **parameters)

    # --- generation -----------------------------------------------------------------------------------------

    def generate(
        self,
        prompt: str | Iterable[int],
        max_tokens: int | None = 256,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repeat_penalty: float | None = None,
        seed: int | None = None,
        stop: str | Iterable[str] | None = None,
        stop_token_ids: Iterable[int] | None = None,
        logprobs: int | None = None,
        ignore_eos: bool = False,
        special: bool = False,
    ) -> Generation:
        """Continues ``prompt`` (text or token ids): an iterator of text pieces.

        ``temperature`` 0 takes the likeliest token each time; the other parameters are those of ``Sampler``.
        Those that are None are the model's own (``sampling``). Generation ends at an end token (unless
        ``ignore_eos``, which bans them), before a ``stop`` string, at one of ``stop_token_ids``, after
        ``max_tokens`` (None: no limit) or where the context is full. ``logprobs``: record how likely each
        token was, and so many of the likeliest (``Generation.logprobs``). ``special``: control tokens are
        part of the text; a stop string may have them in it in any case. An empty text stands for the token
        that begins one. Raises ``LumenError`` at once for parameters out of range and a prompt longer than
        the context.
        """
        chosen = self.sampling.chosen(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repeat_penalty=repeat_penalty
        )
        return Generation(
            self,
            self.tokenizer,
            Sampler(seed=seed, **chosen),
            self._prompt_ids(prompt),
            max_tokens=max_tokens,
            stop=stop,
            stop_token_ids=stop_token_ids,
            logprobs=logprobs,
            ignore_eos=ignore_eos,
            special=special,
        )

    def chat(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        enable_thinking: bool | None = None,
        variables: Mapping[str, Any] | None = None,
        escape_special: bool = True,
        special: bool = True,
        **parameters: Any,
    ) -> Generation:
        """The model's answer to ``messages`` (mappings with ``role`` and ``content``, or a user's text).

        They become a prompt by the chat template, which also gets ``tools`` (descriptions of functions
        that the model may call), ``enable_thinking`` (where it is not None) and any other ``variables``.
        Messages may have the form of OpenAI's clients (``ChatTemplate.render``).

        ``escape_special``: control tokens that are written in messages, their names, calls and tools are
        text. Only the model's own messages keep those that do not end a turn. ``special``: the answer has
        control tokens in it, such as ``[TOOL_CALLS]``, by which a call can be told from text: give it back to
        the model as it is. ``parameters`` are those of ``generate``.
        """
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
        prompt, hidden = template.render_hidden(messages, self._special_texts, escape_special, **given)
        ids = self._special_texts.encode(self.tokenizer, prompt, hidden)
        bos = self.tokenizer.bos
        if self.tokenizer.add_bos and bos is not None and ids[:1] != [bos]:
            ids.insert(0, bos)
        if template.stops:
            parameters["stop"] = [*stop_strings(parameters.get("stop")), *template.stops]
        return self.generate(ids, max_tokens, special=special, **parameters)

    @cached_property
    def _special_texts(self) -> SpecialTexts:
        from lumen_mlir.text.special_text import SpecialTexts

        return SpecialTexts.of(self.tokenizer)

    @cached_property
    def chat_template(self) -> ChatTemplate:
        """The chat template: the one that was given, or the file's own; ``ChatError`` where there is none."""
        from lumen_mlir.text.chat import ChatTemplate

        if self._given_template is not None:
            return ChatTemplate.given(self._given_template, self.tokenizer)
        return ChatTemplate.from_gguf(self.model.file, self.tokenizer)

    @cached_property
    def tool_template(self) -> ChatTemplate:
        """The template for conversations with tools, which few models have besides their usual one."""
        from lumen_mlir.text.chat import KEY, ChatTemplate

        if self._given_template is not None or f"{KEY}.tool_use" not in self.model.file.metadata:
            return self.chat_template
        return ChatTemplate.from_gguf(self.model.file, self.tokenizer, "tool_use")

    def _prompt_ids(self, prompt: str | Iterable[int]) -> list[int]:
        tokenizer = self.tokenizer
        if not isinstance(prompt, str):
            given: Iterable[int] = prompt.tolist() if isinstance(prompt, np.ndarray) else prompt
            return self._checked(given) if not isinstance(given, (list, tuple)) or given else []
        # A text that goes on has no end.
        ids = tokenizer.encode(prompt, add_eos=False)
        return ids if ids or tokenizer.bos is None else [tokenizer.bos]


# What ``LLM.close`` lets go.
_CLOSED = ("session", "model", "tokenizer", "module", "chat_template", "tool_template", "_special_texts")

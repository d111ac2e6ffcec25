# SPDX-License-Identifier: Apache-2.0
"""A language model as people use it: text in, text out.

For example::

    llm = lumen_mlir.LLM("model.gguf", threads=2, context=4096)
    for piece in llm.generate("오늘 본 영화는", max_tokens=64):
        print(piece, end="", flush=True)
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, overload

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.generate.batcher import Batcher
from lumen_mlir.generate.embeddings import Embedder
from lumen_mlir.generate.engines import check_engine, open_engine
from lumen_mlir.generate.generation import Generation, stop_strings
from lumen_mlir.generate.model_source import open_model_file
from lumen_mlir.generate.network import Network
from lumen_mlir.generate.prompts import Prompts, is_list_of_prompts
from lumen_mlir.generate.request import Guess
from lumen_mlir.generate.sampling import Sampler, Sampling
from lumen_mlir.generate.scheduler import Scheduler
from lumen_mlir.generate.speculation import NgramGuess
from lumen_mlir.generate.steps import steps_of
from lumen_mlir.generate.token_draw import TokenDraw
from lumen_mlir.gguf.description import label
from lumen_mlir.grammar.grammar import Grammar, GrammarError
from lumen_mlir.models import Model
from lumen_mlir.run.session_options import Progress, SessionOptions, Timings, silent
from lumen_mlir.storage.cache import Cache
from lumen_mlir.support.arguments import flag
from lumen_mlir.support.locks import turn_lock
from lumen_mlir.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from lumen_mlir.generate.draft_source import Draft, DraftFile
    from lumen_mlir.generate.many import Generations
    from lumen_mlir.generate.parameters import Parameters
    from lumen_mlir.generate.session import Session
    from lumen_mlir.generate.token_draw import Force
    from lumen_mlir.grammar.compiler import CompiledGrammar, GrammarCompiler
    from lumen_mlir.text.answer_format import AnswerFormat
    from lumen_mlir.text.chat import ChatTemplate


class LLM(Network):
    """An open model, its tokenizer, and an engine that runs it.

    Any number of threads may use one, for any number of texts: all that is asked for at a time is computed
    together, and no text depends on the others. What texts begin with alike is computed once. Use it as a
    context manager, or ``close`` it, to let the memory go before Python does.

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
        On a GPU it is a budget of its memory, and with ``gpu_layers`` "auto" layers give way instead.
      draft: a second, smaller model with the same tokens, which guesses what comes next (see ``generate``):
        what ``path`` may be. It runs with the options of the model, and ``memory_budget`` counts it.
      options: the fields of ``SessionOptions``: ``threads``, ``context``, ``kv_type``, ``activations``,
        ``device``, ``target``, ``gpu_layers``, ``chunk``, ``sequences``, ``kv_pool``, ``kv_disk``,
        ``pack_cache``, ``profile``.

    Attributes:
      model: the checked file: ``model.config``, ``model.file``, ``model.tensors``.
      tokenizer: ``lumen_mlir.text.tokenizer.Tokenizer``.
      executor: what runs the steps, with its KV cache; of the reference, a ``ReferenceSession``.
      draft: the second model that is open, or None.
      prompts: makes token ids of texts and messages.
      context: tokens of the longest text.
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
        draft: str | os.PathLike[str] | None = None,
        **options: Any,
    ):
        self.engine = check_engine(engine)
        if not callable(progress):
            raise LumenError(f"progress is {shown(progress)}; a function was expected")
        self.options = SessionOptions.of(**options)
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
        unlabelled, cache = cache, cache.labelled(label(file))
        self.tokenizer = Tokenizer.from_gguf(self.model.file, cache, pre_tokenizer)
        self.prompts = Prompts(self.model, self.tokenizer, chat_template)
        second = (
            None if draft is None else self._open_draft(draft, format, pre_tokenizer, unlabelled, progress)
        )
        progress("load", 1, 1)
        self.timings = Timings(load=time.perf_counter() - start)
        if memory_budget is not None or second is not None:
            self.options = self._fitted(memory_budget, second, cache, progress)
        self.executor = open_engine(engine, self.model, self.options, cache, progress, self.timings)
        self.context: int = self.executor.context
        self.draft: Draft | None = None
        if second is not None:
            chosen = second.options(self.options, self.context)
            self.draft = second.start(engine, chosen, self.tokenizer, progress, self.timings)
        guesser = None if self.draft is None else self.draft.guesser
        steps = steps_of(self.executor, self.options.chunk)
        draw = partial(TokenDraw.together, steps.team)
        self._batcher = Batcher(Scheduler(steps, draw=draw, guesser=guesser))
        self._embedder = Embedder(engine, self.model, self.options, cache, self.executor)
        self._grammars: GrammarCompiler | None = None
        self._grammar_turn = turn_lock()
        self.sampling = Sampling.of_metadata(self.model.file.path, self.model.file.metadata)

    def _fitted(
        self, memory_budget: int | str | None, second: DraftFile | None, cache: Cache, progress: Progress
    ) -> SessionOptions:
        """The options with which the model fits, beside its draft, into a budget or into a device."""
        from lumen_mlir.run import memory, placement

        budget = None if memory_budget is None else memory.parse_budget(memory_budget)
        if budget is None and not placement.is_open(self.options):
            return self.options
        beside = () if second is None else (second.bytes_beside(self.model, self.options, progress),)
        return placement.fit(self.model, self.options, budget, cache, progress, *beside)

    def _open_draft(
        self,
        path: str | os.PathLike[str],
        format: str | None,
        pre_tokenizer: str | None,
        cache: Cache,
        progress: Progress,
    ) -> DraftFile:
        # Imported here because few models have one.
        from lumen_mlir.generate.draft_source import DraftFile

        return DraftFile.open(
            path,
            self.tokenizer,
            format=format,
            pre_tokenizer=pre_tokenizer,
            cache=cache,
            threads=self.options.thread_count(),
            progress=progress,
        )

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Lets weights, KV cache and code go, when no step needs them any more.

        Whatever is asked of the model later is a ``LumenError``, and so is the rest of a text; closing again
        is not.
        """
        batcher = self.__dict__.get("_batcher")
        if batcher is not None:
            batcher.close(self._closed_error())
            self._embedder.close(self._closed_error())
        for name in _CLOSED:
            self.__dict__.pop(name, None)

    def _closed_error(self) -> LumenError:
        return LumenError(f"{self._path}: the model is closed")

    def __getattr__(self, name: str) -> Any:
        # Only what is not there comes here.
        if name in _CLOSED and "sampling" in self.__dict__:
            raise self._closed_error()
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __repr__(self) -> str:
        if "executor" not in self.__dict__:
            return f"<LLM {self._path!r}, closed>"
        config, threads = self.model.config, self.threads
        return (
            f"<LLM {self._path!r}: {config.architecture}, {config.layers} x {config.width}, "
            f"context {self.context}, {threads} thread{'' if threads == 1 else 's'}>"
        )

    # --- generation -----------------------------------------------------------------------------------------

    def session(self) -> Session:
        """A text that goes on: ``generate``, ``extend`` and ``chat``, each behind the last."""
        from lumen_mlir.generate.session import Session

        return Session(self)

    def load_session(self, path: str | os.PathLike[str]) -> Session:
        """The session that ``Session.save`` wrote to a file; what it has computed is not computed again.

        Raises ``LumenError`` where the file is damaged or no session's, or was written by another model, or
        with another KV type, other activations or another target.
        """
        from lumen_mlir.generate.session import Session, SessionError

        try:
            return Session.of_notes(self, self.load_text(path))
        except SessionError as error:
            raise LumenError(f"{os.fspath(path)}: {error}") from None

    def wait(self, is_ready: Callable[[], bool]) -> None:
        """Computes what was asked for until ``is_ready``; it is asked after every step."""
        self._batcher.wait(is_ready)

    # (A text is a list of texts, too; it counts as one.)
    @overload
    def generate(  # type: ignore[overload-overlap]
        self, prompt: str | Iterable[int], max_tokens: int | None = 256, **parameters: Unpack[Parameters]
    ) -> Generation: ...

    @overload
    def generate(
        self,
        prompt: Sequence[str | Sequence[int]],
        max_tokens: int | None = 256,
        **parameters: Unpack[Parameters],
    ) -> Generations: ...

    def generate(
        self,
        prompt: str | Iterable[int] | Sequence[str | Sequence[int]],
        max_tokens: int | None = 256,
        *,
        temperature: float | None = None,
        top_k: int | None = None,
        top_p: float | None = None,
        min_p: float | None = None,
        repeat_penalty: float | None = None,
        typical_p: float | None = None,
        presence_penalty: float | None = None,
        frequency_penalty: float | None = None,
        logit_bias: Mapping[int, float] | None = None,
        seed: int | None = None,
        stop: str | Iterable[str] | None = None,
        stop_token_ids: Iterable[int] | None = None,
        logprobs: int | None = None,
        prompt_logprobs: bool = False,
        ignore_eos: bool = False,
        special: bool = False,
        priority: int = 0,
        timeout: float | None = None,
        speculate: bool | None = None,
        grammar: Grammar | CompiledGrammar | None = None,
        force: Force | None = None,
        grammar_after: str | None = None,
    ) -> Generation | Generations:
        """Continues ``prompt`` (text or token ids): an iterator of text pieces.

        Of a list of prompts all are continued together: a sequence of such iterators, whose ``texts`` are all
        texts. The parameters are those of each, also the ``seed``.

        ``temperature`` 0 takes the likeliest token each time; the other parameters are those of ``Sampler``.
        Those that are None are the model's own (``sampling``). Generation ends at an end token (unless
        ``ignore_eos``, which bans them), before a ``stop`` string, at one of ``stop_token_ids``, after
        ``max_tokens`` (None: no limit) or where the context is full. ``logprobs``: record how likely each
        token was, and so many of the likeliest (``Generation.logprobs``); ``prompt_logprobs``: the tokens of
        the prompt, too. ``special``: control tokens are part of the text; a stop string may have them in it
        in any case. An empty text stands for the token that begins one. Where much is asked for at a time,
        what has a higher ``priority`` goes first. ``timeout``: seconds after which a text that is not at its
        end is given up with an error.
        ``speculate``: guess what comes next, and compute it along where that pays; it changes no text. The
        draft guesses, and what stood behind the same tokens before does. None is True where there is a draft.
        ``grammar``: what the text must match as a whole; it ends where nothing more can follow, also with
        ``ignore_eos``. One that is not compiled yet is compiled now (``compile_grammar``). ``grammar_after``:
        it holds for what comes behind this text, such as ``</think>``; before that, anything may be written.
        ``force``: says which tokens must come; it belongs to a single text.
        Raises ``LumenError`` at once for parameters out of range and a prompt longer than the context.
        """
        chosen = self.sampling.chosen(
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            min_p=min_p,
            repeat_penalty=repeat_penalty,
            typical_p=typical_p,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
        )
        biases = Sampler(logit_bias=logit_bias).logit_bias
        vocabulary = self.model.config.vocabulary
        for token in biases:
            if token >= vocabulary:
                raise LumenError(f"token id {token} is outside the vocabulary of {vocabulary} tokens")
        compiled = None if grammar is None else self._compiled(grammar)

        def make(prompt: str | Iterable[int]) -> Generation:
            return Generation(
                self._batcher,
                self.tokenizer,
                Sampler(seed=seed, logit_bias=biases, **chosen),
                self.prompts.of_text(prompt),
                max_tokens=max_tokens,
                stop=stop,
                stop_token_ids=stop_token_ids,
                logprobs=logprobs,
                prompt_logprobs=prompt_logprobs,
                ignore_eos=ignore_eos,
                special=special,
                priority=priority,
                timeout=timeout,
                guess=self._guess(speculate),
                grammar=None if compiled is None else compiled.start(),
                force=force,
                grammar_after=grammar_after,
            )

        if not is_list_of_prompts(prompt):
            return make(prompt)  # type: ignore[arg-type]
        from lumen_mlir.generate.many import Generations

        return Generations.of(prompt, make, self._batcher, self.options.sequences)

    def compile_grammar(self, grammar: Grammar) -> CompiledGrammar:
        """What ``generate`` takes as ``grammar``, for many texts. The last 32 are kept, by their text.

        The first one takes a second more, for a table of all tokens. Any thread may call it; texts that are
        being written go on meanwhile. Raises ``GrammarError`` (a ``LumenError``) that says what is wrong with
        the grammar and where, and where compiling it takes more than ten seconds.
        """
        with self._grammar_turn:
            tokenizer = self.tokenizer
            if self._grammars is None:
                # Few texts have one.
                from lumen_mlir.grammar.compiler import GrammarCompiler

                self._grammars = GrammarCompiler(tokenizer, self.options.thread_count())
            grammars = self._grammars
        return grammars.compile(grammar)

    def _compiled(self, grammar: Grammar | CompiledGrammar) -> CompiledGrammar:
        """The grammar, for this model. Raises ``GrammarError``."""
        if isinstance(grammar, Grammar):
            return self.compile_grammar(grammar)
        if getattr(grammar, "compiler", None) is None:
            raise GrammarError(f"grammar is {shown(grammar)}; a Grammar was expected")
        if grammar.compiler is not self._grammars:
            raise GrammarError("the grammar was compiled for another model")
        return grammar

    def _guess(self, speculate: bool | None) -> Guess | None:
        if not (self.draft is not None if speculate is None else flag("speculate", speculate)):
            return None
        return NgramGuess() if self.draft is None else self.draft.guesser.guess()

    def chat(
        self,
        messages: str | Sequence[Mapping[str, Any]],
        max_tokens: int | None = None,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        enable_thinking: bool | None = None,
        variables: Mapping[str, Any] | None = None,
        escape_special: bool = True,
        **parameters: Unpack[Parameters],
    ) -> Generation:
        """The model's answer to ``messages`` (mappings with ``role`` and ``content``, or a user's text).

        They become a prompt by the chat template, which also gets ``tools`` (descriptions of functions
        that the model may call), ``enable_thinking`` (where it is not None) and any other ``variables``.
        Messages may have the form of OpenAI's clients (``ChatTemplate.render``).

        ``escape_special``: control tokens that are written in messages, their names, calls and tools are
        text. Only the model's own messages keep those that do not end a turn. ``parameters`` are those of
        ``generate``, except that ``special`` is True where it is not given: the answer has control tokens in
        it, such as ``[TOOL_CALLS]``, by which a call can be told from text. Give it back to the model as it
        is.
        """
        ids, stops = self.prompts.of_messages(messages, tools, enable_thinking, variables, escape_special)
        if stops:
            parameters["stop"] = [*stop_strings(parameters.get("stop")), *stops]
        parameters.setdefault("special", True)
        return self.generate(ids, max_tokens, **parameters)

    @property
    def chat_template(self) -> ChatTemplate:
        """The chat template: the one that was given, or the file's own; ``ChatError`` where there is none."""
        return self.prompts.chat_template

    @chat_template.setter
    def chat_template(self, template: ChatTemplate) -> None:
        self.prompts.chat_template = template

    @property
    def answer_format(self) -> AnswerFormat:
        """How the model writes reasoning and calls, found out from its template; ``ChatError`` without one.

        The first time it takes up to some seconds.
        """
        return self.prompts.answer_format


# What ``LLM.close`` lets go.
_CLOSED = (
    *("executor", "draft", "model", "tokenizer", "module", "prompts"),
    *("_batcher", "_embedder", "_grammars"),
)

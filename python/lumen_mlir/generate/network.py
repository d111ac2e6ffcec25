# SPDX-License-Identifier: Apache-2.0
"""What a model computes: logits, single steps, and keys and values in files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.batcher import Batcher
from lumen_mlir.generate.generation import ContextError
from lumen_mlir.generate.prompts import Prompts, is_list_of_prompts
from lumen_mlir.generate.request import Request
from lumen_mlir.models import Model
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.support.arguments import positive_number, whole_number
from lumen_mlir.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lumen_mlir import ir
    from lumen_mlir.generate.draft_source import Draft
    from lumen_mlir.generate.embeddings import Embedder, Embeddings
    from lumen_mlir.generate.perplexity import Perplexity


class Network:
    """The part of ``LLM`` that has nothing to do with the writing of texts."""

    engine: str
    executor: Any
    draft: Draft | None
    model: Model
    options: SessionOptions
    prompts: Prompts
    tokenizer: Tokenizer
    context: int
    _batcher: Batcher
    _embedder: Embedder

    def tokenize(self, text: str, *, special: bool = True, add_bos: bool | None = None) -> list[int]:
        """The token ids of ``text``; see ``Tokenizer.encode``."""
        return self.tokenizer.encode(text, special=special, add_bos=add_bos)

    def detokenize(self, ids: Iterable[int], *, special: bool = False) -> str:
        """The text of token ids, control tokens only if ``special``."""
        return self.tokenizer.decode(ids, special)

    @property
    def threads(self) -> int:
        """Threads of the team; 1 for the reference."""
        return self.executor.threads if self.engine == "compiled" else 1

    def set_threads(self, count: int) -> None:
        """Goes on with another team of threads. It changes no result."""
        executor, draft = self.executor, self.draft
        if self.engine == "compiled":
            executor.set_threads(count)
            self._embedder.set_threads(count)
            if draft is not None:
                draft.executor.set_threads(count)

    @cached_property
    def module(self) -> ir.Module:
        """The model as a module of the ``lumen`` dialect, before any pass."""
        from lumen_mlir import ir

        with ir.Context():
            return self.model.module(kv_type=self.options.kv_type, max_tokens=self.options.chunk)

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """The logits behind every token of ``ids``: float32 [tokens, vocabulary]."""
        ids = self._that_fit(ids)
        result = np.empty((len(ids), self.model.config.vocabulary), np.float32)
        done = 0

        def receive(logits: np.ndarray) -> None:
            nonlocal done
            result[done : done + len(logits)] = logits
            done += len(logits)

        self.each_logits(ids, receive)
        return result

    def each_logits(self, ids: Sequence[int], receive: Callable[[np.ndarray], None], first: int = 0) -> None:
        """Calls ``receive`` with the logits behind the tokens of ``ids`` from number ``first`` on.

        They come in order, some rows at a time, float32 [rows, vocabulary], valid (and writable) during the
        call.
        """
        ids = self._that_fit(ids)
        self._batcher.compute(
            Request(ids, lambda logits: None, len(ids) + 1, receive=receive, first_logits=first)
        )

    def last_logits(self, ids: Sequence[int]) -> np.ndarray:
        """The logits behind the last token of ``ids``: float32 [vocabulary].

        What the KV cache holds of ``ids`` is not computed again.
        """
        ids, found = self._that_fit(ids), []
        self._batcher.compute(Request(ids, lambda logits: found.append(logits.copy()), len(ids) + 1))
        return found[0]

    def embed(
        self,
        texts: str | Iterable[int] | Sequence[str | Sequence[int]],
        pooling: str | None = None,
        dimensions: int | None = None,
        *,
        priority: int = 0,
        timeout: float | None = None,
    ) -> np.ndarray:
        """A text (or token ids) as a vector of length one: float32 [width]; of a list, [texts, width].

        A vector is pooled from the model's last hidden states, behind the last norm. ``pooling``: "last"
        takes that of the last token, "mean" the mean of all, "cls" the first one's; by default what the file
        says, else "last". ``dimensions``: so many of the first numbers, of length one again; for models that
        are trained for it. Texts end with an end token where the file says so. ``priority`` and ``timeout``
        are those of ``LLM.generate``.

        All texts are computed together, and none depends on the others. The first call compiles the model
        without its output matrix, and uses the weights that are in memory. (Those of a GPU it loads again.)
        Raises ``LumenError`` for parameters out of range, and for a text without tokens or longer than the
        context.
        """
        several = is_list_of_prompts(texts)
        given: Any = texts if several else [texts]
        found = self.embeddings(given, pooling, dimensions, priority=priority, timeout=timeout).vectors()
        return found if several else found[0]

    def embeddings(
        self,
        texts: Sequence[str | Iterable[int]],
        pooling: str | None = None,
        dimensions: int | None = None,
        *,
        priority: int = 0,
        timeout: float | None = None,
    ) -> Embeddings:
        """What ``embed`` computes of a list, before it is computed: another thread can give it up."""
        from lumen_mlir.generate.embeddings import Embeddings, check_pooling, file_pooling

        pooling = file_pooling(self.model) if pooling is None else check_pooling(pooling)
        width = self.model.config.width
        if dimensions is not None and whole_number("dimensions", dimensions, 1) > width:
            raise LumenError(f"dimensions is {dimensions}, but vectors have {width} numbers")
        if timeout is not None:
            timeout = positive_number("timeout", timeout)
        ids = [self.prompts.of_whole_text(text) for text in texts]
        if not ids:
            raise LumenError("there are no texts")
        for number, each in enumerate(ids):
            if len(each) > self.context:
                raise ContextError(
                    f"text {number} is {len(each)} tokens long, but the context is {self.context} tokens"
                )
        return Embeddings(
            self._embedder, ids, pooling, dimensions, whole_number("priority", priority), timeout
        )

    def stepper(self) -> Any:
        """Runs single steps of one text: a ``Stepper``, to be closed.

        Of the reference, which has one text at a time, its ``ReferenceSession``.
        """
        if self.engine == "reference":
            self.forget()
            return self.executor
        from lumen_mlir.run.stepper import Stepper

        return Stepper.on(self.executor)

    def forget(self) -> None:
        """Empties the KV cache: nothing that was computed before is used again."""
        self._batcher.forget()

    def save_text(self, ids: Sequence[int], path: str | os.PathLike[str], notes: str) -> int:
        """Writes the keys and values of ``ids``, and a text of the caller's, to a file; returns the bytes.

        What the KV cache does not have is computed before. Raises ``LumenError`` where the file cannot be
        written.
        """
        if self.engine == "reference":
            raise LumenError("the reference cannot save texts")
        from lumen_mlir.run.snapshot import Held

        ids = self._that_fit(ids)
        found: list[Held] = []

        def hold(logits: np.ndarray) -> None:
            sequence: Any = request.sequence
            found.append(Held(self.executor, sequence))

        request = Request(ids, hold, len(ids) + 1)
        try:
            self._batcher.compute(request)
            return found[0].write(path, notes)
        finally:
            for held in found:
                held.close()

    def load_text(self, path: str | os.PathLike[str]) -> str:
        """Reads what ``save_text`` wrote into the KV cache; returns the caller's text.

        Raises ``LumenError``, and changes nothing, where the file is damaged or was written by another model,
        or with other options that its bits depend on.
        """
        if self.engine == "reference":
            raise LumenError("the reference cannot load texts")
        from lumen_mlir.run import snapshot

        sequence, notes = snapshot.load(self.executor, path)
        # Whoever asks for this text begins with it.
        sequence.close()
        return notes

    def _that_fit(self, ids: Iterable[int]) -> list[int]:
        tokens = self.prompts.checked(ids)
        if len(tokens) > self.context:
            raise LumenError(f"{len(tokens)} tokens do not fit the context of {self.context} tokens")
        return tokens

    def perplexity(self, text: str | Sequence[int], **parameters: Any) -> Perplexity:
        """How well the model predicts ``text``; the parameters are those of ``generate.perplexity``."""
        from lumen_mlir.generate.perplexity import perplexity

        return perplexity(self, text, **parameters)

# SPDX-License-Identifier: Apache-2.0
"""Opens a draft: the file, which must have the tokens of the model, and what runs its steps."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from lumen_mlir.errors import LumenError, quoted
from lumen_mlir.generate.draft import DraftModel
from lumen_mlir.generate.engines import open_engine
from lumen_mlir.generate.model_source import open_model_file
from lumen_mlir.generate.steps import steps_of
from lumen_mlir.gguf.description import label
from lumen_mlir.models import Model
from lumen_mlir.run.session_options import AUTO, MOST_SEQUENCES, Progress, SessionOptions, Timings
from lumen_mlir.storage.cache import Cache
from lumen_mlir.text.tokenizer import Tokenizer


@dataclass
class Draft:
    """A draft that is open.

    Attributes:
      model: the checked file.
      executor: what runs its steps.
      guesser: makes guesses of what they say.
    """

    model: Model
    executor: Any
    guesser: DraftModel


@dataclass
class DraftFile:
    """A draft whose weights are not read yet.

    Attributes:
      model: the checked file.
      tokens: so many tokens, from the first on, are those of the model.
      cache: where compiled code and packed weights are kept.
    """

    model: Model
    tokens: int
    cache: Cache

    @staticmethod
    def open(
        path: str | os.PathLike[str],
        tokenizer: Tokenizer,
        *,
        format: str | None = None,
        pre_tokenizer: str | None = None,
        cache: Cache,
        threads: int | None = None,
        progress: Callable[[str, int, int], None] | None = None,
        read_weights: bool = True,
    ) -> DraftFile:
        """The draft at ``path``, which is what ``open_model_file`` takes, for a model with this tokenizer.

        ``format`` is what a folder is quantized to. Raises ``LumenError``, also where tokens differ.
        """
        file = open_model_file(
            path,
            format=format if isinstance(path, (str, os.PathLike)) and os.path.isdir(path) else None,
            pre_tokenizer=pre_tokenizer,
            cache=cache,
            threads=threads,
            progress=progress,
            read_weights=read_weights,
        )
        model, cache = Model.open(file), cache.labelled(label(file))
        own = Tokenizer.from_gguf(file, cache, pre_tokenizer)
        return DraftFile(model, _common_tokens(file.path, own, tokenizer), cache)

    def options(self, options: SessionOptions, context: int) -> SessionOptions:
        """How it is run beside a model with these options and a context of so many tokens."""
        context = min(context, self.model.config.context)
        # One more is for measuring steps.
        sequences = min(options.sequences + 1, MOST_SEQUENCES)
        own = replace(options, context=context, sequences=sequences)
        return replace(own, kv_type="f16", kv_disk=0, profile=False, gpu_layers=AUTO)

    def bytes_beside(self, model: Model, options: SessionOptions, progress: Progress) -> Callable[[int], int]:
        """The memory that it takes beside a model, by the model's context."""
        # Imported here because few ask for it.
        from lumen_mlir.run.memory import by_context

        own = partial(self.options, options)
        return by_context(self.model, own, options.context_of(model), self.cache, progress)

    def start(
        self,
        engine: str,
        options: SessionOptions,
        tokenizer: Tokenizer,
        progress: Progress,
        timings: Timings,
    ) -> Draft:
        """Compiles and loads it; ``options`` are its own. The time it takes is added to ``timings``."""
        taken = Timings()
        executor = open_engine(engine, self.model, options, self.cache, progress, taken)
        timings.compile, timings.pack = timings.compile + taken.compile, timings.pack + taken.pack
        timings.compile_cached = timings.compile_cached and taken.compile_cached
        timings.pack_cached = timings.pack_cached and taken.pack_cached
        steps = steps_of(executor, options.chunk)
        return Draft(self.model, executor, DraftModel(steps, self.tokens, tokenizer.end_tokens))


def _common_tokens(path: str, draft: Tokenizer, model: Tokenizer) -> int:
    """How many tokens, from the first on, both have. Raises ``LumenError`` where they are not the same."""
    count = min(len(draft), len(model))
    pairs = ((draft.token_text(number), model.token_text(number)) for number in range(count))
    for number, (its, own) in enumerate(pairs):
        if its != own:
            raise _other_tokens(
                path, f"token {number} is {quoted(its)} there, and {quoted(own)} in the model"
            )
    # (What ends a text counts as a control token, and the two may end texts by different ones.)
    ends = [token for token in draft.end_tokens | model.end_tokens if token < count]
    differ = draft.types[:count] != model.types[:count]
    differ[ends] = False
    if differ.any():
        number = int(np.flatnonzero(differ)[0])
        its, own = draft.types[number], model.types[number]
        text = quoted(model.token_text(number))
        raise _other_tokens(path, f"token {number}, {text}, has type {its} there, and {own} in the model")
    return min(count, draft.rows, model.rows)


def _other_tokens(path: str, why: str) -> LumenError:
    return LumenError(f"{path}: a draft must have the tokens of the model: {why}")

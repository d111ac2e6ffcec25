# SPDX-License-Identifier: Apache-2.0
"""Texts as vectors: what a model makes of them before it computes logits, pooled and of length one.

The model is compiled once more, without its output matrix, when the first text comes. Packed weights are
those that are there. Texts go through a scheduler of their own, so that many share each step; the steps of
the two take turns.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from lumen_mlir.errors import LumenError, shown
from lumen_mlir.generate.batcher import Batcher
from lumen_mlir.generate.engines import open_engine
from lumen_mlir.generate.request import DONE, Request
from lumen_mlir.generate.scheduler import Scheduler
from lumen_mlir.generate.steps import steps_of
from lumen_mlir.models import Model
from lumen_mlir.run.session_options import SessionOptions, Timings, silent
from lumen_mlir.storage.cache import Cache
from lumen_mlir.support.locks import turn_lock

POOLINGS = ("last", "mean", "cls")

# The numbers that GGUF files have for them, and for what is none of a single text.
_FILE_POOLINGS = {0: "last", 1: "mean", 2: "cls", 3: "last"}


def file_pooling(model: Model) -> str:
    """How the file says that its hidden states are pooled (``{arch}.pooling_type``).

    Where it does not say so, "last": of a model that looks back only, the last token has seen all others.
    Raises ``LumenError`` where the model gives no embeddings.
    """
    key = f"{model.config.architecture}.pooling_type"
    number = model.file.metadata.integer(key, 0)
    if number not in _FILE_POOLINGS:
        raise LumenError(f"{model.file.path}: {key} is {number}, which is no pooling of embeddings")
    return _FILE_POOLINGS[number]


def check_pooling(pooling: Any) -> str:
    """``pooling``, where it is one; else ``LumenError``."""
    if not isinstance(pooling, str) or pooling not in POOLINGS:
        raise LumenError(f"unknown pooling {shown(pooling)}; known are {', '.join(POOLINGS)}")
    return pooling


def normalized(vector: np.ndarray) -> np.ndarray:
    """``vector`` with the length one, float32; zeros stay."""
    exact = vector.astype(np.float64)
    length = np.sqrt(np.square(exact).sum())
    return (exact / length if length else exact).astype(np.float32)


class _Pooled:
    """The hidden states of one text, as they come: the last of them, or the sum of all.

    Sums are made token by token, in double precision: they do not depend on how a text is cut into steps.
    """

    def __init__(self, width: int, pooling: str):
        self._sum, self._adds, self._count = np.zeros(width), pooling == "mean", 0

    def add(self, rows: np.ndarray) -> None:
        """Takes the next ones: float32 [rows, width]."""
        self._count += len(rows)
        if not self._adds:
            self._sum[:] = rows[-1]
            return
        for row in rows:
            self._sum += row

    def vector(self, dimensions: int | None) -> np.ndarray:
        """float32 [dimensions], of length one."""
        mean = self._sum / self._count if self._adds else self._sum
        return normalized(mean[:dimensions])


class Embedder:
    """The part of a model that makes vectors, opened when it is first asked.

    Args:
      engine: as of ``LLM``, with its ``model``, ``options`` and ``cache``.
      beside: what runs the steps of the whole model.
    """

    def __init__(self, engine: str, model: Model, options: SessionOptions, cache: Cache, beside: Any):
        self._model, self._beside = model.without_head(), beside
        self._open = (engine, self._model, options, cache, silent)
        self._turn = turn_lock()
        self._batcher: Batcher | None = None
        self._executor: Any = None
        self._closed: LumenError | None = None

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self._model.config.width

    @property
    def batcher(self) -> Batcher:
        """What texts are computed by. The first time it takes as long as a model's code is compiled."""
        with self._turn:
            if self._closed is not None:
                raise self._closed
            if self._batcher is None:
                options = self._open[2]
                self._executor = open_engine(*self._open, Timings(), beside=self._beside)
                if hasattr(self._beside, "threads"):
                    self._executor.set_threads(self._beside.threads)
                self._batcher = Batcher(Scheduler(steps_of(self._executor, options.chunk)))
            return self._batcher

    def set_threads(self, count: int) -> None:
        """Goes on with another team of threads."""
        with self._turn:
            if hasattr(self._executor, "set_threads"):
                self._executor.set_threads(count)

    def close(self, error: LumenError) -> None:
        """Ends all texts, and refuses new ones, with ``error``."""
        with self._turn:
            self._closed, batcher = error, self._batcher
            self._batcher = self._executor = self._beside = None
        if batcher is not None:
            batcher.close(error)


class Embeddings:
    """Texts that become vectors together, as soon as ``vectors`` is called. ``LLM.embeddings`` makes it.

    Args:
      embedder: of the model.
      texts: as token ids, all within the context.
      pooling, dimensions: see ``LLM.embed``.
      priority, timeout: as of ``LLM.generate``.

    Attributes:
      tokens: of all texts.
    """

    def __init__(
        self,
        embedder: Embedder,
        texts: Sequence[list[int]],
        pooling: str,
        dimensions: int | None = None,
        priority: int = 0,
        timeout: float | None = None,
    ):
        self.tokens = sum(map(len, texts))
        self._embedder, self._dimensions = embedder, dimensions
        self._pooled = [_Pooled(embedder.width, pooling) for _ in texts]
        deadline = None if timeout is None else time.monotonic() + timeout
        self._requests = [
            _request(ids, pooled, pooling, priority, deadline)
            for ids, pooled in zip(texts, self._pooled, strict=True)
        ]

    def vectors(self) -> np.ndarray:
        """Computes them: float32 [texts, dimensions], each of length one. To be called once.

        Raises ``LumenError`` where a text fails, or where ``cancel`` came meanwhile.
        """
        batcher = self._embedder.batcher
        try:
            for request in self._requests:
                batcher.submit(request)
            batcher.wait(self._is_over)
            for number, request in enumerate(self._requests):
                if request.error is not None:
                    raise _of_text(number, len(self._requests), request.error)
        except BaseException:
            self.cancel()
            raise
        return np.array([pooled.vector(self._dimensions) for pooled in self._pooled])

    def cancel(self) -> None:
        """Gives up what is not done. Any thread may call it, at any time."""
        for request in self._requests:
            request.cancelled = True

    def _is_over(self) -> bool:
        requests = self._requests
        return all(request.state == DONE for request in requests) or any(r.error for r in requests)


def _request(ids: list[int], pooled: _Pooled, pooling: str, priority: int, deadline: float | None) -> Request:
    """The request that brings the hidden states of ``ids``, and ends."""
    if pooling == "cls":
        # The first token sees no other.
        ids = ids[:1]
    return Request(
        list(ids),
        lambda states: None,
        len(ids) + 1,
        priority,
        deadline,
        receive=pooled.add,
        first_logits=0 if pooling == "mean" else len(ids) - 1,
        patient=True,
    )


def _of_text(number: int, count: int, error: BaseException) -> BaseException:
    """``error``, which says of which text it is where there are several."""
    if count == 1 or type(error) is not LumenError:
        return error
    return LumenError(f"text {number}: {error}")

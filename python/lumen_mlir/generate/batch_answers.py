# SPDX-License-Identifier: Apache-2.0
"""Answers any number of requests, as many at a time as share a step."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.batch_request import BatchRequest

if TYPE_CHECKING:
    from lumen_mlir.generate.generation import Generation
    from lumen_mlir.generate.llm import LLM

# So many are under way for each that is computed: who waits is ready to begin.
_AHEAD = 2


class BatchAnswers:
    """The answers of ``requests``, in the order in which they are done.

    Requests are read as there is room for them. One that fails has an answer that says why; the others go on.

    Args:
      defaults: parameters for what requests leave open (``BatchRequest.begin``).

    Attributes:
      prompt_tokens, tokens: of the texts that are done.
      failed: requests that failed.
    """

    def __init__(self, llm: LLM, requests: Iterable[BatchRequest], defaults: Mapping[str, Any]):
        self._llm, self._requests, self._defaults = llm, iter(requests), defaults
        self._open: list[tuple[BatchRequest, Generation]] = []
        self.prompt_tokens = self.tokens = self.failed = 0

    def lines(self) -> Iterator[str]:
        """The answers as lines of JSON."""
        most = _AHEAD * self._llm.options.sequences
        while True:
            for request in itertools.islice(self._requests, most - len(self._open)):
                try:
                    self._open.append((request, request.begin(self._llm, self._defaults)))
                except LumenError as error:
                    yield self._failure(request, error)
            if not self._open:
                return
            self._llm.wait(lambda: any(generation.has_news for _, generation in self._open))
            for pair in list(self._open):
                request, generation = pair
                try:
                    generation.poll()
                except LumenError as error:
                    self._open.remove(pair)
                    yield self._failure(request, error)
                    continue
                if generation.finish_reason is not None:
                    self._open.remove(pair)
                    self.prompt_tokens += len(generation.prompt)
                    self.tokens += len(generation.tokens)
                    yield request.answer(generation)

    def _failure(self, request: BatchRequest, error: LumenError) -> str:
        self.failed += 1
        return request.failure(error)

    def close(self) -> None:
        """Gives up what is not done."""
        for _, generation in self._open:
            generation.close()

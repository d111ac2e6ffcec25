# SPDX-License-Identifier: Apache-2.0
"""Many texts at a time, read by one thread."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import overload

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.batcher import Batcher
from lumen_mlir.generate.generation import Generation

# So many are under way for each that is computed: who waits is ready to begin.
_AHEAD = 2


class Generations(Sequence[Generation]):
    """Texts that are written together: what ``LLM.generate`` makes of a list of prompts.

    Each is a ``Generation``. ``texts`` reads all of them; ``pieces`` gives out what comes, as it comes.

    Attributes:
      errors: what has ended texts that failed, by their numbers.

    Args:
      batcher: of all of them.
      generations: none of which is begun.
      most: so many are computed at a time.
    """

    def __init__(self, batcher: Batcher, generations: Sequence[Generation], most: int):
        self._batcher, self._generations, self._most = batcher, list(generations), _AHEAD * most
        self.errors: dict[int, LumenError] = {}

    @staticmethod
    def of(
        prompts: Sequence[str | Sequence[int]],
        make: Callable[[str | Sequence[int]], Generation],
        batcher: Batcher,
        most: int,
    ) -> Generations:
        """``make`` of each prompt. Raises ``LumenError`` that says which of them is wrong."""
        generations = []
        for number, prompt in enumerate(prompts):
            try:
                generations.append(make(prompt))
            except LumenError as error:
                raise type(error)(f"prompt {number}: {error}") from None
        return Generations(batcher, generations, most)

    def __len__(self) -> int:
        return len(self._generations)

    @overload
    def __getitem__(self, index: int) -> Generation: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Generation]: ...

    def __getitem__(self, index: int | slice) -> Generation | Sequence[Generation]:
        return self._generations[index]

    def pieces(self) -> Iterator[tuple[int, str]]:
        """The number of a text, and what comes next of it. A text that fails ends; see ``errors``."""
        for number, piece, _ in self._news():
            if piece:
                yield number, piece

    def texts(self, progress: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
        """All texts, in the order of the prompts.

        ``progress`` is told how many are done, of how many. Where some fail, the others are written to their
        ends, then the first failure is raised.
        """
        done = 0
        for _, _, ended in self._news():
            if ended:
                done += 1
                progress(done, len(self))
        if self.errors:
            number = min(self.errors)
            raise LumenError(f"prompt {number}: {self.errors[number]}") from self.errors[number]
        return [generation.output for generation in self._generations]

    def _news(self) -> Iterator[tuple[int, str, bool]]:
        """The number of a text, what comes next of it, and whether it has ended."""
        waiting = iter(range(len(self)))
        open_: list[int] = []
        while True:
            for number in itertools.islice(waiting, self._most - len(open_)):
                self._generations[number].begin()
                open_.append(number)
            if not open_:
                return
            self._batcher.wait(lambda: any(self._generations[number].has_news for number in open_))
            for number in list(open_):
                generation, piece = self._generations[number], ""
                try:
                    piece = generation.poll()
                except LumenError as error:
                    self.errors[number] = error
                ended = generation.finish_reason is not None or number in self.errors
                if ended:
                    open_.remove(number)
                if piece or ended:
                    yield number, piece, ended

    def close(self) -> None:
        """Gives all up that are not at their ends."""
        for generation in self._generations:
            generation.close()

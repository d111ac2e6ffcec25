# SPDX-License-Identifier: Apache-2.0
"""What a draft, a second and smaller model, knows of a text, and how often it was right there."""

from __future__ import annotations

from collections.abc import Sequence

from lumen_mlir.generate.cost_curve import CostCurve
from lumen_mlir.generate.request import Stored
from lumen_mlir.generate.speculation import Chances, NgramGuess

# How much each guess teaches, and how much is forgotten where there is none.
_TEXT = (0.2, 0.06)
# After an error, a text has no guesses of the draft for so many tokens.
_PAUSE = 64


class DraftGuess:
    """What the draft says comes next in a text, or what stood there behind the same tokens before.

    Attributes:
      look: it may be asked at any time.
      ngrams: says what stood there before.
      chances: how often tokens of the draft are right, by how likely it says that they are.
      mean: of those that it will compute next.
      stored: the keys and values of the draft, if there are any.
      agreed: so many tokens of it are the text's.
      resume: the length of the text from which on the draft is asked again, after an error.
      is_new: the draft was never asked.
      levels: of the tokens that the draft proposed last.

    Args:
      chances, mean: those of all texts so far.
    """

    def __init__(self, chances: Chances, mean: Chances):
        self.look, self.ngrams = 0, NgramGuess()
        self.chances, self.mean = chances.part(*_TEXT), mean.part(*_TEXT)
        self.stored: Stored | None = None
        self.agreed = self.resume = 0
        self.levels: list[int] = []
        self.is_new = True
        self._all = chances
        self._proposed = self._right = self._checked = 0

    @property
    def proposed(self) -> int:
        """See ``Guess``."""
        return self._proposed + self.ngrams.proposed

    @property
    def right(self) -> int:
        """See ``Guess``."""
        return self._right + self.ngrams.right

    @property
    def sequence(self) -> Stored:
        """The keys and values of the draft, where there are any."""
        assert self.stored is not None
        return self.stored

    def propose(self, ids: Sequence[int], most: int, total: int, costs: CostCurve) -> list[int]:
        """What stood there before: ``DraftModel.propose`` may know better. See ``Guess.propose``."""
        self.levels = []
        return self.ngrams.propose(ids, most, total, costs)

    def learn(self, proposed: int, right: int) -> None:
        """See ``Guess.learn``."""
        if not self.levels:
            self.ngrams.learn(proposed, right)
            return
        self._proposed, self._right = self._proposed + proposed, self._right + right
        for number, level in enumerate(self.levels[: right + 1]):
            self.chances.learn(level, number < right)
            self._all.learn(level, number < right)

    def forget(self) -> None:
        """Forgets a part of what was learned, as there was no guess of the draft."""
        self.mean.forget()
        self.chances.forget()

    def release(self) -> None:
        """See ``Guess.release``."""
        stored, self.stored, self.agreed = self.stored, None, 0
        if stored is not None:
            stored.close()

    def pause(self, length: int) -> None:
        """Asks the draft no more for a while, from this length of the text on."""
        self.resume = length + _PAUSE
        self.release()

    def knows(self, ids: Sequence[int], vocabulary: int) -> bool:
        """True where the draft has all tokens of a text."""
        while self._checked < len(ids) and ids[self._checked] < vocabulary:
            self._checked += 1
        return self._checked == len(ids)

    def follow(self, ids: Sequence[int]) -> int:
        """Notes what the text has become; how many of its tokens the draft has not read, at least 1."""
        tokens = self.stored.tokens if self.stored is not None else []
        most = min(len(tokens), len(ids) - 1)
        self.agreed = min(self.agreed, most)
        while self.agreed < most and tokens[self.agreed] == ids[self.agreed]:
            self.agreed += 1
        return len(ids) - self.agreed

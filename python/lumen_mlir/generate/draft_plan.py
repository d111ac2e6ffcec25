# SPDX-License-Identifier: Apache-2.0
"""How many guesses of a draft pay in a step, by what they cost and how likely they are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from lumen_mlir.generate.cost_curve import CostCurve, pairs_of
from lumen_mlir.generate.draft_guess import DraftGuess
from lumen_mlir.generate.speculation import GAIN, MOST, RISK

# Tokens of an answer that are expected where the draft has to read a text before it can guess.
_EXPECTED = 200


@dataclass(eq=False)
class Text:
    """A text of a step: ``number`` of those that are asked for, at most ``most`` tokens of it.

    ``drafts`` and their ``levels`` are what was guessed so far, ``chance`` that all of it is right, ``feed``
    what the draft reads next.
    """

    number: int
    ids: Sequence[int]
    guess: DraftGuess
    most: int
    feed: list[int] = field(default_factory=list)
    drafts: list[int] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    chance: float = 1.0


class Plan:
    """What guesses of a step gain, and what they cost.

    Attributes:
      alone: seconds of the model's step without guesses.
      rows: guesses that it computes.
      steps, spent: of the draft, and their seconds.
    """

    def __init__(self, draft: CostCurve, model: CostCurve, total: int, room: int):
        self.room = room
        self.alone = model.seconds(total) or 0.0
        self.rows, self.steps, self.spent = 0, 0, 0.0
        self._draft, self._model, self._total = draft, model, total
        self._gained = 0.0

    def that_pay(self, texts: list[Text]) -> list[Text]:
        """Those whose guesses are worth their part of the model's step."""
        row = (self._model.with_guesses(self._total, len(texts)) - self.alone) / len(texts)
        found = [text for text in texts if text.guess.mean[0] * self.alone >= row * self._total]
        return found[: max(self.room, 0)]

    def depth(self, texts: list[Text]) -> tuple[int, float]:
        """How many more tokens of each text make them come fastest, and how many times as fast.

        It counts what is guessed already; (0, 1) is none.
        """
        if not texts:
            return 0, 1.0
        best, before, worse = 0, 0.0, 0
        best_rate = self._rate(self._gained, self.rows, self.spent, len(texts)) if self.steps else GAIN
        gained, each = self._gained, self._draft.seconds(len(texts)) or 0.0
        chances = [text.chance for text in texts]
        for count in range(1, min(MOST, (self.room - self.rows) // len(texts)) + 1):
            chances = [chance * text.guess.mean[0] for chance, text in zip(chances, texts, strict=True)]
            gained += sum(chances)
            rows, spent = self.rows + count * len(texts), self.spent + count * each
            rate = (1 - RISK * count) * self._rate(gained, rows, spent, len(texts))
            if rate > best_rate:
                best, best_rate = count, rate
            worse = worse + 1 if rate < before else 0
            if worse == 2:
                break
            before = rate
        return best, best_rate if best else 1.0

    def _rate(self, gained: float, rows: int, spent: float, texts: int) -> float:
        """How many times as fast so many texts come: what all of the step gain, or lose, counts as theirs."""
        seconds = self._model.with_guesses(self._total, rows) + spent
        return 1 + ((self._total + gained) * self.alone / seconds - self._total) / texts

    def pays_to_read(self, text: Text, missing: int, rate: float) -> bool:
        """True where the rest of the text gains more than it takes the draft to read what it has not."""
        share = min(text.most, _EXPECTED) * self.alone / self._total
        price = self._draft.seconds(missing, pairs_of(missing, len(text.ids) - missing)) or 0.0
        return share > GAIN * (price + share / rate)

    def takes(self, text: Text) -> bool:
        """True, and it counts, where a text's next guess is worth its part of the model's step."""
        now = self._model.with_guesses(self._total, self.rows)
        row = self._model.with_guesses(self._total, self.rows + 1) - now
        if text.chance * (now + self.spent) < row * (self._total + self._gained):
            return False
        self.rows, self._gained = self.rows + 1, self._gained + text.chance
        return True

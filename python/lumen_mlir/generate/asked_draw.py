# SPDX-License-Identifier: Apache-2.0
"""Draws that ask a step for something else than all logits of their row, where it can give that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from lumen_mlir.generate.request import Draw, Drawn
from lumen_mlir.run.ask import Ask


class LogitsAsk(Ask, Protocol):
    """What a ``Draw`` asks of a step instead of all logits, where it can say so by a method ``ask``.

    Attributes:
      token: that was drawn; None where all logits are needed.
    """

    token: int | None

    def finish(self) -> Drawn:
        """What the draw gives then. Until it is called, the draw is as before."""


def ask_of(draw: Draw, vocabulary: int) -> LogitsAsk | None:
    """What ``draw`` asks of a step instead of all ``vocabulary`` logits; None where it needs all."""
    ask = getattr(draw, "ask", None)
    return None if ask is None else ask(vocabulary)


def finish_or_draw(
    draws: Sequence[Draw],
    asks: Sequence[LogitsAsk | None],
    logits: np.ndarray,
    draw_all: Callable[[Sequence[Draw], np.ndarray], list[Drawn | Exception]],
) -> list[Drawn | Exception]:
    """What each of ``draws`` draws, or what it raises: by its ask, or by ``draw_all`` from its logits."""
    needed = [i for i, ask in enumerate(asks) if ask is None or ask.token is None]
    if len(needed) == len(draws):
        return draw_all(draws, logits)
    drawn: list[Drawn | Exception] = [None] * len(draws)
    for i, ask in enumerate(asks):
        if ask is not None and ask.token is not None:
            try:
                drawn[i] = ask.finish()
            except Exception as error:
                drawn[i] = error
    if needed:
        rest = draw_all([draws[i] for i in needed], logits[needed])
        for i, each in zip(needed, rest, strict=True):
            drawn[i] = each
    return drawn

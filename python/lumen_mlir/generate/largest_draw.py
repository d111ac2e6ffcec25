# SPDX-License-Identifier: Apache-2.0
"""Drawing a token from the largest logits, which is all that a GPU need give of most rows."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.generate.request import Drawn
from lumen_mlir.generate.sampling import Sampler
from lumen_mlir.run.ask import logit_group

logger = logging.getLogger(__name__)

# Groups that are asked for because a mask leaves out some of the largest.
_MASKED = 32


class LargestDraw:
    """The next token of one text (``run.selection.Ask``), which all logits would give too.

    Attributes:
      wanted: groups that it asks for.
      token: that was drawn, and is not accepted yet; None where all logits are needed.
    """

    def __init__(
        self,
        sampler: Sampler,
        vocabulary: int,
        wanted: int,
        accept: Callable[[int], Drawn],
        banned: np.ndarray | None,
        allowed: np.ndarray | None,
    ):
        self.wanted = wanted
        self.token: int | None = None
        self._sampler, self._vocabulary, self._accept = sampler, vocabulary, accept
        self._banned, self._allowed = banned, allowed

    @staticmethod
    def of(
        sampler: Sampler,
        vocabulary: int,
        accept: Callable[[int], Drawn],
        banned: np.ndarray | None = None,
        allowed: np.ndarray | None = None,
    ) -> LargestDraw | None:
        """None where the sampler needs all logits, or nearly as many.

        ``accept`` is told of the token that was drawn, and gives what the text gets. ``banned``: tokens
        (int32) that are not to be drawn. ``allowed``: those that may be, as for ``Sampler.sample``.
        """
        wanted = sampler.wanted
        if not wanted:
            return None
        # Each token that is not to be drawn may have been one of the largest.
        wanted += (0 if banned is None else len(banned)) + (0 if allowed is None else _MASKED)
        if 2 * wanted * logit_group(vocabulary) > vocabulary:
            return None
        return LargestDraw(sampler, vocabulary, wanted, accept, banned, allowed)

    def take(self, values: np.ndarray, numbers: np.ndarray) -> bool:
        """``Ask.take``. The sampler stays as it is: a step may be lost before its tokens are used."""
        try:
            self.token = self._sampler.find_largest(
                values, numbers, self._vocabulary, self._banned, self._allowed
            )
        except LumenError as error:
            # Whoever has all logits says what is wrong.
            logger.debug("no token was drawn from the largest logits: %s", error)
        return self.token is not None

    def finish(self) -> Drawn:
        """Accepts the token; what the text gets, as ``Draw`` says."""
        assert self.token is not None
        self._sampler.accept_drawn(self.token)
        return self._accept(self.token)

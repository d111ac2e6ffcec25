# SPDX-License-Identifier: Apache-2.0
"""The largest logits of rows: what is asked of a step on a GPU, so that it need not give all logits."""

from __future__ import annotations

from typing import Protocol

import numpy as np

LOGIT_GROUP = 64
"""Logits of a group (``lumen.largest_groups``)."""


class Ask(Protocol):
    """What somebody wants to know of a row of logits.

    Attributes:
      wanted: how many groups of the largest logits, at least 1; fewer where a row has fewer.
    """

    wanted: int

    def take(self, values: np.ndarray, numbers: np.ndarray) -> bool:
        """Takes the groups, those of larger logits first; False where all logits are needed.

        ``values`` are float32 [groups, 64], ``numbers`` int32 [groups]: group g has the logits of ids 64 g
        and so on, but the last one those of the last 64 ids. They are valid during the call.
        """

# SPDX-License-Identifier: Apache-2.0
"""The largest logits of rows: what is asked of a step on a GPU, so that it need not give all logits."""

from __future__ import annotations

from typing import Protocol

import numpy as np

# A warp has the keys of a row's groups in registers: up to so many.
_MOST_GROUPS = 2048
_LEAST_GROUP, _MOST_GROUP = 64, 256


def logit_group(vocabulary: int) -> int:
    """Logits of a group (``lumen.largest_groups``); 0 where a row has too few for one."""
    group = _LEAST_GROUP
    while group < _MOST_GROUP and -(-vocabulary // group) > _MOST_GROUPS:
        group *= 2
    return group if vocabulary >= group else 0


class Ask(Protocol):
    """What somebody wants to know of a row of logits.

    Attributes:
      wanted: how many groups of the largest logits, at least 1; fewer where a row has fewer.
    """

    wanted: int

    def take(self, values: np.ndarray, numbers: np.ndarray) -> bool:
        """Takes the groups, those of larger logits first; False where all logits are needed.

        ``values`` are float32 [groups, size], ``numbers`` int32 [groups]: group g has the logits of ids
        g * size and so on, but the last one those of the last ids. They are valid during the call.
        """

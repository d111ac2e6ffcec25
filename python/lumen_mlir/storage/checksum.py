# SPDX-License-Identifier: Apache-2.0
"""A checksum of large data: whether bytes are what they were, at the speed of memory."""

from __future__ import annotations

import numpy as np

from lumen_mlir._mlir.memory import Checksum

__all__ = ["Checksum", "checksum"]


def checksum(data: np.ndarray) -> int:
    """The checksum of a contiguous array of bytes: a number of 64 bits."""
    found = Checksum()
    found.update(data)
    return found.value

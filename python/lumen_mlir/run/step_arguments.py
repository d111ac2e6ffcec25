# SPDX-License-Identifier: Apache-2.0
"""Checks what a step of a session is given, before any of it is used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.support.arguments import whole_number


def token_ids(tokens: Sequence[int] | np.ndarray, vocabulary: int, most: int) -> np.ndarray:
    """A copy of 1 to ``most`` ids of a vocabulary: what is checked is what runs."""
    try:
        count = len(tokens)
        # (Before a copy is made.)
        ids = np.array(tokens) if count <= most else np.empty(0)
    except Exception as error:
        raise LumenError(f"tokens are a list of whole numbers: {one_line(error, 100)}") from None
    if ids.ndim != 1 or (ids.dtype.kind not in "iu" and ids.size):
        raise LumenError(
            f"tokens are a list of whole numbers, not {one_line(ids.dtype, 100)} {list(ids.shape)}"
        )
    if not 1 <= count <= most:
        raise LumenError(f"a step takes 1 to {most} tokens, not {count}")
    if ids.min() < 0 or ids.max() >= vocabulary:
        raise LumenError(
            f"token ids {ids.min()} to {ids.max()} are not in a vocabulary of {vocabulary} tokens"
        )
    return ids


def place(position: int, first: int, count: int, context: int) -> tuple[int, int]:
    """``position`` and ``first`` as plain numbers, where ``count`` tokens fit a context there."""
    position, first = whole_number("position", position), whole_number("first", first)
    if not 0 <= first <= count:
        raise LumenError(f"logits from token {first} on were asked for, of {count} tokens")
    if position < 0 or position + count > context:
        raise LumenError(f"{count} tokens at position {position} do not fit a context of {context} tokens")
    return position, first


def check_states(states: np.ndarray | None, shape: tuple[int, int] | None) -> None:
    """Refuses what are no hidden states of ``shape``; None for a step that begins with tokens."""
    if shape is None:
        if states is not None:
            raise LumenError("a step that begins with tokens takes no hidden states")
        return
    expected = f"a step of later layers begins with hidden states float32 {list(shape)}"
    if not isinstance(states, np.ndarray):
        raise LumenError(f"{expected}, not {type(states).__name__}")
    if states.shape != shape or states.dtype != np.float32:
        raise LumenError(f"{expected}, not {one_line(states.dtype, 100)} {list(states.shape)}")


def check_logits(out: np.ndarray, shape: tuple[int, int]) -> None:
    """Refuses an array that logits of ``shape`` cannot be written to."""
    if not isinstance(out, np.ndarray):
        raise LumenError(f"logits are an array float32 {list(shape)}, not {type(out).__name__}")
    if out.shape != shape or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise LumenError(
            f"logits are float32 {list(shape)}, not {one_line(out.dtype, 100)} {list(out.shape)}"
        )
    if not out.flags.writeable:
        raise LumenError("the array for logits must not be read-only")
    if not out.flags.aligned:
        raise LumenError("the array for logits must begin at a multiple of 4 bytes")

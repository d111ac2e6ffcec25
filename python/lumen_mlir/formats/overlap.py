# SPDX-License-Identifier: Apache-2.0
"""Finds values that are joined by ``|`` although two fields may set the same bit.

``low | (high << 4)`` puts a value together from pieces; where pieces from different fields overlap, a shift
or a mask of the description is wrong, and what one field says overwrites what the other one says. Only what
certainly overlaps is refused: a bit is taken to be settable where some bytes of a block set it, and values
of different fields do not depend on each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import LumenError
from .graph import Expression, reachable

Fields = frozenset[str]


def field_names(*nodes: Expression) -> str:
    """The storage fields that values are made of: ``field 'd'``, ``fields 'qs' and 'qh'``."""
    names = dict.fromkeys(n.payload for n in reachable(nodes) if n.operation == "field")
    plural = "s" if len(names) > 1 else ""
    return f"field{plural} " + " and ".join(f"'{name}'" for name in names) if names else "no field"


def check_overlaps(roots: Sequence[Expression]) -> None:
    """Raises LumenError for the first ``a | b`` of which different fields may set the same bit."""
    masks: dict[int, np.ndarray] = {}
    fields: dict[int, Fields] = {}
    for node in reachable(roots):
        sources = [fields[id(operand)] for operand in node.operands]
        fields[id(node)] = frozenset([node.payload] if node.operation == "field" else []).union(*sources)
        sides = [masks[id(operand)] for operand in node.operands]
        independent = len(sources) == 2 and not sources[0] & sources[1]
        mask = None
        if node.dtype is not None and node.dtype.kind != "f":
            if node.operation == "or" and independent and all(sources):
                _check(node, sides)
            mask = _settable(node, sides, independent)
        masks[id(node)] = np.zeros(node.length or 1, dtype=np.int64) if mask is None else mask


def _check(node: Expression, sides: list[np.ndarray]) -> None:
    both = sides[0] & sides[1]
    if not both.any():
        return
    element = int(np.flatnonzero(both)[0])
    shared = [bit for bit in range(node.dtype.bits) if int(both[element]) >> bit & 1]
    bits = f"bit {shared[0]}" if len(shared) == 1 else f"bits {shared[0]} to {shared[-1]}"
    where = "" if node.length is None else f" of element {element}"
    raise LumenError(f"{field_names(*node.operands)} overlap: both sides of a | b may set {bits}{where}")


def _settable(node: Expression, masks: list[np.ndarray], independent: bool) -> np.ndarray | None:
    """The bits of each element that some block sets, int64 [length]; None where that is not clear."""
    length, full = node.length or 1, np.int64((1 << node.dtype.bits) - 1)
    match node.operation:
        case "field":
            return np.full(length, full)
        case "constant":
            return np.broadcast_to(np.atleast_1d(node.payload).astype(np.int64) & full, length)
        case "and" if independent:
            return masks[0] & masks[1]
        case "or":
            return masks[0] | masks[1]
        case "xor" if independent:
            return masks[0] | masks[1]
        case "add" if independent and not (masks[0] & masks[1]).any():
            return masks[0] | masks[1]
        case "mul":
            factor = node.operands[1].payload if node.operands[1].operation == "constant" else None
            if factor is not None and np.all((factor > 0) & (factor & (factor - 1) == 0)):
                return (masks[0] * factor.astype(np.int64)) & full
        case "shl":
            return (masks[0] << node.operands[1].payload.astype(np.int64)) & full
        case "shr" if node.dtype.kind == "u":
            return masks[0] >> node.operands[1].payload.astype(np.int64)
        case "convert" if node.operands[0].dtype.kind == "u":
            return masks[0] & full
        case "bitcast" if node.operands[0].dtype.bits == node.dtype.bits:
            return masks[0]
        case "where":
            return masks[1] | masks[2]
        case "broadcast":
            return np.repeat(masks[0], length)
        case "extract":
            return masks[0][node.payload : node.payload + 1]
        case "shuffle":
            return np.concatenate(masks)[node.payload]
    return None

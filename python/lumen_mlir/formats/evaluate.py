# SPDX-License-Identifier: Apache-2.0
"""NumPy meaning of the expression graph, over any number of blocks at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .arrays import to_float32
from .graph import DType, Expression, reachable

_BINARY = {
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "shl": np.left_shift,
    "shr": np.right_shift,
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "eq": np.equal,
    "lt": np.less,
}


def _convert(value: np.ndarray, source: DType, target: DType) -> np.ndarray:
    if source.kind == "f" and target.name == "f32":
        return to_float32(value, source)
    return value.astype(target.numpy)


def _shuffle(parts: list[np.ndarray], indices: np.ndarray) -> np.ndarray:
    value = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
    if np.array_equal(indices, np.arange(value.shape[-1])):
        return value
    return np.take(value, indices, axis=-1)


def _apply(node: Expression, arguments: list[np.ndarray], fields: Mapping[str, np.ndarray]) -> np.ndarray:
    match node.operation:
        case "field" | "stored":
            return fields[node.payload]
        case "constant":
            return np.atleast_1d(node.payload)
        case "neg":
            return np.negative(arguments[0])
        case "where":
            return np.where(*arguments)
        case "broadcast":
            return np.broadcast_to(arguments[0], (*arguments[0].shape[:-1], node.length))
        case "convert":
            return _convert(arguments[0], node.operands[0].dtype, node.dtype)
        case "bitcast":
            return np.ascontiguousarray(arguments[0]).view(node.dtype.numpy)
        case "extract":
            return arguments[0][..., node.payload : node.payload + 1]
        case "shuffle":
            return _shuffle(arguments, node.payload)
        case "lookup":
            rows = np.take(node.payload, arguments[0], axis=0)
            return rows.reshape(*arguments[0].shape[:-1], node.length)
    return _BINARY[node.operation](*arguments)


def evaluate(roots: Sequence[Expression], fields: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Evaluates ``roots`` for a batch of blocks.

    Args:
      roots: the values wanted.
      fields: storage field (or name of a stored value) -> array [..., length], a scalar having length 1.

    Returns one array [..., length] per root, of the root's storage type (bf16 as uint16).
    """
    nodes = reachable(roots)
    uses = dict.fromkeys((id(node) for node in nodes), 0)
    for used in [operand for node in nodes for operand in node.operands] + list(roots):
        uses[id(used)] += 1
    values: dict[int, np.ndarray] = {}
    with np.errstate(all="ignore"):
        for node in nodes:
            values[id(node)] = _apply(node, [values[id(o)] for o in node.operands], fields)
            for operand in node.operands:
                # Intermediates are dropped after their last use, so that a batch keeps to the cache.
                uses[id(operand)] -= 1
                if not uses[id(operand)]:
                    del values[id(operand)]
    return [values[id(root)] for root in roots]

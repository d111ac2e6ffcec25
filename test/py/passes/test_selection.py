# SPDX-License-Identifier: Apache-2.0
"""Kernels that find the groups of the largest logits, beside the reference: every group of every row."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_runner import WITH_VULKAN, Kernel, on_targets

from lumen_mlir.reference import ops

FUNCTION = """
func.func @f(%x: tensor<?xCOLUMNSxf32>, %rows: tensor<?xi32>, %ranks: tensor<?xi32>)
    -> (tensor<?xKEYSxi32>, tensor<?xGROUPxf32>, tensor<?x1xi32>) {
  %keys = lumen.group_keys %x {group = GROUP : i64} : tensor<?xCOLUMNSxf32> -> tensor<?xKEYSxi32>
  %values, %numbers = lumen.largest_groups %x, %keys, %rows, %ranks
    : tensor<?xCOLUMNSxf32>, tensor<?xKEYSxi32>, tensor<?xi32>, tensor<?xi32>
    -> tensor<?xGROUPxf32>, tensor<?x1xi32>
  return %keys, %values, %numbers : tensor<?xKEYSxi32>, tensor<?xGROUPxf32>, tensor<?x1xi32>
}
"""

# One group, some and a piece, more than one step of keys; and the columns of a group.
SHAPES = ((64, 64), (301, 64), (301, 256), (8256, 32))


def logits(columns: int) -> np.ndarray:
    """Rows of numbers, of many equals, of zeros of both signs, and of what is no number."""
    rng = np.random.default_rng(columns)
    x = (4 * rng.standard_normal((5, columns))).astype(np.float32)
    x[1] = np.round(x[1])
    x[2], x[2, ::7] = 0, -0.0
    x[3, rng.random(columns) < 0.5] = -np.inf
    x[4, columns // 2], x[4, 3], x[4, -1] = np.nan, np.inf, -np.nan
    return x


@pytest.mark.parametrize(("columns", "group", "target"), on_targets(SHAPES, SHAPES[1:3], WITH_VULKAN))
def test_groups_of_every_rank(columns, group, target):
    groups = -(-columns // group)
    keys = -(-groups // 128) * 128
    text = FUNCTION.replace("COLUMNS", str(columns)).replace("KEYS", str(keys))
    kernel = Kernel(text.replace("GROUP", str(group)), target)
    x = logits(columns)
    rows = np.repeat(np.arange(len(x), dtype=np.int32), groups)
    ranks = np.tile(np.arange(groups, dtype=np.int32), len(x))
    # (In another order than that of the rows, too.)
    order = np.random.default_rng(0).permutation(len(rows))
    rows, ranks = rows[order], ranks[order]
    expected_keys = ops.group_keys(x, group)
    expected, expected_numbers = ops.largest_groups(x, expected_keys, rows, ranks, group)
    shapes = [((len(x), keys), np.int32), ((len(rows), group), np.float32), ((len(rows), 1), np.int32)]
    for threads in (1, 2):
        made, values, numbers = kernel.run(x, rows, ranks, results=shapes, threads=threads)
        np.testing.assert_array_equal(made, expected_keys)
        np.testing.assert_array_equal(numbers, expected_numbers)
        np.testing.assert_array_equal(values.view(np.int32), expected.view(np.int32))


def test_the_reference_sorts():
    """Keys are in the order of floats, and ranks in that of the largest values of groups."""
    x = logits(301)
    keys = ops.group_keys(x, 64).view(np.uint32)
    for row, own in zip(x[:4], keys[:4], strict=True):
        largest = [row[begin : begin + 64].max() for begin in range(0, 301, 64)]
        np.testing.assert_array_equal(
            np.argsort(-np.array(largest), kind="stable"), np.argsort(~own[:5], kind="stable")
        )
    values, numbers = ops.largest_groups(x, keys.view(np.int32), np.array([0, 4]), np.array([0, 0]), 64)
    assert values[0].max() == x[0].max() and np.isnan(values[1]).any()
    assert numbers.tolist() == [[int(x[0].argmax()) // 64], [301 // 2 // 64]]

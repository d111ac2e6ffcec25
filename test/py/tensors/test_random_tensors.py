# SPDX-License-Identifier: Apache-2.0
"""Random graphs of ops on tensors, compiled and compared with NumPy in float64."""

import numpy as np
import pytest
from kernel_runner import TARGETS, Kernel
from random_tensors import Graph


def check(seed: int, target: str) -> None:
    graph = Graph(seed, 3 + seed % 20)
    kernel = Kernel(graph.text, target)
    results = [(array.shape, np.float32, ()) for array in graph.results]
    found = kernel.run(*graph.arguments, results=results, threads=1 + seed % 3)
    for one, expected in zip(found, graph.results, strict=True):
        error = np.abs(one - expected) / (1 + np.abs(expected))
        assert error.max(initial=0) < 1e-3, f"graph {seed}:\n{graph.text}"


@pytest.mark.parametrize("target", TARGETS)
def test_random_graphs(target):
    for seed in range(12):
        check(seed, target)


# 10,000 of them.
@pytest.mark.matrix
@pytest.mark.parametrize("first", range(100, 10_100, 100))
def test_many_random_graphs(first):
    for seed in range(first, first + 100):
        check(seed, "x86-64-v3" if seed % 2 else "generic")

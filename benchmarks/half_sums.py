# SPDX-License-Identifier: Apache-2.0
"""How far off sums of products are in half and in single precision, on normally distributed numbers.

    python benchmarks/half_sums.py

Half precision adds as llama.cpp's kernel for prompts with F16 weights does on 64-bit ARM: eight sums side by
side, each product added in one rounding, and their sum in single precision.
"""

from __future__ import annotations

import numpy as np

ROWS, TOKENS, LANES = 128, 32, 8


def errors(count: int) -> dict[str, np.ndarray]:
    """Of sums of ``count`` products, relative to a usual result (the root of the mean square of all)."""
    rng = np.random.default_rng(1)
    weights = (rng.standard_normal((ROWS, count)) * 0.05).astype(np.float16).astype(np.float64)
    x = rng.standard_normal((TOKENS, count)).astype(np.float32).astype(np.float64)
    exact = x @ weights.T
    rounded = x.astype(np.float16).astype(np.float64)
    single = np.zeros(exact.shape, np.float32)
    half = np.zeros((*exact.shape, LANES), np.float16)
    for k in range(count):
        single = (single + x[:, k : k + 1] * weights[:, k]).astype(np.float32)
    for k in range(0, count, LANES):
        part = slice(k, k + LANES)
        half = (half + rounded[:, None, part] * weights[None, :, part]).astype(np.float16)
    usual = np.sqrt((exact**2).mean())
    results = {"half": half.astype(np.float32).sum(-1), "single": single}
    return {name: np.abs(result - exact) / usual for name, result in results.items()}


if __name__ == "__main__":
    for count in (896, 4096):
        for name, error in errors(count).items():
            print(f"{count} products, {name}: {np.sqrt((error**2).mean()):.2e}, at most {error.max():.2e}")

# SPDX-License-Identifier: Apache-2.0
"""Whole models with random weights in every format: do the kernels generate the reference's tokens?

    python benchmarks/whole_models.py [--shape qwen2.5-0.5b] [--layers 2] [--vocab 4096] [--formats q4_k_m,…]

For each format a file of the shape is written, read by the compiled engine and by the NumPy reference, and
both continue a prompt greedily. What is printed: whether the tokens are equal, and how far the logits behind
the prompt are apart.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from lumen_mlir import mixtures
from lumen_mlir.cache import Cache
from lumen_mlir.llm import LLM
from lumen_mlir.testing.synthetic import FORMATS, SHAPES, write_synthetic

PROMPT = list(range(5, 14))
TOKENS = 8


def generated(path: Path, engine: str, cache: Cache) -> tuple[list[int], np.ndarray]:
    llm = LLM(path, engine=engine, context=64, cache=cache)
    logits, tokens = llm.last_logits(PROMPT).copy(), []
    for _ in range(TOKENS):
        tokens.append(int(llm.last_logits(PROMPT + tokens).argmax()))
    return tokens, logits


def main() -> None:
    first = {mixtures.base(name): name for name in reversed(FORMATS)}
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", default="qwen2.5-0.5b", choices=SHAPES)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--vocab", type=int, default=4096)
    parser.add_argument("--formats", default=",".join(first.values()))
    options = parser.parse_args()
    differing = 0
    with tempfile.TemporaryDirectory() as folder:
        path, cache = Path(folder) / "model.gguf", Cache(folder)
        for name in options.formats.split(","):
            write_synthetic(path, options.shape, name, 1, options.layers, options.vocab)
            (expected, reference), (tokens, logits) = (
                generated(path, engine, cache) for engine in ("reference", "compiled")
            )
            distance = np.linalg.norm(logits - reference) / np.linalg.norm(reference)
            same = "equal" if tokens == expected else f"{tokens} instead of {expected}"
            differing += tokens != expected
            print(f"{name:8} tokens {same}, logits differ by {distance:.1e}", flush=True)
            cache.clear()
    print(f"{options.shape}, {options.layers} layers: {differing} formats differ")


if __name__ == "__main__":
    main()

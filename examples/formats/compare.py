# SPDX-License-Identifier: Apache-2.0
"""How far the products of quantized models are from those of a model: python compare.py MODEL TEXT FILE….

The activations are those of MODEL reading TEXT; every matrix of the other files is multiplied with them, and
the differences are given relative to the products (as root mean squares, over all matrices).
"""

import sys
from collections import defaultdict

import numpy as np

from lumen_mlir import formats
from lumen_mlir.generate.llm import LLM
from lumen_mlir.gguf import GGUFFile

TOKENS = 256


def activations(model: str, text: str) -> dict[str, np.ndarray]:
    """What every matrix is multiplied with, float32 [tokens, K]."""
    llm = LLM(model, engine="reference", context=TOKENS)
    seen = defaultdict(list)
    llm.executor.observe(lambda name, x: seen[name].append(x))
    llm.last_logits(llm.tokenize(text)[:TOKENS])
    return {name: np.concatenate(parts) for name, parts in seen.items()}


def weights(file: GGUFFile, name: str) -> np.ndarray:
    info = file.tensors[name]
    return formats.get(info.type).dequantize(file.little_endian(name).reshape(info.shape[0], -1))


def main() -> None:
    model, text, *others = sys.argv[1:]
    with open(text, encoding="utf-8") as file:
        inputs = activations(model, file.read())
    original = GGUFFile.open(model)
    for path in others:
        quantized, error, total = GGUFFile.open(path), 0.0, 0.0
        for name, x in inputs.items():
            before = weights(original, name)
            products = x @ before.T
            error += float(((x @ (weights(quantized, name) - before).T) ** 2).sum() / (products**2).sum())
            total += 1
        print(f"{path}: error of the products {np.sqrt(error / total):.3%}")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Measures how much each column of a model's weights matters: python calibrate.py MODEL TEXT OUT.gguf.

The model reads the text, and the mean square of every activation is written down. The output of a product,
sum over k of weight[k] * x[k], is off by sum of error[k] * x[k]; so in the mean an error counts by the square
of the activation it meets. OUT is an importance matrix as llama-imatrix writes it: ``lumen quantize
--imatrix OUT`` chooses scales and codes by it, for every format.
"""

import sys
from collections import defaultdict

import numpy as np

from lumen_mlir.generate.llm import LLM
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter

CONTEXT = 256


def mean_squares(model: str, text: str) -> tuple[dict[str, np.ndarray], int]:
    """Of every matrix the sum of squares of its activations, float64 [K], and how many there were."""
    llm = LLM(model, engine="reference", context=CONTEXT)
    sums = defaultdict(float)

    def observe(name: str, x: np.ndarray) -> None:
        sums[name] = sums[name] + (x.astype(np.float64) ** 2).sum(axis=0)

    llm.executor.observe(observe)
    tokens = llm.tokenize(text)
    for begin in range(0, len(tokens), CONTEXT):
        llm.forget()
        llm.last_logits(tokens[begin : begin + CONTEXT])
    return sums, len(tokens)


def main() -> None:
    model, text, output = sys.argv[1:]
    with open(text, encoding="utf-8") as file:
        sums, count = mean_squares(model, file.read())
    writer = GGUFWriter(output)
    writer.add("general.type", "imatrix", T.STRING)
    for name, squares in sums.items():
        for suffix, values in (("in_sum2", squares), ("counts", np.array([count]))):
            data = values.astype(np.float32)
            writer.add_tensor(f"{name}.{suffix}", (1, len(data)), "f32", lambda data=data: [data])
    writer.write()
    print(f"{count} tokens, {len(sums)} matrices")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Writes a model with wider feed-forward layers, whose further weights are zeros.

    python benchmarks/widened.py SmolLM2.gguf wide.gguf [--times 12]

It says what the narrow one says, but a step takes as long as one of a larger model. So a draft can be
measured where no large model is at hand.
"""

from __future__ import annotations

import argparse
import re

import numpy as np

from lumen_mlir.gguf import GGUFFile
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter

_FEED_FORWARD = re.compile(r"blk\.\d+\.ffn_(gate|up|down)\.weight")


def widened(raw: np.ndarray, kind: str, rows: int, times: int) -> list[np.ndarray]:
    """The bytes of a matrix whose rows (of the second product: columns) are ``times`` as many.

    Blocks of zero bytes are zeros in the formats of ggml that scale by a factor.
    """
    raw = raw.reshape(rows, -1)
    if kind == "down":
        return [np.pad(raw, ((0, 0), (0, (times - 1) * raw.shape[1]))).reshape(-1)]
    return [raw.reshape(-1), np.zeros((times - 1) * raw.size, np.uint8)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--times", type=int, default=12)
    options = parser.parse_args()
    file, times = GGUFFile.open(options.model), options.times
    key = f"{file.metadata.string('general.architecture')}.feed_forward_length"
    writer = GGUFWriter(options.out)
    writer.copy_metadata(file.metadata, without=[key])
    writer.add(key, times * file.metadata.integer(key), T.U32)
    for name, info in file.tensors.items():
        match, shape = _FEED_FORWARD.fullmatch(name), info.shape
        raw = np.asarray(file.little_endian(name))
        pieces = [raw]
        if match:
            pieces = widened(raw, match[1], shape[0], times)
            shape = (shape[0], times * shape[1]) if match[1] == "down" else (times * shape[0], shape[1])
        writer.add_tensor(name, shape, info.type, lambda pieces=pieces: pieces)
    writer.write()


if __name__ == "__main__":
    main()

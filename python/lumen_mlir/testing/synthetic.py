# SPDX-License-Identifier: Apache-2.0
"""Full-size GGUF files with random weights, for measuring and testing without real ones.

    python -m lumen_mlir.testing.synthetic OUT.gguf --shape qwen2.5-0.5b --format q4_k_m --seed 0

The file has the tensors, types, metadata and vocabulary size of the real one (llama.cpp loads it too); the
weights are random with standard deviation 1/sqrt(K), and the text it generates is nonsense.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.quantize import mixtures
from lumen_mlir.testing.random_blocks import TYPES, random_weights
from lumen_mlir.testing.vocabulary import LEAST_SIZE, synthetic_vocabulary

# Weights are made and written this many at a time, which bounds the memory needed.
_PIECE = 8 << 20

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


@dataclass(frozen=True)
class Shape:
    """The dimensions of a model.

    Attributes:
      hidden, layers, heads, kv_heads, head_dim, vocabulary, context: as in its configuration.
      feed_forward: of the feed-forward block, or of every expert.
      tied: there is no ``output.weight``.
      architecture: "qwen2", "qwen3", "llama" or "qwen3moe".
      experts, used: experts of a layer, and how many a token is sent to; 0 for dense models.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    feed_forward: int
    vocabulary: int
    context: int
    tied: bool
    architecture: str = "qwen2"
    experts: int = 0
    used: int = 0


SHAPES = {
    "tiny": Shape(256, 2, 4, 2, 64, 768, 2048, 2048, True),
    "qwen2.5-0.5b": Shape(896, 24, 14, 2, 64, 4864, 151_936, 32_768, True),
    "qwen2.5-1.5b": Shape(1536, 28, 12, 2, 128, 8960, 151_936, 32_768, True),
    "qwen2.5-3b": Shape(2048, 36, 16, 2, 128, 11_008, 151_936, 32_768, True),
    "qwen2.5-7b": Shape(3584, 28, 28, 4, 128, 18_944, 152_064, 32_768, False),
    "qwen3-0.6b": Shape(1024, 28, 16, 8, 128, 3072, 151_936, 40_960, True, "qwen3"),
    "llama-3.2-1b": Shape(2048, 16, 32, 8, 64, 8192, 128_256, 131_072, True, "llama"),
    "llama-3.1-8b": Shape(4096, 32, 32, 8, 128, 14_336, 128_256, 131_072, False, "llama"),
    # Of no real model: a mixture of experts small enough to measure, and a tiny one.
    "moe-8x": Shape(1024, 12, 16, 4, 64, 1536, 32_000, 32_768, False, "qwen3moe", 8, 2),
    "tiny-moe": Shape(256, 2, 4, 2, 64, 256, 2048, 2048, True, "qwen3moe", 8, 2),
}

# Formats of files whose blocks can be made up.
FORMATS = tuple(name for name in mixtures.names() if mixtures.base(name) in TYPES)


def matrix_type(name: str, columns: int, format: str, layer: int, shape: Shape) -> str:
    """The type of matrix ``name`` (such as ``attn_v``) of ``columns`` columns in a ``format`` file."""
    if name == "ffn_gate_inp":
        return "f32"
    traits = mixtures.Traits(shape.layers, shape.heads // shape.kv_heads, shape.experts, shape.tied)
    return mixtures.fitting(mixtures.matrix_type(format, name, columns, layer, traits), columns)


def _matrices(shape: Shape) -> Iterator[tuple[str, int, tuple[int, ...]]]:
    """(name without ``blk.N.`` and ``.weight``, layer or -1, shape) of every matrix of the model."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    if not shape.tied:
        yield "output", -1, (shape.vocabulary, shape.hidden)
    yield "token_embd", -1, (shape.vocabulary, shape.hidden)
    lead, suffix = ((shape.experts,), "_exps") if shape.experts else ((), "")
    for layer in range(shape.layers):
        yield "attn_k", layer, (key, shape.hidden)
        yield "attn_output", layer, (shape.hidden, query)
        yield "attn_q", layer, (query, shape.hidden)
        yield "attn_v", layer, (key, shape.hidden)
        yield f"ffn_down{suffix}", layer, (*lead, shape.hidden, shape.feed_forward)
        yield f"ffn_gate{suffix}", layer, (*lead, shape.feed_forward, shape.hidden)
        yield f"ffn_up{suffix}", layer, (*lead, shape.feed_forward, shape.hidden)
        if shape.experts:
            yield "ffn_gate_inp", layer, (shape.experts, shape.hidden)


def _vectors(shape: Shape) -> Iterator[tuple[str, int, float, float]]:
    """(name, length, mean, deviation) of every norm and bias."""
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield "output_norm.weight", shape.hidden, 1.0, 0.1
    for layer in range(shape.layers):
        yield f"blk.{layer}.attn_norm.weight", shape.hidden, 1.0, 0.1
        yield f"blk.{layer}.ffn_norm.weight", shape.hidden, 1.0, 0.1
        if shape.architecture == "qwen2":
            yield f"blk.{layer}.attn_q.bias", query, 0.0, 0.1
            yield f"blk.{layer}.attn_k.bias", key, 0.0, 0.1
            yield f"blk.{layer}.attn_v.bias", key, 0.0, 0.1
        if shape.architecture.startswith("qwen3"):
            yield f"blk.{layer}.attn_q_norm.weight", shape.head_dim, 1.0, 0.1
            yield f"blk.{layer}.attn_k_norm.weight", shape.head_dim, 1.0, 0.1


def seeded_generator(seed: int, name: str) -> np.random.Generator:
    """A stream of its own for each tensor: its values do not depend on which others a file has."""
    return np.random.Generator(np.random.SFC64([seed, zlib.crc32(name.encode())]))


def _metadata(shape: Shape, format: str, name: str) -> dict[str, tuple[Any, int]]:
    """Keys, values and GGUF types."""
    prefix = shape.architecture
    sizes: dict[str, tuple[Any, int]] = {
        "block_count": (shape.layers, T.U32),
        "context_length": (shape.context, T.U32),
        "embedding_length": (shape.hidden, T.U32),
        "feed_forward_length": (shape.feed_forward, T.U32),
        "attention.head_count": (shape.heads, T.U32),
        "attention.head_count_kv": (shape.kv_heads, T.U32),
        "attention.key_length": (shape.head_dim, T.U32),
        "attention.value_length": (shape.head_dim, T.U32),
        "attention.layer_norm_rms_epsilon": (1e-6, T.F32),
        "rope.freq_base": (1e6, T.F32),
    }
    if shape.experts:
        sizes |= {
            "expert_count": (shape.experts, T.U32),
            "expert_used_count": (shape.used, T.U32),
            "expert_feed_forward_length": (shape.feed_forward, T.U32),
        }
    return {
        "general.architecture": (prefix, T.STRING),
        "general.type": ("model", T.STRING),
        "general.name": (name, T.STRING),
        "general.file_type": (mixtures.file_type(format), T.U32),
        "general.quantization_version": (2, T.U32),
        **{f"{prefix}.{key}": entry for key, entry in sizes.items()},
        **synthetic_vocabulary(shape.vocabulary).metadata(),
        "tokenizer.chat_template": (CHAT_TEMPLATE, T.STRING),
    }


def _add_matrix(writer: GGUFWriter, name: str, shape: tuple[int, ...], kind: str, seed: int) -> None:
    rows, columns = math.prod(shape[:-1]), shape[-1]

    def pieces() -> Iterator[np.ndarray]:
        rng, step = seeded_generator(seed, name), max(1, _PIECE // columns)
        for row in range(0, rows, step):
            yield random_weights(rng, kind, min(step, rows - row) * columns, columns**-0.5)

    writer.add_tensor(name, shape, kind, pieces)


def _add_vector(writer: GGUFWriter, name: str, length: int, mean: float, deviation: float, seed: int) -> None:
    def pieces() -> Iterator[np.ndarray]:
        values = seeded_generator(seed, name).standard_normal(length, dtype=np.float32)
        yield values * np.float32(deviation) + np.float32(mean)

    writer.add_tensor(name, (length,), "f32", pieces)


def write_synthetic(
    path: str | os.PathLike[str],
    shape: Shape | str = "tiny",
    format: str = "q8_0",
    seed: int = 0,
    layers: int | None = None,
    vocabulary: int | None = None,
) -> int:
    """Write a file with random weights to ``path``; its size in bytes.

    ``shape`` is a name of ``SHAPES`` or any ``Shape``; ``layers`` and ``vocabulary`` override its numbers.
    The same arguments give the same bytes. Raises ``LumenError`` for unknown names, impossible numbers and a
    full disk.
    """
    label = shape if isinstance(shape, str) else "custom"
    if isinstance(shape, str):
        if shape not in SHAPES:
            raise LumenError(f"unknown shape '{shape}'; known are {', '.join(SHAPES)}")
        shape = SHAPES[shape]
    if format not in FORMATS:
        raise LumenError(f"unknown format '{format}'; known are {', '.join(FORMATS)}")
    shape = replace(
        shape,
        layers=shape.layers if layers is None else layers,
        vocabulary=shape.vocabulary if vocabulary is None else vocabulary,
    )
    if shape.layers < 1:
        raise LumenError(f"a model needs at least 1 layer, not {shape.layers}")
    if shape.vocabulary < LEAST_SIZE:
        raise LumenError(f"a vocabulary needs at least {LEAST_SIZE} tokens, not {shape.vocabulary}")
    if seed < 0:
        raise LumenError(f"the seed must not be negative, but is {seed}")
    writer = GGUFWriter(path)
    for key, entry in _metadata(shape, format, f"Synthetic {label} {format}").items():
        writer.add(key, *entry)
    for name, length, mean, deviation in _vectors(shape):
        _add_vector(writer, name, length, mean, deviation, seed)
    for name, layer, sizes in _matrices(shape):
        full = f"{name}.weight" if layer < 0 else f"blk.{layer}.{name}.weight"
        _add_matrix(writer, full, sizes, matrix_type(name, sizes[-1], format, layer, shape), seed)
    return writer.write()


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="lumen_mlir.testing.synthetic", description=__doc__.split("\n")[0])
    parser.add_argument("output", metavar="OUT.gguf")
    parser.add_argument("--shape", default="tiny", help=", ".join(SHAPES))
    parser.add_argument("--format", default="q8_0", help=", ".join(FORMATS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", type=int, help="another number of layers than the shape's")
    parser.add_argument("--vocab", type=int, help="another number of tokens than the shape's")
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    try:
        size = write_synthetic(
            options.output, options.shape, options.format, options.seed, options.layers, options.vocab
        )
    except LumenError as error:
        print(f"lumen: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    seconds = time.perf_counter() - start
    print(f"{options.output}: {size / 1e6:.1f} MB in {seconds:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

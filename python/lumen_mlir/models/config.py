# SPDX-License-Identifier: Apache-2.0
"""Hyperparameters of a decoder-only transformer, read from GGUF metadata and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import Metadata

# Above every real model and below what overflows a 32-bit index.
_LARGEST = (1 << 31) - 1


class ModelError(LumenError):
    """A model file whose metadata or tensors are missing, contradictory or of an unknown kind."""


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding.

    Attributes:
      dimensions: values of each head that turn (even, at most the head's size).
      base: theta of pair i is base**(-2i / dimensions).
      style: "neox" pairs i with i + dimensions/2, "norm" pairs 2i with 2i + 1.
      factor: positions are divided by it (linear scaling); 1 for none.
    """

    dimensions: int
    base: float
    style: str
    factor: float = 1.0


@dataclass(frozen=True)
class ModelConfig:
    """What the builder of a model has to know besides the types of its tensors.

    Attributes:
      architecture: the name in ``general.architecture``.
      name: the model's own name, for people.
      vocabulary: rows of the embedding table.
      context: longest context the model was made for, in tokens.
      width: size of the residual stream (embedding length).
      layers: number of decoder layers.
      heads, kv_heads: query heads and key/value heads per layer; ``heads`` is a multiple of ``kv_heads``.
      head_size: values per head; ``heads * head_size`` need not be ``width``.
      feed_forward: hidden size of the feed-forward block.
      epsilon: of the RMS norms.
      rope: rotary position embedding.
    """

    architecture: str
    name: str
    vocabulary: int
    context: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    feed_forward: int
    epsilon: float
    rope: Rope

    @property
    def query_width(self) -> int:
        """Columns of the queries: ``heads * head_size``."""
        return self.heads * self.head_size

    @property
    def kv_width(self) -> int:
        """Columns of the keys, and of the values: ``kv_heads * head_size``."""
        return self.kv_heads * self.head_size


class ConfigReader:
    """The keys of one architecture, with checks that name the key, the file and the numbers."""

    def __init__(self, metadata: Metadata, architecture: str, path: str):
        self.metadata = metadata
        self.architecture = architecture
        self.path = path

    def error(self, message: str) -> ModelError:
        return ModelError(f"{self.path}: {message}")

    def key(self, key: str) -> str:
        return f"{self.architecture}.{key}"

    def has(self, key: str) -> bool:
        return self.key(key) in self.metadata

    def size(self, key: str, default: int | None = None) -> int:
        """A count from 1 to 2^31 - 1; without ``default`` the key must be there."""
        name = self.key(key)
        if default is not None and name not in self.metadata:
            return default
        value = self.metadata.integer(name)
        if not 1 <= value <= _LARGEST:
            raise self.error(f"'{name}' is {value}; 1 to {_LARGEST} was expected")
        return value

    def positive(self, key: str, default: float | None = None) -> float:
        """A finite number above zero; without ``default`` the key must be there."""
        name = self.key(key)
        if default is not None and name not in self.metadata:
            return default
        value = self.metadata.number(name)
        if not (math.isfinite(value) and value > 0):
            raise self.error(f"'{name}' is {value:g}; a number above 0 was expected")
        return value

    def head_size(self, width: int, heads: int) -> int:
        """Values per head: the given key and value lengths, which must agree, or ``width / heads``."""
        given = {key: self.size(f"attention.{key}") for key in ("key_length", "value_length")
                 if self.has(f"attention.{key}")}  # fmt: skip
        if not given and width % heads:
            raise self.error(
                f"'{self.key('embedding_length')}' {width} is not a multiple of "
                f"'{self.key('attention.head_count')}' {heads}, and no key length is given"
            )
        key, value = (given.get(name, width // heads) for name in ("key_length", "value_length"))
        if key != value:
            raise self.error(
                f"'{self.key('attention.key_length')}' is {key} but '{self.key('attention.value_length')}' "
                f"is {value}; heads of two sizes are not supported"
            )
        return key

    def rope(self, style: str, head_size: int) -> Rope:
        """The rotary embedding; only unscaled and linearly scaled positions are known."""
        dimensions = self.size("rope.dimension_count", head_size)
        if not self.has("rope.dimension_count") and head_size % 2:
            raise self.error(
                f"heads of {head_size} values cannot turn by a rotary embedding: the size is odd"
            )
        if dimensions % 2 or dimensions > head_size:
            raise self.error(
                f"'{self.key('rope.dimension_count')}' is {dimensions}; an even number of at most "
                f"{head_size}, the size of a head, was expected"
            )
        scaling = self.metadata.string(self.key("rope.scaling.type"), "none")
        if scaling not in ("none", "linear"):
            raise self.error(
                f"'{self.key('rope.scaling.type')}' is '{scaling}'; supported are 'none' and 'linear'"
            )
        factor = self.positive("rope.scaling.factor", 1.0) if scaling == "linear" else 1.0
        return Rope(dimensions, self.positive("rope.freq_base", 10000.0), style, factor)

    def vocabulary(self, rows: int) -> int:
        """``rows`` of the embedding table, if the sizes the metadata gives are the same."""
        sizes = {}
        if self.has("vocab_size"):
            sizes[self.key("vocab_size")] = self.size("vocab_size")
        if "tokenizer.ggml.tokens" in self.metadata:
            sizes["tokenizer.ggml.tokens"] = len(self.metadata.strings("tokenizer.ggml.tokens"))
        for name, size in sizes.items():
            if size != rows:
                raise self.error(f"'{name}' gives {size} tokens, but the embedding table has {rows} rows")
        return rows

    def config(self, *, rope_style: str, embedding_rows: int) -> ModelConfig:
        """The configuration that all decoder-only architectures share."""
        width, heads = self.size("embedding_length"), self.size("attention.head_count")
        kv_heads = self.size("attention.head_count_kv", heads)
        if heads % kv_heads:
            raise self.error(
                f"'{self.key('attention.head_count')}' {heads} is not a multiple of "
                f"'{self.key('attention.head_count_kv')}' {kv_heads}"
            )
        head_size = self.head_size(width, heads)
        return ModelConfig(
            architecture=self.architecture,
            name=self.metadata.string("general.name", self.architecture),
            vocabulary=self.vocabulary(embedding_rows),
            context=self.size("context_length"),
            width=width,
            layers=self.size("block_count"),
            heads=heads,
            kv_heads=kv_heads,
            head_size=head_size,
            feed_forward=self.size("feed_forward_length"),
            epsilon=self.positive("attention.layer_norm_rms_epsilon"),
            rope=self.rope(rope_style, head_size),
        )

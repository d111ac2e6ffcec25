# SPDX-License-Identifier: Apache-2.0
"""Hyperparameters of a decoder-only transformer."""

from __future__ import annotations

from dataclasses import dataclass

from lumen_mlir.errors import LumenError
from lumen_mlir.formats import kv_cache
from lumen_mlir.models.rope import Rope


class ModelError(LumenError):
    """A model file whose metadata or tensors are missing, contradictory or of an unknown kind."""


@dataclass(frozen=True)
class Attention:
    """What the attention of one layer sees.

    Attributes:
      window: a token attends to itself and the ``window`` - 1 tokens before it; None: to all before it.
      rope: how queries and keys turn with their position; None where they do not.
    """

    window: int | None
    rope: Rope | None


@dataclass(frozen=True)
class Experts:
    """A mixture of experts.

    Attributes:
      count, used: experts of a layer, and how many of them a token is sent to.
      feed_forward: hidden size of an expert.
      shared: hidden size of the expert that every token is sent to; 0 where there is none.
      gating: "softmax" or "sigmoid", of the router's logits.
      normalized: the weights of the chosen experts are divided by their sum.
      scale: what the weights are multiplied with at the end.
      dense_layers: the first layers, which have an ordinary feed-forward block instead.
    """

    count: int
    used: int
    feed_forward: int
    shared: int = 0
    gating: str = "softmax"
    normalized: bool = True
    scale: float = 1.0
    dense_layers: int = 0


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
      feed_forward: hidden size of the feed-forward block; 0 where every layer has experts instead.
      epsilon: of the RMS norms.
      rope: rotary position embedding of the layers that have one.
      attentions: of each layer; empty where all see everything and turn by ``rope``.
      experts: the mixture of experts; None for a dense model.
      attention_scale: what scores are multiplied with; None for 1 / sqrt(head_size).
      embedding_scale, residual_scale, logit_scale: what the embeddings, the output of each half of a layer
        and the logits are multiplied with.
      extra_layers: layers behind the others that predict further tokens (MTP), which are not run.
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
    attentions: tuple[Attention, ...] = ()
    experts: Experts | None = None
    attention_scale: float | None = None
    embedding_scale: float = 1.0
    residual_scale: float = 1.0
    logit_scale: float = 1.0
    extra_layers: int = 0

    @property
    def query_width(self) -> int:
        """Columns of the queries: ``heads * head_size``."""
        return self.heads * self.head_size

    @property
    def kv_width(self) -> int:
        """Columns of the keys, and of the values: ``kv_heads * head_size``."""
        return self.kv_heads * self.head_size

    def attention(self, index: int) -> Attention:
        """What the attention of layer ``index`` sees."""
        return self.attentions[index] if self.attentions else Attention(None, self.rope)

    def has_experts(self, index: int) -> bool:
        """True where layer ``index`` has experts."""
        return self.experts is not None and index >= self.experts.dense_layers

    @property
    def ropes(self) -> tuple[Rope, ...]:
        """The different rotary embeddings, in the order of the first layers that have them."""
        return self.ropes_of(range(self.layers))

    def ropes_of(self, layers: range) -> tuple[Rope, ...]:
        """Those of some layers."""
        ropes = (self.attention(index).rope for index in layers)
        return tuple(dict.fromkeys(rope for rope in ropes if rope is not None))

    @property
    def windows(self) -> dict[int | None, int]:
        """The different windows, each with its number of layers, in the order of the first layers.

        Layers of equal windows keep their keys and values in one cache.
        """
        return self.windows_of(range(self.layers))

    def windows_of(self, layers: range) -> dict[int | None, int]:
        """Those of some layers."""
        found: dict[int | None, int] = {}
        for index in layers:
            window = self.attention(index).window
            found[window] = found.get(window, 0) + 1
        return found

    @staticmethod
    def cache_pages(window: int | None, context: int, chunk: int | None = None) -> int:
        """Pages that one sequence needs of the cache of ``window``; see ``Model.cache_shapes``."""
        whole = kv_cache.pages(context)
        if window is None or chunk is None:
            return whole
        return min(whole, kv_cache.window_pages(window, chunk))

    def cache_slot(self, index: int, first: int = 0) -> int:
        """The number of layer ``index`` within the cache of its window, of the layers from ``first`` on."""
        window = self.attention(index).window
        return sum(self.attention(i).window == window for i in range(first, index))

# SPDX-License-Identifier: Apache-2.0
"""A model file, checked: hyperparameters, tensors, and its module and weights on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lumen_mlir import ir
from lumen_mlir.formats import kv_cache
from lumen_mlir.gguf import GGUFFile, TensorInfo
from lumen_mlir.gguf.model_file import ModelFile
from lumen_mlir.models.architecture import Architecture, get
from lumen_mlir.models.builder import build_module
from lumen_mlir.models.config import ModelConfig, ModelError
from lumen_mlir.models.rope import Rope, rope_table
from lumen_mlir.models.tensors import WIDE_TYPE
from lumen_mlir.support.guard import guarded


@dataclass(frozen=True)
class Model:
    """An open model, or some of its layers.

    Attributes:
      file: the mapped GGUF file, or Hugging Face folder.
      architecture, config: what it is, with all layers.
      tensors: its weights, in the order of the arguments of ``@step``.
      layers: that it has.
      has_head: it ends in logits; else in hidden states that the last norm has normalized.
    """

    file: ModelFile
    architecture: Architecture
    config: ModelConfig
    tensors: dict[str, TensorInfo]
    layers: range
    has_head: bool = True

    @staticmethod
    def open(path: str | os.PathLike[str] | ModelFile) -> Model:
        """Checks an open model, or opens the GGUF file ``path``. Raises ``LumenError``.

        ``generate.model_source`` opens folders, too.
        """
        file = GGUFFile.open(path) if isinstance(path, (str, os.PathLike)) else path
        with guarded(file.path, ModelError):
            architecture = get(file.metadata.string("general.architecture"), file.path)
            config = architecture.config(file)
            tensors = architecture.resolve(config, file.tensors, file.path)
            return Model(file, architecture, config, tensors, range(config.layers))

    def part(self, layers: range) -> Model:
        """Some of the layers, which follow each other, with the weights that they need.

        What has the first layer embeds tokens, and what has the last one computes logits (or, without its
        head, hidden states of the tokens that are wanted). In between go hidden states: float32
        [tokens, width].
        """
        wanted = {f"blk.{index}" for index in layers}
        if layers.start == 0:
            wanted.add("token_embd")
        if layers.stop == self.config.layers:
            wanted.add("output_norm")
            if self.has_head:
                wanted.add("output" if "output.weight" in self.tensors else "token_embd")
        return replace(self, tensors=self._tensors_of(wanted), layers=layers)

    def without_head(self) -> Model:
        """The model up to its last norm: a step gives hidden states, float32 [rows, width], for logits."""
        places = set(map(_place_of, self.tensors)) - {"output"}
        if not self.is_first:
            # There only for the logits.
            places -= {"token_embd"}
        return replace(self, tensors=self._tensors_of(places), has_head=False)

    def _tensors_of(self, places: set[str]) -> dict[str, TensorInfo]:
        return {name: info for name, info in self.tensors.items() if _place_of(name) in places}

    @property
    def is_first(self) -> bool:
        """Whether it embeds tokens."""
        return self.layers.start == 0

    @property
    def is_last(self) -> bool:
        """Whether it computes logits, or what they are made of."""
        return self.layers.stop == self.config.layers

    @property
    def row_width(self) -> int:
        """Numbers in a row of what a step makes: logits, or a hidden state."""
        return self.config.vocabulary if self.is_last and self.has_head else self.config.width

    @property
    def windows(self) -> dict[int | None, int]:
        """The windows of its layers, as of ``ModelConfig.windows``."""
        return self.config.windows_of(self.layers)

    @property
    def ropes(self) -> tuple[Rope, ...]:
        """The rotary embeddings of its layers, as of ``ModelConfig.ropes``."""
        return self.config.ropes_of(self.layers)

    def module(
        self,
        *,
        kv_type: str = "f16",
        target: ir.Attribute | None = None,
        max_tokens: int | None = None,
        logit_group: int = 0,
    ) -> ir.Module:
        """The ``lumen`` stage of the model, in the current ``ir.Context``; see ``build_module``."""
        return build_module(
            self.config,
            self.tensors,
            kv_type=kv_type,
            target=target,
            max_tokens=max_tokens,
            layers=self.layers,
            has_head=self.has_head,
            logit_group=logit_group,
        )

    def weight(self, name: str) -> np.ndarray:
        """The argument of ``@step`` called ``name``.

        Norms and biases are float32 [N]. Matrices are the file's bytes, uint8 [N, bytes per row], mapped and
        not copied (unless the file is big-endian or the type is float64, which becomes float32).
        """
        info = self.tensors[name]
        if len(info.shape) == 1:
            return _float32(self.file.array(name))
        if self.file.tensors[name].type == WIDE_TYPE:
            return _float32(self.file.array(name)).reshape(info.shape).view(np.uint8)
        return self.file.little_endian(name).reshape(info.shape[0], -1)

    def rope_tables(self, context: int) -> list[np.ndarray]:
        """float32 [context, rope dimensions]: the arguments of ``@step`` behind ``first``; usually one."""
        return [rope_table(rope, context) for rope in self.config.ropes]

    def cache_shapes(
        self, context: int, chunk: int | None = None, kv_type: str = "f16", pages: Sequence[int] | None = None
    ) -> tuple[tuple[int, ...], ...]:
        """Shapes of the KV caches: K and V of each window, the arguments of ``@step`` behind the RoPE tables.

        They hold the pages of one sequence: all of ``context`` positions or, for layers with a sliding
        window, the window and ``chunk``, the most tokens of a step (None: the whole context). ``pages``: how
        many each window has instead.
        """
        kind = kv_cache.get(kv_type)
        shapes: list[tuple[int, ...]] = []
        if pages is None:
            pages = [self.config.cache_pages(window, context, chunk) for window in self.windows]
        for layers, count in zip(self.windows.values(), pages, strict=True):
            sizes = (layers, self.config.kv_heads, count, self.config.head_size)
            shapes += (kind.shape(name, *sizes) for name in ("key", "value"))
        return tuple(shapes)


def _place_of(name: str) -> str:
    """What a tensor belongs to: ``blk.3``, ``token_embd``, ``output``, …"""
    words = name.split(".")
    return ".".join(words[:2]) if words[0] == "blk" else words[0]


def _float32(values: np.ndarray) -> np.ndarray:
    """``values`` as float32; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)

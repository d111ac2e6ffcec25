# SPDX-License-Identifier: Apache-2.0
"""A model file, checked: hyperparameters, tensors, and its module and weights on demand."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lumen_mlir import ir
from lumen_mlir.formats import kv_cache
from lumen_mlir.gguf import GGUFFile, TensorInfo
from lumen_mlir.gguf.model_file import ModelFile
from lumen_mlir.models.architecture import Architecture, get
from lumen_mlir.models.builder import build_module
from lumen_mlir.models.config import ModelConfig, ModelError
from lumen_mlir.models.rope import rope_table
from lumen_mlir.models.tensors import WIDE_TYPE
from lumen_mlir.support.guard import guarded


@dataclass(frozen=True)
class Model:
    """An open model.

    Attributes:
      file: the mapped GGUF file, or Hugging Face folder.
      architecture, config: what it is.
      tensors: its weights, in the order of the arguments of ``@step``.
    """

    file: ModelFile
    architecture: Architecture
    config: ModelConfig
    tensors: dict[str, TensorInfo]

    @staticmethod
    def open(path: str | os.PathLike[str] | ModelFile) -> Model:
        """Checks an open model, or opens the GGUF file ``path``. Raises ``LumenError``.

        ``generate.model_source`` opens folders, too.
        """
        file = GGUFFile.open(path) if isinstance(path, (str, os.PathLike)) else path
        with guarded(file.path, ModelError):
            architecture = get(file.metadata.string("general.architecture"), file.path)
            config = architecture.config(file)
            return Model(file, architecture, config, architecture.resolve(config, file.tensors, file.path))

    def module(
        self, *, kv_type: str = "f16", target: ir.Attribute | None = None, max_tokens: int | None = None
    ) -> ir.Module:
        """The ``lumen`` stage of the model, in the current ``ir.Context``; see ``build_module``."""
        return build_module(self.config, self.tensors, kv_type=kv_type, target=target, max_tokens=max_tokens)

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
            pages = [self.config.cache_pages(window, context, chunk) for window in self.config.windows]
        for layers, count in zip(self.config.windows.values(), pages, strict=True):
            sizes = (layers, self.config.kv_heads, count, self.config.head_size)
            shapes += (kind.shape(name, *sizes) for name in ("key", "value"))
        return tuple(shapes)


def _float32(values: np.ndarray) -> np.ndarray:
    """``values`` as float32; what is too large becomes infinite."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(values, dtype=np.float32)

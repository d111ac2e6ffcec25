# SPDX-License-Identifier: Apache-2.0
"""A model file, checked: hyperparameters, tensors, and its module and weights on demand."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from lumen_mlir import ir
from lumen_mlir.gguf import GGUFFile, TensorInfo
from lumen_mlir.models.architecture import Architecture, get
from lumen_mlir.models.builder import build_module
from lumen_mlir.models.config import ModelConfig
from lumen_mlir.models.rope import rope_table


@dataclass(frozen=True)
class Model:
    """An open model.

    Attributes:
      file: the mapped GGUF file.
      architecture, config: what it is.
      tensors: its weights, in the order of the arguments of ``@step``.
    """

    file: GGUFFile
    architecture: Architecture
    config: ModelConfig
    tensors: dict[str, TensorInfo]

    @staticmethod
    def open(path: str | os.PathLike[str] | GGUFFile) -> Model:
        """Opens and checks a GGUF file; LumenError with one line that says what is wrong."""
        file = path if isinstance(path, GGUFFile) else GGUFFile.open(path)
        architecture = get(file.metadata.string("general.architecture"), file.path)
        config = architecture.config(file.metadata, file.tensors, file.path)
        return Model(file, architecture, config, architecture.resolve(config, file.tensors, file.path))

    def module(
        self, *, kv_type: str = "f16", target: ir.Attribute | None = None, max_tokens: int | None = None
    ) -> ir.Module:
        """The ``lumen`` stage of the model, in the current ``ir.Context``; see ``build_module``."""
        return build_module(self.config, self.tensors, kv_type=kv_type, target=target, max_tokens=max_tokens)

    def weight(self, name: str) -> np.ndarray:
        """The argument of ``@step`` called ``name``.

        Norms and biases are float32 [N]. Matrices are the file's bytes, uint8 [N, bytes per row], mapped and
        not copied (unless the file is big-endian).
        """
        info = self.tensors[name]
        if len(info.shape) == 1:
            return np.ascontiguousarray(self.file.array(name), dtype=np.float32)
        return self.file.little_endian(name).reshape(info.shape[0], -1)

    def rope_table(self, context: int) -> np.ndarray:
        """float32 [context, rope dimensions]: the argument ``rope`` of ``@step``."""
        return rope_table(self.config.rope, context)

    def cache_shapes(self, context: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of the K and V caches for at least ``context`` positions."""
        config, pages = self.config, -(-context // 16)
        lead = (config.layers, config.kv_heads, pages)
        return (*lead, config.head_size, 16), (*lead, 16, config.head_size)

# SPDX-License-Identifier: Apache-2.0
"""What an architecture defines, and the registry of those known by the name in ``general.architecture``."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import ClassVar

from lumen_mlir import ir
from lumen_mlir.dialects import lumen
from lumen_mlir.gguf import Metadata, TensorInfo
from lumen_mlir.models import blocks
from lumen_mlir.models.config import ConfigReader, ModelConfig, ModelError
from lumen_mlir.models.scope import Scope
from lumen_mlir.models.tensors import TensorSpec, resolve_tensors

_ARCHITECTURES: dict[str, Architecture] = {}


class Architecture:
    """A decoder-only transformer. A family overrides what differs: tensors, layer, and rarely the rest.

    Attributes:
      name: the value of ``general.architecture``.
      rope_style: "neox" or "norm".
    """

    name: ClassVar[str]
    rope_style: ClassVar[str] = "neox"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "name" in vars(cls):
            _ARCHITECTURES[cls.name] = cls()

    # --- what a model is read from --------------------------------------------------------------------------

    def config(self, metadata: Metadata, tensors: Mapping[str, TensorInfo], path: str) -> ModelConfig:
        """Reads and checks the hyperparameters."""
        embedding = tensors.get("token_embd.weight")
        if embedding is None:
            raise ModelError(f"{path}: no tensor 'token_embd.weight', which {self.name} needs")
        reader = ConfigReader(metadata, self.name, path)
        return reader.config(rope_style=self.rope_style, embedding_rows=embedding.shape[0])

    def layer_tensors(self, config: ModelConfig, index: int) -> Iterator[TensorSpec]:
        """Tensors of layer ``index`` without their prefix, in the order of the layer function's arguments."""
        raise TypeError(f"{type(self).__name__} does not say which tensors a layer has")

    def tensors(self, config: ModelConfig) -> Iterator[TensorSpec]:
        """All tensors, in the order of the arguments of ``@step``."""
        yield TensorSpec("token_embd.weight", (config.vocabulary, config.width))
        for index in range(config.layers):
            for spec in self.layer_tensors(config, index):
                yield TensorSpec(f"blk.{index}.{spec.name}", spec.shape, spec.optional)
        yield from blocks.norm_tensors("output_norm", config.width)
        yield TensorSpec("output.weight", (config.vocabulary, config.width), optional=True)
        yield TensorSpec("output.bias", (config.vocabulary,), optional=True)

    def resolve(
        self, config: ModelConfig, tensors: Mapping[str, TensorInfo], path: str
    ) -> dict[str, TensorInfo]:
        """The file's tensors in argument order, with shapes and types checked."""
        return resolve_tensors(self.tensors(config), tensors, self.name, path)

    # --- what a model computes ------------------------------------------------------------------------------

    def variant(self, config: ModelConfig, index: int) -> Hashable:
        """What, besides the types of its tensors, tells the code of layer ``index`` from that of others."""
        return None

    def embed(self, scope: Scope, tokens: ir.Value) -> ir.Value:
        """The first residual stream: f32 [T, width]."""
        return lumen.embedding(tokens, scope.weights["token_embd.weight"])

    def layer(self, scope: Scope, x: ir.Value, index: int) -> ir.Value:
        """One decoder layer: f32 [T, width] -> [T, width]."""
        return blocks.pre_norm_layer(scope, x)

    def head(self, scope: Scope, x: ir.Value) -> ir.Value:
        """The logits: f32 [T, width] -> [T, vocabulary]. Without an own table, the embedding's is used."""
        tied = "output.weight" not in scope.weights
        return scope.linear(scope.rms_norm(x, "output_norm"), "token_embd" if tied else "output")


def names() -> list[str]:
    """The architectures that are known."""
    return sorted(_ARCHITECTURES)


def get(name: str, path: str = "") -> Architecture:
    """The architecture called ``name``; ModelError, naming the known ones, if there is none."""
    known = names()
    if name not in known:
        where = f"{path}: " if path else ""
        raise ModelError(f"{where}unknown architecture '{name}'; known: {', '.join(known)}")
    return _ARCHITECTURES[name]

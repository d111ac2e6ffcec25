# SPDX-License-Identifier: Apache-2.0
"""The tensors a model needs, checked against those a file has."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

from lumen_mlir import formats
from lumen_mlir.errors import quoted
from lumen_mlir.gguf import TensorInfo
from lumen_mlir.models.config import ModelError

FLOAT_TYPES = ("f32", "f16", "bf16")
# What is converted to float32 when it is loaded: no kernel reads it.
WIDE_TYPE = "f64"

logger = logging.getLogger(__name__)

# Tensors that say how far positions turn: read with the hyperparameters, no arguments of a step.
ROPE_TENSORS = ("rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight")


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of an architecture.

    Attributes:
      name: within its layer, for layers.
      shape: logical; of three dimensions for a matrix per expert. A matrix of one row may be a vector in the
        file.
      optional: it may be absent.
    """

    name: str
    shape: tuple[int, ...]
    optional: bool = False


def shape_text(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def check_type(info: TensorInfo, path: str) -> None:
    """Weights are float or of a described format; vectors (norms, biases) are float."""
    is_vector = len(info.shape) == 1
    if info.type not in (*FLOAT_TYPES, WIDE_TYPE) and (is_vector or not formats.is_known(info.type)):
        known = FLOAT_TYPES if is_vector else formats.names()
        raise ModelError(
            f"{path}: tensor '{info.name}' ({shape_text(info.shape)}) has type {info.type}; "
            f"supported are {', '.join(known)}"
        )


def resolve_tensors(
    specs: Iterable[TensorSpec],
    infos: Mapping[str, TensorInfo],
    architecture: str,
    path: str,
    unused_layers: range = range(0),
) -> dict[str, TensorInfo]:
    """The file's tensors in the order of ``specs``, which are consumed lazily.

    The matrices of all experts of a layer become one matrix [experts * rows, columns]. Tensors of
    ``unused_layers`` (which predict further tokens) are left out.

    Raises ModelError where one is missing, has another shape than the metadata asks for or an unsupported
    type, and where the file has tensors that the architecture would silently ignore.
    """
    found: dict[str, TensorInfo] = {}
    wide: list[str] = []
    for spec in specs:
        info = infos.get(spec.name)
        if info is None:
            if spec.optional:
                continue
            raise ModelError(
                f"{path}: no tensor '{spec.name}' ({shape_text(spec.shape)}), which {architecture} needs"
            )
        is_row = spec.shape == (1, *info.shape)
        if info.shape != spec.shape and not is_row:
            raise ModelError(
                f"{path}: tensor '{spec.name}' is {shape_text(info.shape)}; "
                f"by the metadata it should be {shape_text(spec.shape)}"
            )
        check_type(info, path)
        if info.type == WIDE_TYPE:
            wide.append(spec.name)
            info = replace(info, type="f32", nbytes=4 * prod(info.shape))
        rows, columns = prod(spec.shape[:-1]), spec.shape[-1]
        found[spec.name] = replace(info, shape=(rows, columns)) if len(spec.shape) > 1 else info
    if wide:
        logger.warning("%s: %d tensors of type %s are used as float32", path, len(wide), WIDE_TYPE)

    def is_left_out(name: str) -> bool:
        layer = re.match(r"blk\.([0-9]{1,6})\.", name)
        return name in ROPE_TENSORS or (layer is not None and int(layer[1]) in unused_layers)

    extra = [name for name in infos if name not in found and not is_left_out(name)]
    if extra:
        names = ", ".join(map(quoted, extra[:3])) + (", …" if len(extra) > 3 else "")
        plural = "tensors" if len(extra) > 1 else "tensor"
        raise ModelError(
            f"{path}: {len(extra)} {plural} that this {architecture} model does not use: {names}"
        )
    return found

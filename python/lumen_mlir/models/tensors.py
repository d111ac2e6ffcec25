# SPDX-License-Identifier: Apache-2.0
"""The tensors a model needs, checked against those a file has."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lumen_mlir import formats
from lumen_mlir.gguf import TensorInfo
from lumen_mlir.models.config import ModelError

FLOAT_TYPES = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class TensorSpec:
    """One tensor of an architecture: name (within its layer, for layers), logical shape, may it be absent."""

    name: str
    shape: tuple[int, ...]
    optional: bool = False


def shape_text(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def check_type(info: TensorInfo, path: str) -> None:
    """Weights are float or of a described format; vectors (norms, biases) are float."""
    is_vector = len(info.shape) == 1
    if info.type not in FLOAT_TYPES and (is_vector or not formats.is_known(info.type)):
        known = FLOAT_TYPES if is_vector else formats.names()
        raise ModelError(
            f"{path}: tensor '{info.name}' ({shape_text(info.shape)}) has type {info.type}; "
            f"supported are {', '.join(known)}"
        )


def resolve_tensors(
    specs: Iterable[TensorSpec], infos: Mapping[str, TensorInfo], architecture: str, path: str
) -> dict[str, TensorInfo]:
    """The file's tensors in the order of ``specs``, which are consumed lazily.

    Raises ModelError where one is missing, has another shape than the metadata asks for or an unsupported
    type, and where the file has tensors that the architecture would silently ignore.
    """
    found: dict[str, TensorInfo] = {}
    for spec in specs:
        info = infos.get(spec.name)
        if info is None:
            if spec.optional:
                continue
            raise ModelError(
                f"{path}: no tensor '{spec.name}' ({shape_text(spec.shape)}), which {architecture} needs"
            )
        if info.shape != spec.shape:
            raise ModelError(
                f"{path}: tensor '{spec.name}' is {shape_text(info.shape)}; "
                f"by the metadata it should be {shape_text(spec.shape)}"
            )
        check_type(info, path)
        found[spec.name] = info
    extra = [name for name in infos if name not in found]
    if extra:
        names = ", ".join(f"'{name}'" for name in extra[:3]) + (", …" if len(extra) > 3 else "")
        plural = "tensors" if len(extra) > 1 else "tensor"
        raise ModelError(
            f"{path}: {len(extra)} {plural} that this {architecture} model does not use: {names}"
        )
    return found

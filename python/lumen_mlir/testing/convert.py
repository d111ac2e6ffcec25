# SPDX-License-Identifier: Apache-2.0
"""The same model in another weight type, for tests that compare types."""

from __future__ import annotations

import os

import numpy as np

from lumen_mlir import formats
from lumen_mlir.formats.quantize import quantize
from lumen_mlir.gguf import GGUFFile, StringArray
from lumen_mlir.gguf.types import VALUE_TYPE_NAMES
from lumen_mlir.gguf.writer import GGUFWriter


def convert_weights(source: GGUFFile, path: str | os.PathLike[str], type_name: str) -> None:
    """Writes ``source`` to ``path`` with every matrix in the type ``type_name``, by way of float32.

    Metadata, norms and biases stay as they are (``general.file_type`` too, which is only a remark).
    """
    writer = GGUFWriter(path)
    metadata, target = source.metadata, formats.get(type_name)
    for key in metadata:
        if key != "general.alignment":
            kind = metadata.type_name(key).removeprefix("array of ")
            value = metadata[key]
            value = value.to_list() if isinstance(value, StringArray) else value
            writer.add(key, value, VALUE_TYPE_NAMES.index(kind))
    for info in source.tensors.values():
        raw = source.little_endian(info.name)
        if len(info.shape) == 1:
            writer.add_tensor(info.name, info.shape, info.type, lambda raw=raw: [raw])
            continue

        def pieces(info=info, raw=raw):
            weights = formats.get(info.type).dequantize(raw.reshape(info.shape[0], -1))
            return [np.ascontiguousarray(quantize(target, weights))]

        writer.add_tensor(info.name, info.shape, type_name, pieces)
    writer.write()

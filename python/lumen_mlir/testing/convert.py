# SPDX-License-Identifier: Apache-2.0
"""The same model in another weight type, for tests that compare types."""

from __future__ import annotations

import os

from lumen_mlir.gguf import GGUFFile
from lumen_mlir.quantize.quantization import Choices, quantize_file


def convert_weights(source: GGUFFile, path: str | os.PathLike[str], type_name: str) -> None:
    """Writes ``source`` to ``path`` with every matrix in the type ``type_name``, by way of float32."""
    quantize_file(source, path, Choices(type_name, pure=True))

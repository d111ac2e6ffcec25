# SPDX-License-Identifier: Apache-2.0
"""Opens what people call a model: a GGUF file, or one that is split into several."""

from __future__ import annotations

import os

from lumen_mlir.gguf import GGUFFile


def open_model_file(path: str | os.PathLike[str] | None) -> GGUFFile:
    """The model file at ``path``; None for the model that comes with the package. Raises ``LumenError``."""
    if path is None:
        from lumen_mlir.data import embedded_model_path

        path = embedded_model_path()
    return GGUFFile.open(path)

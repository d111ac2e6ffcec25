# SPDX-License-Identifier: Apache-2.0
"""Model definitions: from the metadata and tensors of a file to a module at the ``lumen`` stage."""

from lumen_mlir.models import qwen2 as _qwen2  # noqa: F401  (an architecture registers itself)
from lumen_mlir.models.architecture import Architecture, get, names
from lumen_mlir.models.config import ModelConfig, ModelError, Rope
from lumen_mlir.models.model import Model
from lumen_mlir.models.rope import rope_table

__all__ = ["Architecture", "Model", "ModelConfig", "ModelError", "Rope", "get", "names", "rope_table"]

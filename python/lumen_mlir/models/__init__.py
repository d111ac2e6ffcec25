# SPDX-License-Identifier: Apache-2.0
"""Model definitions: from the metadata and tensors of a file to a module at the ``lumen`` stage.

Here belongs what a family of models computes, and what its files must say. Imports ``dialects``, ``gguf``
and what stands below them; does not know how a module is compiled or run.
"""

# An architecture registers itself.
from lumen_mlir.models import exaone as _exaone  # noqa: F401
from lumen_mlir.models import hyperclovax as _hyperclovax  # noqa: F401
from lumen_mlir.models import llama as _llama  # noqa: F401
from lumen_mlir.models import qwen as _qwen  # noqa: F401
from lumen_mlir.models import solar as _solar  # noqa: F401
from lumen_mlir.models.architecture import Architecture, get, hf_class_of_type, names, of_hf_class
from lumen_mlir.models.config import Attention, Experts, ModelConfig, ModelError
from lumen_mlir.models.model import Model
from lumen_mlir.models.reader import Source
from lumen_mlir.models.rope import LongRope, Rope, Yarn, llama3_divisors, rope_table

__all__ = [
    "Architecture",
    "Attention",
    "Experts",
    "LongRope",
    "Model",
    "ModelConfig",
    "ModelError",
    "Rope",
    "Source",
    "Yarn",
    "get",
    "hf_class_of_type",
    "llama3_divisors",
    "names",
    "of_hf_class",
    "rope_table",
]

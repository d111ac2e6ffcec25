# SPDX-License-Identifier: Apache-2.0
"""Hugging Face model folders: configuration, tokenizer and safetensors, seen as a GGUF file would be.

Here belongs what reads their files and says in GGUF's terms what they hold. Imports ``models``,
``quantize``, ``text`` and what stands below them.
"""

from lumen_mlir.hf.errors import HFError
from lumen_mlir.hf.folder import HFFolder
from lumen_mlir.hf.quantized import open_planned, open_quantized

__all__ = ["HFError", "HFFolder", "open_planned", "open_quantized"]

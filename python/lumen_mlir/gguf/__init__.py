# SPDX-License-Identifier: Apache-2.0
"""GGUF files: a checked, memory-mapped reader and a small streaming writer."""

from lumen_mlir.gguf.errors import GGUFError
from lumen_mlir.gguf.metadata import Metadata, StringArray
from lumen_mlir.gguf.reader import GGUFFile, TensorInfo

__all__ = ["GGUFError", "GGUFFile", "Metadata", "StringArray", "TensorInfo"]

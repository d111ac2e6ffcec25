# SPDX-License-Identifier: Apache-2.0
"""GGUF files: a checked, memory-mapped reader and a small streaming writer.

Here belongs what the format of the file says, and ``ModelFile``, which everything that opens models as GGUF
would is. Imports ``formats``, ``storage`` and ``support``; knows no models.
"""

from lumen_mlir.gguf.errors import GGUFError
from lumen_mlir.gguf.header import TensorInfo
from lumen_mlir.gguf.metadata import Metadata, StringArray
from lumen_mlir.gguf.reader import GGUFFile

__all__ = ["GGUFError", "GGUFFile", "Metadata", "StringArray", "TensorInfo"]

# SPDX-License-Identifier: Apache-2.0
"""What the rest of Lumen sees of a model on disk, a GGUF file or a folder in GGUF's terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from lumen_mlir.gguf.header import TensorInfo
from lumen_mlir.gguf.metadata import Metadata
from lumen_mlir.storage.mapping import MappedFile


class ModelFile(Protocol):
    """Metadata and tensors in GGUF's terms, wherever they come from.

    Attributes:
      path: of the file or folder.
      kind: what it is, in words.
    """

    path: str
    metadata: Metadata

    @property
    def kind(self) -> str: ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    @property
    def files(self) -> Sequence[MappedFile]:
        """What is mapped: whoever uses it checks that it did not change."""

    @property
    def size(self) -> int:
        """Bytes of the files."""

    def little_endian(self, name: str) -> np.ndarray:
        """The bytes of tensor ``name`` in its type: uint8 [nbytes], mapped where that is possible."""

    def array(self, name: str) -> np.ndarray:
        """Tensor ``name`` of a float type, in its shape."""

    def release(self, name: str | None = None) -> None:
        """Lets the pages of tensor ``name``, or of all, leave resident memory."""

    def fingerprint(self) -> str:
        """A key for caches."""

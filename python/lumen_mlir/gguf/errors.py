# SPDX-License-Identifier: Apache-2.0
"""The error of everything that reads or writes GGUF files."""

from lumen_mlir.errors import LumenError


class GGUFError(LumenError):
    """A GGUF file that cannot be read, is damaged, or does not hold what was asked of it."""

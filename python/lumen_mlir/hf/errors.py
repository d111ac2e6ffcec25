# SPDX-License-Identifier: Apache-2.0
"""The error of everything that reads Hugging Face folders."""

from lumen_mlir.errors import LumenError


class HFError(LumenError):
    """A model folder that is incomplete, damaged, or of a kind that Lumen does not know."""

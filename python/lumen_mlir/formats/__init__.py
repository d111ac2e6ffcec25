# SPDX-License-Identifier: Apache-2.0
"""Quantization formats: each described once, as NumPy reference and as IR.

``get("q4_k")`` and ``by_ggml_type(12)`` find a format, ``names()`` lists them. A package adds formats
through the entry-point group ``lumen_mlir.formats`` (name = the format's name, value = the object that
``@quant_format`` returns); a script just uses the decorator of ``lumen_mlir.formats.dsl``, and the command
line loads scripts that are named with ``--plugin`` or in ``LUMEN_PLUGINS``.

Here belongs what follows from a description alone: bytes, values, layouts, quantizers, IR as text. Imports
``env`` and ``errors``; knows no files and no models.
"""

from typing import TYPE_CHECKING

from lumen_mlir.formats.registry import by_ggml_type, get, is_known, names, origin, register

if TYPE_CHECKING:
    # A name for annotations alone: it takes NumPy.
    from lumen_mlir.formats.described import Format as Format

__all__ = ["by_ggml_type", "get", "is_known", "names", "origin", "register"]

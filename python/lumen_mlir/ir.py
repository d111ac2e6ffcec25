# SPDX-License-Identifier: Apache-2.0
"""MLIR's IR from Python, under the names of MLIR's own bindings (``mlir.ir``).

>>> from lumen_mlir import ir
>>> with ir.Context():
...     module = ir.Module.parse("func.func @f(%x: i32) -> i32 { return %x : i32 }")
...     module.body.operations[0].attributes["sym_name"].value
'f'

Differences from upstream: a missing location means "unknown"; ``block.operations``, ``op.results`` and the
like are lists made at the time of the call; and there are no per-operation classes, every operation is an
``Operation``. An object whose operation was erased, or was inside one that a pass manager ran on, raises
``RuntimeError`` when used.
"""

from lumen_mlir._mlir.ir import *  # noqa: F403
from lumen_mlir._mlir.ir import Operation
from lumen_mlir.errors import MLIRError as MLIRError

OpView = Operation
"""Upstream's name for what ``block.operations`` holds."""

# SPDX-License-Identifier: Apache-2.0
"""Compiles the region of ``lumen.format`` with MLIR's own tools, to run it on blocks.

Each format becomes a function from a block's bytes to its codes and factors; Lumen's passes have no part in
it, so a difference to NumPy is one of the description's IR.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from lumen_mlir.formats.emit import type_of
from lumen_mlir.formats.quantized import QuantFormat

_TOOLS = {name: shutil.which(f"{name}-22") for name in ("mlir-opt", "mlir-translate", "clang")}
needs_tools = pytest.mark.skipif(not all(_TOOLS.values()), reason="needs LLVM 22's tools")

_PIPELINE = (
    "builtin.module(one-shot-bufferize{bufferize-function-boundaries},canonicalize,"
    "func.func(llvm-request-c-wrappers),convert-vector-to-scf,convert-vector-to-llvm,"
    "expand-strided-metadata,finalize-memref-to-llvm,convert-arith-to-llvm,convert-scf-to-cf,"
    "convert-to-llvm,reconcile-unrealized-casts)"
)


def _field_loads(fmt: QuantFormat) -> list[str]:
    lines, offset = [], 0
    for name, kind in fmt.fields.items():
        size, count, element = kind.bytes, kind.length or 1, kind.dtype.mlir
        lines += [
            f"%at_{name} = arith.constant {offset} : index",
            f"%raw_{name} = vector.load %bytes[%at_{name}] : memref<?xi8>, vector<{size}xi8>",
        ]
        vector = f"%{name}" if kind.length else f"%vector_{name}"
        kinds = f"vector<{size}xi8> to vector<{count}x{element}>"
        lines.append(f"{vector} = vector.bitcast %raw_{name} : {kinds}")
        if kind.length is None:
            lines.append(f"%{name} = vector.extract {vector}[0] : {element} from vector<1x{element}>")
        offset += size
    return lines


def results(fmt: QuantFormat) -> list:
    """What a decoder returns: the codes, then the factors in the types that kernels complete them to."""
    return [fmt.codes, *fmt.completions]


def _function(fmt: QuantFormat) -> str:
    # To MLIR's own tools the mark of what a packed weight keeps is an identity: operands are renamed.
    text = "\n".join(fmt.emit_ir().splitlines()[2:-1])
    for kept, value in re.findall(r"(%\d+) = lumen\.stored (%\w+) ", text):
        text = re.sub(rf"{kept}\b", value, text)
    body = [line for line in text.splitlines() if "lumen.stored" not in line]
    decoded = re.findall(r"\w+\(([^:]*) : ", body.pop())
    values = [value.strip() for part in decoded for value in part.split(",")]
    arguments = ["%bytes: memref<?xi8>"]
    stores = []
    for i, (value, root) in enumerate(zip(values, results(fmt), strict=True)):
        element = root.dtype.mlir
        arguments.append(f"%out{i}: memref<?x{element}>")
        if root.length is None:
            stores.append(f"memref.store {value}, %out{i}[%zero] : memref<?x{element}>")
        else:
            stores.append(f"vector.store {value}, %out{i}[%zero] : memref<?x{element}>, {type_of(root)}")
    lines = ["%zero = arith.constant 0 : index", *_field_loads(fmt), *body, *stores, "return"]
    return f"func.func @{fmt.name}({', '.join(arguments)}) {{\n" + "\n".join(lines) + "\n}\n"


class _Memref(ctypes.Structure):
    _fields_ = [
        ("allocated", ctypes.c_void_p), ("aligned", ctypes.c_void_p), ("offset", ctypes.c_int64),
        ("size", ctypes.c_int64), ("stride", ctypes.c_int64),
    ]  # fmt: skip


def _memref(array: np.ndarray) -> _Memref:
    return _Memref(array.ctypes.data, array.ctypes.data, 0, array.size, 1)


class NativeDecoder:
    """The formats' regions as native code in a shared library inside ``folder``."""

    def __init__(self, formats: list[QuantFormat], folder: Path):
        source, lowered, bitcode, library = (folder / f"decode.{end}" for end in ("mlir", "llvm", "ll", "so"))
        source.write_text("".join(_function(fmt) for fmt in formats))
        commands = [
            [_TOOLS["mlir-opt"], source, f"--pass-pipeline={_PIPELINE}", "-o", lowered],
            [_TOOLS["mlir-translate"], "--mlir-to-llvmir", lowered, "-o", bitcode],
            [_TOOLS["clang"], "-O1", "-march=native", "-Wno-override-module", "-shared", "-fPIC", bitcode,
             "-o", library],
        ]  # fmt: skip
        for command in commands:
            subprocess.run([str(part) for part in command], check=True, timeout=300)
        self._library = ctypes.CDLL(str(library))

    def decode(self, fmt: QuantFormat, block: np.ndarray) -> list[np.ndarray]:
        """Codes, then the factors present, of one block's bytes."""
        outputs = [np.zeros(root.length or 1, dtype=root.dtype.numpy) for root in results(fmt)]
        function = getattr(self._library, f"_mlir_ciface_{fmt.name}")
        function(*(ctypes.byref(_memref(array)) for array in [block, *outputs]))
        return outputs

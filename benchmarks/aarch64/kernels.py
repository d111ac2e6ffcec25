# SPDX-License-Identifier: Apache-2.0
"""Lumen's products for 64-bit ARM as programs that qemu runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aarch64 import guest

from lumen_mlir import formats
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.compiler.signature import Argument
from lumen_mlir.run.program import Program, build
from lumen_mlir.storage.cache import Cache

# Of the functions that LLVM is given, those that multiply: not what makes codes of activations, or bf16.
FUNCTIONS = "lumen_kernel_(?!quantize|to_bf16).*"

# Bytes for intermediates: more than any of the products needs.
_ARENA = 64 << 20


def module(name: str, rows: int, columns: int, tokens: int) -> str:
    """``product(x, w)``: at most ``tokens`` rows of activations times a weight [rows, columns]."""
    fmt = formats.get(name)
    if fmt.is_float:
        weight = values = f"tensor<{rows}x{columns}x{fmt.name}>"
        described, dequantized, name = "", "", "%w"
    else:
        weight, values = f"tensor<{rows}x{columns}x!lumen.q<@{fmt.name}>>", f"tensor<{rows}x{columns}xf32>"
        described, dequantized, name = fmt.emit_ir(), f"%d = lumen.dequantize %w : {weight} -> {values}", "%d"
    return f"""
    module attributes {{lumen.max_tokens = {tokens} : i64}} {{
    {described}
    func.func @product(%x: tensor<?x{columns}xf32>, %w: {weight}) -> tensor<?x{rows}xf32> {{
      {dequantized}
      %y = lumen.linear %x, {name} : tensor<?x{columns}xf32>, {values} -> tensor<?x{rows}xf32>
      return %y : tensor<?x{rows}xf32>
    }}
    }}"""


def compiled(name: str, target: str, rows: int, columns: int, tokens: int) -> Program:
    """The function ``product`` for a weight of format ``name``."""
    text = module(name, rows, columns, tokens)
    cache = Cache(guest.FOLDER / "cache")
    return build(text, targets.get(target), CompilerOptions(), "lumen", None, None, None, cache)


def digest(program: Program) -> str:
    """Tells its code from other code."""
    return hashlib.blake2b(b"".join(program.objects), digest_size=16).hexdigest()


def link(program: Program, folder: Path) -> Path:
    """A program in ``folder`` that calls ``product`` with the words that it is given."""
    result = folder / "product"
    if result.exists():
        return result
    objects = []
    for number, code in enumerate(program.objects):
        objects.append(folder / f"{number}.o")
        objects[-1].write_bytes(code)
    sources = [guest.HERE / "product.cpp", *objects, *guest.thread_team()]
    guest.run([*guest.CXX, "-O2", "-static", f"-I{guest.ROOT}", *sources, "-o", result])
    return result


def words(program: Program, tokens: int) -> list[str]:
    """What ``product`` takes, as the program is told it: memory for arrays, and how many tokens there are."""
    (signature,) = (s for s in program.signatures if s.name == "product")
    result = [word for argument in signature.arguments for word in _words(argument, tokens)]
    return [*result, f"@{_ARENA}"]


def _words(argument: Argument, tokens: int) -> list[str]:
    if argument.shape is None:
        return [str(tokens)]
    size = argument.dtype.itemsize
    for extent in argument.shape:
        size *= tokens if extent is None else extent
    return [f"@{size}", *[str(tokens)] * argument.shape.count(None)]

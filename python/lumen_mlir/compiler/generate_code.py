# SPDX-License-Identifier: Apache-2.0
"""The code generator alone, for the command that reproduces its failures.

python -m lumen_mlir.compiler.generate_code FILE.mlir KIND TRIPLE CPU FEATURES LEVEL
"""

from __future__ import annotations

import sys

from lumen_mlir import ir
from lumen_mlir._mlir import codegen
from lumen_mlir.compiler.driver import llvm_passes
from lumen_mlir.errors import LumenError


def main(arguments: list[str]) -> int:
    """Generates code (``asm`` or ``obj``) for a module of the ``llvm`` form, and throws it away."""
    if len(arguments) != 6:
        print(__doc__, file=sys.stderr)
        return 2
    path, kind, triple, cpu, features, level = arguments
    try:
        with ir.Context():
            module = ir.Module.parseFile(path)
            passes = llvm_passes(int(level))
            codegen.emit(module, kind, triple, cpu, features, int(level), passes=passes)
    except (LumenError, OSError, ValueError) as error:
        print(f"lumen: error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

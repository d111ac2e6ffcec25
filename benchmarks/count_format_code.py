# SPDX-License-Identifier: Apache-2.0
"""Counts what a format costs in code: lines here, functions and lines in llama.cpp.

    python benchmarks/count_format_code.py LLAMA_CPP_FOLDER

The folder is llama.cpp's, or that of the PyPI source distribution of llama-cpp-python. Method:

- Here: the lines of a format's description and of the functions of its module that it calls, without blank
  ones.
- There: every function of ``ggml-quants.c``, ``ggml-cpu/{quants.c,repack.cpp}`` and of the same files in
  ``arch/x86`` and ``arch/arm`` whose name holds the format's name and one of quantize, dequantize, vec_dot,
  gemv, gemm, repack, make_block, from its first line to the brace that closes it, without blank lines. Code
  that formats share, tables, tinyBLAS and the tiled kernels are not counted, although some formats use them.
- Kernels on x86: format x {GEMV, GEMM} x {256, 512 bits}. One exists there where such a function of
  ``arch/x86``, or one it calls in its file, has intrinsics of that width, or where tinyBLAS (GEMM) or the
  tiled kernels (GEMM) list the type. Here all of them exist, and those of 128 bits.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

from lumen_mlir import formats
from lumen_mlir.cli.formats import source_of

_FILES = {
    "reference": ["ggml-quants.c"],
    "portable": ["ggml-cpu/quants.c", "ggml-cpu/repack.cpp"],
    "x86": ["ggml-cpu/arch/x86/quants.c", "ggml-cpu/arch/x86/repack.cpp"],
    "arm": ["ggml-cpu/arch/arm/quants.c", "ggml-cpu/arch/arm/repack.cpp"],
}
_FUNCTION = re.compile(r"^(?!#|//|\}|\s)[^;{}=\n]*?\b(\w+)\s*\([^;{}]*\)\s*\{.*?^\}", re.M | re.S)
_KINDS = re.compile(r"quantize|dequantize|vec_dot|gemv|gemm|repack|make_block")
_WIDTHS = (256, 512)


def functions(path: Path) -> list[tuple[str, str]]:
    """(name, text) of the function definitions of a C or C++ file."""
    return [(match[1], match[0]) for match in _FUNCTION.finditer(path.read_text(errors="replace"))]


def weight_format(function: str, names: list[str]) -> str | None:
    """The format whose weights a function is about: the first one named (activations come last)."""
    if not _KINDS.search(function):
        return None
    found = [(match.start(), -len(name), name) for name in names if (match := _named(function, name))]
    return min(found)[2] if found else None


def _named(function: str, name: str) -> re.Match | None:
    return re.search(rf"(?:^|_){name}(?=_|x\d|$)", function.lower())


def widths(path: Path, names: list[str]) -> dict[tuple[str, str], set[int]]:
    """(format, GEMV or GEMM) -> widths of the vectors that its functions in a file of arch/x86 use."""
    bodies = defaultdict(str)
    for name, text in functions(path):
        bodies[name] += text
    result = defaultdict(set)
    for name in bodies:
        fmt = weight_format(name, names)
        kind = "GEMM" if "gemm" in name else "GEMV" if re.search("gemv|vec_dot", name) else None
        if fmt and kind:
            result[fmt, kind] |= {w for w in _WIDTHS if f"_mm{w}_" in _closure(name, bodies)}
    return result


def _closure(name: str, bodies: dict[str, str]) -> str:
    """The text of a function and of those of the file that it calls."""
    seen, stack, text = {name}, [name], ""
    while stack:
        body = bodies[stack.pop()]
        text += body
        called = set(re.findall(r"\b(\w+)\s*(?:<[^;()]*>)?\(", body)) & set(bodies) - seen
        seen |= called
        stack += called
    return text


def main() -> None:
    folder = next(Path(sys.argv[1]).rglob("ggml-quants.c")).parent
    names = [name for name in formats.names() if not formats.get(name).is_float]
    there: dict[str, dict[str, list[int]]] = {name: defaultdict(list) for name in names}
    for place, files in _FILES.items():
        for file in files:
            for name, text in functions(folder / file):
                fmt = weight_format(name, names)
                if fmt:
                    lines = sum(1 for line in text.splitlines() if line.strip())
                    there[fmt][place].append(lines)
    kernels = defaultdict(set)
    for file in _FILES["x86"]:
        for key, found in widths(folder / file, names).items():
            kernels[key] |= found
    for path in ("ggml-cpu/llamafile/sgemm.cpp", "ggml-cpu/tiled/tiled.cpp"):
        source = (folder / path).read_text(errors="replace")
        kernel = (folder / path.replace("tiled.cpp", "tiled-kernel.cpp")).read_text(errors="replace")
        for name in names:
            if re.search(rf"case GGML_TYPE_{name.upper()}\b", source):
                quantized = kernel[kernel.find("tinyBLAS_Q0_AVX") :] if "sgemm" in path else kernel
                kernels[name, "GEMM"] |= {w for w in _WIDTHS if f"_mm{w}_" in quantized}
    print("| format | lines here | functions there | lines there | of them x86 | of them ARM |")
    print("|---|---:|---:|---:|---:|---:|")
    totals = [0] * 5
    for name in names:
        here = sum(1 for line in source_of(formats.get(name))[0].splitlines() if line.strip())
        counts = [sum(there[name][place]) for place in ("x86", "arm")]
        every = [lines for place in there[name].values() for lines in place]
        row = [here, len(every), sum(every), *counts]
        totals = [total + value for total, value in zip(totals, row, strict=True)]
        print(f"| {name} | {' | '.join(f'{value:,}' for value in row)} |")
    print(f"| all {len(names)} | {' | '.join(f'{value:,}' for value in totals)} |")
    print("\n| format | GEMV there | GEMM there |\n|---|---|---|")
    missing = 0
    for name in names:
        cells = []
        for kind in ("GEMV", "GEMM"):
            found = kernels[name, kind]
            missing += len(set(_WIDTHS) - found)
            cells.append(", ".join(map(str, sorted(found))) or "none")
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n{4 * len(names)} kernels here, {missing} of them not there")


if __name__ == "__main__":
    main()

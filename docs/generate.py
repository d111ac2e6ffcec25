# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reference/ from TableGen and the command line; ``--check`` only says whether it is stale.

python docs/generate.py [--check]
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import command_line
import llama_cpp_options

ROOT = Path(__file__).resolve().parents[1]
LLVM = Path("/usr/lib/llvm-22")


def tablegen(*arguments: str) -> str:
    """What mlir-tblgen makes of a TableGen file."""
    tool = shutil.which("mlir-tblgen", path=str(LLVM / "bin")) or "mlir-tblgen-22"
    command = [tool, f"-I{LLVM / 'include'}", f"-I{ROOT}", *arguments]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def dialect() -> str:
    """Ops, attributes and types, with their names as headings and without a table of contents."""
    text = tablegen("-gen-dialect-doc", "-dialect=lumen", "dialect/LumenOps.td")
    text = text.replace("# 'lumen' Dialect", "# The dialect").replace("[TOC]\n\n", "")
    return re.sub(r"^(### `lumen\.\w+`) \(lumen::\w+\)$", r"\1", text, flags=re.M)


def passes() -> str:
    """The passes, a section each, under a title."""
    first, _, text = tablegen("-gen-pass-doc", "passes/Passes.td").partition("\n")
    text = re.sub(r"^#(#+ )", r"\1", text, flags=re.M)
    return f"{first}\n\n# The passes\n\n{text.lstrip()}"


PAGES = {
    "cli.md": command_line.page,
    "dialect.md": dialect,
    "llama-cpp-options.md": llama_cpp_options.page,
    "passes.md": passes,
}


def main() -> int:
    stale = []
    for name, render in PAGES.items():
        page = ROOT / "docs" / "reference" / name
        text = render()
        if page.exists() and page.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            page.parent.mkdir(exist_ok=True)
            page.write_text(text)
    if stale:
        print(f"docs/reference: {', '.join(stale)} {'is stale' if '--check' in sys.argv else 'written'}")
    return int(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    raise SystemExit(main())

# SPDX-License-Identifier: Apache-2.0
"""Writes docs/reference/ from TableGen; ``--check`` only says whether it is stale.

python docs/generate.py [--check]
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LLVM = Path("/usr/lib/llvm-22")
PAGES = {
    "dialect.md": ("-gen-dialect-doc", "-dialect=lumen", "dialect/LumenOps.td"),
    "passes.md": ("-gen-pass-doc", "passes/Passes.td"),
}


def render(arguments: tuple[str, ...]) -> str:
    """The page that mlir-tblgen makes of a TableGen file."""
    tool = shutil.which("mlir-tblgen", path=str(LLVM / "bin")) or "mlir-tblgen-22"
    command = [tool, f"-I{LLVM / 'include'}", f"-I{ROOT}", *arguments]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return "\n".join(line.rstrip() for line in text.splitlines()) + "\n"


def main() -> int:
    stale = []
    for name, arguments in PAGES.items():
        page = ROOT / "docs" / "reference" / name
        text = render(arguments)
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

# SPDX-License-Identifier: Apache-2.0
"""Writes ``python/lumen_mlir/_mlir/*.pyi``, the types of the extension, from the extension itself.

To be run when bindings have changed: ``python tools/stubs.py`` (needs ``nanobind`` and ``ruff``). A test says
where the stubs lack something that the extension has.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

STUBS = Path(__file__).parents[1] / "python" / "lumen_mlir" / "_mlir"

HEAD = "# SPDX-License-Identifier: Apache-2.0\n# Written by tools/stubs.py.\n\n"


def typed(text: str) -> str:
    """A stub as nanobind writes it, made valid, and as lenient as MLIR's own."""
    # An argument of C++ may be called what is a keyword here: it can be passed by position alone.
    text = re.sub(r"\(self, with: (.*?)\)", r"(self, with_: \1, /)", text)
    # Values, types and attributes are of subclasses: whoever asks knows which.
    text = re.sub(r"(: |-> )object\b(?! \|)", r"\1Any", text)
    of_subclass = r"(@property\n *def \w+\(self\)|def __getitem__\(self, .*?\)) -> (?:Type|Attribute):"
    text = re.sub(of_subclass, r"\1 -> Any:", text)
    # What has numbered items can be iterated over.
    items = r"^( *)def __getitem__\(self, arg: int, /\) -> (\w+): \.\.\.\n"
    text = re.sub(items, r"\g<0>\n\1def __iter__(self) -> Iterator[\2]: ...\n", text, flags=re.M)
    if "Any" in text:
        text = re.sub(r"^(from typing import )", r"\1Any, ", text, count=1, flags=re.M)
    return HEAD + text


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-r", "-D", "-m", "lumen_mlir._mlir"]
        subprocess.run([*command, "-O", folder], check=True)
        STUBS.mkdir(exist_ok=True)
        for path in Path(folder).glob("_mlir/*.pyi"):
            (STUBS / path.name).write_text(typed(path.read_text()))
    ruff = Path(sys.executable).with_name("ruff")
    for action in (["check", "-q", "--fix", "--select", "I"], ["format", "-q"]):
        subprocess.run([ruff, *action, STUBS], check=True)


if __name__ == "__main__":
    main()

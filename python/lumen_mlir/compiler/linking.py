# SPDX-License-Identifier: Apache-2.0
"""Object files linked to a shared library, for any architecture that has a linker on this machine."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lumen_mlir.errors import LumenError, one_line


def link_shared(objects: Sequence[bytes], architecture: str) -> bytes:
    """The shared library (ELF) of these objects; what they do not define is found when it is loaded.

    ``architecture``: LLVM's name, such as "aarch64". Raises ``LumenError`` where there is no linker for it,
    or the linker fails.
    """
    linker = find_linker(architecture)
    with tempfile.TemporaryDirectory(prefix="lumen-link-") as name:
        folder = Path(name)
        for number, data in enumerate(objects):
            (folder / f"{number}.o").write_bytes(data)
        output = folder / "out.so"
        inputs = [str(folder / f"{number}.o") for number in range(len(objects))]
        command = [linker, "-shared", "-z", "noexecstack", "-z", "now", *inputs, "-o", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise LumenError(f"{linker} failed: {one_line(done.stderr.strip() or str(done.returncode))}")
        return output.read_bytes()


def find_linker(architecture: str) -> str:
    """The path of GNU's linker for an architecture, or of LLVM's, which links for all."""
    for name in (f"{architecture}-linux-gnu-ld", "ld.lld-22", "ld.lld"):
        if found := shutil.which(name):
            return found
    package = f"binutils-{architecture.replace('_', '-')}-linux-gnu"
    raise LumenError(f"no linker for {architecture} was found: install {package} or lld-22 (Debian's names)")

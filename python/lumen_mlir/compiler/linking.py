# SPDX-License-Identifier: Apache-2.0
"""Object files linked to a library, for any architecture that has a linker on this machine."""

from __future__ import annotations

import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from lumen_mlir.errors import LumenError, one_line


def link_shared(objects: Sequence[bytes], architecture: str, name: str = "", exports: str = "*") -> bytes:
    """The shared library (ELF) of these objects; what they do not define is found when it is loaded.

    Args:
      objects: object files.
      architecture: LLVM's name, such as "aarch64".
      name: that programs which are linked with it look for; by default its path then.
      exports: a pattern of the names that others see.

    Raises:
      LumenError: there is no linker for the architecture, or it fails.
    """
    options = [
        "-shared",
        "-Bsymbolic",
        "-z",
        "noexecstack",
        "-z",
        "now",
        *(["-soname", name] if name else ()),
    ]
    return link(objects, architecture, options, f"{{ global: {exports}; local: *; }};")


def link_object(objects: Sequence[bytes], architecture: str) -> bytes:
    """One object file of several. Raises ``LumenError`` as ``link_shared`` does."""
    return link(objects, architecture, ["-r"])


def link(objects: Sequence[bytes], architecture: str, options: Sequence[str], versions: str = "") -> bytes:
    """What the linker of an architecture makes of objects, with options of its own.

    ``versions``: the text of a version script. Raises ``LumenError`` as ``link_shared`` does.
    """
    linker = find_linker(architecture)
    with tempfile.TemporaryDirectory(prefix="lumen-link-") as name:
        folder = Path(name)
        try:
            for number, data in enumerate(objects):
                (folder / f"{number}.o").write_bytes(data)
            (folder / "versions").write_text(versions)
        except OSError as error:
            raise LumenError(f"{name}: cannot be written: {error.strerror or error}") from None
        output = folder / "out"
        inputs = [str(folder / f"{number}.o") for number in range(len(objects))]
        if versions:
            inputs.append(f"--version-script={folder / 'versions'}")
        command = [linker, *options, *inputs, "-o", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise LumenError(f"{linker} failed: {one_line(done.stderr.strip() or str(done.returncode))}")
        return output.read_bytes()


def find_linker(architecture: str) -> str:
    """The path of GNU's linker for an architecture, or of LLVM's, which links for all."""
    if architecture == "wasm32":
        names, packages = ["wasm-ld-22", "wasm-ld"], "lld-22"
    else:
        names = [f"{architecture}-linux-gnu-ld", "ld.lld-22", "ld.lld"]
        packages = f"binutils-{architecture.replace('_', '-')}-linux-gnu or lld-22"
    if architecture == platform.machine():
        names.append("ld")
    for name in names:
        if found := shutil.which(name):
            return found
    raise LumenError(f"no linker for {architecture} was found: install {packages} (Debian's names)")

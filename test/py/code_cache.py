# SPDX-License-Identifier: Apache-2.0
"""Keeps what LLVM makes of modules, so that it works once on each: most of the time of the tests is LLVM's.

The key is all that LLVM is given: the text of the module behind the last stage, the target, the level, and
LLVM and the sources of the code generator themselves. Everything of Lumen's that comes before runs always,
and what it does differently has another key.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import tempfile
from pathlib import Path

from lumen_mlir import ir
from lumen_mlir.compiler import driver

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "test-cache" / "code"
OBJECTS = FOLDER.with_name("objects")
"""Where ``compile_once.py`` keeps objects of the runtime library."""
LIMIT = 1 << 30
"""Most bytes that a folder has between runs; what was not used for longest goes."""

_generate = driver.generate_code


def libraries_with_llvm(maps: str) -> list[str]:
    """The files of a process that LLVM is in, by its ``/proc/PID/maps``: of wheels that is the extension."""
    mapped = set(re.findall(r"^(?:\S+ +){5}(/.*)$", maps, re.M))
    own = sorted(path for path in mapped if re.match(r"lib(LLVM|MLIR)", Path(path).name))
    return own or sorted(path for path in mapped if re.match(r"_mlir\..*so$", Path(path).name))


@functools.cache
def _generator() -> bytes:
    """What tells code generators apart: LLVM's libraries, and the sources of what calls them."""
    digest = hashlib.blake2b(digest_size=20)
    for library in libraries_with_llvm(Path("/proc/self/maps").read_text()):
        status = os.stat(library)
        digest.update(repr((library, status.st_size, status.st_mtime_ns)).encode())
    sources = [*(ROOT / "runtime" / "codegen").iterdir(), ROOT / "runtime/bindings/BindCodeGen.cpp"]
    for source in sorted(sources):
        digest.update(source.read_bytes())
    return digest.digest()


def generate(module: ir.Module, kind: str, target: driver.Target, opt_level: int) -> bytes:
    """``driver.generate_code``, from the folder where it has it."""
    digest = hashlib.blake2b(_generator(), digest_size=20)
    options = (kind, target.triple, target.cpu, target.features, opt_level, driver.llvm_passes(opt_level))
    digest.update(repr(options).encode())
    digest.update(module.get_asm().encode())
    path = FOLDER / digest.hexdigest()
    try:
        code = path.read_bytes()
        os.utime(path)
        return code
    except FileNotFoundError:
        pass
    code = _generate(module, kind, target, opt_level)
    # Renamed when it is whole: others read and write here at the same time.
    with tempfile.NamedTemporaryFile(dir=FOLDER, prefix="new-", delete=False) as file:
        file.write(code)
    os.replace(file.name, path)
    return code


def install() -> None:
    """Puts the cache in front of the code generator of this process."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    driver.generate_code = generate


def trim(folder: Path) -> None:
    """Brings a folder below its limit, and clears away what was never finished."""
    if not folder.exists():
        return
    files = sorted(((path.stat(), path) for path in folder.iterdir()), key=lambda each: -each[0].st_mtime)
    size = 0
    for status, path in files:
        size += status.st_size
        if size > LIMIT or path.name.startswith("new-"):
            path.unlink(missing_ok=True)

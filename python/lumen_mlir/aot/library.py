# SPDX-License-Identifier: Apache-2.0
"""A compiled model as a library: FILE.so, FILE.wasm or FILE.o, and a header beside it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from lumen_mlir.aot.compiled_model import WASM, CompiledModel
from lumen_mlir.aot.header import header
from lumen_mlir.compiler.linking import link_object, link_shared
from lumen_mlir.compiler.symbols import renamed
from lumen_mlir.compiler.targets import Target
from lumen_mlir.compiler.webassembly import link_module
from lumen_mlir.errors import LumenError, shown
from lumen_mlir.storage.atomic_file import replacing

SUFFIXES = (".so", ".wasm", ".o")
"""Of a shared library, of a module of WebAssembly, and of an object file."""

PREFIX = "lumen"
"""What the names of all symbols begin with, where nothing else is asked for."""

_EXPORTS = "{0}_entry_*; {0}_arena_size_*; {0}_code_text"


def is_library(path: str | os.PathLike[str]) -> bool:
    """Whether ``write_library`` is meant by a path: a folder, or a file of one of ``SUFFIXES``."""
    text = os.fspath(path)
    return text.endswith((*SUFFIXES, os.sep)) or os.path.isdir(text)


def write_library(
    path: str | os.PathLike[str], compiled: CompiledModel, with_header: bool = False, prefix: str = PREFIX
) -> list[Path]:
    """Writes the functions of a compiled model to ``path``; returns the files that were written.

    A folder, which is made where it is missing, gets ``model.so`` (``model.wasm`` for WebAssembly) and
    ``model.h``. A file of one of
    ``SUFFIXES`` has the header beside it where ``with_header`` is true. Files appear whole or not at all.
    The names of all symbols begin with ``prefix``, so that one program can have several models. Raises
    ``LumenError``.
    """
    check_prefix(prefix)
    check_suffix(path, compiled.target, prefix)
    file, architecture = Path(path), compiled.target.architecture
    if not os.fspath(path).endswith(SUFFIXES):
        _make_folder(file)
        file, with_header = file / ("model.wasm" if architecture == WASM else "model.so"), True
    objects = compiled.objects(packers=True)
    if prefix != PREFIX:
        objects = tuple(renamed(objects, lambda name: _name(name, prefix)))
    if file.suffix == ".o":
        code = link_object(objects, architecture)
    elif architecture == WASM:
        code = link_module(objects, compiled.target, compiled.symbols(packers=True))
    else:
        code = link_shared(objects, architecture, file.name, _EXPORTS.format(prefix))
    files = {file: code}
    if with_header:
        beside = file.with_suffix(".h")
        files[beside] = header(compiled, beside.name, prefix).encode()
    for name, data in files.items():
        try:
            with replacing(name, len(data)) as output:
                output.write(data)
        except OSError as error:
            raise LumenError(f"{name}: cannot be written: {error.strerror or error}") from None
    return list(files)


def check_suffix(path: str | os.PathLike[str], target: Target, prefix: str = PREFIX) -> None:
    """Raises ``LumenError`` for a file that code for a target cannot be."""
    file, for_wasm = Path(path), target.architecture == WASM
    if file.suffix == (".so" if for_wasm else ".wasm"):
        usual = ".wasm" if for_wasm else ".so"
        raise LumenError(
            f"{file}: code for target {target.name} ({target.architecture}) is a file {usual} or .o"
        )
    if for_wasm and prefix != PREFIX:
        raise LumenError("the names of a module of WebAssembly are its own: it takes no other prefix")


def check_prefix(prefix: str) -> None:
    """Raises ``LumenError`` for what no name in C can begin with."""
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", prefix, re.ASCII):
        raise LumenError(
            f"the prefix is {shown(prefix)}; letters, digits and _ were expected, a letter first"
        )


def _name(symbol: str, prefix: str) -> str:
    """The name of a symbol under another prefix. No function in C has a dot in its name."""
    own = symbol.removeprefix(f"{PREFIX}_")
    return f"{prefix}_{own}" if own != symbol else f"{prefix}.{symbol}"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LumenError(f"{folder}: the folder cannot be made: {error.strerror or error}") from None

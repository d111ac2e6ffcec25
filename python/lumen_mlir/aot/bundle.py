# SPDX-License-Identifier: Apache-2.0
"""A bundle: a folder with all that a model needs to run on another machine, and no Python."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from string import Template

from lumen_mlir.aot import weight_file
from lumen_mlir.aot.compiled_model import WASM, CompiledModel
from lumen_mlir.aot.header import header
from lumen_mlir.compiler.webassembly import link_module
from lumen_mlir.errors import LumenError, one_line, shown
from lumen_mlir.generate.sampling import Sampling
from lumen_mlir.run.session_options import Progress, silent
from lumen_mlir.storage.atomic_file import temporary_name
from lumen_mlir.storage.cache import Cache
from lumen_mlir.text import tokenizer_file
from lumen_mlir.text.chat_turn import ChatTurn
from lumen_mlir.text.tokenizer import Tokenizer
from lumen_mlir.version import __version__

WEIGHTS, TOKENIZER, HEADER, MODULE = "weights.lumen", "tokenizer.bin", "model.h", "model.wasm"
"""Names of files of a bundle."""

# What CMake calls the architectures of LLVM's names.
_PROCESSORS = {"x86_64": "x86_64|amd64|AMD64", "aarch64": "aarch64|arm64|ARM64"}
# Of the package's folder "runtime", which has the sources.
_SOURCES = (
    "*.cpp",
    "*.h",
    "embed/*.cpp",
    "embed/*.h",
    "embed/CMakeLists.txt",
    "embed/exports.map",
    "sampling/*.cpp",
    "sampling/*.h",
    "tokenizer/*.cpp",
    "tokenizer/*.h",
    "lumen-run/*.cpp",
    "lumen-run/*.h",
)
# Only the extension needs it.
_NOT_NEEDED = ("HalfConversion",)
_TEMPLATES = "bundle"


def write_bundle(
    path: str | os.PathLike[str],
    compiled: CompiledModel,
    tokenizer: Tokenizer,
    cache: Cache,
    progress: Progress = silent,
) -> int:
    """Writes the bundle of a compiled model to the folder ``path``; returns its bytes.

    The folder appears whole or not at all. One that is there is replaced if it is empty or a bundle, together
    with what was built in its folder "build". Raises
    ``LumenError``, also for a full disk and for a tokenizer that only Python knows.

    For WebAssembly it has the module of the model, and nothing to build.
    """
    folder = Path(os.path.abspath(path))
    check_place(folder)
    sampling = Sampling.of_metadata(compiled.model.file.path, compiled.model.file.metadata)
    temporary = temporary_name(folder)
    try:
        temporary.mkdir(parents=True)
        if compiled.target.architecture != WASM:
            _write_sources(temporary, compiled)
        (temporary / HEADER).write_text(header(compiled, HEADER))
        with open(temporary / TOKENIZER, "xb") as file:
            tokenizer_file.write(tokenizer, file, ChatTurn.of_file(compiled.model.file, tokenizer))
        _write_code(temporary, compiled)
        weight_file.write(temporary / WEIGHTS, compiled, sampling, cache, progress)
        size = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
        _replace(temporary, folder)
        return size
    except OSError as error:
        raise LumenError(f"{os.fspath(path)}: cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_code(folder: Path, compiled: CompiledModel) -> None:
    objects, target = compiled.objects(packers=False), compiled.target
    if target.architecture == WASM:
        module = link_module(objects, target, compiled.symbols(packers=False))
        (folder / MODULE).write_bytes(module)
        return
    code = folder / "code"
    code.mkdir()
    for number, data in enumerate(objects):
        (code / f"{number:03}.o").write_bytes(data)


def check_place(path: str | os.PathLike[str]) -> None:
    """Raises ``LumenError`` where ``path`` is there and is more than a bundle: it would be replaced."""
    folder = Path(path)
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise LumenError(f"{folder}: is there and is not a folder; a bundle is a folder of its own")
    names = {entry.name for entry in folder.iterdir()}
    if names and WEIGHTS not in names:
        raise LumenError(f"{folder}: is there and is not a bundle; name another folder")
    if others := sorted(names - _own_names()):
        raise LumenError(
            f"{folder}: would be replaced, but has more in it than a bundle: {shown(others[0])}; "
            "name another folder"
        )


def _own_names() -> set[str]:
    """What stands in the folder of a bundle, and where it is usually built."""
    templates = {path.name for path in (source_folder() / "embed" / _TEMPLATES).iterdir()}
    return {WEIGHTS, TOKENIZER, HEADER, MODULE, "code", "runtime", "build", *templates}


def _replace(temporary: Path, folder: Path) -> None:
    """Puts a new folder in the place of one that is there, if one is."""
    if not folder.is_dir():
        os.rename(temporary, folder)
        return
    old = temporary_name(folder)
    target = folder.resolve()
    os.rename(target, old)
    try:
        os.rename(temporary, target)
    except OSError:
        os.rename(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _write_sources(folder: Path, compiled: CompiledModel) -> None:
    """The sources of the runtime library and of lumen-run, and what builds them."""
    sources = source_folder()
    for source in source_files(sources):
        copy = folder / "runtime" / source.relative_to(sources)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, copy)
    target = compiled.target
    words = {
        "model": one_line(compiled.model.config.name or "a model"),
        "version": __version__,
        "target": target.name,
        "architecture": target.architecture,
        "processors": _PROCESSORS[target.architecture],
        "package": target.architecture.replace("_", "-"),
    }
    for template in sorted((sources / "embed" / _TEMPLATES).iterdir()):
        (folder / template.name).write_text(_At(template.read_text()).substitute(words))


class _At(Template):
    """Marks look like those of CMake: @model@."""

    delimiter = "@"
    pattern = r"@(?:(?P<named>[a-z]+)@|(?P<escaped>(?!))|(?P<braced>(?!))|(?P<invalid>(?!)))"  # type: ignore[assignment]


def source_folder() -> Path:
    """The folder of the package with the C++ sources of bundles; ``LumenError`` where it is missing."""
    folder = Path(__file__).parents[1] / "runtime"
    if not (folder / "embed" / "lumen.h").is_file():
        raise LumenError(f"{folder}: the sources of the runtime library are missing; install Lumen anew")
    return folder


def source_files(folder: Path) -> Iterator[Path]:
    """The sources of a bundle in ``source_folder()``."""
    for pattern in _SOURCES:
        yield from (path for path in sorted(folder.glob(pattern)) if path.stem not in _NOT_NEEDED)

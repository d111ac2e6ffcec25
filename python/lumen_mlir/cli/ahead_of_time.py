# SPDX-License-Identifier: Apache-2.0
"""What ``lumen compile`` makes besides the forms of the compiler: libraries and bundles."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli.report import Reporter
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.aot.compiled_model import CompiledModel
    from lumen_mlir.compiler.targets import Target
    from lumen_mlir.run.session_options import SessionOptions
    from lumen_mlir.storage.cache import Cache

Opening = dict[str, Any]
"""Options of ``open_model_file``."""


def kind(
    context: click.Context,
    emit: str | None,
    function: str | None,
    output: str | None,
    header: bool,
    prefix: str | None,
    bundle: str | None,
) -> str:
    """What the options ask for: "bundle", "library", or "form" of the compiler. ``emit``: as it was given."""
    if bundle is not None:
        others = {"--emit": emit, "--function": function, "--output": output}
        others |= {"--header": header or None, "--prefix": prefix}
        for name, value in others.items():
            if value is not None:
                raise click.UsageError(f"{name} cannot be used with --bundle", context)
        return "bundle"
    if output is not None and emit is None:
        from lumen_mlir.aot.library import is_library

        if is_library(output):
            if function is not None:
                raise click.UsageError("--function cannot be used with a library", context)
            return "library"
    for name, given in (("--header", header), ("--prefix", prefix is not None)):
        if given:
            raise click.UsageError(
                f"{name} is for a library: it needs -o FILE (.so, .wasm or .o) or -o DIR, and no --emit",
                context,
            )
    return "form"


def make_library(
    source: str | None,
    output: str,
    header: bool,
    prefix: str | None,
    options: SessionOptions,
    reporter: Reporter,
    opening: Opening,
) -> None:
    """Writes a library, and says what was written."""
    from lumen_mlir.aot.library import PREFIX, check_prefix, check_suffix, write_library
    from lumen_mlir.compiler.linking import find_linker

    # Before the work.
    prefix, target = PREFIX if prefix is None else prefix, _target_of(options)
    check_prefix(prefix)
    check_suffix(output, target, prefix)
    find_linker(target.architecture)
    compiled, _ = _compile(source, options, reporter, {**opening, "read_weights": False})
    files = write_library(output, compiled, header, prefix)
    reporter.say(f"{' and '.join(map(str, files))} for target {compiled.target.name}")


def make_bundle(
    source: str | None, output: str, options: SessionOptions, reporter: Reporter, opening: Opening
) -> None:
    """Writes a bundle, and says how large it is and how it is built."""
    from lumen_mlir.aot.bundle import check_place, write_bundle
    from lumen_mlir.aot.compiled_model import WASM
    from lumen_mlir.compiler.linking import find_linker
    from lumen_mlir.gguf.description import size_text
    from lumen_mlir.text.tokenizer import Tokenizer

    check_place(output)
    if for_wasm := _target_of(options).architecture == WASM:
        find_linker(WASM)
    compiled, cache = _compile(source, options, reporter, opening)
    try:
        tokenizer = Tokenizer.from_gguf(compiled.model.file, cache, opening["pre_tokenizer"])
        size = write_bundle(output, compiled, tokenizer, cache, reporter.progress)
    finally:
        reporter.close()
    reporter.say(f"{output}: {size_text(size)} for target {compiled.target.name}")
    if for_wasm:
        return
    build = os.path.join(output, "build")
    reporter.say(f"to build it: cmake -S {output} -B {build} && cmake --build {build}")


def _target_of(options: SessionOptions) -> Target:
    from lumen_mlir.compiler import targets

    return targets.get(options.target)


def _compile(
    source: str | None, options: SessionOptions, reporter: Reporter, opening: Opening
) -> tuple[CompiledModel, Cache]:
    from lumen_mlir.aot.compiled_model import compile_model
    from lumen_mlir.gguf.description import label
    from lumen_mlir.models import Model
    from lumen_mlir.storage.cache import Cache

    if source is not None and source.endswith(".mlir"):
        raise LumenError(f"{source}: is a module; libraries and bundles are made of models")
    cache = Cache()
    file = reporter.open_file(source, cache=cache, threads=options.thread_count(), **opening)
    cache = cache.labelled(label(file))
    try:
        return compile_model(Model.open(file), options, cache, reporter.progress), cache
    finally:
        reporter.close()

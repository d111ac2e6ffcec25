# SPDX-License-Identifier: Apache-2.0
"""``lumen compile``."""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from lumen_mlir.cli import ahead_of_time
from lumen_mlir.cli import options as shared
from lumen_mlir.cli.ir_text import WIDTH, broken
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.styles import width
from lumen_mlir.errors import LumenError, MLIRError

if TYPE_CHECKING:
    from lumen_mlir import ir
    from lumen_mlir.run.session_options import SessionOptions

STAGES = ("lumen", "fused", "loops", "vector", "llvm", "spirv", "asm", "obj")


@click.command(short_help="Show what the compiler makes of a model.")
@click.argument("source", metavar="[MODEL|FILE.mlir]", required=False)
@click.option(
    "--emit", type=click.Choice(STAGES), default="lumen", show_default=True, help="The form to stop at."
)
@click.option(
    "--function", metavar="NAME", help="Only functions of this name, which may hold * and ?: qlinear_*."
)
@shared.target_option
@shared.activations_option
@shared.kv_type_option
@shared.chunk_option
@click.option(
    "-o",
    "--output",
    metavar="FILE|DIR",
    help="Where to write to: a form, or a library (FILE.so, FILE.wasm, FILE.o or DIR).  [default: stdout]",
)
@click.option("--header", is_flag=True, help="Write a C header beside the library, too.")
@click.option("--prefix", metavar="NAME", help="What the names in a library begin with, instead of lumen.")
@click.option("--bundle", metavar="DIR", help="Write a folder that runs the model without Python.")
@shared.format_option
@shared.pre_tokenizer_option
@shared.threads_option
@shared.verbosity_options
@click.pass_context
def command(
    context: click.Context,
    source: str | None,
    emit: str,
    function: str | None,
    output: str | None,
    header: bool,
    prefix: str | None,
    bundle: str | None,
    format: str | None,
    pre_tokenizer: str | None,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Compile MODEL, a GGUF file, or FILE.mlir, a module of the lumen dialect, and print one form of it.

    Or make a library of MODEL, for this machine or another one, or a bundle: a library's sources, weights and
    tokenizer, for programs in C, C++ and other languages.

    \b
      lumen compile model.gguf --emit fused                     a form of the compiler
      lumen compile model.gguf -o model.so --header             a library and its header
      lumen compile model.gguf --target armv8-a --bundle out    all that the model needs

    Long lines of IR are broken; lumen-opt reads them all the same.

    \b
    lumen     the model as it is built
    fused     kernels, products of packed weights
    loops     kernels as loops over buffers
    vector    kernels as vector code
    llvm      the llvm dialect
    spirv     the spirv dialect, for vulkan
    asm, obj  machine code
    """
    from lumen_mlir.run.session_options import SessionOptions

    stage = None if context.get_parameter_source("emit") is ParameterSource.DEFAULT else emit
    kind = ahead_of_time.kind(context, stage, function, output, header, prefix, bundle)
    settings = SessionOptions(**options)
    reporter = Reporter(quiet, verbose)
    opening = {"format": format, "pre_tokenizer": pre_tokenizer}
    if kind == "bundle":
        ahead_of_time.make_bundle(source, bundle or "", settings, reporter, opening)
    elif kind == "library":
        ahead_of_time.make_library(source, output or "", header, prefix, settings, reporter, opening)
    else:
        if emit == "obj" and function:
            raise click.UsageError("--function cannot be used with --emit obj", context)
        if emit == "obj" and output is None and sys.stdout.isatty():
            raise click.UsageError("an object file needs -o FILE", context)
        _print(source, emit, function, output, settings, reporter, opening)


def _print(
    source: str | None,
    emit: str,
    function: str | None,
    output: str | None,
    options: SessionOptions,
    reporter: Reporter,
    opening: dict[str, str | None],
) -> None:
    """Writes a form of the compiler."""
    from lumen_mlir import ir
    from lumen_mlir.compiler import targets
    from lumen_mlir.compiler.driver import Compiler, CompilerOptions

    compiler = Compiler(targets.get(options.target), CompilerOptions(activations=options.activations))
    with ir.Context():
        module = _module(source, options, reporter, opening)
        if emit in ("asm", "obj"):
            code = compiler.emit(module, emit)
        else:
            work = compiler.run(module, stop_after=emit)
            whole = _functions(work, function) if function else str(work)
            code = broken(whole, min(WIDTH, (output is None and width(sys.stdout)) or WIDTH))
    if emit == "asm" and function:
        code = _assembly(code, function)
    _write(code, output)


def _module(
    source: str | None, options: SessionOptions, reporter: Reporter, opening: dict[str, str | None]
) -> ir.Module:
    from lumen_mlir import ir
    from lumen_mlir.compiler import targets
    from lumen_mlir.models import Model
    from lumen_mlir.run.compiled_step import selected_group

    if source is None or not source.endswith(".mlir"):
        model = Model.open(reporter.open_file(source, read_weights=False, **opening))
        group = selected_group(model, targets.get(options.target))
        return model.module(kv_type=options.kv_type, max_tokens=options.chunk, logit_group=group)
    try:
        with open(source, encoding="utf-8") as file:
            file.read()
        # Messages name the file and the line.
        return ir.Module.parseFile(source)
    except OSError as error:
        raise LumenError(f"{source}: cannot be opened: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise LumenError(f"{source}: byte {error.start} is not valid UTF-8 ({error.reason})") from None
    except MLIRError as error:
        raise LumenError(str(error)) from None


def _functions(module: ir.Module, pattern: str) -> str:
    # (Shaders have modules of their own, which are called after them.)
    kinds = ("func.func", "llvm.func", "builtin.module")
    functions = [op for op in module.body.operations if op.name in kinds]
    return _matching({op.attributes["sym_name"].value: op.__str__ for op in functions}, pattern)


def _assembly(text: str, pattern: str) -> str:
    """The functions of an assembly listing: from the label to the directive that gives the size.

    Those of WebAssembly have an end instead.
    """
    whole = r"^([\w.$]+):.*?^\s*(?:\.size\s+\1,.*?|end_function)$"
    pieces = {match[1]: match[0] for match in re.finditer(whole, text, re.M | re.S)}
    return _matching({name: piece.__str__ for name, piece in pieces.items()}, pattern)


def _matching(functions: dict[str, Callable[[], str]], pattern: str) -> str:
    """The texts of the functions whose names match, and behind them the loops that they call."""
    found = {name: text() for name, text in functions.items() if fnmatch.fnmatchcase(name, pattern)}
    if not found:
        names = ", ".join(functions) or "none"
        raise LumenError(f"no function '{pattern}'; there are {names}")
    called = re.findall(r"\bloop_[0-9a-f]{16}\b", "\n".join(found.values()))
    loops = {name: functions[name]() for name in called if name in functions and name not in found}
    return "\n\n".join([*found.values(), *loops.values()])


def _write(code: str | bytes, output: str | None) -> None:
    if isinstance(code, str):
        code = code.rstrip("\n") + "\n"
    if output is None:
        (sys.stdout if isinstance(code, str) else sys.stdout.buffer).write(code)
        return
    if isinstance(code, str):
        code = code.encode("utf-8")
    from lumen_mlir.storage.atomic_file import replacing

    try:
        with replacing(output, len(code)) as file:
            file.write(code)
    except OSError as error:
        raise LumenError(f"{output}: cannot be written: {error.strerror or error}") from None

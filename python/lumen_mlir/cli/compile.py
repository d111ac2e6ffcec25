# SPDX-License-Identifier: Apache-2.0
"""``lumen compile``."""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.ir_text import WIDTH, broken
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.styles import width
from lumen_mlir.errors import LumenError, MLIRError

if TYPE_CHECKING:
    from lumen_mlir import ir

STAGES = ("lumen", "fused", "loops", "vector", "llvm", "asm", "obj")


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
@click.option("-o", "--output", metavar="FILE", help="Where to write to.  [default: stdout]")
def command(
    source: str | None,
    emit: str,
    function: str | None,
    target: str,
    activations: str,
    kv_type: str,
    chunk: int,
    output: str | None,
) -> None:
    """Compile MODEL, a GGUF file, or FILE.mlir, a module of the lumen dialect, and print one form of it.

    Long lines of IR are broken; lumen-opt reads them all the same.

    \b
    lumen     the model as it is built
    fused     kernels, products of packed weights
    loops     kernels as loops over buffers
    vector    kernels as vector code
    llvm      the llvm dialect
    asm, obj  machine code
    """
    if emit == "obj" and function:
        raise click.UsageError("--function cannot be used with --emit obj", click.get_current_context())
    if emit == "obj" and output is None and sys.stdout.isatty():
        raise click.UsageError("an object file needs -o FILE", click.get_current_context())
    from lumen_mlir import ir
    from lumen_mlir.compiler import targets
    from lumen_mlir.compiler.driver import Compiler, CompilerOptions
    from lumen_mlir.run.session_options import SessionOptions

    options = SessionOptions(kv_type=kv_type, activations=activations, target=target, chunk=chunk)
    compiler = Compiler(targets.get(options.target), CompilerOptions(activations=options.activations))
    with ir.Context():
        module = _module(source, options)
        if emit in ("asm", "obj"):
            code = compiler.emit(module, emit)
        else:
            work = compiler.run(module, stop_after=emit)
            whole = _functions(work, function) if function else str(work)
            code = broken(whole, min(WIDTH, (output is None and width(sys.stdout)) or WIDTH))
    if emit == "asm" and function:
        code = _assembly(code, function)
    _write(code, output)


def _module(source: str | None, options) -> ir.Module:
    from lumen_mlir import ir
    from lumen_mlir.models import Model

    if source is None or not source.endswith(".mlir"):
        model = Model.open(Reporter().open_file(source))
        return model.module(kv_type=options.kv_type, max_tokens=options.chunk)
    try:
        with open(source, encoding="utf-8") as file:
            return ir.Module.parse(file.read())
    except OSError as error:
        raise LumenError(f"{source}: cannot be opened: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise LumenError(f"{source}: byte {error.start} is not valid UTF-8 ({error.reason})") from None
    except MLIRError as error:
        raise LumenError(f"{source}: {error}") from None


def _functions(module: ir.Module, pattern: str) -> str:
    functions = [op for op in module.body.operations if op.name in ("func.func", "llvm.func")]
    return _matching({op.attributes["sym_name"].value: op.__str__ for op in functions}, pattern)


def _assembly(text: str, pattern: str) -> str:
    """The functions of an assembly listing: from the label to the directive that gives the size."""
    pieces = {
        match[1]: match[0] for match in re.finditer(r"^([\w.$]+):.*?^\s*\.size\s+\1,.*?$", text, re.M | re.S)
    }
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

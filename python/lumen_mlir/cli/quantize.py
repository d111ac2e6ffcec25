# SPDX-License-Identifier: Apache-2.0
"""``lumen quantize``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.fitting import show
from lumen_mlir.cli.report import Reporter
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.gguf import GGUFFile
    from lumen_mlir.quantize.quantization import Plan


def _pairs(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> list[tuple[str, str]]:
    pairs = [tuple(text.rpartition("=")[::2]) for text in texts]
    for text, (pattern, name) in zip(texts, pairs, strict=True):
        if not pattern or not name:
            raise LumenError(f"{parameter.opts[0]} is '{text}'; PATTERN=FORMAT was expected")
    return pairs


@click.command(short_help="Write a model file in another format.")
@click.argument("source", metavar="IN")
@click.argument("output", metavar="OUT", required=False)
@click.option("--format", "format_", metavar="NAME", help="q4_k_m, q8_0, … or any of 'lumen formats'.")
@click.option("--pure", is_flag=True, help="All matrices in the format's own type: no mixture.")
@click.option(
    "--tensor-type",
    "overrides",
    multiple=True,
    metavar="PATTERN=FORMAT",
    callback=_pairs,
    help="Another format for tensors whose name contains PATTERN, or matches it (* and ?).",
)
@click.option("--keep", multiple=True, metavar="PATTERN", help="Leave these tensors as they are.")
@click.option("--output-type", metavar="FORMAT", help="Format of the output matrix.")
@click.option("--embedding-type", metavar="FORMAT", help="Format of the embedding table.")
@click.option(
    "--imatrix", metavar="FILE", help="How much columns matter: an importance matrix of llama-imatrix."
)
@click.option("--requantize", is_flag=True, help="Do not warn about weights that were quantized before.")
@click.option("--dry-run", is_flag=True, help="List tensors, types and sizes; write nothing.")
@shared.threads_option
@shared.verbosity_options
def command(
    source: str,
    output: str | None,
    format_: str | None,
    pure: bool,
    overrides: list[tuple[str, str]],
    keep: tuple[str, ...],
    output_type: str | None,
    embedding_type: str | None,
    imatrix: str | None,
    requantize: bool,
    dry_run: bool,
    threads: int | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write the model IN, a GGUF file, to OUT in another format.

    The formats of llama.cpp are mixtures: q4_k_m stores most matrices as q4_k and some as q6_k. The search
    for scales and codes is the same for all formats, also for those of plug-ins.

    \b
      lumen quantize f16.gguf q4.gguf --format q4_k_m
      lumen quantize f16.gguf q4.gguf --format q4_0 --tensor-type ffn_down=q5_1
    """
    if format_ is None:
        raise LumenError("--format is missing: q4_k_m, q8_0, … or any of 'lumen formats'")
    if output is None and not dry_run:
        raise LumenError("OUT is missing: name the file to write")
    from lumen_mlir.quantize import quantization
    from lumen_mlir.quantize.importance import ImportanceMatrix
    from lumen_mlir.run.session_options import SessionOptions

    reporter = Reporter(quiet, verbose)
    file = reporter.open_file(source)
    choices = quantization.Choices(format_, tuple(overrides), keep, pure, output_type, embedding_type)
    importance = None if imatrix is None else ImportanceMatrix.open(imatrix)
    plan = quantization.plan(file, choices, importance=importance is not None)
    if again := [] if requantize else plan.requantized:
        which = quantization.describe(again)
        reporter.say(f"warning: {which} quantized already, loses more (--requantize: this is meant)")
    if dry_run:
        _show(plan)
        reporter.say(_summary(file, plan))
        return
    begin = time.perf_counter()
    try:
        quantization.quantize_file(
            file,
            output,
            choices,
            importance=importance,
            threads=SessionOptions(threads=threads).thread_count(),
            progress=reporter.progress,
        )
    finally:
        reporter.close()
    reporter.say(f"{output}: {_summary(file, plan)}, {time.perf_counter() - begin:.1f} s")


def _show(plan: Plan) -> None:
    rows = [
        (
            item.info.name,
            " x ".join(map(str, item.info.shape)),
            item.info.type,
            item.type if item.changes else "-",
            f"{item.info.nbytes:,}",
            f"{item.nbytes:,}",
        )
        for item in plan.items
    ]
    header = ("tensor", "shape", "type", "new type", "bytes", "new bytes")
    show([header, *rows], right=(4, 5), header=True)


def _summary(file: GGUFFile, plan: Plan) -> str:
    from lumen_mlir.gguf.description import size_text, tensor_bytes

    bits = 8 * plan.nbytes / plan.weights if plan.weights else 0
    return f"{size_text(tensor_bytes(file))} to {size_text(plan.nbytes)}, {bits:.2f} bits per weight"

# SPDX-License-Identifier: Apache-2.0
"""``lumen bench kernels``."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.bench import numbers
from lumen_mlir.cli.fitting import show_markdown
from lumen_mlir.cli.report import Reporter, counted
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.compiler.targets import Target
    from lumen_mlir.measure.kernel_bench import Measurement


@click.command(short_help="Measure the products of the formats against the machine's limits.")
@click.option(
    "--formats", "names", metavar="NAMES", help="With commas between them.  [default: all quantized ones]"
)
@click.option(
    "--shape", metavar="NxK", default="4096x4096", show_default=True, help="Of the weight: outputs x inputs."
)
@click.option(
    "--rows",
    default="1,512",
    show_default=True,
    callback=numbers(1),
    help="Rows of activations: 1 is decode (GEMV), many are a prompt (GEMM).",
)
@click.option("-t", "--threads", type=click.IntRange(1, 1024), default=1, show_default=True, help="Threads.")
@click.option(
    "-r", "--repetitions", type=click.IntRange(1, 1000), default=9, show_default=True, help="Of each product."
)
@shared.target_option
@click.option("--plot", metavar="FILE.svg", help="Draw the roofline and the kernels under it.")
@shared.json_option
@shared.verbosity_options
def command(
    names: str | None,
    shape: str,
    rows: list[int],
    threads: int,
    repetitions: int,
    target: str,
    plot: str | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Measure the product of each format's kernels with weights that lie in memory.

    A product can be no faster than its weights are read and no faster than its operations are carried out.
    Both limits are measured by generated code in the same run, in turns with the product. The share is the
    least possible time over the time taken, of the best repetition and of the median one.
    """
    from lumen_mlir import formats
    from lumen_mlir.compiler import targets
    from lumen_mlir.measure.kernel_bench import KernelBench

    n, k = _shape(shape)
    if plot and not os.path.isdir(os.path.dirname(plot) or "."):
        raise LumenError(f"{plot}: there is no such folder")
    known = [formats.get(name) for name in (names.split(",") if names else formats.names())]
    chosen = [fmt for fmt in known if names or not fmt.is_float]
    for fmt in chosen:
        fmt.row_bytes(k)  # refused before anything is measured
    machine = targets.check_runs(targets.get(target))
    reporter = Reporter(quiet, verbose)
    bench = KernelBench(machine, threads, repetitions)
    results = []
    for fmt in chosen:
        for result in bench.measure(fmt, n, k, rows):
            reporter.say(
                f"{result.format}, {counted(result.rows, 'row')}: {result.share:.1%} of {_bound(result)}"
            )
            results.append(result)
    if plot is not None:
        from lumen_mlir.measure.roofline import draw
        from lumen_mlir.storage.atomic_file import replacing

        title = f"{n} x {k}, {machine.name}, {counted(threads, 'thread')}"
        with replacing(plot) as file:
            file.write(draw(results, title).encode())
    if as_json:
        click.echo(_json(results, machine, threads))
    else:
        _show(results)


def _shape(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or 0 in (sizes := (int(match[1]), int(match[2]))):
        raise LumenError(f"--shape is '{text}'; two whole numbers such as 4096x4096 were expected")
    if sizes[0] * sizes[1] > 1 << 32:
        raise LumenError(f"--shape is '{text}', {sizes[0] * sizes[1]} weights; at most 2^32 can be measured")
    return sizes


def _bound(result: Measurement) -> str:
    return {"read": "the read bandwidth", "int8": "the int8 peak", "float32": "the float32 peak"}[
        result.bound
    ]


def _show(results: list[Measurement]) -> None:
    header = ("format", "packed bits", "rows", "ms", "GB/s", "GOP/s", "limit", "share", "median")
    rows = [
        (
            result.format,
            f"{8 * result.read / (result.n * result.k):.4g}",
            str(result.rows),
            f"{min(result.seconds) * 1e3:.3f}",
            f"{result.bandwidth / 1e9:.1f}",
            f"{result.throughput / 1e9:,.0f}",
            _limit(result),
            f"{result.share:.1%}",
            f"{result.median_share:.1%}",
        )
        for result in results
    ]
    show_markdown([header, *rows], right=(1, 2, 3, 4, 5, 7, 8))


def _limit(result: Measurement) -> str:
    if result.bound == "read":
        return f"read {max(result.read_limits) / 1e9:.1f} GB/s"
    return f"{result.peak} {max(result.peak_limits) / 1e9:,.0f} GOP/s"


def _json(results: list[Measurement], target: Target, threads: int) -> str:
    def fields(result: Measurement) -> dict[str, Any]:
        return {
            "format": result.format,
            "n": result.n,
            "k": result.k,
            "rows": result.rows,
            "threads": threads,
            "target": target.name,
            "weight_bytes": result.read,
            "operations": result.operations,
            "bound": result.bound,
            "share": round(result.share, 4),
            "median_share": round(result.median_share, 4),
            "seconds": result.seconds,
            "limit_bytes_per_second": [round(value) for value in result.read_limits],
            "limit_operations_per_second": [round(value) for value in result.peak_limits],
        }

    return json.dumps([fields(result) for result in results], indent=2)

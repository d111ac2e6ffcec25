# SPDX-License-Identifier: Apache-2.0
"""``lumen bench``."""

from __future__ import annotations

import csv
import datetime
import io
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli import bench_parallel
from lumen_mlir.cli import options as shared
from lumen_mlir.cli.dry_run import report
from lumen_mlir.cli.fitting import show_markdown
from lumen_mlir.cli.report import Reporter, counted, kernels
from lumen_mlir.cli.table import markdown
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.generate.llm import LLM
    from lumen_mlir.measure.bench import Samples, Test


def numbers(least: int) -> Any:
    """An option's value: whole numbers with commas between them."""

    def parse(context: click.Context, parameter: click.Parameter, text: str | None) -> list[int] | None:
        if text is None:
            return None
        try:
            numbers = [int(part) for part in text.split(",")]
        except ValueError:
            numbers = [least - 1]
        if min(numbers) < least:
            name = parameter.opts[0]
            raise LumenError(
                f"{name} is '{text}'; whole numbers of at least {least}, with commas, were expected"
            )
        return numbers

    return parse


@click.command(cls=shared.Command, short_help="Measure speed, like llama-bench.")
@shared.model_argument
@click.option(
    "-p", "--n-prompt", default="512", show_default=True, callback=numbers(0), help="Prompt lengths."
)
@click.option(
    "-n", "--n-gen", default="128", show_default=True, callback=numbers(0), help="Tokens to generate."
)
@click.option(
    "-d",
    "--n-depth",
    default="0",
    show_default=True,
    callback=numbers(0),
    help="Tokens already in the context.",
)
@click.option(
    "-t", "--threads", callback=numbers(1), help="Threads.  [default: LUMEN_THREADS or physical cores]"
)
@click.option("-r", "--repetitions", type=int, default=5, show_default=True, help="Runs of each test.")
@click.option(
    "--parallel",
    "-npl",
    metavar="N",
    callback=numbers(1),
    help="Measure so many texts at a time, like llama-batched-bench: each has a prompt of -p and -n tokens.",
)
@click.option(
    "--shared-prefix",
    metavar="N",
    type=int,
    default=0,
    help="With --parallel: so many tokens more that all prompts begin with.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["md", "json", "csv"]),
    help="Form.  [default: a table that fits the terminal, else md]",
)
@click.option(
    "--profile", is_flag=True, help="Show where the time goes, kernel by kernel, instead of the speed."
)
@click.option("--profile-svg", metavar="FILE", help="With --profile: a picture of it.")
@shared.memory_options
@shared.format_option
@shared.engine_option
@shared.device_option
@shared.gpu_layers_option
@shared.target_option
@shared.kv_type_option
@shared.activations_option
@shared.pack_cache_option
@click.option(
    "-b", "--chunk", type=int, default=512, show_default=True, help="Most prompt tokens computed at once."
)
@shared.verbosity_options
def command(
    model: str | None,
    n_prompt: list[int],
    n_gen: list[int],
    n_depth: list[int],
    threads: list[int] | None,
    repetitions: int,
    parallel: list[int] | None,
    shared_prefix: int,
    output: str | None,
    profile: bool,
    profile_svg: str | None,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Measure how fast MODEL, a GGUF file or a folder, reads prompts and generates.

    (``lumen bench kernels`` measures the products of the formats: see its --help.)

    Options that take a number take several with commas: -t 1,2. The results have llama-bench's fields, those
    of --parallel the fields of llama-batched-bench.
    """
    from lumen_mlir.measure import bench

    if repetitions < 1:
        raise LumenError(f"--repetitions is {repetitions}; a whole number of at least 1 was expected")
    if shared_prefix < 0 or (shared_prefix and not parallel):
        raise LumenError(f"--shared-prefix is {shared_prefix}; a number above 0 and --parallel were expected")
    tests = list(bench.tests(n_prompt, n_gen, n_depth))
    if not tests:
        raise LumenError("there is nothing to measure: every -p and -n is 0")
    if parallel and profile:
        raise LumenError("--profile looks at the kernels of one text: --parallel has no place there")
    if profile_svg and not profile:
        raise LumenError("--profile-svg needs --profile")
    if profile_svg and not os.path.isdir(os.path.dirname(profile_svg) or "."):
        raise LumenError(f"{profile_svg}: there is no such folder")
    reporter = Reporter(quiet, verbose)
    options["threads"] = None if threads is None else threads[0]
    many = []
    if parallel:
        many = bench_parallel.tests(parallel, n_prompt, n_gen, n_depth, shared_prefix)
        options |= bench_parallel.options_for(many)
    else:
        options["context"] = max(test.length for test in tests)
    if dry_run:
        report(model, reporter, options)
        return
    llm = reporter.open(model, profile=profile, **options)
    if many:
        measured = bench_parallel.measure(llm, many, threads or [llm.threads], repetitions, reporter)
        found = [{**_of_model(llm), **bench_parallel.fields(*each)} for each in measured]
        _write(found, bench_parallel.table(found), bench_parallel.NUMBERS, output)
        return
    if profile:
        _profile(llm, tests, threads or [llm.threads], repetitions, output, profile_svg, reporter)
        return
    results = []
    for count in threads or [llm.threads]:
        llm.set_threads(count)
        for test in tests:
            moment = datetime.datetime.now(datetime.timezone.utc)
            samples = bench.measure(llm, test, repetitions)
            rate = f"{samples.avg_ts:.2f} ± {samples.stddev_ts:.2f} tokens/s"
            reporter.say(f"{counted(count, 'thread')}, {test.label}: {rate}")
            results.append(_fields(llm, test, count, moment, samples))
    _write(results, _table(results), _NUMBERS, output)


def _write(
    results: list[dict[str, Any]],
    table: list[tuple[str, ...]],
    numbers: Sequence[int],
    output: str | None,
) -> None:
    """Writes results in the form that was asked for; ``table`` has the columns ``numbers`` of them."""
    if output is None:
        show_markdown(table, numbers)
    elif output == "md":
        click.echo(markdown(table[0], table[1:], numbers))
    else:
        click.echo({"json": _json, "csv": _csv}[output](results))


def _profile(
    llm: LLM,
    tests: list[Test],
    threads: list[int],
    repetitions: int,
    output: str | None,
    svg: str | None,
    reporter: Reporter,
) -> None:
    from lumen_mlir.cli import profile_report
    from lumen_mlir.measure.profiling import Profiler
    from lumen_mlir.storage.atomic_file import replacing

    profiler, profiles = Profiler(llm), []
    for count in threads:
        llm.set_threads(count)
        for test in tests:
            profiles.append(profiler.measure(test, repetitions))
            seconds = profiles[-1].seconds / profiles[-1].steps
            reporter.say(f"{counted(count, 'thread')}, {test.label}: {seconds * 1e3:.3f} ms a step")
    if svg is not None:
        name = os.path.basename(llm.model.file.path)
        with replacing(svg) as file:
            file.write(profile_report.picture(profiles, f"{name}, {kernels(llm)}").encode())
    profile_report.show(profiles, output)


def _fields(
    llm: LLM, test: Test, threads: int, moment: datetime.datetime, samples: Samples
) -> dict[str, Any]:
    """One result, by llama-bench's names; ``kernels`` and ``activations`` are Lumen's own."""
    return {
        **_of_model(llm),
        "n_threads": threads,
        "n_prompt": test.n_prompt,
        "n_gen": test.n_gen,
        "n_depth": test.n_depth,
        "test_time": f"{moment:%Y-%m-%dT%H:%M:%SZ}",
        "avg_ns": samples.avg_ns,
        "stddev_ns": samples.stddev_ns,
        "avg_ts": round(samples.avg_ts, 6),
        "stddev_ts": round(samples.stddev_ts, 6),
        "samples_ns": samples.ns,
        "samples_ts": [round(value, 6) for value in samples.ts],
    }


def _of_model(llm: LLM) -> dict[str, Any]:
    """The fields that all results of a model share."""
    from lumen_mlir.gguf import description
    from lumen_mlir.run.device_name import CPU, GPUS
    from lumen_mlir.support.system import cpu_name
    from lumen_mlir.version import __version__

    file, options = llm.model.file, llm.options
    device = str(llm.executor.device) if llm.engine == "compiled" else CPU
    kind = device.partition(":")[0]
    return {
        "build_commit": f"lumen {__version__}",
        "cpu_info": cpu_name(),
        "gpu_info": device if kind in GPUS else "",
        "backends": kind.upper() if kind in GPUS else "CPU",
        "n_gpu_layers": len(llm.executor.sections[-1].model.layers) if kind in GPUS else 0,
        "model_filename": file.path,
        "model_type": description.model_type(file),
        "model_size": description.tensor_bytes(file),
        "model_n_params": description.parameter_count(file),
        "n_batch": options.chunk,
        "n_ubatch": options.chunk,
        "type_k": options.kv_type,
        "type_v": options.kv_type,
        "activations": options.activations,
        "kernels": kernels(llm),
    }


# The columns of the table that hold numbers.
_NUMBERS = (1, 2, 4, 5, 6)


def _table(results: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    from lumen_mlir.gguf.description import short_count, size_text
    from lumen_mlir.measure.bench import Test

    header = ("model", "size", "params", "kernels", "threads", "test", "t/s")
    rows = [
        (
            result["model_type"],
            size_text(result["model_size"]),
            short_count(result["model_n_params"]),
            result["kernels"],
            str(result["n_threads"]),
            Test(result["n_prompt"], result["n_gen"], result["n_depth"]).label,
            f"{result['avg_ts']:.2f} ± {result['stddev_ts']:.2f}",
        )
        for result in results
    ]
    return [header, *rows]


def _json(results: list[dict[str, Any]]) -> str:
    return json.dumps(results, indent=2, ensure_ascii=False)


def _csv(results: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    names = [name for name in results[0] if not name.startswith("samples_")]
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(results)
    return text.getvalue().rstrip("\n")

# SPDX-License-Identifier: Apache-2.0
"""``lumen convert``."""

from __future__ import annotations

import os
import time

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.report import Reporter
from lumen_mlir.errors import LumenError


@click.command(short_help="Write a Hugging Face folder as a GGUF file.")
@click.argument("folder", metavar="FOLDER")
@click.argument("output", metavar="OUT.gguf")
@click.option(
    "--format", "format_", metavar="NAME", help="q4_k_m, q8_0, f16, …  [default: the folder's own type]"
)
@shared.pre_tokenizer_option
@shared.threads_option
@shared.verbosity_options
def command(
    folder: str,
    output: str,
    format_: str | None,
    pre_tokenizer: str | None,
    threads: int | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write the model in FOLDER, as Hugging Face has it, to OUT.gguf.

    FOLDER holds config.json, model*.safetensors, tokenizer.json or tokenizer.model, and perhaps
    generation_config.json and chat_template.jinja. It may also be a name of the hub, hf:USER/REPO. llama.cpp
    reads the file too where it knows the architecture. To run a folder, it need not be converted: lumen
    generate FOLDER --format q4_k_m.

    \b
      lumen convert Qwen2.5-0.5B-Instruct qwen.gguf                    weights as they are
      lumen convert Qwen2.5-0.5B-Instruct qwen.gguf --format q4_k_m    quantized
    """
    from lumen_mlir.generate.model_source import locate_model
    from lumen_mlir.gguf.description import model_type, size_text
    from lumen_mlir.hf import HFFolder
    from lumen_mlir.hub import is_hub_name
    from lumen_mlir.quantize import quantization
    from lumen_mlir.run.session_options import SessionOptions

    reporter = Reporter(quiet, verbose)
    if is_hub_name(folder):
        try:
            folder, format_ = locate_model(folder, format_, reporter.progress, folder=True)
        finally:
            reporter.close()
    if not os.path.isdir(folder):
        what = "is not a folder" if os.path.exists(folder) else "does not exist"
        raise LumenError(
            f"{folder}: {what}; a Hugging Face folder was expected (lumen quantize takes GGUF files)"
        )
    source = HFFolder.open(folder, pre_tokenizer)
    kept = quantization.Choices(source.stored_type, keep=("*",))
    begin = time.perf_counter()
    try:
        plan = quantization.quantize_file(
            source,
            output,
            kept if format_ is None else quantization.Choices(format_),
            threads=SessionOptions(threads=threads).thread_count(),
            progress=reporter.progress,
        )
    finally:
        reporter.close()
    seconds = time.perf_counter() - begin
    reporter.say(
        f"{output}: {model_type(source)} as {plan.mixture}, {size_text(plan.nbytes)}, {seconds:.1f} s"
    )

# SPDX-License-Identifier: Apache-2.0
"""``lumen pull``."""

from __future__ import annotations

import time

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.report import Reporter


@click.command(short_help="Download a model from the Hugging Face Hub.")
@click.argument("names", nargs=-1, required=True, metavar="hf:USER/REPO[:QUANT]...")
@shared.verbosity_options
def command(names: tuple[str, ...], quiet: bool, verbose: bool) -> None:
    """Download models from the Hugging Face Hub, or their newest versions, and print where they are.

    QUANT is a format such as q4_k_m; the default is q4_k_m, or what comes closest. A repository without GGUF
    files is downloaded as a folder. What was interrupted goes on where it was.

    \b
      lumen pull hf:HuggingFaceTB/SmolLM2-135M-Instruct
      lumen pull hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:q8_0
      lumen pull https://huggingface.co/Qwen/Qwen2.5-0.5B-Instruct-GGUF
    """
    from lumen_mlir.gguf.description import size_text
    from lumen_mlir.hub.names import HubName
    from lumen_mlir.hub.pull import pull
    from lumen_mlir.hub.settings import is_offline

    reporter = Reporter(quiet, verbose)
    for text in names:
        name = HubName.parse(text, bare=True)
        begin = time.perf_counter()
        try:
            model = pull(name, reporter.progress)
        except KeyboardInterrupt:
            reporter.close()
            reporter.say(f"stopped; 'lumen pull {name}' goes on from there")
            raise
        finally:
            reporter.close()
        if model.downloaded:
            seconds = time.perf_counter() - begin
            reporter.say(f"{name}: {size_text(model.downloaded)} downloaded in {seconds:.1f} s")
        else:
            known = "which may be older (HF_HUB_OFFLINE)" if is_offline() else "the newest version"
            reporter.say(f"{name}: is here, {known}, {size_text(model.size)}")
        click.echo(model.path)

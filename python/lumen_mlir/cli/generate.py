# SPDX-License-Identifier: Apache-2.0
"""``lumen generate``."""

from __future__ import annotations

import sys
from typing import Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.dry_run import report
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.text import text_of


@click.command(short_help="Continue a text.")
@shared.model_argument
@shared.prompt_option
@shared.file_option
@click.option(
    "-n", "--max-tokens", type=int, default=256, show_default=True, help="Most tokens to generate (-1: any)."
)
@click.option("--echo", is_flag=True, help="Print the prompt too.")
@click.option("--special", is_flag=True, help="Print control tokens too, such as <|im_start|>.")
@shared.sampling_options
@shared.engine_options
@shared.verbosity_options
def command(
    model: str | None,
    prompt: str | None,
    prompt_file: str | None,
    max_tokens: int,
    echo: bool,
    special: bool,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Continue a text with MODEL, a GGUF file or a Hugging Face folder.

    Without MODEL, the one that comes with Lumen does it. The text goes to stdout as it comes, everything
    else to stderr.
    """
    sampling = shared.sampling_of(options)
    reporter = Reporter(quiet, verbose)
    text = "" if dry_run else text_of(prompt, prompt_file)
    if dry_run:
        report(model, reporter, options)
        return
    llm = reporter.open(model, **options)
    generation = llm.generate(text, shared.token_limit(max_tokens), special=special, **sampling)
    reporter.sampling(llm, sampling)
    last = write(text) if echo else ""
    for piece in generation:
        last = write(piece)
    if not last.endswith("\n"):
        write("\n")
    if generation.finish_reason == "context":
        reporter.say(f"warning: the context of {llm.context} tokens is full")
    reporter.summary(llm, generation)


def write(text: str) -> str:
    """Puts text on stdout at once; returns it."""
    sys.stdout.write(text)
    sys.stdout.flush()
    return text

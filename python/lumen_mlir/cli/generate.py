# SPDX-License-Identifier: Apache-2.0
"""``lumen generate``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.dry_run import report
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.text import text_of, unescaped

if TYPE_CHECKING:
    from lumen_mlir.generate.generation import Generation
    from lumen_mlir.generate.logprobs import Logprob


@click.command(cls=shared.Command, short_help="Continue a text.")
@shared.model_argument
@shared.prompt_option
@shared.file_option
@shared.escape_option
@click.option(
    "-n", "--max-tokens", type=int, default=256, show_default=True, help="Most tokens to generate (-1: any)."
)
@click.option("--echo", is_flag=True, help="Print the prompt too.")
@click.option("--special", is_flag=True, help="Print control tokens too, such as <|im_start|>.")
@click.option(
    "--logprobs",
    type=int,
    metavar="N",
    help="Print a line of JSON for each token: how likely it was, and the N likeliest.",
)
@shared.sampling_options
@shared.engine_options
@shared.verbosity_options
def command(
    model: str | None,
    prompt: str | None,
    prompt_file: str | None,
    escape: bool,
    max_tokens: int,
    echo: bool,
    special: bool,
    logprobs: int | None,
    dry_run: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Continue a text with MODEL, a GGUF file or a Hugging Face folder.

    Without MODEL, the one that comes with Lumen does it. The text goes to stdout as it comes, everything
    else to stderr. llama.cpp's names of options are taken, too.
    """
    if echo and logprobs is not None:
        raise click.UsageError("--echo cannot be used with --logprobs", click.get_current_context())
    sampling = shared.sampling_of(options)
    reporter = Reporter(quiet, verbose)
    text = "" if dry_run else text_of(prompt, prompt_file)
    if escape:
        text = unescaped(text)
    if dry_run:
        report(model, reporter, options)
        return
    llm = reporter.open(model, **options)
    generation = llm.generate(
        text, shared.token_limit(max_tokens), special=special, logprobs=logprobs, **sampling
    )
    reporter.sampling(llm, sampling)
    if logprobs is None:
        _write_text(generation, write(text) if echo else "")
    else:
        _write_records(generation)
    if generation.finish_reason == "context":
        reporter.say(f"warning: the context of {llm.context} tokens is full")
    reporter.summary(llm, generation)


def _write_text(generation: Generation, last: str) -> None:
    for piece in generation:
        last = write(piece)
    if not last.endswith("\n"):
        write("\n")


def _write_records(generation: Generation) -> None:
    """Writes the records of tokens as they come."""
    written, ended = 0, False
    while not ended:
        # What came with the last piece, or after it, is written when there is no other.
        ended = next(generation, None) is None
        records = (generation.logprobs or [])[written:]
        for record in records:
            entry = {**_entry(record), "top": [_entry(other) for other in record.top]}
            write(json.dumps(entry, ensure_ascii=False) + "\n")
        written += len(records)


def _entry(record: Logprob) -> dict[str, Any]:
    return {
        "token": record.token, "text": record.text, "bytes": list(record.bytes), "logprob": record.logprob
    }  # fmt: skip


def write(text: str) -> str:
    """Puts text on stdout at once; returns it."""
    sys.stdout.write(text)
    sys.stdout.flush()
    return text

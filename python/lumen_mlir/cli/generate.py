# SPDX-License-Identifier: Apache-2.0
"""``lumen generate``."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.dry_run import report
from lumen_mlir.cli.grammar_options import grammar_of, grammar_options
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.text import texts_of, unescaped

if TYPE_CHECKING:
    from lumen_mlir.generate.generation import Generation
    from lumen_mlir.generate.logprobs import Logprob

# So many texts at most are computed at a time.
_TOGETHER = 16


@click.command(cls=shared.Command, short_help="Continue a text.")
@shared.model_argument
@click.option("-p", "--prompt", "prompts", multiple=True, help="The text; of several, each is continued.")
@click.option(
    "-f",
    "--file",
    "files",
    metavar="FILE",
    multiple=True,
    shell_complete=shared.complete_files,
    help="A file with the text (UTF-8); may be repeated.  [default: stdin]",
)
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
@grammar_options
@shared.sampling_options
@shared.engine_options
@shared.verbosity_options
def command(
    model: str | None,
    prompts: tuple[str, ...],
    files: tuple[str, ...],
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
    else to stderr. Several texts are continued together, and written one after the other, each under a
    heading. llama.cpp's names of options are taken, too.
    """
    if echo and logprobs is not None:
        raise click.UsageError("--echo cannot be used with --logprobs", click.get_current_context())
    sampling, grammar = shared.sampling_of(options), grammar_of(options)
    reporter = Reporter(quiet, verbose)
    if dry_run:
        report(model, reporter, options)
        return
    texts = texts_of(prompts, files)
    if escape:
        texts = [unescaped(text) for text in texts]
    if len(texts) > 1:
        if logprobs is not None:
            raise click.UsageError("--logprobs is for one text", click.get_current_context())
        options["sequences"] = min(len(texts), _TOGETHER)
    llm = reporter.open(model, **options)
    parameters = {"max_tokens": shared.token_limit(max_tokens), "special": special, **sampling}
    if grammar is not None:
        parameters["grammar"] = llm.compile_grammar(grammar)
    if len(texts) > 1:
        from lumen_mlir.cli.several_texts import write_texts

        reporter.sampling(llm, sampling)
        write_texts(llm, texts, parameters, echo, write, reporter)
        return
    text = texts[0]
    generation = llm.generate(text, logprobs=logprobs, **parameters)
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

# SPDX-License-Identifier: Apache-2.0
"""``lumen perplexity``."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.report import Reporter, counted
from lumen_mlir.cli.text import read_text

if TYPE_CHECKING:
    from lumen_mlir.generate.perplexity import Perplexity


@click.command(cls=shared.Command, short_help="Measure how well a model predicts a text.")
@click.argument("paths", nargs=-1, metavar="[MODEL] FILE")
@shared.model_option
@click.option("-f", "--file", "text", metavar="FILE", help="Another way to give FILE.")
@click.option("-c", "--context", type=int, default=512, show_default=True, help="Tokens of a part.")
@click.option("--parts", "--chunks", type=int, help="Read at most so many parts.  [default: all]")
@shared.json_option
@shared.step_options
@shared.verbosity_options
def command(
    paths: tuple[str, ...],
    text: str | None,
    context: int,
    parts: int | None,
    as_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Measure the perplexity of MODEL, a GGUF file, on the text in FILE ("-": stdin).

    The method is llama-perplexity's: parts of 512 tokens, of each the second half is scored. Without MODEL,
    the model that comes with Lumen is measured.
    """
    model, text = _model_and_text(paths, text)
    reporter = Reporter(quiet, verbose)
    content = read_text(text)
    from lumen_mlir.generate.perplexity import perplexity

    try:
        llm = reporter.open(model, context=context, **options)
        begin = time.perf_counter()

        def progress(estimate: Perplexity, count: int) -> None:
            reporter.progress("perplexity", estimate.parts, count, str(estimate))

        result = perplexity(llm, content, context=context, parts=parts, progress=progress)
    finally:
        reporter.close()
    seconds = time.perf_counter() - begin
    if as_json:
        click.echo(json.dumps({**asdict(result), "seconds": round(seconds, 3)}))
    else:
        click.echo(f"perplexity {result}")
    rate = result.parts * context / seconds
    reporter.say(
        f"{counted(result.parts, 'part')} of {context} tokens, {result.tokens:,} tokens scored, "
        f"{seconds:.1f} s, {rate:,.0f} tokens/s"
    )


def _model_and_text(paths: tuple[str, ...], text: str | None) -> tuple[str | None, str]:
    """The model (None: the one that comes with Lumen) and the text, of which options may have given each."""
    if len(paths) + (text is not None) > 2:
        raise click.UsageError(f"a model and a text were expected, not {len(paths)} files")
    if text is None:
        if not paths:
            raise click.UsageError("a text is missing: lumen perplexity [MODEL] FILE")
        *paths, text = paths
    context = click.get_current_context()
    return shared.one_model(context, next(iter(paths), None)), text

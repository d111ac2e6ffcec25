# SPDX-License-Identifier: Apache-2.0
"""``lumen tune``."""

from __future__ import annotations

from typing import Any

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.fitting import show_markdown
from lumen_mlir.cli.report import Reporter
from lumen_mlir.errors import LumenError


@click.command(short_help="Find the fastest way to cut the work of a model on this machine.")
@shared.model_argument
@click.option("--rounds", type=int, default=5, show_default=True, help="Prompts measured with each way.")
@shared.threads_option
@shared.device_option
@shared.gpu_layers_option
@shared.target_option
@shared.kv_type_option
@shared.activations_option
@shared.chunk_option
@shared.verbosity_options
def command(model: str | None, rounds: int, quiet: bool, verbose: bool, **options: Any) -> None:
    """Try ways to cut the products of MODEL, a GGUF file, into register tiles and blocks, and keep the best.

    From then on every command that opens MODEL with the same target, KV cache, activations and chunk uses it.
    It changes the speed of prompts and no result. `lumen cache clear` forgets it.
    """
    from lumen_mlir.gguf.description import label
    from lumen_mlir.measure.tune import tune
    from lumen_mlir.models import Model
    from lumen_mlir.run.session_options import SessionOptions
    from lumen_mlir.run.tuning import Tuning
    from lumen_mlir.storage.cache import Cache

    if rounds < 1:
        raise LumenError(f"--rounds is {rounds}; a whole number of at least 1 was expected")
    reporter = Reporter(quiet, verbose)
    opened = Model.open(reporter.open_file(model))
    cache = Cache().labelled(label(opened.file))
    chosen = SessionOptions.of(**options)
    chosen = SessionOptions.of(**{**options, "context": min(chosen.chunk, opened.config.context)})
    try:
        trials = tune(
            opened, chosen, cache, rounds, lambda done, total: reporter.progress("tune", done, total)
        )
    finally:
        reporter.close()
    own = next(trial for trial in trials if trial.tuning == Tuning())
    rows = [
        (str(trial.tuning), f"{trial.seconds * 1e3:.2f}", f"{own.seconds / trial.seconds:.2f}")
        for trial in trials
    ]
    show_markdown([("products in", "ms a prompt", "times as fast"), *rows], right=(1, 2))
    reporter.say(f"from now on: {trials[0].tuning}")

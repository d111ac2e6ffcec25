# SPDX-License-Identifier: Apache-2.0
"""``lumen rm``."""

from __future__ import annotations

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.report import Reporter


@click.command(short_help="Remove models that were downloaded.")
@click.argument("names", nargs=-1, required=True, metavar="hf:USER/REPO[:QUANT]...")
@click.option("--all", "every", is_flag=True, help="All models that a name could mean.")
@shared.verbosity_options
def command(names: tuple[str, ...], every: bool, quiet: bool, verbose: bool) -> None:
    """Remove models of the Hugging Face Hub from this machine, and what is left of interrupted downloads.

    Files that another model needs stay. So does what Lumen packed of a model, until it is the least recently
    used in Lumen's own cache (lumen cache).
    """
    from lumen_mlir.gguf.description import size_text
    from lumen_mlir.hub import listing
    from lumen_mlir.hub.names import HubName

    reporter = Reporter(quiet, verbose)
    # All are looked up before one is removed.
    found = {text: listing.matching(text, every) for text in names}
    chosen = {str(model.name): model for models in found.values() for model in models}
    for name, model in chosen.items():
        freed = listing.remove(model)
        kept = "" if freed else " (others share the rest; 'hf cache prune' removes what nobody needs)"
        reporter.say(f"{name}: removed, {size_text(freed)}{kept}")
    for text, models in found.items():
        # Of these the format is not known: where one was named and found, they are another one.
        named = HubName.parse(text, bare=True)
        if models and (named.tag or named.file):
            continue
        if size := listing.remove_partials(named.repo):
            reporter.say(f"hf:{named.repo}: an interrupted download removed, {size_text(size)}")
    if chosen:
        reporter.say("what was packed of them stays in the cache until others need the room (lumen cache)")

# SPDX-License-Identifier: Apache-2.0
"""``lumen list``."""

from __future__ import annotations

import datetime
import json

import click

from lumen_mlir.cli import options as shared
from lumen_mlir.cli.fitting import say, show


@click.command(short_help="List the models that were downloaded.")
@shared.json_option
def command(as_json: bool) -> None:
    """List the models from the Hugging Face Hub that are on this machine, the last used first.

    They lie in the cache that other programs of Hugging Face use too (HF_HOME).
    """
    from lumen_mlir.gguf.description import size_text
    from lumen_mlir.hub import listing, settings

    models, partials = listing.models(), listing.partials()
    if as_json:
        objects = [
            {
                "name": str(model.name),
                "format": model.format,
                "path": str(model.path),
                "size": model.size,
                "used": datetime.datetime.fromtimestamp(model.used, datetime.timezone.utc).isoformat(),
            }
            for model in models
        ]
        click.echo(json.dumps(objects, ensure_ascii=False, indent=2))
        return
    if models:
        rows = [
            (
                str(model.name),
                model.format or "-",
                size_text(model.size),
                f"{datetime.datetime.fromtimestamp(model.used):%Y-%m-%d %H:%M}",
            )
            for model in models
        ]
        show([("name", "format", "size", "last used"), *rows], right=(2,), header=True)
    else:
        say(f"{settings.cache_folder()}: no models ('lumen pull hf:USER/REPO' downloads one)")
    for repo, size in partials.items():
        say(f"hf:{repo}: {size_text(size)} of an interrupted download ('lumen pull' goes on with it)")

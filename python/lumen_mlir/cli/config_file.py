# SPDX-License-Identifier: Apache-2.0
"""``--config``: a file that says what options say."""

from __future__ import annotations

import sys
from typing import Any

import click

from lumen_mlir.cli.options import complete_files
from lumen_mlir.errors import LumenError, did_you_mean, shown

if sys.version_info >= (3, 11):
    import tomllib
else:  # the same under its older name
    import tomli as tomllib


def _read(context: click.Context, option: click.Option, path: str | None) -> None:
    if path is None or context.resilient_parsing:
        return
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LumenError(f"{path}: {error}") from None
    context.default_map = {**(context.default_map or {}), **_defaults(context, path, values)}


def _defaults(context: click.Context, path: str, values: dict[str, Any]) -> dict[str, Any]:
    """``values`` by the names that ``click`` has for parameters. Raises ``LumenError`` for unknown ones."""
    names = {
        word.lstrip("-"): parameter
        for parameter in context.command.params
        if isinstance(parameter, click.Option)
        for word in (*parameter.opts, *parameter.secondary_opts)
        if word.startswith("--")
    }
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name == "models":
            found["models"] = value if isinstance(value, list) else [value]
            continue
        option = names.get(name.replace("_", "-"))
        if option is None or option.is_eager:
            known = [*names, "models"]
            raise LumenError(f"{path}: {shown(name)} is no option{did_you_mean(name, known)}")
        if isinstance(value, dict):
            raise LumenError(f"{path}: '{name}' is a table; a value was expected")
        assert option.name is not None
        if option.multiple and not isinstance(value, list):
            value = [value]
        if isinstance(value, list) and not option.multiple:
            raise LumenError(f"{path}: '{name}' is a list; one value was expected")
        found[option.name] = value
    return found


config_option = click.option(
    "--config",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_read,
    shell_complete=complete_files,
    help="A TOML file with options by their names, and models; the command line goes first.",
)

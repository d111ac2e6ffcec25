# SPDX-License-Identifier: Apache-2.0
"""Options that say what a text must be."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lumen_mlir.cli.options import complete_files
from lumen_mlir.cli.text import read_text
from lumen_mlir.errors import LumenError

if TYPE_CHECKING:
    from lumen_mlir.grammar.grammar import Grammar

_NAMES = {"json_schema": "--json-schema", "grammar": "--grammar", "regex": "--regex", "json_object": "--json"}

_OPTIONS = (
    click.option(
        "--json-schema",
        metavar="FILE|TEXT",
        shell_complete=complete_files,
        help="Write JSON that fits this schema.",
    ),
    click.option(
        "--grammar",
        metavar="FILE|TEXT",
        shell_complete=complete_files,
        help="Write what these rules allow: GBNF (llama.cpp's), or Lark.",
    ),
    click.option("--regex", metavar="PATTERN", help="Write what this regular expression matches as a whole."),
    click.option("--json", "json_object", is_flag=True, help="Write an object of JSON."),
)


def grammar_options(function: Callable) -> Callable:
    """Adds them to a subcommand. They need the extra ``serve``."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def grammar_of(options: dict[str, Any]) -> Grammar | None:
    """Takes them out of a subcommand's options: the grammar, not compiled yet. Raises ``LumenError``."""
    given = {name: value for name in _NAMES if (value := options.pop(name)) not in (None, False)}
    if len(given) > 1:
        names = " and ".join(_NAMES[name] for name in given)
        raise click.UsageError(f"{names} exclude each other", click.get_current_context())
    from lumen_mlir.grammar.grammar import Grammar

    for name, value in given.items():
        if name == "json_object":
            return Grammar.json_object()
        if name == "regex":
            return Grammar.regex(value)
        if name == "json_schema":
            return Grammar.json_schema(_text(value, "{", name))
        text = _text(value, "\n", name) if "::=" not in value else _text(value, value, name)
        return Grammar.lark(text) if value.endswith(".lark") else Grammar.rules(text)
    return None


def _text(value: str, sign: str, name: str) -> str:
    """The text of a file, or ``value`` itself where it is no file's name but has ``sign`` in it."""
    if sign in value and not os.path.isfile(value):
        return value
    try:
        return read_text(value)
    except LumenError as error:
        raise LumenError(f"{_NAMES[name]}: {error}") from None

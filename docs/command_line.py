# SPDX-License-Identifier: Apache-2.0
"""The reference page of the command line, from the commands themselves."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from lumen_mlir.cli.app import COMMANDS, app

_HEAD = """<!-- Written by docs/generate.py from the commands; don't edit -->

# Command line

`lumen COMMAND --help` shows the same in a terminal.
"""
_EVERYWHERE = """Every command also takes `-h`, `--help`, and `--plugin MODULE|FILE.py`: Python that defines
[formats of your own](../formats.md#formats-of-your-own). It may be repeated. `lumen --version` prints
the version.
"""
# The commands that ``lumen --help`` leaves out, because a word in the place of a model chooses them.
_HIDDEN = {"bench": (("kernels",),)}
_DEFAULT = re.compile(r"\s*\[(default: [^][]*|required)\]\s*$")


def page() -> str:
    """Markdown: an overview, then a section for each command, its arguments and options."""
    with click.Context(app, info_name="lumen") as context:
        commands = list(_commands(context))
        overview = ["| command | what it does |", "|---|---|"]
        for path, command in commands:
            does = command.get_short_help_str(200).partition(":")[0].rstrip(".")
            overview.append(f"| [`{path}`](#{path.replace(' ', '-')}) | {does} |")
        sections = [_section(path, command, context) for path, command in commands]
    variables = f"{app.epilog}\n" if app.epilog else ""
    return "\n".join([_HEAD, *overview, "", _EVERYWHERE, variables, *sections]).rstrip() + "\n"


def _commands(context: click.Context) -> Iterator[tuple[str, click.Command]]:
    """(name with its groups, command), subcommands behind their group."""
    for name in COMMANDS:
        command = app.get_command(context, name)
        assert command is not None
        yield f"lumen {name}", command
        for words in _HIDDEN.get(name, ()):
            _, hidden, _ = app.resolve_command(context, [name, *words])
            assert hidden is not None
            yield f"lumen {name} {' '.join(words)}", hidden
        for inner, subcommand in getattr(command, "commands", {}).items():
            yield f"lumen {name} {inner}", subcommand


def _section(path: str, command: click.Command, parent: click.Context) -> str:
    with click.Context(command, info_name=path.partition(" ")[2], parent=parent) as context:
        usage = " ".join([path, *command.collect_usage_pieces(context)])
        if getattr(command, "invoke_without_command", False):  # which older versions of click do not show
            usage = usage.replace(" COMMAND ", " [COMMAND] ")
        lines = [f"## {path}", "", "```text", usage, "```", "", *_help(command)]
        records = [
            record
            for option in command.get_params(context)
            if isinstance(option, click.Option) and not _everywhere(option)
            if (record := option.get_help_record(context)) is not None
        ]
    if records:
        lines += ["| option | what it does | default |", "|---|---|---|"]
        lines += [_row(*record) for record in records]
        lines.append("")
    return "\n".join(lines)


def _everywhere(option: click.Option) -> bool:
    return option.name == "plugin" or "--help" in option.opts


def _row(names: str, text: str) -> str:
    default = _DEFAULT.search(text)
    value = ""
    if default:
        text, value = text[: default.start()], default[1].removeprefix("default: ")
        value = f"`{value}`" if re.fullmatch(r"[\w.,-]+", value) else value
    return f"| {_code(names)} | {_escaped(text)} | {_escaped(value)} |"


def _code(names: str) -> str:
    return ", ".join(f"`{part.strip()}`" for part in re.split(r", | / ", names)).replace("|", "\\|")


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, also in a table."""
    return re.sub(r"([|*\[\]])", r"\\\1", text).replace("<", "&lt;")


def _help(command: click.Command) -> list[str]:
    r"""The paragraphs of a help text; those behind ``\b`` are lines to be kept."""
    lines: list[str] = []
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        if paragraph.lstrip().startswith("\b"):
            kept = paragraph.lstrip().removeprefix("\b").strip("\n").split("\n")
            lines += ["```", *(line.removeprefix("  ").rstrip() for line in kept), "```", ""]
        else:
            lines += [re.sub(r"``([^`]*)``", r"`\1`", _escaped(" ".join(paragraph.split()))), ""]
    return lines

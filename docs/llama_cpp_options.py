# SPDX-License-Identifier: Apache-2.0
"""The reference page of llama.cpp's spellings of options, from their table."""

from __future__ import annotations

from lumen_mlir.cli.llama_cpp_options import SPELLINGS, Kind, Spelling

_HEAD = """<!-- Written by docs/generate.py from the table of the command line; don't edit -->

# Options of llama.cpp

`lumen generate`, `chat`, `bench` and `perplexity` take the options that llama.cpp's programs have.
Many have the same name here: `-m`, `-p`, `-f`, `-n`, `-c`, `-t`, `-s`, `-e`, `-sys`, `--top-k`, ….

An option that only says where or how fast to compute has no effect, and one line says so.
An option that would change the text, and has no place here, is refused.
"""
_TITLES = {
    Kind.TAKEN: ("What they mean", "means"),
    Kind.DEFAULT: ("Taken, because it is so anyway", "why"),
    Kind.WITHOUT_EFFECT: ("Taken without effect", "why"),
    Kind.REFUSED: ("Refused", "why"),
}


def page() -> str:
    """Markdown: a table for each kind."""
    lines = [_HEAD]
    for kind, (title, column) in _TITLES.items():
        lines += [f"## {title}", "", f"| option | {column} |", "|---|---|"]
        lines += [_row(spelling) for spelling in SPELLINGS if spelling.kind is kind]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _row(spelling: Spelling) -> str:
    names = ", ".join(f"`{name}`" for name in spelling.names)
    parts = [f"`{spelling.option}`"] if spelling.option else []
    parts += [spelling.note] if spelling.note else []
    text = ": ".join(parts)
    if spelling.commands:
        text += f" (`{'`, `'.join(spelling.commands)}`)"
    if spelling.off:
        text += f"; {' or '.join(f'{value:g}' for value in spelling.off)} is taken"
    return f"| {names} | {text} |"

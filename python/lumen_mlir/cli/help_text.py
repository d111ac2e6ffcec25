# SPDX-License-Identifier: Apache-2.0
"""``--help`` that fits: examples and lists, which ``click`` leaves as they are, are broken too."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

# Between an example and what it does.
_COLUMNS = re.compile(r"( *)(.*?\S) {2,}(\S.*)")


class _Formatter(click.HelpFormatter):
    def getvalue(self) -> str:
        # ``click`` counts characters, and keeps two columns free.
        lines = super().getvalue().split("\n")
        return "\n".join(piece for line in lines for piece in _broken(line, self.width + 2))


class HelpContext(click.Context):
    """The context of every command."""

    formatter_class = _Formatter


def _broken(line: str, limit: int) -> Iterator[str]:
    # Imported here because every command has this module, and few show their help.
    from lumen_mlir.cli.table import width
    from lumen_mlir.cli.wrapping import wrapped

    if width(line) > limit and (parts := _COLUMNS.fullmatch(line)):
        indent, example, note = parts.groups()
        yield from wrapped(indent + example, limit)
        line = f"{indent}    {note}"
    yield from wrapped(line, limit)

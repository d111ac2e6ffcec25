# SPDX-License-Identifier: Apache-2.0
"""Server-sent events, as OpenAI's API streams answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lumen_mlir.errors import LumenError

# Bytes of a line; an answer's parts are small.
_MOST = 1 << 24


def data_of_events(read: Callable[[], bytes]) -> Iterator[str]:
    """The data of each event. ``read`` gives what came since, and nothing at the end.

    Comments, by which servers keep a connection alive, and fields other than data are left out. Raises
    ``LumenError`` for a line of more than 16 MiB.
    """
    held, data = b"", []
    while piece := read():
        *lines, held = (held + piece).split(b"\n")
        if len(held) > _MOST:
            raise LumenError(f"the server sends a line of more than {_MOST:,} bytes")
        for line in lines:
            text = line.decode("utf-8", "replace").removesuffix("\r")
            if text.startswith("data:"):
                data.append(text[5:].removeprefix(" "))
            elif not text and data:
                yield "\n".join(data)
                data = []
    if data:
        yield "\n".join(data)

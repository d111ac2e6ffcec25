# SPDX-License-Identifier: Apache-2.0
"""Which replica has computed the beginning of a text already: there it need not be computed again."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

# Characters of a block. Texts that begin alike for less than that are sent anywhere.
BLOCK = 128
# Blocks of a text that are looked at, and blocks that are remembered: the least recently used go first.
_MOST_BLOCKS = 256
_REMEMBERED = 1 << 17


class PrefixRouter:
    """Chooses among replicas: the one that has read most of a text, unless it has too much to do.

    What it remembers are hashes of what was sent where, block by block, each with all that stands before it.
    A replica may have dropped it since; then the text is computed again there.

    Args:
      replicas: how many.
      most_ahead: so many requests more than the least busy one a replica may have, and still gets another.

    Attributes:
      open: requests that each replica is answering.
    """

    def __init__(self, replicas: int, most_ahead: int = 4):
        self.open = [0] * replicas
        self._most_ahead = most_ahead
        self._seen: OrderedDict[bytes, int] = OrderedDict()

    def begin(self, text: str) -> int:
        """The number of the replica for a request whose prompt is ``text``; ``end`` is to follow."""
        blocks = list(_blocks(text))
        least = min(range(len(self.open)), key=self.open.__getitem__)
        known = next((self._seen[block] for block in reversed(blocks) if block in self._seen), least)
        chosen = known if self.open[known] - self.open[least] <= self._most_ahead else least
        for block in blocks:
            self._seen[block] = chosen
            self._seen.move_to_end(block)
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self.open[chosen] += 1
        return chosen

    def end(self, replica: int) -> None:
        """A request was answered, or given up."""
        self.open[replica] -= 1


def _blocks(text: str) -> Iterator[bytes]:
    """The hash of each whole block and of all before it."""
    digest = b""
    for begin in range(0, min(len(text) // BLOCK, _MOST_BLOCKS) * BLOCK, BLOCK):
        block = text[begin : begin + BLOCK].encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(block, key=digest, digest_size=16).digest()
        yield digest


def prompt_of(body: bytes) -> str:
    """What stands first in the prompt of a request, in the order in which a model reads it; "" where nothing.

    A conversation that goes on begins with what it began with.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        # A replica says what is wrong.
        return ""
    if not isinstance(fields, dict):
        return ""
    head = [fields.get(name) for name in ("model", "tools", "system", "instructions")]
    for name in ("messages", "prompt", "input"):
        if fields.get(name):
            return _text([*head, *_list(fields[name])])
    return ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(parts: list[Any]) -> str:
    return "\n".join(json.dumps(part, ensure_ascii=False, sort_keys=True) for part in parts)

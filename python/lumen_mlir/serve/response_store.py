# SPDX-License-Identifier: Apache-2.0
"""Responses that are kept, so that others can go on from them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import msgspec

from lumen_mlir.errors import shown
from lumen_mlir.serve.problem import Problem


@dataclass(frozen=True)
class _Kept:
    """A response and all items of its conversation, as JSON."""

    response: bytes
    items: bytes

    @property
    def size(self) -> int:
        return len(self.response) + len(self.items)


class ResponseStore:
    """Keeps responses in memory; the ones that were not asked for longest go first.

    Args:
      most: responses.
      most_bytes: of their JSON, with their conversations. A larger one is not kept.
    """

    def __init__(self, most: int = 1024, most_bytes: int = 64 << 20):
        self._most, self._most_bytes = most, most_bytes
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, response: dict[str, Any], items: list[Any]) -> None:
        """Keeps a response; ``items`` are its input, what went before that, and its output."""
        kept = _Kept(msgspec.json.encode(response), msgspec.json.encode(items))
        if kept.size > self._most_bytes:
            return
        self._kept[response["id"]] = kept
        self._bytes += kept.size
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self._bytes -= self._kept.popitem(last=False)[1].size

    def response(self, name: str) -> bytes:
        """The JSON of a response. Raises ``Problem`` where it is not there."""
        return self._find(name, None).response

    def items(self, name: str) -> list[Any]:
        """The items of its conversation. Raises ``Problem`` where it is not there."""
        return msgspec.json.decode(self._find(name, "previous_response_id").items)

    def remove(self, name: str) -> None:
        """Lets it go. Raises ``Problem`` where it is not there."""
        self._bytes -= self._find(name, None).size
        del self._kept[name]

    def _find(self, name: str, field: str | None) -> _Kept:
        kept = self._kept.get(name)
        if kept is None:
            message = f"the response {shown(name)} is not here; it may have had to make room for others"
            raise Problem(404, message, code="response_not_found", field=field)
        self._kept.move_to_end(name)
        return kept

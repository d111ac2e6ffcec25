# SPDX-License-Identifier: Apache-2.0
"""What a template may use up: time, and the weight of what it makes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import chain
from typing import Any

from jinja2.utils import Namespace

SIZE = 16 << 20
"""Characters, or bytes of containers, that one value may have; the text of a prompt too."""

# Bytes that a template may make in all, most of which Python has freed again.
_IN_ALL = 16 * SIZE
# Bits of a whole number.
BITS = 1 << 14
TEXT = (str, bytes, bytearray)
CONTAINERS = (list, tuple, dict, set, frozenset)


class LimitError(Exception):
    """A template that takes too long, or makes too much."""


class Run:
    """What one compilation or rendering has used up so far."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = time.thread_time() + seconds
        self._look = 0.0
        self._made = 0
        # Weights of the containers that were given to the template: none of it can change them.
        self.given: dict[int, int] = {}

    def tick(self) -> None:
        """Raises ``LimitError`` where the time is over."""
        # The clock of a thread is a call to the system; this one is not.
        now = time.perf_counter()
        if now >= self._look:
            self._look = now + 0.001
            if time.thread_time() > self._deadline:
                raise LimitError(f"the template takes longer than {self._seconds:g} s")

    def count(self, size: int) -> None:
        """Counts ``size`` bytes more."""
        if size > SIZE:
            raise too_large()
        self._made += size
        if self._made > _IN_ALL:
            raise too_large()
        self.tick()

    def made(self, value: Any) -> Any:
        """``value``, counted; what a container holds was counted when that was made."""
        self.fits(value)
        self.count(8 + 8 * len(value) if isinstance(value, CONTAINERS) else weigh(value, self.given))
        return value

    def fits(self, value: Any) -> int:
        """What ``value`` weighs. Raises ``LimitError`` where it is too large."""
        weight = weigh(value, self.given)
        if weight > SIZE:
            raise too_large()
        return weight


def too_large() -> LimitError:
    """The error of a template that makes too much."""
    return LimitError(f"the template makes more than {SIZE >> 20} MB")


def weigh(value: Any, known: Mapping[int, int], inside: dict[int, int] | None = None) -> int:
    """About the bytes that ``value`` takes as text, a part counted as often as it occurs.

    ``known``: weights by ``id``. A few nested lists may mean gigabytes of text: what is in a container twice
    is looked at once.
    """
    if isinstance(value, TEXT):
        return len(value)
    if isinstance(value, int):
        if value.bit_length() > BITS:
            raise LimitError(f"the template makes a number of more than {BITS} bits")
        return 8
    if isinstance(value, Namespace):
        value = value._Namespace__attrs
    if not isinstance(value, CONTAINERS):
        return 8
    weight = known.get(id(value))
    if weight is not None:
        return weight
    inside = {} if inside is None else inside
    if id(value) in inside:
        return inside[id(value)]
    inside[id(value)] = 8  # a namespace may hold itself
    parts = chain(value, value.values()) if isinstance(value, dict) else value
    weight = 8 + 8 * len(value)
    for part in parts:
        weight += weigh(part, known, inside)
    inside[id(value)] = weight
    return weight


def remember(value: Any, given: dict[int, int]) -> int:
    """Notes the weights of ``value`` and of all containers in it."""
    if isinstance(value, CONTAINERS) and id(value) not in given:
        given[id(value)] = 8
        parts = chain(value, value.values()) if isinstance(value, Mapping) else value
        given[id(value)] = 8 + 8 * len(value) + sum(remember(part, given) for part in parts)
    return weigh(value, given)

# SPDX-License-Identifier: Apache-2.0
"""Odd JSON values, and JSON that is changed by putting them anywhere."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, 2, 3, 7, 64, 255, -1, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 40, 1 << 63, 1 << 64,
    10**400, -(10**30), 0.0, -0.0, 0.5, 1.5, 1e-300, 5e-324, 1e300, -1e300, 1e40, float("nan"), float("inf"),
    -float("inf"), "", "x", "\ud800", "a\0b", "a\nb", "\x1b[31m", "../x", "/etc/passwd", "x" * 5000, "영화",
    "default", "linear", "yarn", "llama3", "longrope", "dynamic", "su", "mrope", "silu", "gelu", "F64",
    "BF16", [], {}, [[]], [None], [1, 2], [0.5] * 16, ["x"], [{}], {"x": 1}, {"x": {}},
    ["full_attention"] * 4,
    ["sliding_attention"] * 5, [True, False, True, True], [0, 1 << 60], {"rope_type": "yarn", "factor": 2.0},
    {"content": "<|im_end|>"}, {"type": "linear", "factor": 0.0}, {"rope_type": "llama3", "factor": 8.0},
    {"rope_type": ["yarn"]}, 
    {"full_attention": {"rope_theta": 1e4}, "sliding_attention": {"rope_theta": 1e5}},
)  # fmt: skip


def changed(value: Any, rng: random.Random, keys: Sequence[str] = ()) -> Any:
    """A copy of ``value`` with one to four things changed; ``keys`` are those worth adding to an object."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 4))):
        value = _change(value, rng, keys, depth=0)
    return value


def odd(rng: random.Random) -> Any:
    """One of ``ODD``, to be changed at will."""
    return copy.deepcopy(rng.choice(ODD))


def text_of(value: Any, rng: random.Random) -> bytes:
    """``value`` as the bytes of a file, sometimes in an encoding or a form that few expect."""
    text = json.dumps(value)
    what = rng.random()
    if what < 0.8:
        return text.encode()
    if what < 0.84:
        return b"\xef\xbb\xbf" + text.encode()
    if what < 0.86:
        return text.encode("utf-16")
    if what < 0.9:
        return text.replace(", ", ",\r\n ").encode()
    if what < 0.92:
        return text[: rng.randrange(len(text) + 1)].encode()
    if what < 0.94:
        depth = rng.choice((500, 20_000))
        return (
            text[:-1].encode() + b', "deep": ' + b"[" * depth + b"]" * depth + b"}"
            if text[-1:] == "}"
            else b"[" * depth
        )
    if what < 0.96:
        return text.replace("1", "1" * rng.choice((400, 5000)), 1).encode()
    data = bytearray(text.encode())
    if data:
        for _ in range(rng.choice((1, 3))):
            data[rng.randrange(len(data))] = rng.choice(b'{}[]",:0-\\\xff\x00e.')
    return bytes(data)


def _change(value: Any, rng: random.Random, keys: Sequence[str], depth: int) -> Any:
    """``value`` with one thing changed in it, or another value."""
    deeper = depth == 0 or rng.random() < 0.6
    if isinstance(value, dict) and deeper:
        what = rng.random()
        if (what < 0.25 and keys) or not value:
            value[rng.choice(keys or ("x",))] = odd(rng)
        elif what < 0.35:
            del value[rng.choice(list(value))]
        elif what < 0.4:
            key = rng.choice(list(value))
            value[rng.choice(("x", "\ud800", "a\nb", "", key + "x"))] = value.pop(key)
        else:
            key = rng.choice(list(value))
            value[key] = _change(value[key], rng, keys, depth + 1)
        return value
    if isinstance(value, list) and value and deeper:
        what = rng.random()
        at = rng.randrange(len(value))
        if what < 0.2:
            del value[at]
        elif what < 0.3:
            value.insert(at, odd(rng))
        else:
            value[at] = _change(value[at], rng, keys, depth + 1)
        return value
    if isinstance(value, int) and not isinstance(value, bool) and rng.random() < 0.3:
        return rng.choice((value + 1, value - 1, value * 2, -value, float(value % 2**64), str(value)))
    return odd(rng)

# SPDX-License-Identifier: Apache-2.0
"""What filters and methods would make, counted before they make it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from lumen_mlir.text.template_budget import CONTAINERS, SIZE, TEXT, LimitError, Run, weigh

# Items that a filter may be given, and numbers that say how wide or how many.
_COUNT = 1_000_000
# Filters and methods that take much longer than their text is long, and what they are given at most.
_SLOW = {"pprint": 8 << 10, "urlize": 8 << 10, "striptags": 1 << 15, "wordwrap": 1 << 15, "xmlattr": 1 << 15}
_WIDTHS = frozenset(("center", "ljust", "rjust", "zfill", "expandtabs", "to_bytes"))
_COUNTED = frozenset(("center", "indent", "wordwrap", "batch", "slice", "round", "tojson", "urlize"))


def check_filter(run: Run, name: str, value: Any, args: list, kwargs: dict[str, Any]) -> None:
    """Counts what filter ``name`` would make of ``value``. Raises ``LimitError`` where that is too much."""
    weight = run.fits(value)
    if weight > _SLOW.get(name, SIZE):
        raise LimitError(f"filter '{name}' is given {weight} bytes; at most {_SLOW[name]} are possible")
    values = [*args, *kwargs.values()]
    for argument in values:
        run.fits(argument)
        if name in _COUNTED and isinstance(argument, int) and abs(argument) > _COUNT:
            raise LimitError(f"filter '{name}' is given {argument}; at most {_COUNT} is possible")
    if isinstance(value, TEXT):
        if name == "format":
            check_format(value, values)
        elif name == "replace":
            _count_replaced(run, value, *map(str, args[:2]))
        elif name == "indent":
            widths = [item if isinstance(item, int) else weigh(item, {}) for item in values] or [4]
            run.count(weight + (str(value).count("\n") + 1) * max(0, *widths, 4))
        elif name == "int" and weight > 4096:
            raise LimitError(f"a number of {weight} digits; at most 4096 are read")
        elif name in ("list", "batch", "slice", "sort", "unique", "map", "select", "reject", "groupby"):
            # A character of a string becomes an object of its own.
            run.count(80 * weight)
    if name == "tojson":
        _count_json(run, value, weight, kwargs, args)


def _count_json(run: Run, value: Any, weight: int, kwargs: dict[str, Any], args: list) -> None:
    """Indentation multiplies what a value weighs by how deep it is."""
    indent = kwargs.get("indent", args[1] if len(args) > 1 else None)
    wide = indent if isinstance(indent, int) else len(indent) if isinstance(indent, str) else 0
    apart = kwargs.get("separators", args[2] if len(args) > 2 else None) or ()
    if wide > 64 or any(isinstance(part, str) and len(part) > 64 for part in apart):
        raise LimitError("filter 'tojson' is given an indentation or a separator of more than 64 characters")
    run.count(weight // 8 * (wide * _depth(value) + sum(map(len, apart))) + weight)


def _depth(value: Any, seen: dict[int, int] | None = None) -> int:
    """How deep the containers of ``value`` lie in each other."""
    if not isinstance(value, CONTAINERS):
        return 0
    seen = {} if seen is None else seen
    if id(value) not in seen:
        seen[id(value)] = 0
        parts = value.values() if isinstance(value, dict) else value
        seen[id(value)] = 1 + max((_depth(part, seen) for part in parts), default=0)
    return seen[id(value)]


def checked_method(run: Run, owner: Any, name: str, args: tuple, kwargs: dict[str, Any]) -> tuple:
    """The arguments for method ``name`` of a text or a number, whose result is counted before it is made."""
    values = [*args, *kwargs.values()]
    if name in _WIDTHS:
        for width in (value for value in values if isinstance(value, int)):
            run.count(
                abs(width) * (1 + owner.count(b"\t" if isinstance(owner, bytes) else "\t"))
                if name == "expandtabs"
                else abs(width)
            )
    elif name == "replace" and len(args) > 1 and isinstance(args[0], type(owner)):
        _count_replaced(run, owner, args[0], args[1])
    elif name in ("split", "rsplit", "splitlines"):
        mark = next((value for value in values if isinstance(value, TEXT)), None)
        run.count(64 * (owner.count(mark) if mark else len(owner) // 2) + len(owner))
    elif name == "join" and args:
        parts = []
        for part in args[0]:
            parts.append(part)
            run.count(weigh(part, run.given) + len(owner))
        run.count(sum(len(part) for part in parts if isinstance(part, TEXT)) + len(owner) * len(parts))
        return (parts,)
    elif name == "translate" and args and isinstance(args[0], Mapping):
        longest = max((len(part) for part in args[0].values() if isinstance(part, str)), default=1)
        run.count(len(owner) * max(longest, 1))
    elif name in _SLOW and weigh(owner, {}) > _SLOW[name]:
        raise LimitError(f"'{name}' is given {len(owner)} bytes; at most {_SLOW[name]} are possible")
    return args


def _count_replaced(run: Run, text: Any, old: Any, new: Any) -> None:
    # Of types that do not fit Python makes an error itself.
    if isinstance(text, str) and isinstance(old, str) and isinstance(new, str):
        times = text.count(old) if old else len(text) + 1
        run.count(len(text) + times * max(0, len(new) - len(old)))


def check_format(form: Any, values: Iterable[Any]) -> None:
    """Refuses widths and precisions that make a short value long."""
    text = form.decode("latin-1") if isinstance(form, (bytes, bytearray)) else str(form)
    width = sum(int(digits[:12]) for digits in re.findall(r"[0-9]+", text))
    if "*" in text or re.search(r"\{[^{}]*\{", text):
        width += sum(abs(value) for value in values if isinstance(value, int))
    if width > _COUNT:
        raise LimitError(f"a text is formatted with widths of {width}; at most {_COUNT} are possible")

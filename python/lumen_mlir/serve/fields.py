# SPDX-License-Identifier: Apache-2.0
"""Looks into the lists and mappings of a body that have no type of their own. What is wrong is a ``Problem``.

``where`` says which part of the body it is, such as "messages[1].content".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lumen_mlir.errors import shown
from lumen_mlir.serve.problem import Problem


def wrong(where: str, value: Any, expected: str) -> Problem:
    """``value`` is not what was expected."""
    return problem(where, f"is {shown(value)}; {expected} was expected")


def problem(where: str, message: str) -> Problem:
    """What is wrong with a part of the body."""
    return Problem(400, f"{where} {message}", field=where.partition("[")[0].partition(".")[0])


def kind_of(where: str, part: Any, default: str | None = None) -> str:
    """The type of ``part``, which is to be a mapping that has one."""
    kind = part.get("type", default) if isinstance(part, Mapping) else None
    if not isinstance(kind, str):
        raise wrong(where, part, "a mapping with a type")
    return kind


def string_of(where: str, part: Mapping[str, Any], name: str) -> str:
    """The text under ``name``."""
    value = part.get(name)
    if not isinstance(value, str):
        raise wrong(f"{where}.{name}", value, "text")
    return value

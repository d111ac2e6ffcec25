# SPDX-License-Identifier: Apache-2.0
"""Checks of what people pass to the API: numbers, flags and token ids, of Python or NumPy."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from lumen_mlir.errors import LumenError, shown


def whole_number(
    name: str, value: Any, least: int | None = None, error: type[LumenError] = LumenError
) -> int:
    """``value`` as a plain number. Raises ``error`` where it is no whole number, or less than ``least``."""
    is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not is_whole or (least is not None and value < least):
        limit = "" if least is None else f" of at least {least}"
        raise error(f"{name} is {shown(value)}; expected a whole number{limit}")
    return int(value)


def positive_number(name: str, value: Any) -> float:
    """``value`` as a float above 0. Raises ``LumenError`` where it is none."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not value > 0:
        raise LumenError(f"{name} is {shown(value)}; a number above 0 was expected")
    return float(value)


def flag(name: str, value: Any) -> bool:
    """``value`` as True or False. Raises ``LumenError`` where it is neither."""
    if not isinstance(value, (bool, np.bool_)):
        raise LumenError(f"{name} is {shown(value)}; True or False was expected")
    return bool(value)


def tokens_of(ids: Any) -> Iterator[int]:
    """Token ids from a list, an array or any iterable, one by one as plain numbers. Raises ``LumenError``."""
    if isinstance(ids, (str, bytes, bytearray, Mapping)) or not isinstance(ids, Iterable):
        raise LumenError(f"token ids are {shown(ids)}; a list of whole numbers was expected")
    try:
        tokens = iter(ids)
    except TypeError:  # an array without dimensions is an iterable that cannot be iterated
        raise LumenError(f"token ids are {shown(ids)}; a list of whole numbers was expected") from None
    for token in tokens:
        if not isinstance(token, numbers.Integral) or isinstance(token, bool):
            raise LumenError(f"a token id is {shown(token)}; a whole number was expected")
        yield int(token)

# SPDX-License-Identifier: Apache-2.0
"""What reads files turns the unforeseen into one clear error; here the unforeseen is what is looked for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lumen_mlir.errors import LumenError
from lumen_mlir.support.guard import UNFORESEEN


@contextlib.contextmanager
def unguarded() -> Iterator[None]:
    """Raises ``AssertionError`` for an error that the guard of a reader made of a foreign exception, and for
    messages of several lines."""
    try:
        yield
    except LumenError as error:
        text = str(error)
        if UNFORESEEN in text:
            raise AssertionError(f"the guard caught {error.__cause__!r}") from error.__cause__
        if any(c in text for c in "\n\r\x1b\0"):
            raise AssertionError(f"a message has control characters: {text!r}") from None
        if len(text) > 4000:
            raise AssertionError(f"a message of {len(text)} characters: {text[:200]}") from None
        raise

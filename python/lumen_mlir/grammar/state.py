# SPDX-License-Identifier: Apache-2.0
"""Where a text is in its grammar."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from time import thread_time
from typing import Any

import numpy as np

from lumen_mlir.errors import one_line
from lumen_mlir.grammar.grammar import GrammarError

# Seconds (of the thread, however busy the machine is) that a text's grammar may take, at once and for each
# token. As a rule that is 0.0001.
_SECONDS, _SECONDS_A_TOKEN = 2.0, 0.02

# What an error in a regular expression looks like, and what stands before it where that is the whole
# grammar; lines that show a place in what was read.
_IN_REGEX = re.compile(
    r"(?P<before>.*?)regex parse error:\n    .*\n(?P<mark> {4,})\^+\n *error: (?P<what>[^\n]*)", re.S
)
_WHOLE_REGEX = re.compile(r'^at 1\(8\): invalid regex ".*" \(in regex\): ', re.S)
_POINTS = re.compile(r"\s*(\d+ \|.*|\^*)$")


class GrammarState:
    """Of one text, by one thread at a time.

    What is compiled is shared by all texts of a grammar, and what one of them makes too large is so for all.
    So a text that fails goes on with a copy of its own, if it can.

    Args:
      matcher: an ``llguidance.LLMatcher`` that has read nothing.
      masks: says which tokens may follow in several texts at once, or why one cannot go on: ``Masks.of``.
      compile_own: makes another one, which shares nothing; None where that takes too long.
    """

    def __init__(
        self,
        matcher: Any,
        masks: Callable[[Sequence[GrammarState]], list[np.ndarray | GrammarError]],
        compile_own: Callable[[], Any | None],
    ):
        self.matcher, self.masks = matcher, masks
        self._compile_own = compile_own
        self._tokens: list[int] = []
        self._is_own = False
        self._spent = 0.0

    @property
    def is_complete(self) -> bool:
        """True where the text is at its end: only an end token can follow."""
        return self.matcher.is_stopped() and not self.matcher.is_error()

    @property
    def is_accepting(self) -> bool:
        """True where the text may end."""
        return self.matcher.is_accepting()

    def accept(self, token: int) -> None:
        """Goes on by a token. Raises ``GrammarError`` where the grammar does not allow it."""
        self._tokens.append(token)
        if not self.matcher.consume_token(token):
            self.recover()

    def forced(self) -> list[int]:
        """The tokens that follow in any case. They are not accepted yet."""
        begin = thread_time()
        tokens = self.matcher.compute_ff_tokens()
        if self.matcher.is_error():
            self.recover()
            return []
        self.charge(thread_time() - begin)
        return tokens

    def fill(self, row: np.ndarray) -> None:
        """Writes which tokens may follow, as ``Sampler.sample`` takes it, into int32 [words]."""
        begin = thread_time()
        self.matcher.unsafe_compute_mask_ptr(row.ctypes.data, row.nbytes)
        self.charge(thread_time() - begin)
        if self.matcher.is_error():
            self.recover()
            self.matcher.unsafe_compute_mask_ptr(row.ctypes.data, row.nbytes)
            if self.matcher.is_error():
                raise self._error()

    def charge(self, seconds: float) -> None:
        """Notes what the grammar took. Raises ``GrammarError`` where that is too much."""
        self._spent += seconds
        if self._spent > _SECONDS + _SECONDS_A_TOKEN * len(self._tokens):
            each = 1000 * self._spent / (len(self._tokens) + 1)
            raise GrammarError(f"the grammar is too complex: it takes {each:,.0f} ms a token")

    def recover(self) -> None:
        """Goes on with a matcher of its own. Raises ``GrammarError`` where that fails as well."""
        error = self._error()
        own = None if self._is_own else self._compile_own()
        if own is None or (self._tokens and not own.consume_tokens(self._tokens)) or own.is_error():
            raise error
        self.matcher, self._is_own = own, True

    def _error(self) -> GrammarError:
        return GrammarError(f"the text cannot go on by its grammar: {reason(self.matcher.get_error())}")


def reason(message: str) -> str:
    """What the library says is wrong, in one line: without the lines that point at places in others."""
    message = message.replace("<non-verbose/>", "")
    if (found := _IN_REGEX.search(message)) is not None:
        place = len(found["mark"]) - 3  # of an indented line, counted from 1
        message = f"{found['before']}{found['what']} (at its character {place})"
    lines = (line for line in message.splitlines() if not _POINTS.match(line))
    return one_line(_WHOLE_REGEX.sub("", " ".join(lines)), 300)

# SPDX-License-Identifier: Apache-2.0
"""Draws the tokens of texts: from their logits, and as their grammars allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lumen_mlir.generate.largest_draw import LargestDraw
from lumen_mlir.generate.request import Drawn, Run, draw_in_turn
from lumen_mlir.generate.sampling import Sampler, sample_batch
from lumen_mlir.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from lumen_mlir.generate.logprobs import LogprobRecorder, TokenLogprob
    from lumen_mlir.grammar.state import GrammarState
    from lumen_mlir.support.threads import ThreadTeam


class Force(Protocol):
    """Says which tokens must come next in a text, whatever is drawn."""

    def first(self) -> list[int]:
        """Those that it begins with."""

    def __call__(self, token: int) -> list[int]:
        """Those that follow ``token``, which has come, and those that were said before."""


class TokenDraw:
    """Draws the tokens of a text. It knows nothing of who reads them, who may be gone.

    Where the grammar forces what follows, that comes along with a token. It is drawn one by one where
    probabilities are recorded, since these need the logits of each place. The text is the same.

    Attributes:
      count: tokens so far.
      ended_by: the end or stop token that ended the text.
      is_end: it is an end token.
      is_complete: nothing can follow by the grammar.
      records: of the tokens that nobody has read yet.
      last_record: of the token that ended the text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        sampler: Sampler,
        stops: frozenset[int],
        recorder: LogprobRecorder | None,
        ignore_eos: bool,
        grammar: GrammarState | None = None,
        grammar_after: str | None = None,
        force: Force | None = None,
    ):
        self._sampler, self._stops, self._recorder = sampler, stops, recorder
        self._ends = frozenset() if ignore_eos else frozenset(tokenizer.end_tokens)
        self._banned = np.fromiter(tokenizer.end_tokens, np.int32) if ignore_eos else None
        # The grammar waits for the end of a text, such as that of what a model thinks first.
        self._later = grammar if grammar_after is not None else None
        self._grammar = grammar if grammar_after is None else None
        self._after, self._said = (grammar_after or "").encode(), b""
        self._token_bytes = tokenizer.token_bytes
        # What has to come next, whatever was drawn.
        self._force = force
        self._forced: deque[int] = deque(() if force is None else force.first())
        self.count = 0
        self.ended_by: int | None = None
        self.is_end = self.is_complete = False
        self.records: deque[TokenLogprob] = deque()
        self.last_record: TokenLogprob | None = None

    def __call__(self, logits: np.ndarray) -> Drawn:
        (drawn,) = TokenDraw.together(lambda: None, [self], logits[np.newaxis])
        if isinstance(drawn, Exception):
            raise drawn
        return drawn

    def ask(self, vocabulary: int) -> LargestDraw | None:
        """What asks a step for the largest of ``vocabulary`` logits; None where all are needed."""
        constrained = self._grammar is not None or self._later is not None or self._force is not None
        if self._recorder is not None or constrained:
            return None
        return LargestDraw.of(self._sampler, vocabulary, self._accept, self._banned)

    @staticmethod
    def together(
        team: Callable[[], ThreadTeam | None], draws: Sequence[TokenDraw], logits: np.ndarray
    ) -> list[Drawn | Exception]:
        """What each of ``draws`` draws from its row of ``logits``, or what it raises.

        ``team`` says which threads do it.
        """
        if not all(isinstance(draw, TokenDraw) for draw in draws):
            return draw_in_turn(draws, logits)
        masks, drawn = _masks(draws)
        # (Where the grammar leaves nothing but an end that is to be ignored, the text ends.)
        places = [
            place
            for place, draw in enumerate(draws)
            if drawn[place] is None and not draw._leaves_nothing(masks[place])
        ]
        if not places:
            return drawn
        rows = logits if len(places) == len(draws) else logits[places]
        chosen = [draws[place] for place in places]
        said = [draw._ban(row) for draw, row in zip(chosen, rows, strict=True)]
        samplers, allowed = [draw._sampler for draw in chosen], [masks[place] for place in places]
        tokens = sample_batch(samplers, rows, allowed, team() if len(chosen) > 1 else None)
        for place, draw, token, row in zip(places, chosen, tokens, said, strict=True):
            try:
                drawn[place] = token if isinstance(token, Exception) else draw._accept(token, row)
            except Exception as error:
                drawn[place] = error
        return drawn

    def _leaves_nothing(self, mask: np.ndarray | None) -> bool:
        """True where no token can be drawn; takes end tokens that are ignored out of the mask."""
        if mask is None or self._banned is None:
            return False
        words = mask.view(np.uint32)
        for token in self._banned.tolist():
            words[token >> 5] &= np.uint32(~(1 << (token & 31)) & 0xFFFFFFFF)
        self.is_complete = not mask.any()
        return self.is_complete

    def _ban(self, logits: np.ndarray) -> np.ndarray:
        """Makes tokens impossible that are not to be drawn; the logits that are to be recorded."""
        said = logits if self._recorder is None or self._banned is None else logits.copy()
        if self._banned is not None:
            logits[self._banned] = -np.inf
        return said

    def _accept(self, token: int, said: np.ndarray | None = None) -> Drawn:
        """Notes a token that was drawn, from logits that are to be recorded, and what the grammar forces
        behind it; None at the end."""
        if self._force is not None:
            token = self._forced.popleft() if self._forced else token
            self._forced.extend(self._force(token))
        if self._is_last(token):
            if self._recorder is not None and said is not None:
                self.last_record = self._recorder.record(said, token)
            return None
        if self._recorder is not None and said is not None:
            self.records.append(self._recorder.record(said, token))
        self.count += 1
        if self._grammar is None:
            self._wait(token)
            return token
        self._grammar.accept(token)
        tokens = [token]
        for forced in self._grammar.forced() if self._recorder is None else ():
            if self._is_last(forced):
                break
            self._grammar.accept(forced)
            tokens.append(forced)
        if len(tokens) > 1:
            self._sampler.accept(tokens[1:], written=True)
            self._sampler.number += len(tokens) - 1
            self.count += len(tokens) - 1
        self.is_complete = self.ended_by is None and self._grammar.is_complete
        return Run(tokens, ends=self.is_complete or self.ended_by is not None)

    def _wait(self, token: int) -> None:
        """Lets the grammar begin behind a token, where what it waits for is written."""
        if self._later is not None:
            self._said += self._token_bytes(token, special=True)
            if self._after in self._said:
                self._grammar, self._later = self._later, None
            self._said = self._said[-len(self._after) :]

    def _is_last(self, token: int) -> bool:
        """Notes a token that ends the text, if it does."""
        if token not in self._ends and token not in self._stops:
            return False
        self.ended_by, self.is_end = token, token in self._ends
        return True


def _masks(draws: Sequence[TokenDraw]) -> tuple[list[np.ndarray | None], list[Drawn | Exception]]:
    """The tokens that the grammar of each text allows, None where it has none; and what is raised for it."""
    masks: list[np.ndarray | None] = [None] * len(draws)
    raised: list[Drawn | Exception] = [None] * len(draws)
    places = [place for place, draw in enumerate(draws) if draw._grammar is not None]
    states = [grammar for draw in draws if (grammar := draw._grammar) is not None]
    if states:
        for place, mask in zip(places, states[0].masks(states), strict=True):
            if isinstance(mask, Exception):
                raised[place] = mask
            else:
                masks[place] = mask
    return masks, raised

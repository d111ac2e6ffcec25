# SPDX-License-Identifier: Apache-2.0
"""Steps that say what they are told to, and the tokenizer of their bytes."""

from __future__ import annotations

import numpy as np

from lumen_mlir.generate.batcher import Batcher
from lumen_mlir.generate.scheduler import Scheduler
from lumen_mlir.run.pages import NoRoomError
from lumen_mlir.text.tokenizer import StreamDecoder

END = 256


class Bytes:
    """A tokenizer whose tokens are the 256 bytes and an end token."""

    end_tokens = frozenset({END})

    def __len__(self):
        return END + 1

    def stream(self, special=False):
        return StreamDecoder(self, special)

    def token_bytes(self, token, special=False):
        return b"" if token == END else bytes([token])


class ParrotSequence:
    def __init__(self, parrot: Parrot):
        self.tokens: list[int] = []
        self._parrot = parrot

    def adopt(self, tokens):
        return 0

    def can_resume(self, position):
        return position <= len(self.tokens)

    def truncate(self, length):
        del self.tokens[length:]

    def close(self):
        self._parrot.open_sequences -= 1


class Parrot:
    """Says ``text`` and then the end token, behind a prompt of so many tokens; "!" is the next likeliest."""

    def __init__(
        self, text: bytes, context: int = 10_000, prompt: int = 1, sequences: int = 8, chunk: int = 512
    ):
        self.script = [*text, END]
        self.chunk, self.context, self.capacity, self.row_width = chunk, context, context, END + 1
        self.prompt, self.sequences, self.selects = prompt, sequences, False
        self.calls = self.open_sequences = 0

    def batcher(self) -> Batcher:
        return Batcher(Scheduler(self))

    def open(self):
        if self.open_sequences == self.sequences:
            raise NoRoomError("too many sequences")
        self.open_sequences += 1
        return ParrotSequence(self)

    def forget(self):
        self.open_sequences = 0

    def run(self, parts):
        self.calls += 1
        rows = []
        for sequence, tokens, position, first in parts:
            sequence.tokens[position:] = tokens.tolist()
            rows += [self._logits(position + i + 1 - self.prompt) for i in range(first, len(tokens))]
        return np.array(rows, np.float32).reshape(-1, END + 1)

    def _logits(self, place: int) -> np.ndarray:
        logits = np.zeros(END + 1, np.float32)
        logits[self.script[place] if 0 <= place < len(self.script) else ord("~")] = 2
        logits[ord("!")] = 1
        return logits

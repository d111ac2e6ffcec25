# SPDX-License-Identifier: Apache-2.0
"""Steps whose logits are chance, by what stands before: texts of them show what else decides about a text."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from parrot import Parrot
from vocabularies import write_vocabulary

from lumen_mlir.generate.batcher import Batcher
from lumen_mlir.generate.generation import Generation
from lumen_mlir.generate.sampling import Sampler
from lumen_mlir.generate.scheduler import Scheduler
from lumen_mlir.generate.token_draw import TokenDraw
from lumen_mlir.gguf import types as T
from lumen_mlir.grammar.compiler import GrammarCompiler
from lumen_mlir.grammar.grammar import Grammar
from lumen_mlir.text import byte_level
from lumen_mlir.text.token_types import CONTROL, NORMAL
from lumen_mlir.text.tokenizer import Tokenizer

CONTROLS = ("<|end|>", "<|mark|>")


def byte_tokenizer(
    folder: Path, words: tuple[str, ...] = (), controls: tuple[str, ...] = CONTROLS
) -> Tokenizer:
    """A byte-level BPE whose tokens are the bytes, ``words`` and what they begin with, and control tokens.

    The first control token ends a text.
    """
    tokens, merges = dict.fromkeys(byte_level.CHARACTER_OF_BYTE.values()), []
    for word in words:
        letters = byte_level.encode(word.encode())
        for end in range(2, len(letters) + 1):
            if letters[:end] not in tokens:
                tokens[letters[:end]] = None
                merges.append(f"{letters[: end - 1]} {letters[end - 1]}")
    texts = [*tokens, *controls]
    fields = {
        "tokenizer.ggml.model": ("gpt2", T.STRING),
        "tokenizer.ggml.pre": ("llama-bpe", T.STRING),
        "tokenizer.ggml.tokens": (texts, T.STRING),
        "tokenizer.ggml.token_type": ([NORMAL] * len(tokens) + [CONTROL] * len(controls), T.I32),
        "tokenizer.ggml.merges": (merges, T.STRING),
    }
    if controls:
        fields["tokenizer.ggml.eos_token_id"] = (len(tokens), T.U32)
    return Tokenizer.from_gguf(write_vocabulary(folder, fields))


class Dice(Parrot):
    """Logits by chance; ``liked`` tokens are likelier."""

    def __init__(self, tokenizer: Tokenizer, liked: bytes = b'"}]', **options):
        super().__init__(b"", **options)
        self.row_width = len(tokenizer)
        self.liked = list(liked)
        self.rows: list[int] = []

    def run(self, parts):
        self.calls += 1
        found = []
        for sequence, tokens, position, first in parts:
            assert len(sequence.tokens) >= position
            sequence.tokens[position:] = tokens.tolist()
            self.rows.append(len(tokens))
            for end in range(position + first + 1, position + len(tokens) + 1):
                before = np.array(sequence.tokens[:end], np.int32)
                logits = np.random.default_rng(zlib.crc32(before.tobytes())).normal(0, 3, self.row_width)
                logits[self.liked] += 4
                found.append(logits.astype(np.float32))
        return np.array(found, np.float32).reshape(-1, self.row_width)


class Writer:
    """Writes texts by grammars with ``Dice``."""

    def __init__(self, tokenizer: Tokenizer, threads: int = 2, **options):
        self.tokenizer, self.compiler = tokenizer, GrammarCompiler(tokenizer, threads)
        self.dice = Dice(tokenizer, **options)
        self.batcher = Batcher(Scheduler(self.dice, draw=lambda *of: TokenDraw.together(lambda: None, *of)))

    def begin(
        self, grammar: Grammar | None, most: int | None = 400, prompt: int = 1, **parameters
    ) -> Generation:
        """A text, which is not read yet."""
        sampling = {name: parameters.pop(name) for name in list(parameters) if name in SAMPLING}
        state = None if grammar is None else self.compiler.compile(grammar).start()
        sampler = Sampler(
            **{"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 1, **sampling}
        )
        return Generation(
            self.batcher, self.tokenizer, sampler, (prompt,), max_tokens=most, grammar=state, **parameters
        )

    def write(self, grammar: Grammar | None, most: int | None = 400, **parameters) -> Generation:
        """A text, read to its end."""
        generation = self.begin(grammar, most, **parameters)
        generation.text()
        return generation


SAMPLING = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "seed",
    "repeat_penalty",
    "presence_penalty",
    "logit_bias",
)

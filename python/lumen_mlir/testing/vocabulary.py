# SPDX-License-Identifier: Apache-2.0
"""A byte-level BPE vocabulary of any size, made by rule, for files that need a real-sized one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lumen_mlir.gguf import types as T
from lumen_mlir.text import byte_level

# Qwen2.5's own special tokens and its count of other tokens; larger vocabularies are padded, as its files
# are.
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
)
MOST_REGULAR_TOKENS = 151_643
LEAST_SIZE = 256 + len(SPECIAL_TOKENS)

NORMAL, CONTROL, USER_DEFINED, UNUSED = 1, 3, 4, 5


@dataclass(frozen=True)
class Vocabulary:
    """``tokens`` by id in the byte alphabet, their ggml ``types``, ``merges`` by rank, two special ids."""

    tokens: list[str]
    types: list[int]
    merges: list[str]
    end_of_text: int
    end_of_turn: int

    def metadata(self) -> dict[str, tuple[Any, int]]:
        """Keys, values and GGUF types of a file that has this vocabulary, but for a chat template."""
        return {
            "tokenizer.ggml.model": ("gpt2", T.STRING),
            "tokenizer.ggml.pre": ("qwen2", T.STRING),
            "tokenizer.ggml.tokens": (self.tokens, T.STRING),
            "tokenizer.ggml.token_type": (self.types, T.I32),
            "tokenizer.ggml.merges": (self.merges, T.STRING),
            "tokenizer.ggml.bos_token_id": (self.end_of_text, T.U32),
            "tokenizer.ggml.eos_token_id": (self.end_of_turn, T.U32),
            "tokenizer.ggml.padding_token_id": (self.end_of_text, T.U32),
            "tokenizer.ggml.add_bos_token": (False, T.BOOL),
        }


def synthetic_vocabulary(size: int) -> Vocabulary:
    """A vocabulary of ``size`` tokens: 256 bytes, one merge per further token, special tokens, padding.

    The merges build, in this order: letters after a space and pairs of letters, the Hangul syllables from
    their three bytes, longer runs of letters, syllables after a space, pairs of syllables. Every token but
    the bytes is the concatenation of two earlier ones, and no two are equal. Raises ``ValueError`` for a size
    below 278.
    """
    if size < LEAST_SIZE:
        raise ValueError(f"a vocabulary of {size} tokens is too small: at least {LEAST_SIZE} are needed")
    regular = min(size - len(SPECIAL_TOKENS), MOST_REGULAR_TOKENS)
    tokens = list(byte_level.CHARACTER_OF_BYTE.values())
    merges = []
    for left, right in itertools.islice(_merges(), regular - len(tokens)):
        left, right = byte_level.encode(left), byte_level.encode(right)
        merges.append(f"{left} {right}")
        tokens.append(left + right)
    types = [NORMAL] * len(tokens)
    end_of_text = len(tokens)
    for token in SPECIAL_TOKENS:
        tokens.append(token)
        types.append(CONTROL if token.startswith("<|") else USER_DEFINED)
    while len(tokens) < size:
        tokens.append(f"[PAD{len(tokens)}]")
        types.append(UNUSED)
    return Vocabulary(tokens, types, merges, end_of_text, end_of_text + SPECIAL_TOKENS.index("<|im_end|>"))


def _merges() -> Iterator[tuple[bytes, bytes]]:
    letters = [bytes([byte]) for byte in range(ord("a"), ord("z") + 1)]
    pairs = [a + b for a in letters for b in letters]
    for letter in letters:
        yield b" ", letter
    for pair in pairs:
        yield pair[:1], pair[1:]
    syllables = [chr(code).encode() for code in range(ord("가"), ord("힣") + 1)]
    for prefix in sorted({syllable[:2] for syllable in syllables}):
        yield prefix[:1], prefix[1:]
    for syllable in syllables:
        yield syllable[:2], syllable[2:]
    for pair in pairs:
        yield b" " + pair[:1], pair[1:]
    for pair in pairs:
        for letter in letters:
            yield pair, letter
    for syllable in syllables:
        yield b" ", syllable
    for pair in pairs:
        for letter in letters:
            yield b" " + pair, letter
    # Every 35th syllable: 320 of them, spread over all first consonants, make 102,400 pairs.
    some = syllables[::35]
    for first in some:
        for second in some:
            yield first, second

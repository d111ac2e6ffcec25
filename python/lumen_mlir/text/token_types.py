# SPDX-License-Identifier: Apache-2.0
"""What a token is: ggml's token types, which are those of SentencePiece."""

from __future__ import annotations

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.gguf.metadata import Metadata

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

# Metadata with what a tokenizer.json says and GGUF's own keys cannot: see ``tokenizer_rules``.
RULES = "lumen.tokenizer.rules"
# Metadata: a text gets a space (SentencePiece) at its beginning only, not behind each control token too.
PREPEND_FIRST = "lumen.tokenizer.prepend_first"


class TokenizerError(LumenError):
    """A vocabulary that cannot be used, or text or ids that cannot be converted."""


def token_types(path: str, metadata: Metadata, count: int) -> np.ndarray:
    """The type of each of ``count`` tokens; all are normal where the file does not say."""
    types = metadata.integers("tokenizer.ggml.token_type", None)
    if types is None:
        return np.full(count, NORMAL, np.int32)
    if len(types) != count:
        raise TokenizerError(
            f"{path}: 'tokenizer.ggml.token_type' has {len(types)} elements for {count} tokens"
        )
    if len(types) and not (types.min() >= 1 and types.max() <= BYTE):
        index = int(np.flatnonzero((types < 1) | (types > BYTE))[0])
        raise TokenizerError(
            f"{path}: 'tokenizer.ggml.token_type': element {index} is {types[index]}; 1 to {BYTE} are known"
        )
    return types

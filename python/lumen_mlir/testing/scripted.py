# SPDX-License-Identifier: Apache-2.0
"""Tiny models that say what they are told to: tests of stops, streams and chats need answers they know.

    write_scripted(path, ["?", "foo", "<tool>", "bar", "</s>"], control=["<tool>", "</s>"], eos="</s>")

writes a file whose model, greedily, says "foo" behind "?", then the control token, and so on. A token decides
alone what follows it: its embedding is a row of the unit matrix, attention and feed-forward add nothing, and
the output has a large weight from each token to the one behind it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lumen_mlir.gguf import types as T
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.text import byte_level
from lumen_mlir.text.token_types import CONTROL, NORMAL, USER_DEFINED

_HEAD, _HEADS, _HIDDEN = 32, 2, 32


def write_scripted(
    path: str | os.PathLike[str],
    script: Sequence[str] | Iterable[Sequence[str]] = (),
    *,
    control: Sequence[str] = (),
    user_defined: Sequence[str] = (),
    normal: Sequence[str] = (),
    bos: str | None = None,
    eos: str | None = None,
    add_bos: bool = False,
    template: str | None = None,
    context: int = 512,
    metadata: Mapping[str, tuple[Any, int]] | None = None,
) -> dict[str, int]:
    """Writes a GGUF file; the ids of its tokens by their text.

    Args:
      script: tokens in the order in which they follow each other, or several such lists. Every text that is
        not ``control``, ``user_defined`` or ``normal`` (a token of its own that is no merge) is a word of
        the vocabulary. The order must give each token one successor.
      bos, eos: tokens of ``control``.
      template: the chat template.
      metadata: more keys, with value and value type (of ``gguf.types``).
    """
    scripts = [list(script)] if script and all(isinstance(token, str) for token in script) else list(script)
    marked = {**dict.fromkeys(control, CONTROL), **dict.fromkeys(user_defined, USER_DEFINED)}
    marked |= dict.fromkeys(normal, NORMAL)
    words = [word for each in scripts for word in each if word not in marked]
    tokens, merges = _vocabulary(words)
    types = [NORMAL] * len(tokens) + list(marked.values())
    tokens += marked
    ids = {text: index for index, text in enumerate(tokens)}
    named = {word: ids[byte_level.encode(word.encode())] for word in words} | {m: ids[m] for m in marked}
    follows = {named[left]: named[right] for each in scripts for left, right in pairwise(each)}
    entries = {
        "general.architecture": ("llama", T.STRING),
        "general.name": ("scripted", T.STRING),
        "tokenizer.ggml.model": ("gpt2", T.STRING),
        "tokenizer.ggml.pre": ("llama-bpe", T.STRING),
        "tokenizer.ggml.tokens": (tokens, T.STRING),
        "tokenizer.ggml.token_type": (types, T.I32),
        "tokenizer.ggml.merges": (merges, T.STRING),
        "tokenizer.ggml.add_bos_token": (add_bos, T.BOOL),
    }
    for name, token in (("bos", bos), ("eos", eos)):
        if token is not None:
            entries[f"tokenizer.ggml.{name}_token_id"] = named[token], T.U32
    if template is not None:
        entries["tokenizer.chat_template"] = template, T.STRING
    writer = GGUFWriter(path)
    width = -(-len(tokens) // 64) * 64
    for key, entry in {**entries, **_sizes(width, context), **(metadata or {})}.items():
        writer.add(key, *entry)
    for name, array in _weights(len(tokens), width, follows).items():
        writer.add_tensor(name, array.shape, "f32", lambda data=array: [data.reshape(-1).view(np.uint8)])
    writer.write()
    return named


def _vocabulary(words: Iterable[str]) -> tuple[list[str], list[str]]:
    """The bytes, and ``words`` built from their beginnings: tokens and merges."""
    tokens, merges = dict.fromkeys(byte_level.CHARACTER_OF_BYTE.values()), []
    for word in words:
        characters = byte_level.encode(word.encode())
        for end in range(2, len(characters) + 1):
            if characters[:end] not in tokens:
                tokens[characters[:end]] = None
                merges.append(f"{characters[: end - 1]} {characters[end - 1]}")
    return list(tokens), merges


def _sizes(width: int, context: int) -> dict[str, tuple[Any, int]]:
    sizes = {
        "block_count": 1,
        "context_length": context,
        "embedding_length": width,
        "feed_forward_length": _HIDDEN,
        "attention.head_count": _HEADS,
        "attention.head_count_kv": _HEADS,
        "attention.key_length": _HEAD,
        "attention.value_length": _HEAD,
    }
    return {
        **{f"llama.{key}": (value, T.U32) for key, value in sizes.items()},
        "llama.attention.layer_norm_rms_epsilon": (1e-6, T.F32),
        "llama.rope.freq_base": (1e4, T.F32),
    }


def _weights(count: int, width: int, follows: Mapping[int, int]) -> dict[str, np.ndarray]:
    embedding = np.eye(count, width, dtype=np.float32)
    output = np.zeros((count, width), np.float32)
    for left, right in follows.items():
        output[right, left] = 8
    zeros = lambda *shape: np.zeros(shape, np.float32)  # noqa: E731
    inner = _HEADS * _HEAD
    return {
        "token_embd.weight": embedding,
        "output.weight": output,
        "output_norm.weight": np.ones(width, np.float32),
        "blk.0.attn_norm.weight": np.ones(width, np.float32),
        "blk.0.ffn_norm.weight": np.ones(width, np.float32),
        "blk.0.attn_q.weight": zeros(inner, width),
        "blk.0.attn_k.weight": zeros(inner, width),
        "blk.0.attn_v.weight": zeros(inner, width),
        "blk.0.attn_output.weight": zeros(width, inner),
        "blk.0.ffn_gate.weight": zeros(_HIDDEN, width),
        "blk.0.ffn_up.weight": zeros(_HIDDEN, width),
        "blk.0.ffn_down.weight": zeros(width, _HIDDEN),
    }

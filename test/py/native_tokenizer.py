# SPDX-License-Identifier: Apache-2.0
"""The tokenizer for programs without Python, called through its C interface."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from embed_library import load

from lumen_mlir.text import tokenizer_file
from lumen_mlir.text.chat_turn import ChatTurn
from lumen_mlir.text.tokenizer import Tokenizer

TEXT_ONLY, NO_BOS, NO_EOS, BEHIND = 1, 2, 4, 8
SPECIAL, BEGINS = 1, 2


class NativeError(Exception):
    """A status other than 0, and the text of the error."""

    def __init__(self, status: int, text: str):
        self.status = status
        super().__init__(text)


def call(name: str, *arguments: object, error_size: int = 512) -> None:
    """Calls a function that ends in ``error`` and ``error_size``. Raises ``NativeError``."""
    error = ctypes.create_string_buffer(b"?" * error_size, error_size)
    status = getattr(load(), name)(*arguments, error, ctypes.c_size_t(error_size))
    if status:
        raise NativeError(status, error.value.decode())


class NativeTokenizer:
    """A tokenizer file, opened."""

    def __init__(self, path: Path):
        self.handle = ctypes.c_void_p()
        call("lumen_tokenizer_open", os.fsencode(path), ctypes.byref(self.handle))

    def close(self) -> None:
        load().lumen_tokenizer_close(self.handle)

    def encode(self, text: str | bytes, flags: int = 0) -> list[int]:
        return self._encode("lumen_tokenizer_encode", text, flags)

    def encode_chat(self, text: str | bytes) -> list[int]:
        return self._encode("lumen_tokenizer_encode_chat", text)

    def _encode(self, name: str, text: str | bytes, *flags: int) -> list[int]:
        data = text.encode() if isinstance(text, str) else text
        count = ctypes.c_size_t()
        tokens = (ctypes.c_int32 * (4 * len(data) + 1000))()
        size, capacity = ctypes.c_size_t(len(data)), ctypes.c_size_t(len(tokens))
        call(name, self.handle, data, size, *flags, tokens, capacity, ctypes.byref(count))
        return tokens[: count.value]

    def decode(self, ids: Iterable[int], flags: int = 0) -> list[str]:
        """The text that each token completes, and what is left at the end."""
        decoder, text, size = ctypes.c_void_p(), ctypes.c_char_p(), ctypes.c_size_t()
        place = ctypes.byref(text), ctypes.byref(size)
        call("lumen_decoder_new", self.handle, flags, ctypes.byref(decoder))
        try:
            pieces = []
            for token in ids:
                call("lumen_decoder_feed", decoder, token, *place)
                pieces.append(ctypes.string_at(text, size.value).decode())
            call("lumen_decoder_finish", decoder, *place)
            return [*pieces, ctypes.string_at(text, size.value).decode()]
        finally:
            load().lumen_decoder_free(decoder)


@contextmanager
def native(tokenizer: Tokenizer, path: Path, turn: ChatTurn | None = None) -> Iterator[NativeTokenizer]:
    """``tokenizer``, written to ``path`` and opened from there."""
    with open(path, "wb") as file:
        tokenizer_file.write(tokenizer, file, turn)
    opened = NativeTokenizer(path)
    try:
        yield opened
    finally:
        opened.close()


def compare(tokenizer: Tokenizer, opened: NativeTokenizer, text: str) -> None:
    """Raises ``AssertionError`` where the ids of ``text``, or the text of these ids, differ."""
    for special in (True, False):
        for begins in (True, False):
            flags = NO_BOS | NO_EOS | (0 if special else TEXT_ONLY) | (0 if begins else BEHIND)
            wanted = tokenizer.encode(text, special, add_bos=False, add_eos=False, begins=begins)
            assert opened.encode(text, flags) == wanted, (text, special, begins)
        stream = tokenizer.stream(special, begins=True)
        pieces = [*map(stream.feed, wanted), stream.finish()]
        assert opened.decode(wanted, BEGINS | (SPECIAL if special else 0)) == pieces, (text, special)

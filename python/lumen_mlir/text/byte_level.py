# SPDX-License-Identifier: Apache-2.0
"""The byte alphabet of byte-level BPE: every byte is written as one printable character.

Bytes that are printable in Latin-1 stand for themselves; the other 68 take the characters from U+0100 on, in
order (so a space is ``Ġ`` and a line feed ``Ċ``). Source: GPT-2's ``bytes_to_unicode``.
"""

from __future__ import annotations


def _alphabet() -> dict[int, str]:
    printable = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    alphabet = {byte: chr(byte) for byte in printable}
    others = (byte for byte in range(256) if byte not in alphabet)
    return alphabet | {byte: chr(0x100 + index) for index, byte in enumerate(others)}


# The order is that of GPT-2's vocabulary: the printable bytes first.
CHARACTER_OF_BYTE = _alphabet()
BYTE_OF_CHARACTER = {character: byte for byte, character in CHARACTER_OF_BYTE.items()}

_TO_CHARACTERS = {byte: ord(character) for byte, character in CHARACTER_OF_BYTE.items()}


def encode(data: bytes) -> str:
    """``data`` in the byte alphabet, one character a byte."""
    return data.decode("latin-1").translate(_TO_CHARACTERS)


def decode(text: str) -> bytes:
    """The bytes that ``text`` stands for; ``KeyError`` for a character outside the alphabet."""
    return bytes([BYTE_OF_CHARACTER[character] for character in text])

# SPDX-License-Identifier: Apache-2.0
"""Sets of code points and Unicode data, as the package ``tokenizers`` has them.

What ``\\p{L}`` matches depends on the version of Unicode that a package was made with. So the package is
asked: it cuts a text that has all characters in it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache

import numpy as np
from tokenizers import Regex, normalizers, pre_tokenizers

LAST = 0x10FFFF

# Characters of these ranges are alike, but for the last ones, which came with later versions of Unicode:
# ideographs, Hangul syllables, private use, Tangut.
_ALIKE = (
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xE000, 0xF8FF), (0x17000, 0x187FF)),
    *((0x20000, 0x2A6FF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF), (0x2CEB0, 0x2EBEF)),
    *((0x2EBF0, 0x2F7FF), (0x2FA20, 0x3134F), (0x31350, 0x3347F), (0x33480, 0xDFFFF), (0xE0200, 0xFFFFD)),
    (0x100000, 0x10FFFD),
)
# How many of the last are asked for one by one, and the distance between the others.
_END, _STRIDE = 0x100, 0x200
_WRITTEN = re.compile(r"\\x\{([0-9A-Fa-f]+)\}|\\u([0-9A-Fa-f]{4})|([^\x00-\x7f])")

# Behind it are ideographs that came late, and what no text is written with.
_LAST_COMPOSED = 0x2FFFF

Ranges = tuple[tuple[int, int], ...]


@lru_cache(maxsize=512)
def members(pattern: str) -> Ranges:
    """The code points that a regular expression for one character matches: ranges, their ends included."""
    written = {int(first or second, 16) if not third else ord(third)
               for first, second, third in _WRITTEN.findall(pattern)}  # fmt: skip
    near = np.array([point + step for point in written for step in (-1, 0, 1)], np.int64)
    return removed_by(pre_tokenizers.Split(Regex(f"(?:{pattern})+"), "removed"), near)


def removed_by(splitter: pre_tokenizers.PreTokenizer, near: np.ndarray | None = None) -> Ranges:
    """The code points that ``splitter`` removes. ``near``: some to look at closely."""
    return _ranges(lambda text: splitter.pre_tokenize_str(text), near)


@lru_cache(maxsize=1)
def digits() -> Ranges:
    """What the package's ``Digits`` takes for digits."""
    # It cuts between digits and others, and the first character is none.
    return _ranges(lambda text: pre_tokenizers.Digits().pre_tokenize_str(text)[::2])


@lru_cache(maxsize=1)
def word_characters() -> Ranges:
    """What the package takes for a part of a word, where it asks whether an added token stands alone."""

    def others(text: str) -> list:
        # "a" and such a character are one piece.
        pieces = pre_tokenizers.Whitespace().pre_tokenize_str("".join(f"a{letter} " for letter in text))
        joined = {begin // 3 for _, (begin, end) in pieces if begin % 3 == 0 and end - begin == 2}
        return [("", (place, place + 1)) for place in range(len(text)) if place not in joined]

    return _ranges(others)


def _ranges(others: Callable[[str], list], near: np.ndarray | None = None) -> Ranges:
    """The code points that are in none of the pieces that ``others`` gives of a text."""
    points = _samples() if near is None else _valid(_samples(), near)
    inside = _inside(others, points)
    # Where two neighbours differ, all between them are asked for.
    borders = np.flatnonzero((inside[1:] != inside[:-1]) & (np.diff(points) > 1))
    if len(borders):
        between = np.concatenate([np.arange(points[at] + 1, points[at + 1]) for at in borders])
        points = _valid(points, between)
        inside = _inside(others, points)
    starts = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0) == 1)
    ends = np.flatnonzero(np.diff(inside.astype(np.int8), append=0) == -1)
    return tuple(zip(points[starts].tolist(), points[ends].tolist(), strict=True))


def _inside(others: Callable[[str], list], points: np.ndarray) -> np.ndarray:
    inside = np.ones(len(points), bool)
    for _, (begin, end) in others("".join(map(chr, points.tolist()))):
        inside[begin:end] = False
    return inside


@lru_cache(maxsize=1)
def _samples() -> np.ndarray:
    parts, begin = [], 0
    for first, last in _ALIKE:
        parts += [np.arange(begin, first + 1), np.arange(first, last - _END, _STRIDE)]
        begin = max(first, last - _END)
    return _valid(*parts, np.arange(begin, LAST + 1))


def _valid(*points: np.ndarray) -> np.ndarray:
    """Those that are characters, in their order and each once."""
    # (NumPy's own unique and union1d take ten times as long.)
    found = np.sort(np.concatenate(points))
    found = found[np.diff(found, prepend=-1) > 0]
    return found[((found < 0xD800) | (found > 0xDFFF)) & (found >= 0) & (found <= LAST)]


@lru_cache(maxsize=1)
def composition_data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What normalization to NFC needs, but for Hangul syllables, as the package does it.

    Returns rows of uint32, sorted: a code point and the two that it decomposes into (the second 0 where it is
    one), a code point and its combining class, and two code points with what they compose.
    """
    every = [chr(point) for point in range(_LAST_COMPOSED + 1) if not 0xD800 <= point <= 0xDFFF]
    marks = [letter for letter in every if unicodedata.combining(letter)]
    # A known mark changes places with one of another class.
    low, high = "\u0334", "\u0315"
    moved = [
        _normalized(normalizers.NFD(), [f"a{letter}{low}" for letter in marks]),
        _normalized(normalizers.NFD(), [f"a{high}{letter}" for letter in marks]),
    ]
    classes = [
        (ord(letter), unicodedata.combining(letter))
        for letter, first, second in zip(marks, *moved, strict=True)
        if first[1] == low != letter or second[-1] == high != letter
    ]
    # (These two cannot change places with themselves.)
    classes += [(ord(letter), unicodedata.combining(letter)) for letter in (low, high)]
    parts = {letter: unicodedata.decomposition(letter) for letter in every}
    canonical = [letter for letter, text in parts.items() if text and not text.startswith("<")]
    decomposed = _normalized(normalizers.NFD(), canonical)
    composed = _normalized(normalizers.NFC(), canonical)
    splits, joins = [], []
    for letter, apart, joined in zip(canonical, decomposed, composed, strict=True):
        if apart == letter:
            continue
        first, second = (*(int(part, 16) for part in parts[letter].split()), 0)[:2]
        splits.append((ord(letter), first, second))
        if second and joined == letter:
            joins.append((first, second, ord(letter)))
    return _rows(splits, 3), _rows(set(classes), 2), _rows(joins, 3)


def _normalized(normalizer: normalizers.Normalizer, texts: list[str]) -> list[str]:
    return normalizer.normalize_str("\n".join(texts)).split("\n")


def _rows(rows: Iterable[tuple[int, ...]], width: int) -> np.ndarray:
    return np.array(sorted(rows), np.uint32).reshape(-1, width)

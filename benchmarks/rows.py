# SPDX-License-Identifier: Apache-2.0
"""What is measured: models and tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Test:
    """``prompt`` tokens at once, ``generate`` tokens one by one behind ``depth`` others, or, so many times,
    ``batch`` tokens at once with logits for each, as in speculative decoding.
    """

    prompt: int = 0
    generate: int = 0
    depth: int = 0
    batch: int = 1

    @property
    def tokens(self) -> int:
        """Tokens that a run computes."""
        return self.prompt or self.generate * self.batch

    @property
    def name(self) -> str:
        """Like llama-bench's: ``pp512``, ``tg32``, ``tg16 @ d8192``; ``tg8 x 4`` for four rows at once."""
        name = f"pp{self.prompt}" if self.prompt else f"tg{self.generate}"
        name += f" x {self.batch}" if self.batch > 1 else ""
        return name + (f" @ d{self.depth}" if self.depth else "")


@dataclass(frozen=True)
class Row:
    """One line of a table: a file, a test and a number of threads."""

    shape: str
    format: str
    test: Test
    threads: int
    layers: int | None = None

    @property
    def file(self) -> str:
        """What the file is called: a synthetic one, or one that was given (then ``shape`` is its stem)."""
        cut = f"-{self.layers}l" if self.layers else ""
        form = f"-{self.format}" if self.format else ""
        return f"{self.shape}{cut}{form}.gguf"

    @property
    def key(self) -> str:
        """Identifies the row in result files and for ``--only``."""
        return f"{self.file.removesuffix('.gguf')} {self.test.name} {self.threads}t"


SMALL, LARGE = "qwen2.5-0.5b", "qwen2.5-1.5b"
# Half of the 1.5B shape's layers: every kernel is there, and the file is as large as the small shape's.
LARGE_LAYERS = 14

_FILES = (
    *((SMALL, format) for format in ("q8_0", "q4_0", "q6_k", "q5_0")),
    *((LARGE, format) for format in ("q4_k_m", "iq4_xs", "q3_k_m", "q2_k")),
)


def formats(prompt: int = 512, generate: int = 32, threads: tuple[int, ...] = (1, 2)) -> list[Row]:
    """A file for each of eight formats: a prompt and a generation each, on one thread and on two."""
    return [
        Row(shape, format, test, count, LARGE_LAYERS if shape == LARGE else None)
        for shape, format in _FILES
        for count in threads
        for test in (Test(prompt), Test(0, generate))
    ]


def long_context(depth: int = 8192, generate: int = 16, threads: int = 2) -> list[Row]:
    """A long prompt, and generating behind it."""
    tests = (Test(depth), Test(0, generate, depth))
    return [Row(SMALL, "q8_0", test, threads) for test in tests]


def batches(sizes: tuple[int, ...] = (1, 2, 4, 8, 16), threads: tuple[int, ...] = (1, 2)) -> list[Row]:
    """Several rows at once."""
    tests = [Test(0, 8, 0, size) for size in sizes]
    return [Row(SMALL, form, test, n) for form in ("q8_0", "q4_0") for n in threads for test in tests]


def experts(prompt: int = 512, generate: int = 32, threads: tuple[int, ...] = (1, 2)) -> list[Row]:
    """A mixture that sends a token to 2 of 8 experts."""
    return [Row("moe-8x", "q4_k_m", test, n) for n in threads for test in (Test(prompt), Test(0, generate))]


TABLES = {"formats": formats, "long": long_context, "batches": batches, "experts": experts}


def of_file(shape: str, format: str, layers: int | None, tests: list[Test], threads: list[int]) -> list[Row]:
    """The tests of one file."""
    return [Row(shape, format, test, count, layers) for count in threads for test in tests]


# What another installation of Lumen is called.
OTHER_LUMEN = "other-lumen"

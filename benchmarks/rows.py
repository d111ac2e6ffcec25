# SPDX-License-Identifier: Apache-2.0
"""What is measured: models, tests, and the ratios that Lumen aims at."""

from __future__ import annotations

from dataclasses import dataclass, replace


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
    """One line of a table: a file, a test and a number of threads; ``goal`` is the ratio aimed at."""

    shape: str
    format: str
    test: Test
    threads: int
    layers: int | None = None
    goal: float | None = None

    @property
    def file(self) -> str:
        """What the synthetic file is called."""
        cut = f"-{self.layers}l" if self.layers else ""
        return f"{self.shape}{cut}-{self.format}.gguf"

    @property
    def key(self) -> str:
        """Identifies the row in result files and for ``--only``."""
        return f"{self.file.removesuffix('.gguf')} {self.test.name} {self.threads}t"


SMALL, LARGE = "qwen2.5-0.5b", "qwen2.5-1.5b"
# Half of the 1.5B shape's layers: every kernel is there, and the file is as large as the small shape's.
LARGE_LAYERS = 14

# File, then the ratios aimed at: decode on 1 and 2 threads, prompt on 1 and 2 threads.
_GOALS = (
    (SMALL, "q8_0", (1.3, 2.0), (4.5, 4.5)),
    (SMALL, "q4_0", (1.3, 1.9), (2.5, 2.5)),
    (SMALL, "q6_k", (1.35, 1.9), (3.8, 3.8)),
    (SMALL, "q5_0", (1.5, 2.2), (6.0, 6.0)),
    (LARGE, "q4_k_m", (1.4, 1.8), (2.4, 2.4)),
    (LARGE, "iq4_xs", (1.4, 1.7), (2.0, 2.0)),
    (LARGE, "q3_k_m", (1.4, 1.7), (2.0, 2.0)),
    (LARGE, "q2_k", (1.4, 1.7), (2.0, 2.0)),
)


def goals(prompt: int = 512, generate: int = 32, threads: tuple[int, ...] = (1, 2)) -> list[Row]:
    """The table of files: a prompt and a generation each, on one thread and on two."""
    rows = []
    for shape, format, decode, prefill in _GOALS:
        layers = LARGE_LAYERS if shape == LARGE else None
        for count in threads:
            for test, goal in ((Test(prompt), prefill), (Test(0, generate), decode)):
                rows.append(Row(shape, format, test, count, layers, goal[min(count, 2) - 1]))
    return rows


def long_context(depth: int = 8192, generate: int = 16, threads: int = 2) -> list[Row]:
    """A long prompt, and generating behind it."""
    tests = ((Test(depth), 3.0), (Test(0, generate, depth), 2.5))
    return [Row(SMALL, "q8_0", test, threads, goal=goal) for test, goal in tests]


def batches(sizes: tuple[int, ...] = (1, 2, 4, 8, 16), threads: tuple[int, ...] = (1, 2)) -> list[Row]:
    """Several rows at once."""
    tests = [Test(0, 8, 0, size) for size in sizes]
    return [Row(SMALL, form, test, n) for form in ("q8_0", "q4_0") for n in threads for test in tests]


def experts(prompt: int = 512, generate: int = 32, threads: tuple[int, ...] = (1, 2)) -> list[Row]:
    """A mixture that sends a token to 2 of 8 experts."""
    return [Row("moe-8x", "q4_k_m", test, n) for n in threads for test in (Test(prompt), Test(0, generate))]


TABLES = {"goals": goals, "long": long_context, "batches": batches, "experts": experts}


def of_file(shape: str, format: str, layers: int | None, tests: list[Test], threads: list[int]) -> list[Row]:
    """The tests of one file."""
    return [Row(shape, format, test, count, layers) for count in threads for test in tests]


# What another installation of Lumen is called.
OTHER_LUMEN = "other-lumen"


def with_engine_goal(rows: list[Row], peer: str) -> list[Row]:
    """The goals beside engines other than llama.cpp: ik_llama.cpp in decode on two threads, OpenVINO in
    prompts; none else, and none beside another Lumen.
    """

    def goal(row: Row) -> float | None:
        if peer == "ik_llama.cpp":
            return 1.3 if row.test.generate and row.test.batch == 1 and row.threads == 2 else None
        if peer == "openvino":
            return 1.35 if row.test.prompt else None
        return None if peer == OTHER_LUMEN else row.goal

    return [replace(row, goal=goal(row)) for row in rows]

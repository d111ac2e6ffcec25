# SPDX-License-Identifier: Apache-2.0
"""Several prompts of ``lumen generate``: computed together, written one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lumen_mlir.cli.report import Reporter, counted
from lumen_mlir.errors import LumenError, one_line

if TYPE_CHECKING:
    from lumen_mlir.generate.llm import LLM
    from lumen_mlir.generate.many import Generations

# Characters of a prompt in its heading.
_MOST = 60


def _ended(texts: Generations, number: int) -> bool:
    return texts[number].finish_reason is not None or number in texts.errors


def write_texts(
    llm: LLM,
    prompts: Sequence[str],
    parameters: dict[str, Any],
    echo: bool,
    write: Callable[[str], str],
    reporter: Reporter,
) -> None:
    """Writes a heading and a text for each prompt, as ``head`` does for each file.

    Raises ``LumenError`` when all others are written, where a text fails.
    """
    texts = llm.generate(list(prompts), **parameters)
    start = time.perf_counter()
    # What came of a text while another one was shown.
    ready, current = [""] * len(texts), 0

    def begin() -> str:
        piece = (prompts[current] if echo else "") + ready[current]
        write(f"==> {one_line(prompts[current], _MOST)} <==\n{piece}")
        return piece

    last, news = begin(), texts.pieces()
    while current < len(texts):
        number, piece = next(news, (None, ""))
        if number == current:
            last = write(piece)
        elif number is not None:
            ready[number] += piece
        # (Without news, all are at their ends.)
        while current < len(texts) and (number is None or _ended(texts, current)):
            write("" if last.endswith("\n") else "\n")
            current += 1
            if current < len(texts):
                write("\n")
                last = begin()
    seconds = time.perf_counter() - start
    tokens = sum(len(text.tokens) for text in texts)
    said = f"{counted(tokens, 'token')} at {tokens / seconds:,.0f}/s"
    reporter.say(f"{counted(len(texts), 'text')}, {said}, {seconds:.1f} s")
    for number, error in sorted(texts.errors.items()):
        raise LumenError(f"prompt {number}: {error}") from error

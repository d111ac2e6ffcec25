# SPDX-License-Identifier: Apache-2.0
"""What guesses gain: texts that quote and edit, and texts that are free, with and without ``speculate``.

    python benchmarks/speculation.py [MODEL.gguf] [--draft SMALL.gguf] [-n 200] [--rounds 7] [-t 2] [--json]

Without MODEL it is the model that comes with Lumen, which only continues texts. A model with a chat template
is given tasks. With --draft, a second model guesses, too. Both ways take turns in one process, each from the
same prompt, which is computed before; the texts must be equal. Prints a Markdown table: tokens in a second
without guesses, how many times as many with them (the median, the least and the most of all pairs), and how
many guesses were right.

On a machine with other work, --processor-time counts the time of processors, divided by the threads, in place
of time that goes by, also where it is decided how much to guess.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import lumen_mlir
from lumen_mlir.generate.generation import Generation

TEXT = (
    "The lighthouse keeper climbed the stairs every evening at six. He carried a lamp, a loaf of bread and a "
    "small book of poems. From the top he could see the harbour, the fishing boats and the long road that "
    "leads to the village. In winter the wind was so strong that he had to hold the railing with both hands. "
    "In summer he left the door open and listened to the gulls."
)
CODE = '''\
def area(shape):
    """The area of a shape in square metres."""
    if shape.kind == "circle":
        return 3.14159 * shape.radius * shape.radius
    if shape.kind == "square":
        return shape.side * shape.side
    if shape.kind == "rectangle":
        return shape.width * shape.height
    raise ValueError(f"unknown kind: {shape.kind}")
'''
MISTAKES = {"climbed": "climbd", "winter": "wintr", "strong": "strng"}
REVIEW = "배우들의 연기가 정말 일품이었어요. 스토리도 탄탄하고 음악도 좋았습니다."


def with_mistakes(text: str) -> str:
    """A text that is to be corrected."""
    for word, mistake in MISTAKES.items():
        text = text.replace(word, mistake)
    return text


# (kind, name, prompt, temperature): for models that answer, and for those that only continue a text.
TASKS = [
    ("edit", "quote a text", f"Repeat this text word for word:\n\n{TEXT}", 0.0),
    ("edit", "quote sentences", f"Here is a text:\n\n{TEXT}\n\nQuote the sentences about the seasons.", 0.0),
    ("edit", "correct a text", f"Correct the spelling of this text:\n\n{with_mistakes(TEXT)}", 0.0),
    ("edit", "replace words", f'Copy this text with "woman" in place of "keeper":\n\n{TEXT}', 0.0),
    ("edit", "change code", f"Add a comment to this function:\n\n```python\n{CODE}```", 0.0),
    ("edit", "rename in code", f"Rename the function area to surface:\n\n```python\n{CODE}```", 0.0),
    ("free", "a story", "Tell me a story about a dog who crosses the sea.", 0.8),
    ("free", "an explanation", "Why is the sky blue?", 0.8),
    ("free", "a recipe", "Give me a recipe for bread.", 0.8),
    ("free", "a letter", "Write a letter to a friend about your new house.", 0.8),
]
BEGINNINGS = [
    ("edit", "a review again and again", f"{REVIEW}\n" * 3, 0.0),
    ("free", "a review", "이 영화는", 0.8),
    ("free", "another review", "음악이", 0.8),
    ("free", "an ending", "마지막 장면이", 0.8),
]


clock = time.perf_counter


def timed(generation: Generation) -> tuple[float, list[int]]:
    """Tokens in a second, and the tokens. All of the prompt but its last token was computed before."""
    start = clock()
    generation.text()
    return len(generation.tokens) / (clock() - start), generation.tokens


def count_processor_time(llm: lumen_mlir.LLM) -> None:
    """Tells time by the processors that this process has had."""
    global clock
    threads = llm.threads

    def clock() -> float:
        return time.process_time() / threads

    llm._batcher._scheduler._clock = clock
    if llm.draft is not None:
        llm.draft.guesser._timed._clock = clock


def measure(start: Callable[[bool], Generation], rounds: int) -> dict[str, Any]:
    """One row. ``start(speculate)`` begins the text."""
    timed(start(False))
    ratios, rates, proposed, right = [], [], 0, 0
    for number in range(rounds):
        found = {}
        for speculate in (number % 2 == 0, number % 2 != 0):
            generation = start(speculate)
            found[speculate] = timed(generation)
            if generation.guess is not None:
                proposed += generation.guess.proposed
                right += generation.guess.right
        if found[True][1] != found[False][1]:
            raise SystemExit("the texts differ")
        ratios.append(found[True][0] / found[False][0])
        rates.append(found[False][0])
    return {
        "tokens": len(found[False][1]),
        "rate": statistics.median(rates),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "proposed": proposed // rounds,
        "right": right // rounds,
    }


def begin(
    llm: lumen_mlir.LLM, talks: bool, prompt: str, most: int, temperature: float, speculate: bool
) -> Generation:
    """Begins a text."""
    parameters: dict[str, Any] = {"temperature": temperature, "seed": 1, "speculate": speculate}
    if talks:
        return llm.chat(prompt, most, **parameters)
    return llm.generate(prompt, most, ignore_eos=True, **parameters)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?")
    parser.add_argument("--draft", help="a second, smaller model")
    parser.add_argument("-n", "--max-tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--greedy", action="store_true", help="free texts, too, take the likeliest tokens")
    parser.add_argument("--processor-time", action="store_true", help="for busy machines")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    options = parser.parse_args()
    llm = lumen_mlir.LLM(options.model, draft=options.draft, threads=options.threads)
    if options.processor_time:
        count_processor_time(llm)
    talks = options.model is not None
    rows = []
    for kind, name, prompt, temperature in TASKS if talks else BEGINNINGS:
        temperature = 0.0 if options.greedy else temperature
        start = partial(begin, llm, talks, prompt, options.max_tokens, temperature)
        rows.append({"kind": kind, "name": name, **measure(start, options.rounds)})
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print("| text | tokens | tokens/s | with guesses | guesses right |\n|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['kind']}: {row['name']} | {row['tokens']} | {row['rate']:,.0f} "
            f"| {row['ratio']:.2f}x ({row['least']:.2f} to {row['most']:.2f}) "
            f"| {row['right']} of {row['proposed']} |"
        )


if __name__ == "__main__":
    main()

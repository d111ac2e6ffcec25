# SPDX-License-Identifier: Apache-2.0
"""What ``make run`` ends with: a text by the model that comes with Lumen, and what to try next."""

from __future__ import annotations

import argparse
import sys
import time

from lumen_mlir.cli import streams
from lumen_mlir.cli.fitting import say
from lumen_mlir.cli.report import Reporter
from lumen_mlir.cli.styles import styled
from lumen_mlir.errors import LumenError

# What the model says, greedily and on every target, and what that means.
_GLOSSES = {
    "주말에 가족들과 함께 봤는데 정말 재밌게 봤어요.": (
        '"I watched it with my family at the weekend, and we really enjoyed it."'
    )
}

_NEXT = (
    ('generate model.gguf -p "Once upon"', "a GGUF file or Hugging Face folder of yours"),
    (
        "chat hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:q4_k_m",
        "downloads a small model of the Hugging Face Hub, and talks",
    ),
    ("compile --emit fused | less", "what the compiler makes of this model"),
)


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--since", type=float, help="when all began, in seconds since 1970")
    parser.add_argument("--bin", default=".venv/bin", help="the folder of the command lumen")
    parser.add_argument("prompt")
    arguments = parser.parse_args()
    streams.prepare()
    try:
        text = _say(arguments.prompt)
    except LumenError as error:
        streams.tell(f"lumen: error: {error}")
        return 1
    if text in _GLOSSES:
        say(f"  {_GLOSSES[text]}", "dim")
    say(
        f'\nThe prompt was "{arguments.prompt}". The model that comes with Lumen has 7 million weights '
        "and was trained on film reviews."
    )
    if arguments.since is not None:
        say(f"From `make run` to here: {_duration(time.time() - arguments.since)}.")
    say("\nNext:\n")
    for command, note in _NEXT:
        _write(f"  {arguments.bin}/lumen {command}\n", "bold")
        say(f"      {note}")
    return 0


def _say(prompt: str) -> str:
    """Writes the prompt and what the model makes of it, as it comes; the whole text."""
    reporter = Reporter()
    llm = reporter.open(None)
    generation = llm.generate(prompt, 48, temperature=0)
    _write("\n  ")
    _write(prompt, "bold")
    text = prompt
    for piece in generation:
        text += piece
        _write(piece)
    _write("\n")
    return text


def _write(text: str, *styles: str) -> None:
    streams.raw(sys.stdout).write(styled(sys.stdout, text, *styles))
    sys.stdout.flush()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds, 1 if seconds < 10 else 0), 60)
    return f"{minutes:.0f} min {seconds:.0f} s" if minutes else f"{seconds:g} s"


if __name__ == "__main__":
    sys.exit(main())

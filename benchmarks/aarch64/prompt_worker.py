# SPDX-License-Identifier: Apache-2.0
"""Reads a token to warm up, then prompts, then single tokens.

python -m aarch64.prompt_worker MODEL TARGET TOKENS PROMPTS SINGLE
"""

from __future__ import annotations

import sys

from lumen_mlir.generate.llm import LLM

if __name__ == "__main__":
    model, target, *numbers = sys.argv[1:]
    count, prompts, single = map(int, numbers)
    with LLM(model, target=target, threads=1, context=count + 64, chunk=count) as llm:
        stepper = llm.stepper()
        stepper.step([1], 0)
        for _ in range(prompts):
            stepper.step([1 + i % 100 for i in range(count)], 0, count - 1)
        for i in range(single):
            stepper.step([1], count * (prompts > 0) + i)

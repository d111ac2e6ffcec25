# SPDX-License-Identifier: Apache-2.0
"""Reads a prompt some times: ``python -m aarch64.prompt_worker MODEL TARGET TOKENS TIMES``."""

from __future__ import annotations

import sys

from lumen_mlir.generate.llm import LLM

if __name__ == "__main__":
    model, target, tokens, times = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    with LLM(model, target=target, threads=1, context=tokens + 64, chunk=tokens) as llm:
        for _ in range(times):
            llm.session.step([1 + i % 100 for i in range(tokens)], 0, tokens - 1)

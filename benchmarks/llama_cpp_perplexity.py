# SPDX-License-Identifier: Apache-2.0
"""Perplexity by llama.cpp (``llama-cpp-python``), the way ``llama-perplexity`` computes it.

    .venv-peers/bin/python benchmarks/llama_cpp_perplexity.py FILE CONTEXT MODEL.gguf…

Prints one JSON object per model. A batch is one part of the text; the KV cache is f16, flash attention off.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import llama_cpp
import numpy as np


def losses(llama: llama_cpp.Llama, ids: list[int], context: int) -> np.ndarray:
    """Negative log-likelihoods of the second half of every part of ``context`` tokens."""
    vocabulary = llama_cpp.llama_model_get_vocab(llama.model)
    first, add_bos = context // 2, llama_cpp.llama_vocab_get_add_bos(vocabulary)
    result = []
    for begin in range(0, len(ids) // context * context, context):
        part = ids[begin : begin + context]
        llama.reset()
        llama.eval([llama.token_bos(), *part[1:]] if add_bos else part)
        logits = np.asarray(llama.scores[first : context - 1], dtype=np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        chosen = logits[np.arange(len(logits)), part[first + 1 :]]
        result.append(np.log(np.exp(logits).sum(axis=1)) - chosen)
    return np.concatenate(result)


def main() -> None:
    text, context, *models = sys.argv[1:]
    content, context = Path(text).read_bytes(), int(context)
    for path in models:
        llama = llama_cpp.Llama(
            path, n_ctx=context, n_batch=context, n_ubatch=context, logits_all=True, verbose=False,
            n_gpu_layers=0, n_threads=1, n_threads_batch=1,
        )  # fmt: skip
        ids = llama.tokenize(content, add_bos=True, special=False)
        found = losses(llama, ids, context)
        value = float(np.exp(found.mean()))
        error = value * float(found.std()) / (len(found) - 1) ** 0.5
        print(json.dumps({"model": path, "value": value, "error": error, "tokens": len(found)}), flush=True)


if __name__ == "__main__":
    main()

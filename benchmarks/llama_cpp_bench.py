# SPDX-License-Identifier: Apache-2.0
"""Measures llama.cpp through llama-cpp-python like llama-bench does, and prints its fields as JSON.

Runs in an environment that has ``llama-cpp-python`` (see ``vs_llama_cpp.py``). Random tokens, one warm-up,
the output head for the last token of a prompt only.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import llama_cpp
import numpy as np


def decode(context, tokens, position: int) -> None:
    """One batch at ``position``; logits for its last token."""
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i] = int(token)
        batch.pos[i] = position + i
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = 0
        batch.logits[i] = i == len(tokens) - 1
    status = llama_cpp.llama_decode(context, batch)
    llama_cpp.llama_batch_free(batch)
    if status:
        raise SystemExit(f"llama_decode failed with status {status}")


def measure(
    model, threads: int, prompt: int, generate: int, depth: int, repetitions: int, flash: bool
) -> dict:
    """Tokens per second of a prompt of ``prompt`` tokens or of ``generate`` tokens at ``depth``."""
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = depth + prompt + generate + 16
    parameters.n_batch = parameters.n_ubatch = 512
    parameters.n_threads = parameters.n_threads_batch = threads
    if hasattr(parameters, "flash_attn_type"):
        parameters.flash_attn_type = 1 if flash else 0
    context = llama_cpp.llama_init_from_model(model, parameters)
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    random = np.random.default_rng(0)
    memory = llama_cpp.llama_get_memory(context)

    def run(count: int) -> float:
        llama_cpp.llama_memory_clear(memory, True)
        for first in range(0, depth, 512):
            decode(context, random.integers(0, vocabulary, min(512, depth - first)), first)
        llama_cpp.llama_synchronize(context)
        start = time.perf_counter()
        if prompt:
            for first in range(0, prompt, 512):
                decode(context, random.integers(0, vocabulary, min(512, prompt - first)), depth + first)
        else:
            for i in range(count):
                decode(context, random.integers(0, vocabulary, 1), depth + i)
                llama_cpp.llama_synchronize(context)
        llama_cpp.llama_synchronize(context)
        return time.perf_counter() - start

    run(min(generate, 4))
    speeds = [(prompt or generate) / run(generate) for _ in range(repetitions)]
    llama_cpp.llama_free(context)
    return {
        "engine": "llama.cpp",
        "n_prompt": prompt,
        "n_gen": generate if not prompt else 0,
        "n_depth": depth,
        "n_threads": threads,
        "avg_ts": statistics.fmean(speeds),
        "stddev_ts": statistics.stdev(speeds) if len(speeds) > 1 else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--generate", type=int, default=128)
    parser.add_argument("-d", "--depth", type=int, default=0)
    parser.add_argument("-t", "--threads", default="1")
    parser.add_argument("-r", "--repetitions", type=int, default=3)
    parser.add_argument("--flash", action="store_true", help="use flash attention")
    options = parser.parse_args()
    silent = llama_cpp.llama_log_callback(lambda *_: None)  # must live as long as the library is used
    llama_cpp.llama_log_set(silent, None)
    llama_cpp.llama_backend_init()
    parameters = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(options.model.encode(), parameters)
    if not model:
        raise SystemExit(f"llama.cpp cannot load {options.model}")
    rows = []
    for threads in map(int, options.threads.split(",")):
        for prompt, generate in ((options.prompt, 0), (0, options.generate)):
            if prompt or generate:
                rows.append(
                    measure(
                        model, threads, prompt, generate, options.depth, options.repetitions, options.flash
                    )
                )
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

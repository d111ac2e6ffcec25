# SPDX-License-Identifier: Apache-2.0
"""Many texts at a time, by Lumen or llama.cpp: ``python parallel_worker.py ENGINE MODEL CONTEXT STREAMS``.

Each line of standard input is a request in JSON, each line of standard output its result: the seconds until
all texts have their first token (``t_pp``), and of the tokens behind these (``t_tg``).
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from typing import Any

CHUNK = 512


class Lumen:
    """With all that a text needs: steps, drawing tokens (greedily), and turning them to text.

    As in llama-batched-bench, prompts come first.
    """

    def __init__(self, path: str, context: int, streams: int, threads: int):
        from lumen_mlir import LLM
        from lumen_mlir.measure.parallel import ParallelMeter

        pool = streams * (context + 64)
        options = {"context": context, "sequences": streams, "kv_pool": pool, "chunk": CHUNK}
        self._llm = LLM(path, threads=threads, **options)
        self._meter = ParallelMeter(self._llm, patient=True)

    def run(self, streams: int, prompt: int, generate: int, shared: int = 0) -> dict[str, Any]:
        from lumen_mlir.measure.parallel import ParallelTest

        result = self._meter.measure(ParallelTest(streams, prompt, generate, shared), 1)
        return {
            "t_pp": result.prompt_seconds,
            "t_tg": result.decode_seconds,
            "speed_tg": result.decode_speeds[0],
            "speed": result.speed,
            "share_read": result.share("read"),
            "share_products": result.share("products"),
        }


class LlamaCpp:
    """As ``llama-batched-bench``: prompts in batches of 512, then a token of each text at a time.

    Tokens are random, and none is drawn.
    """

    def __init__(self, path: str, context: int, streams: int, threads: int):
        import llama_cpp

        self._lib = lib = llama_cpp
        self._silent = lib.llama_log_callback(lambda *_: None)
        lib.llama_log_set(self._silent, None)
        lib.llama_backend_init()
        self._model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not self._model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        options = lib.llama_context_default_params()
        # Each sequence has an equal part of the context.
        options.n_ctx = streams * -(-context // 256) * 256
        options.n_seq_max = streams
        options.n_batch = options.n_ubatch = CHUNK
        options.n_threads = options.n_threads_batch = threads
        self._context = lib.llama_init_from_model(self._model, options)
        if not self._context:
            raise SystemExit(f"llama.cpp cannot open {path} for {streams} texts of {context} tokens")
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(CHUNK, 0, 1)
        self._vocabulary = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(self._model))
        self._random = random.Random(0)

    def run(self, streams: int, prompt: int, generate: int) -> dict[str, Any]:
        self._go(streams, 16, 4)
        return self._go(streams, prompt, generate)

    def _go(self, streams: int, prompt: int, generate: int) -> dict[str, Any]:
        self._lib.llama_memory_clear(self._memory, True)
        start = time.perf_counter()
        rows = [(text, place) for text in range(streams) for place in range(prompt)]
        for first in range(0, len(rows), CHUNK):
            self._step([(*row, row[1] == prompt - 1) for row in rows[first : first + CHUNK]])
        middle = time.perf_counter()
        for place in range(prompt, prompt + generate - 1):
            self._step([(text, place, True) for text in range(streams)])
        seconds = time.perf_counter() - middle
        speed = streams * (generate - 1) / seconds
        whole = streams * (prompt + generate) / (middle - start + seconds)
        return {"t_pp": middle - start, "t_tg": seconds, "speed_tg": speed, "speed": whole}

    def _step(self, rows: list[tuple[int, int, bool]]) -> None:
        batch = self._batch
        batch.n_tokens = len(rows)
        for i, (text, place, wanted) in enumerate(rows):
            batch.token[i] = self._random.randrange(self._vocabulary)
            batch.pos[i] = place
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = text
            batch.logits[i] = wanted
        if status := self._lib.llama_decode(self._context, batch):
            raise SystemExit(f"llama_decode failed with status {status}")
        self._lib.llama_synchronize(self._context)


def main() -> None:
    engine, path, context, streams, threads = sys.argv[1:]
    # Libraries print what they like: answers have a stream of their own.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    opened = {"lumen": Lumen, "llama.cpp": LlamaCpp}[engine](path, int(context), int(streams), int(threads))
    print("{}", file=answers)
    for line in sys.stdin:
        print(json.dumps(opened.run(**json.loads(line))), file=answers)


if __name__ == "__main__":
    main()

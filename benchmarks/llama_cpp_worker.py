# SPDX-License-Identifier: Apache-2.0
"""llama.cpp (by ``llama-cpp-python``) as a worker: ``python llama_cpp_worker.py MODEL CONTEXT [flash=1]``."""

from __future__ import annotations

import sys
from typing import Any

import llama_cpp
from worker import serve


class LlamaCpp:
    def __init__(self, path: str, context: int, flash: bool):
        # The callback must live as long as the library is used.
        self._silent = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self._silent, None)
        llama_cpp.llama_backend_init()
        self._model = llama_cpp.llama_model_load_from_file(
            path.encode(), llama_cpp.llama_model_default_params()
        )
        if not self._model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = context
        parameters.n_batch = parameters.n_ubatch = 512
        parameters.n_threads = parameters.n_threads_batch = 1
        parameters.flash_attn_type = int(flash)
        self._context = llama_cpp.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise SystemExit(f"llama.cpp cannot open {path} with a context of {context}")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = llama_cpp.llama_batch_init(512, 0, 1)
        self.vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self._model))

    def set_threads(self, count: int) -> None:
        llama_cpp.llama_set_n_threads(self._context, count, count)

    def step(self, tokens: list[int], position: int, count: int) -> None:
        llama_cpp.llama_memory_seq_rm(self._memory, 0, position, -1)
        batch = self._batch
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i] = token
            batch.pos[i] = position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i >= len(tokens) - count
        status = llama_cpp.llama_decode(self._context, batch)
        if status:
            raise SystemExit(f"llama_decode failed with status {status}")
        llama_cpp.llama_synchronize(self._context)

    def info(self) -> dict[str, Any]:
        return {
            "engine": "llama.cpp",
            "version": f"llama-cpp-python {llama_cpp.__version__}",
            "kernels": llama_cpp.llama_print_system_info().decode(),
        }


if __name__ == "__main__":
    path, context, *options = sys.argv[1:]
    serve(lambda: LlamaCpp(path, int(context), "flash=1" in options))

# SPDX-License-Identifier: Apache-2.0
"""OpenVINO GenAI as a worker: ``python openvino_worker.py MODEL CONTEXT THREADS``.

It generates from a prompt, so a run's time is what the engine itself reports: the time to the first token for
a prompt, the mean time of the tokens behind it for a generation. It cannot begin at a depth or take several
rows.
"""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import openvino as ov
import openvino_genai as genai


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    path, _, threads = sys.argv[1:]
    count = int(threads)
    pipeline = genai.LLMPipeline(path, "CPU", INFERENCE_NUM_THREADS=count, ENABLE_CPU_PINNING=False)
    random = np.random.default_rng(0)
    print(json.dumps({"engine": "OpenVINO", "version": genai.__version__, "kernels": "CPU"}), file=answers)

    def generate(prompt: int, tokens: int):
        ids = ov.Tensor(random.integers(0, 150_000, (1, prompt)))
        config = genai.GenerationConfig(max_new_tokens=tokens, ignore_eos=True, do_sample=False)
        return pipeline.generate(genai.TokenizedInputs(ids, ov.Tensor(np.ones_like(ids.data))), config)

    generate(64, 4)
    for line in sys.stdin:
        request = json.loads(line)
        if request["threads"] != count or request["depth"] or request["batch"] > 1:
            print(json.dumps({"unsupported": True}), file=answers)
        elif request["prompt"]:
            metrics = generate(request["prompt"], 1).perf_metrics
            print(json.dumps({"ns": round(metrics.get_ttft().mean * 1e6)}), file=answers)
        else:
            metrics = generate(8, request["generate"] + 1).perf_metrics
            print(
                json.dumps({"ns": round(metrics.get_tpot().mean * request["generate"] * 1e6)}), file=answers
            )


if __name__ == "__main__":
    main()

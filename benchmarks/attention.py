# SPDX-License-Identifier: Apache-2.0
"""Attention alone: GFLOP/s of one thread by types of the KV cache, prompts and depths.

    python benchmarks/attention.py --heads 14 --kv-heads 2 --head-size 64

Times are the thread's CPU time, the least of several runs, so that other work on the machine counts less;
only ratios of one run mean something. The caches hold random numbers; a score and its value count as four
operations per element.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from lumen_mlir.formats import kv_cache
from lumen_mlir.reference import ops
from lumen_mlir.run import engine

# Tokens of a step, positions before it, runs.
CASES = ((512, 0, 30), (128, 4096, 10), (1, 8192, 60))


def module(heads: int, kv_heads: int, size: int, kind: kv_cache.KvType) -> str:
    """Attention as a function of queries, caches, the layer, and where sequences lie."""
    rows = f"tensor<?x{heads * size}xf32>"
    blocks = ("x".join(map(str, kind.block(name, size))) for name in ("key", "value"))
    keys, values = (f"tensor<1x{kv_heads}x?x{block}x{kind.element}>" for block in blocks)
    where = ("tensor<?xi32>", "tensor<?x?xi32>", "tensor<?x3xi32>")
    return f"""
    func.func @attention(%q: {rows}, %k: {keys}, %v: {values}, %layer: index, %positions: {where[0]},
        %pages: {where[1]}, %runs: {where[2]}) -> {rows} {{
      %a = lumen.attention %q, %k, %v, %layer, %positions, %pages, %runs
        {{heads = {heads} : i64, kv_heads = {kv_heads} : i64, scale = {size**-0.5:.9e} : f32}}
        : {rows}, {keys}, {values}, {", ".join(where)}
      return %a : {rows}
    }}"""


def measure(
    run: engine.Engine, kind: kv_cache.KvType, heads: int, kv_heads: int, size: int,
    tokens: int, position: int, runs: int,
) -> float:  # fmt: skip
    """GFLOP/s of one case."""
    random, end = np.random.default_rng(0), position + tokens
    caches = []
    positions = np.arange(end, dtype=np.int32)
    pages = np.arange(kv_cache.pages(end), dtype=np.int32)[None]
    for name in ("key", "value"):
        cache = np.zeros(kind.shape(name, 1, kv_heads, pages.size, size), kind.dtype)
        rows = random.standard_normal((end, kv_heads * size), dtype=np.float32)
        caches.append(ops.kv_append(cache, rows, 0, positions, name))
    queries = random.standard_normal((tokens, heads * size), dtype=np.float32)
    where = [positions[position:], pages, np.array([[0, tokens, 0]], np.int32)]
    call = run.bind("attention", queries, *caches, 0, *where, outs=[np.empty_like(queries)])
    call.check()
    seconds = []
    for _ in range(runs):
        start = time.thread_time()
        call.repeat()
        seconds.append(time.thread_time() - start)
    seen = sum(range(position + 1, end + 1))
    return 4 * size * heads * seen / min(seconds) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=14)
    parser.add_argument("--kv-heads", type=int, default=2)
    parser.add_argument("--head-size", type=int, default=64)
    parser.add_argument("--target", default="native")
    options = parser.parse_args()
    sizes = (options.heads, options.kv_heads, options.head_size)
    print("| KV cache | tokens | positions before | GFLOP/s |\n|---|---:|---:|---:|")
    for kind in kv_cache.TYPES.values():
        run = engine.compile(module(*sizes, kind), options.target, threads=1)
        for tokens, position, runs in CASES:
            speed = measure(run, kind, *sizes, tokens, position, runs)
            print(f"| {kind.name} | {tokens} | {position} | {speed:.0f} |", flush=True)


if __name__ == "__main__":
    main()

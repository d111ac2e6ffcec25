# SPDX-License-Identifier: Apache-2.0
"""Products of floats beside OpenBLAS, MKL and oneDNN, and chains of ops beside PyTorch's ``torch.compile``.

    python benchmarks/tensors.py products|chains [--threads 1,2] [--turns 5]
    python benchmarks/tensors.py compiling

Needs NumPy (OpenBLAS) and PyTorch (MKL, oneDNN). Each engine is a process of its own, of which one works at a
time. They take turns; a row has the best time of each engine, and the median of the ratios of all turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SHAPES = (
    (256, 256, 256), (512, 512, 512), (1000, 1000, 1000), (1024, 1024, 1024), (1536, 1536, 1536),
    (2048, 2048, 2048), (4096, 1024, 256), (256, 4096, 1024), (1024, 256, 4096), (64, 4096, 1024),
    (16, 4096, 4096), (4096, 64, 1024), (100, 3000, 500), (3000, 100, 500), (77, 1023, 4096),
    (129, 257, 511), (333, 777, 555), (511, 513, 1025), (2000, 31, 300), (31, 2000, 300),
)  # fmt: skip
"""Rows, columns and terms: square, tall, wide, long and odd."""

CHAINS = {
    "softmax 1024x1024": ("softmax", 1024, 1024),
    "softmax 256x4096": ("softmax", 256, 4096),
    "softmax 4096x128": ("softmax", 4096, 128),
    "layer norm 1024x1024": ("layer_norm", 1024, 1024),
    "layer norm 256x4096": ("layer_norm", 256, 4096),
    "layer norm 4096x128": ("layer_norm", 4096, 128),
    "gelu 1024x1024": ("gelu", 1024, 1024),
    "gelu 64x768": ("gelu", 64, 768),
}

_IJ, _I, _J = (f"affine_map<(d0, d1) -> ({dims})>" for dims in ("d0, d1", "d0", "d1"))


def product(m: int, n: int, k: int) -> str:
    x, w, y = (f"tensor<{a}x{b}xf32>" for a, b in ((m, k), (k, n), (m, n)))
    return f"""func.func @f(%x: {x}, %w: {w}) -> {y} {{
      %zero = arith.constant 0.0 : f32
      %empty = tensor.empty() : {y}
      %init = linalg.fill ins(%zero : f32) outs(%empty : {y}) -> {y}
      %y = linalg.matmul ins(%x, %w : {x}, {w}) outs(%init : {y}) -> {y}
      return %y : {y}
    }}"""


def chain(name: str, rows: int, columns: int) -> str:
    x, v = f"tensor<{rows}x{columns}xf32>", f"tensor<{rows}xf32>"
    g = f"tensor<{columns}xf32>"
    pointwise = 'iterator_types = ["parallel", "parallel"]'
    bodies = {
        "softmax": f"%y = linalg.softmax dimension(1) ins(%x : {x}) outs(%empty : {x}) -> {x}",
        "gelu": f"""%y = linalg.generic {{indexing_maps = [{_IJ}, {_IJ}], {pointwise}}}
            ins(%x : {x}) outs(%empty : {x}) {{
          ^bb0(%a: f32, %o: f32):
            %root = arith.constant 0.70710678 : f32
            %one = arith.constant 1.0 : f32
            %half = arith.constant 0.5 : f32
            %s = arith.mulf %a, %root : f32
            %e = math.erf %s : f32
            %p = arith.addf %e, %one : f32
            %h = arith.mulf %p, %half : f32
            %r = arith.mulf %h, %a : f32
            linalg.yield %r : f32
        }} -> {x}""",
        "layer_norm": f"""%zero = arith.constant 0.0 : f32
        %width = arith.constant {columns}.0 : f32
        %epsilon = arith.constant 1.0e-5 : f32
        %vector = tensor.empty() : {v}
        %init = linalg.fill ins(%zero : f32) outs(%vector : {v}) -> {v}
        %sum = linalg.reduce {{ arith.addf }} ins(%x : {x}) outs(%init : {v}) dimensions = [1]
        %c = linalg.generic {{indexing_maps = [{_IJ}, {_I}, {_IJ}], {pointwise}}}
            ins(%x, %sum : {x}, {v}) outs(%empty : {x}) {{
          ^bb0(%a: f32, %b: f32, %o: f32):
            %mean = arith.divf %b, %width : f32
            %r = arith.subf %a, %mean : f32
            linalg.yield %r : f32
        }} -> {x}
        %q = linalg.generic {{indexing_maps = [{_IJ}, {_I}], iterator_types = ["parallel", "reduction"]}}
            ins(%c : {x}) outs(%init : {v}) {{
          ^bb0(%a: f32, %o: f32):
            %s = arith.mulf %a, %a : f32
            %r = arith.addf %o, %s : f32
            linalg.yield %r : f32
        }} -> {v}
        %y = linalg.generic {{indexing_maps = [{_IJ}, {_I}, {_J}, {_IJ}], {pointwise}}}
            ins(%c, %q, %g : {x}, {v}, {g}) outs(%empty : {x}) {{
          ^bb0(%a: f32, %b: f32, %w: f32, %o: f32):
            %m = arith.divf %b, %width : f32
            %p = arith.addf %m, %epsilon : f32
            %s = math.rsqrt %p : f32
            %n = arith.mulf %a, %s : f32
            %r = arith.mulf %n, %w : f32
            linalg.yield %r : f32
        }} -> {x}""",
    }
    second = f", %g: {g}" if name == "layer_norm" else ""
    return f"""func.func @f(%x: {x}{second}) -> {x} {{
      %empty = tensor.empty() : {x}
      {bodies[name]}
      return %y : {x}
    }}"""


# ---- Engines: each makes a function that computes once


def lumen(kind: str, sizes: list[Any], threads: int) -> Callable[[], Any]:
    import numpy as np

    import lumen_mlir

    text = product(*sizes) if kind == "products" else chain(*sizes)
    engine = lumen_mlir.compile(text, threads=threads, use_cache=False)
    signature = engine.signatures["f"]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(argument.shape, np.float32) for argument in signature.inputs]
    call = engine.bind("f", *arrays)
    return call.run


def openblas(kind: str, sizes: list[Any], threads: int) -> Callable[[], Any]:
    import numpy as np

    m, n, k = sizes
    rng = np.random.default_rng(0)
    x, w, y = (rng.standard_normal(shape, np.float32) for shape in ((m, k), (k, n), (m, n)))
    return lambda: np.matmul(x, w, out=y)


def torch_engine(kind: str, sizes: list[Any], threads: int, one_dnn: bool = False) -> Callable[[], Any]:
    import torch

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    if kind == "products":
        m, n, k = sizes
        x, w, y = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
        if not one_dnn:
            return lambda: torch.mm(x, w, out=y)
        x, w = x.to_mkldnn(), w.t().contiguous().to_mkldnn()
        return lambda: torch.nn.functional.linear(x, w)
    name, rows, columns = sizes
    x, g = torch.randn(rows, columns), torch.randn(columns)
    of = {
        "softmax": lambda x, g: torch.softmax(x, 1),
        "gelu": lambda x, g: torch.nn.functional.gelu(x),
        "layer_norm": lambda x, g: torch.nn.functional.layer_norm(x, (columns,), g),
    }[name]
    compiled = torch.compile(of)
    return lambda: compiled(x, g)


ENGINES: dict[str, Callable[..., Callable[[], Any]]] = {
    "lumen": lumen,
    "openblas": openblas,
    "mkl": torch_engine,
    "onednn": lambda *arguments: torch_engine(*arguments, one_dnn=True),
    "torch.compile": torch_engine,
}


def work(name: str, kind: str, threads: int) -> None:
    """Reads sizes as lines of JSON and writes seconds of a call."""
    run: Callable[[], Any] = lambda: None  # noqa: E731
    before = None
    for line in sys.stdin:
        sizes = json.loads(line)
        if sizes != before:
            run = ENGINES[name](kind, sizes, threads)
            before = sizes
            run()
        best, end = float("inf"), time.perf_counter() + 0.15
        while time.perf_counter() < end:
            start = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - start)
        print(json.dumps(best), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=("products", "chains", "compiling"))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return work(options.worker, options.kind, int(options.threads))
    if options.kind == "compiling":
        return compiling(options.turns)
    peers = ["openblas", "mkl", "onednn"] if options.kind == "products" else ["torch.compile"]
    rows: dict[str, list[Any]] = (
        {"x".join(map(str, shape)): list(shape) for shape in SHAPES}
        if options.kind == "products"
        else {name: list(sizes) for name, sizes in CHAINS.items()}
    )
    for threads in options.threads.split(","):
        measure(options.kind, threads, peers, rows, options.turns)


def compiling(turns: int) -> None:
    """From text to code that runs, without the cache: the best time of each."""
    import lumen_mlir

    texts = {name: chain(*sizes) for name, sizes in CHAINS.items()}
    texts["product 1024x1024x1024"] = product(1024, 1024, 1024)
    for name, text in texts.items():
        times = []
        for _ in range(turns):
            start = time.perf_counter()
            lumen_mlir.compile(text, use_cache=False)
            times.append(time.perf_counter() - start)
        print(f"| {name} | {min(times) * 1e3:.0f} |")


def measure(kind: str, threads: str, peers: list[str], rows: dict[str, list[Any]], turns: int) -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
    workers = {
        name: subprocess.Popen(
            [sys.executable, __file__, kind, "--threads", threads, "--worker", name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )
        for name in ("lumen", *peers)
    }  # fmt: skip
    unit = "GFLOP/s" if kind == "products" else "us"
    print(
        f"\n| {threads} thread(s), {unit} | lumen | {' | '.join(peers)} |\n|---|" + "--:|" * (1 + len(peers))
    )
    ratios: dict[str, list[float]] = {peer: [] for peer in peers}
    for name, sizes in rows.items():
        times: dict[str, list[float]] = {worker: [] for worker in workers}
        for _ in range(turns):
            for worker, process in workers.items():
                assert process.stdin is not None and process.stdout is not None
                print(json.dumps(sizes), file=process.stdin, flush=True)
                times[worker].append(json.loads(process.stdout.readline()))
                time.sleep(0.02)
        cells = []
        for worker, seconds in times.items():
            best = min(seconds)
            shown = 2 * sizes[0] * sizes[1] * sizes[2] / best / 1e9 if kind == "products" else best * 1e6
            cell = f"{shown:.0f}"
            if worker in ratios:
                each = [a / b for a, b in zip(seconds, times["lumen"], strict=True)]
                ratios[worker].append(statistics.median(each))
                cell += f" ({statistics.median(each):.2f}, {min(each):.2f} to {max(each):.2f})"
            cells.append(cell)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    means = " | ".join(f"{statistics.geometric_mean(ratios[peer]):.2f}" for peer in peers)
    print(f"| geometric mean of the ratios | | {means} |")
    for process in workers.values():
        assert process.stdin is not None
        process.stdin.close()
        process.wait()


if __name__ == "__main__":
    main()

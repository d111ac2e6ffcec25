# SPDX-License-Identifier: Apache-2.0
"""What one of NVIDIA's GPUs does, from nothing to numbers, in less than eight minutes.

    python benchmarks/gpu.py                      # all steps; run again, it goes on where it was
    python benchmarks/gpu.py --llama-bench build/bin/llama-bench
    python benchmarks/gpu.py --emulate            # the same steps without a GPU, on tiny models

Steps, in this order:

  machine    the GPU, its driver, and the bytes a second that it copies in its own memory.
  check      the tests of kernels, families and the embedded model, on the GPU in place of the emulator.
  model ...  a file with random weights, made from a seed.
  speed ...  prompts and single tokens of that model, and the shares of the limits.
  peer ...   llama.cpp's, by llama-bench built with CUDA, in the same run.
  chain ...  the speed where a step is a chain of launches, in place of one kernel.

Each result is kept in a file when it is there. A step that fails is tried again by the next run; the others
go on. No step begins that might not end in time (--seconds).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engines

from lumen_mlir.cli.table import markdown
from lumen_mlir.compiler import targets
from lumen_mlir.errors import LumenError
from lumen_mlir.storage.atomic_file import replacing

# What is aimed at: tokens a second.
MODELS = ("qwen2.5-0.5b:q8_0", "llama-3.1-8b:q4_k_m", "llama-3.1-8b:q8_0")
TINY = ("tiny:q8_0", "tiny:q4_k_m")
# Seconds that a step may take, at most.
_LEAST = {"machine": 20, "check": 240, "model": 60, "speed": 60, "peer": 60, "chain": 60}


class Results:
    """Results of steps in a file, written as soon as they are there."""

    def __init__(self, path: Path):
        self._path = path
        self.all: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def keep(self, step: str, result: Any) -> None:
        self.all[step] = result
        with replacing(self._path) as file:
            file.write((json.dumps(self.all, indent=2) + "\n").encode())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", type=lambda text: text.split(","), help=f"SHAPE:FORMAT,… (default: {','.join(MODELS)})")
    add("-p", "--prompt", type=int, default=4096)
    add("-n", "--generate", type=int, default=256)
    add("--llama-bench", metavar="PROGRAM", help="of a llama.cpp that is built with CUDA")
    add("--seconds", type=float, default=470, help="no step begins that might end later (default: 470)")
    add("--emulate", action="store_true", help="try the steps without a GPU")
    add("--again", action="store_true", help="forget the results that are there")
    add("--folder", type=Path, default=engines.ROOT / "build" / "gpu", help="for models and results")
    options = parser.parse_args()
    if options.emulate:
        options.prompt, options.generate = min(options.prompt, 16), min(options.generate, 4)
    options.models = options.models or (TINY if options.emulate else MODELS)
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.folder / ("emulated.json" if options.emulate else "results.json")
    if options.again:
        path.unlink(missing_ok=True)
    results, failed = Results(path), False
    end = time.monotonic() + options.seconds
    for name, run in _steps(options):
        if name in results.all:
            print(f"{name}: done before", file=sys.stderr)
            continue
        if time.monotonic() + _LEAST[name.split()[0]] > end:
            print(f"{name}: not enough time is left; run it again", file=sys.stderr)
            failed = True
            break
        start = time.monotonic()
        try:
            results.keep(name, run())
        except (LumenError, OSError, subprocess.SubprocessError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            failed = True
            continue
        print(f"{name}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    print(_table(options, results.all))
    return int(failed)


def _steps(options: argparse.Namespace) -> list[tuple[str, Callable[[], Any]]]:
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("machine", lambda: _machine(options)),
        ("check", lambda: _check(options)),
    ]
    for model in options.models:
        steps.append((f"model {model}", lambda model=model: _write(options, model)))
        steps.append((f"speed {model}", lambda model=model: _speed(options, model)))
        if options.llama_bench:
            steps.append((f"peer {model}", lambda model=model: _peer(options, model)))
    # Last: what a GPU does that can run a step as one kernel is the point.
    for model in options.models:
        steps.append((f"chain {model}", lambda model=model: _speed(options, model, chain=True)))
    return steps


def _path(options: argparse.Namespace, model: str) -> Path:
    return options.folder / f"{model.replace(':', '-')}.gguf"


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    if options.emulate:
        return {"gpu": "an emulator", "target": "sm_80-emulated", "bytes": 0}
    from lumen_mlir.run.cuda import Cuda
    from lumen_mlir.run.cuda_driver import CudaDriver

    driver = CudaDriver(0)
    gpu = Cuda(driver)
    target = next(target for target in targets.TARGETS if not gpu.missing(target))
    return {"gpu": driver.name, "target": target.name, "bytes": _copied(driver)}


def _copied(driver: Any, size: int = 1 << 30, times: int = 20) -> float:
    """Bytes a second that a copy inside of its memory reads and writes, the best of three."""
    from cuda.bindings import driver as bindings

    blocks = [driver.allocate(size) for _ in range(2)]
    best = 0.0
    for _ in range(3):
        bindings.cuCtxSynchronize()
        start = time.perf_counter()
        for _ in range(times):
            bindings.cuMemcpyDtoDAsync(blocks[0], blocks[1], size, 0)
        bindings.cuCtxSynchronize()
        best = max(best, 2 * times * size / (time.perf_counter() - start))
    for block in blocks:
        driver.free(block)
    return best


def _check(options: argparse.Namespace) -> str:
    """The summary of the tests; an error where one fails."""
    # (Tests of the emulator itself stay away from a GPU.)
    on_gpu = ["test/py", "--ignore", "test/py/gpu", "-m", "gpu and not matrix"]
    chosen = ["test/py/gpu/test_emulated.py"] if options.emulate else on_gpu
    command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", *chosen]
    # conftest.py puts the GPU in the place of the emulator.
    environment = os.environ | ({} if options.emulate else {"LUMEN_TEST_CUDA": "1"})
    done = subprocess.run(
        command, cwd=engines.ROOT, env=environment, capture_output=True, text=True, check=False
    )
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-300:]
    if done.returncode:
        raise LumenError(f"the tests fail: {last}\n{done.stdout[-3000:]}")
    return last


def _write(options: argparse.Namespace, model: str) -> int:
    """Bytes of the file."""
    from lumen_mlir.testing.synthetic import write_synthetic

    shape, _, form = model.partition(":")
    return write_synthetic(_path(options, model), shape, form)


def _speed(options: argparse.Namespace, model: str, chain: bool = False) -> dict[str, float]:
    """Tokens a second of prompts and of single tokens. ``chain``: steps are chains of launches."""
    from lumen_mlir.measure.bench import Test

    tests = {"prompt": Test(options.prompt, 0, 0), "generate": Test(0, options.generate, 16)}
    if options.emulate:
        sys.path.insert(0, str(engines.ROOT / "test" / "py"))
        import emulated

        from lumen_mlir.run import device

        target = emulated.EMULATED_LAUNCHES if chain else emulated.EMULATED_GPU
        with device.using(emulated.GPU):
            return _measure(options, model, target.name, tests)
    target = targets.get(Results(options.folder / "results.json").all["machine"]["target"])
    return _measure(options, model, (targets.launched(target) if chain else target).name, tests)


def _measure(options: argparse.Namespace, model: str, target: str, tests: dict[str, Any]) -> dict[str, float]:
    from lumen_mlir import LLM
    from lumen_mlir.measure.bench import measure

    context = max(test.length for test in tests.values())
    with LLM(_path(options, model), target=target, context=context, pack_cache=False) as llm:
        times = 1 if options.emulate else 3
        return {name: measure(llm, test, times).avg_ts for name, test in tests.items()}


def _peer(options: argparse.Namespace, model: str) -> dict[str, float]:
    counts = ["-p", str(options.prompt), "-n", str(options.generate), "-d", "0", "-r", "3", "-ngl", "99"]
    command = [options.llama_bench, "-m", str(_path(options, model)), *counts, "-fa", "1", "-o", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LumenError(f"{options.llama_bench} fails: {done.stderr[-1000:]}")
    rows = json.loads(done.stdout)
    return {"generate" if row["n_gen"] else "prompt": row["avg_ts"] for row in rows}


def _table(options: argparse.Namespace, results: dict[str, Any]) -> str:
    copied = results.get("machine", {}).get("bytes", 0)
    rows = []
    for model in options.models:
        ours = results.get(f"speed {model}")
        if not ours:
            continue
        peer, chain = results.get(f"peer {model}", {}), results.get(f"chain {model}", {})
        read = ours["generate"] * results[f"model {model}"]
        rows.append(
            (
                model,
                f"{ours['generate']:,.0f}",
                f"{read / copied:.0%}" if copied else "",
                f"{ours['generate'] / peer['generate']:.2f}" if peer else "",
                f"{ours['prompt']:,.0f}",
                f"{ours['prompt'] / peer['prompt']:.2f}" if peer else "",
                *(f"{chain[test] / ours[test]:.2f}" if chain else "" for test in ("generate", "prompt")),
            )
        )
    header = (
        *("model", "tokens/s", "of memory", "x llama.cpp", "prompt tokens/s", "x llama.cpp"),
        *("chain: tokens", "chain: prompt"),
    )
    return f"{results.get('machine', {}).get('gpu', '')}\n\n{markdown(header, rows, range(1, 8))}"


if __name__ == "__main__":
    sys.exit(main())

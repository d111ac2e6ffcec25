# SPDX-License-Identifier: Apache-2.0
"""Lumen beside llama.cpp: the engines take turns on the same file, and ratios are taken round by round.

    python benchmarks/vs_llama_cpp.py MODEL.gguf --rounds 5 --threads 1,2
    python benchmarks/vs_llama_cpp.py --synthetic qwen2.5-0.5b:q8_0

The peer is llama-cpp-python, built natively from its source package into ``.venv-peers`` (``make
.venv-peers``), or any ``llama-bench`` binary given with ``--llama-bench``. Shared machines drift, so only
ratios within a round count: the table shows their median and spread.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HERE = Path(__file__).resolve().parent


def run_json(command: list[str]) -> list[dict]:
    """What a benchmark prints, as rows with ``n_prompt``, ``n_threads`` and ``avg_ts``."""
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stderr}")
    return json.loads(result.stdout)


def key(row: dict) -> tuple[str, int]:
    """What a row measures: ``pp512`` or ``tg128``, and the number of threads."""
    name = f"pp{row['n_prompt']}" if row["n_prompt"] else f"tg{row['n_gen']}"
    depth = row.get("n_depth", 0)
    return (f"{name} @ {depth}" if depth else name), row["n_threads"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?")
    parser.add_argument("--synthetic", help="SHAPE:FORMAT, a file with random weights made for this run")
    parser.add_argument("-p", "--prompt", type=int, default=512)
    parser.add_argument("-n", "--generate", type=int, default=32)
    parser.add_argument("-d", "--depth", type=int, default=0)
    parser.add_argument("-t", "--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lumen", default=str(ROOT / ".venv" / "bin" / "lumen"))
    parser.add_argument("--lumen-options", default="", help="more options for lumen bench")
    parser.add_argument("--peer-python", default=str(ROOT / ".venv-peers" / "bin" / "python"))
    parser.add_argument("--llama-bench", help="a llama-bench binary instead of llama-cpp-python")
    options = parser.parse_args()
    if bool(options.model) == bool(options.synthetic):
        parser.error("give either a model or --synthetic")

    folder = None
    model = options.model
    if options.synthetic:
        shape, form = options.synthetic.split(":")
        folder = tempfile.mkdtemp(prefix="lumen-bench-")
        model = f"{folder}/{shape}-{form}.gguf"
        python = str(Path(options.lumen).with_name("python"))
        command = [python, "-m", "lumen_mlir.testing.synthetic", model, "--shape", shape, "--format", form]
        subprocess.run(command, check=True, stdout=sys.stderr)
    common = ["-p", str(options.prompt), "-n", str(options.generate), "-d", str(options.depth)]
    common += ["-t", options.threads, "-r", "1"]
    ours = [options.lumen, "bench", model, *common, "-o", "json", *options.lumen_options.split()]
    if options.llama_bench:
        theirs = [options.llama_bench, "-m", model, *common, "-o", "json"]
    else:
        theirs = [options.peer_python, str(HERE / "llama_cpp_bench.py"), model, *common]

    rounds: dict[tuple[str, int], list[tuple[float, float]]] = {}
    try:
        for number in range(options.rounds):
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr)
            left = {key(row): row["avg_ts"] for row in run_json(ours)}
            right = {key(row): row["avg_ts"] for row in run_json(theirs)}
            for name in left:
                if name in right:
                    rounds.setdefault(name, []).append((left[name], right[name]))
    finally:
        if folder:
            shutil.rmtree(folder)

    name = Path(model).name
    print(f"\n{name}, {options.rounds} rounds: tokens/s (medians), ratio (median, minimum to maximum)\n")
    print("| test | threads | lumen | llama.cpp | ratio |")
    print("|---|---:|---:|---:|---:|")
    for (name, threads), pairs in rounds.items():
        ratios = sorted(a / b for a, b in pairs)
        mine, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"| {name} | {threads} | {mine:.1f} | {peer:.1f} | {spread} |")


if __name__ == "__main__":
    main()

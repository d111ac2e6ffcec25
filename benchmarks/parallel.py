# SPDX-License-Identifier: Apache-2.0
"""Many texts at a time, beside llama.cpp; and how long texts wait for one another.

    python benchmarks/parallel.py throughput --synthetic qwen2.5-0.5b:q8_0 --streams 1,2,4,8,16
    python benchmarks/parallel.py throughput MODEL.gguf -p 128 -n 128 -t 2
    python benchmarks/parallel.py stall MODEL.gguf --long 8192     # a long prompt comes to 4 texts
    python benchmarks/parallel.py stall MODEL.gguf --llama-server build/bin/llama-server
    python benchmarks/parallel.py prefix MODEL.gguf --shared 2048  # 8 prompts that begin alike

``throughput`` lets the engines take turns in one run; ratios are taken round by round, and the table has
their median and spread. The peer is llama-cpp-python as ``vs_llama_cpp.py`` builds it; what it is asked for
is what llama-batched-bench measures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import engines
import llama_server

from lumen_mlir.cli.table import markdown


class Worker:
    """A process with a model open, which waits between runs."""

    def __init__(self, python: str, *arguments: object):
        command = [python, str(engines.HERE / "parallel_worker.py"), *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._answer()

    def run(self, **request: int) -> dict[str, Any]:
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a worker ended with status {self._process.wait()}")
        return json.loads(line)

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("what", choices=["throughput", "stall", "prefix"])
    add("model", nargs="?", type=Path, help="a GGUF file")
    add("--synthetic", metavar="SHAPE:FORMAT", help="a file with random weights made for this run")
    add("-p", "--prompt", type=int, default=128)
    add("-n", "--generate", type=int, default=128)
    add("-t", "--threads", type=int, default=2)
    add("--streams", type=_numbers, default=[1, 2, 4, 8, 16])
    add("--rounds", type=int, default=3)
    add("--long", type=int, default=8192, help="tokens of the prompt that the others wait for")
    add("--shared", type=int, default=2048, help="tokens that prompts begin with alike")
    add("--peer-python", help="a Python that has llama-cpp-python")
    add("--llama-server", metavar="PROGRAM", help="beside which texts wait for a long prompt")
    add("--folder", type=Path, default=engines.ROOT / "build" / "benchmarks", help="for files")
    options = parser.parse_args()
    if (options.model is None) == (options.synthetic is None):
        parser.error("give one of MODEL and --synthetic")
    if options.synthetic:
        options.model = _synthetic(options.synthetic, options.folder)
    {"throughput": throughput, "stall": stall, "prefix": prefix}[options.what](options)


def _synthetic(name: str, folder: Path) -> Path:
    from lumen_mlir.testing.synthetic import write_synthetic

    shape, _, form = name.partition(":")
    path = folder / f"{shape}-{form}.gguf"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_synthetic(path, shape, form)
    return path


def throughput(options: argparse.Namespace) -> None:
    """Tokens a second of so many texts, engine by engine and round by round."""
    peer = options.peer_python or engines.llama_cpp_python("native")
    size = options.prompt + options.generate
    rows = []
    for streams in options.streams:
        ours = Worker(sys.executable, "lumen", options.model, size, streams, options.threads)
        theirs = Worker(peer, "llama.cpp", options.model, size, streams, options.threads)
        request = {"streams": streams, "prompt": options.prompt, "generate": options.generate}
        pairs = [(ours.run(**request), theirs.run(**request)) for _ in range(options.rounds)]
        ours.close()
        theirs.close()
        count = streams * options.prompt
        rows.append(
            (
                str(streams),
                _middle(count / a["t_pp"] for a, _ in pairs),
                _middle(count / b["t_pp"] for _, b in pairs),
                _ratio(b["t_pp"] / a["t_pp"] for a, b in pairs),
                _middle(a["speed_tg"] for a, _ in pairs),
                _middle(b["speed_tg"] for _, b in pairs),
                _ratio(a["speed_tg"] / b["speed_tg"] for a, b in pairs),
                _middle(a["speed"] for a, _ in pairs),
                _middle(b["speed"] for _, b in pairs),
                _ratio(a["speed"] / b["speed"] for a, b in pairs),
                f"{statistics.median(a['share_read'] for a, _ in pairs):.0%}",
                f"{statistics.median(a['share_products'] for a, _ in pairs):.0%}",
            )
        )
        print(*rows[-1], file=sys.stderr)
    phases = (
        f"{phase}{peer}" for phase in ("pp ", "tg ", "all ") for peer in ("Lumen", "llama.cpp", "ratio")
    )
    header = ("streams", *phases, "of memory", "of products")
    print(markdown(header, rows, range(len(header))))


def _middle(values: Any) -> str:
    return f"{statistics.median(values):.1f}"


def _ratio(values: Any) -> str:
    values = sorted(values)
    return f"{statistics.median(values):.2f} ({values[0]:.2f}–{values[-1]:.2f})"


def _open(options: argparse.Namespace, streams: int, size: int) -> Any:
    from lumen_mlir import LLM

    settings = {"context": size, "sequences": streams, "kv_pool": streams * (size + 64)}
    return LLM(options.model, threads=options.threads, **settings)


def _prompt(llm: Any, count: int, seed: int) -> list[int]:
    import numpy as np

    return np.random.default_rng(seed).integers(llm.model.config.vocabulary, size=count).tolist()


def stall(options: argparse.Namespace) -> None:
    """The time between tokens of 4 texts, without and with a long prompt that comes in their middle."""
    llm = _open(options, 5, options.long + options.prompt + 4096)
    settings = {"temperature": 0.0, "ignore_eos": True}
    texts = [llm.generate(_prompt(llm, options.prompt, seed), 4096, **settings) for seed in range(4)]
    idle: list[float] = []
    busy: list[float] = []

    def watch(gaps: list[float], is_over: Any) -> None:
        last = {id(text): time.perf_counter() for text in texts}
        while not is_over():
            counts = [len(text.tokens) for text in texts]
            llm.wait(lambda: any(text.has_news for text in texts))
            now = time.perf_counter()
            for text, count in zip(texts, counts, strict=True):
                text.poll()
                if len(text.tokens) > count:
                    gaps.append(now - last[id(text)])
                    last[id(text)] = now

    for text in texts:
        text.begin()
    watch([], lambda: all(text.tokens for text in texts))
    watch(idle, lambda: len(idle) >= 4 * 40)
    long = llm.generate(_prompt(llm, options.long, 99), 1, **settings)
    long.begin()
    start = time.perf_counter()
    watch(busy, lambda: long.has_news)
    seconds = time.perf_counter() - start
    rest = idle[8:]
    measured = {"4 texts alone": rest, f"while {options.long} tokens are read": busy}
    if options.llama_server:
        llm.close()
        arguments = (options.model, options.prompt, options.long, options.threads)
        alone, beside = llama_server.stall(options.llama_server, *arguments)
        measured |= {"llama-server, alone": alone, "llama-server, beside the prompt": beside}
    rows = [
        (name, str(len(gaps)), *(f"{1e3 * _quantile(gaps, share):.1f}" for share in (0.5, 0.99, 1)))
        for name, gaps in measured.items()
    ]
    print(markdown(("", "gaps", "p50 ms", "p99 ms", "longest ms"), rows, range(1, 5)))
    late, middle, p99 = (_quantile(*each) for each in ((busy, 0.99), (rest, 0.5), (rest, 0.99)))
    print(
        f"\np99 with the prompt is {late / middle:.2f}x the median without, {late / p99:.2f}x the p99 without"
    )
    print(f"the prompt took {seconds:.1f} s")
    half = len(busy) // 2
    early, late = (_quantile(part, 0.99) * 1e3 for part in (busy[:half], busy[half:]))
    print(f"p99 of the first half {early:.1f} ms, of the second {late:.1f} ms")


def _quantile(values: list[float], share: float) -> float:
    from lumen_mlir.measure.parallel import quantile

    return quantile(sorted(values), share)


def prefix(options: argparse.Namespace) -> None:
    """8 prompts that begin alike, asked for by 8 threads at once: the time to each first token."""
    size = options.shared + 16 + 8
    llm = _open(options, 8, size)
    shared = _prompt(llm, options.shared, 0)
    texts = [llm.generate([*shared, *_prompt(llm, 16, 1 + n)], 4, temperature=0.0) for n in range(8)]
    llm.generate(_prompt(llm, 64, 99), 4, temperature=0.0).text()
    times: list[float] = []
    start = time.perf_counter()

    def read(text: Any) -> None:
        next(text, None)
        times.append(time.perf_counter() - start)

    threads = [threading.Thread(target=read, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, last = min(times), max(times)
    computed = sum(text.evaluated for text in texts)
    print(f"first tokens after {', '.join(f'{1e3 * t:.0f}' for t in sorted(times))} ms")
    print(f"the last one waits {last / first - 1:.1%} longer than the first")
    print(f"{computed:,} tokens of prompts were computed, {options.shared:,} of them shared")


if __name__ == "__main__":
    main()

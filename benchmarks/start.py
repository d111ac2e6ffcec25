# SPDX-License-Identifier: Apache-2.0
"""From the start of a process to its first token, and the memory it takes: Lumen beside llama.cpp.

    python benchmarks/start.py MODEL.gguf [--peer-python PYTHON] [--other-lumen PYTHON] [--cold 1] [--json]

Lumen starts with empty caches (it compiles and packs) and then with warm ones; llama.cpp, by
llama-cpp-python, with the file in the system's page cache. They take turns, and so does another installation
of Lumen, such as the one before a change. Prints a Markdown table: the time until the
process has printed one token and ended, and the most memory that was resident.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PROMPT = "The quick brown fox jumps over the lazy dog"

_LLAMA_CPP = """
import sys
from llama_cpp import Llama
threads = int(sys.argv[2])
llama = Llama(sys.argv[1], n_ctx=512, n_threads=threads, n_threads_batch=threads, verbose=False)
print(llama(sys.argv[3], max_tokens=1, temperature=0)["choices"][0]["text"])
"""


def start(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds that a process takes, and the most bytes that were resident in it."""
    begin = time.perf_counter()
    with open(os.devnull, "r+b") as null:
        actions = [(os.POSIX_SPAWN_DUP2, null.fileno(), number) for number in (0, 1, 2)]
        process = os.posix_spawnp(command[0], command, environment, file_actions=actions)
        _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - begin
    if status:
        raise SystemExit(f"{' '.join(command)} failed with status {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--lumen-python", default=sys.executable)
    parser.add_argument("--peer-python", help="a Python that has llama-cpp-python")
    parser.add_argument("--other-lumen", metavar="PYTHON", help="a Python that has another Lumen")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", type=int, default=1, help="starts with empty caches")
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")
    options = parser.parse_args()
    model, threads = str(options.model), str(options.threads)
    pythons = {"Lumen": options.lumen_python, "other Lumen": options.other_lumen}
    lumens = {
        name: [python, "-m", "lumen_mlir", "generate", model, "-p", PROMPT, "-n", "1", "--temp", "0", "-q"]
        + ["-t", threads]
        for name, python in pythons.items()
        if python
    }
    peer = [options.peer_python, "-c", _LLAMA_CPP, model, threads, PROMPT]
    with open(model, "rb") as file:  # into the page cache
        while file.read(1 << 24):
            pass
    results: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="lumen-start-") as folder:
        caches = {name: {**os.environ, "LUMEN_CACHE_DIR": f"{folder}/{name}"} for name in lumens}
        for _ in range(options.cold):
            for name, command in lumens.items():
                shutil.rmtree(f"{folder}/{name}", ignore_errors=True)
                results.setdefault(f"{name}, empty caches", []).append(start(command, caches[name]))
        for _ in range(options.rounds):
            for name, command in lumens.items():
                results.setdefault(name, []).append(start(command, caches[name]))
            if options.peer_python:
                results.setdefault("llama.cpp", []).append(start(peer, dict(os.environ)))
    size = options.model.stat().st_size
    summaries = [summary(name, measured) for name, measured in results.items()]
    if options.json:
        print(
            json.dumps({"file": options.model.name, "bytes": size, "threads": threads, "starts": summaries})
        )
        return
    print(f"{options.model.name}, {size / 1e6:.0f} MB, {threads} threads\n")
    print("| start | seconds (median, minimum to maximum) | resident, MB | of the file |")
    print("|---|---:|---:|---:|")
    for result in summaries:
        spread = "{median:.2f} ({least:.2f} to {most:.2f})".format_map(result)
        memory = result["resident"]
        print(f"| {result['name']} | {spread} | {memory / 1e6:.0f} | {memory / size:.2f} |")


def summary(name: str, measured: list[tuple[float, float]]) -> dict[str, Any]:
    """Seconds of a kind of start, and the most bytes that were resident in any of them."""
    seconds = [seconds for seconds, _ in measured]
    return {
        "name": name,
        "median": statistics.median(seconds),
        "least": min(seconds),
        "most": max(seconds),
        "resident": max(memory for _, memory in measured),
    }


if __name__ == "__main__":
    main()

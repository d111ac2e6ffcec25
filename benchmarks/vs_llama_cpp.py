# SPDX-License-Identifier: Apache-2.0
"""Lumen beside llama.cpp: the engines take turns on the same file, and ratios are taken round by round.

    python benchmarks/vs_llama_cpp.py --table formats             # eight formats, prompts and decode
    python benchmarks/vs_llama_cpp.py --table long --flash 0,1    # a long context
    python benchmarks/vs_llama_cpp.py --table batches             # a few rows at once
    python benchmarks/vs_llama_cpp.py --table formats --only 'q4_0 tg32 2t'
    python benchmarks/vs_llama_cpp.py MODEL.gguf -p 512 -n 32 -t 1,2

The peer is llama-cpp-python, built natively from its source package where it is missing. ``--llama-bench
PATH`` takes any ``llama-bench`` binary instead (a fork's: name it with ``--peer-name``), ``--peer openvino``
OpenVINO GenAI, and ``--peer lumen`` another installation of Lumen, such as the one before a change.

Shared machines drift, so only ratios within a round count; the table shows their median and spread. On a
machine that others use, too, ``--quiet`` begins a round when the row's threads read and multiply so much a
second, before either engine has run; what they did is in the results of both.

Every run is written down at once (``--results``), and what is there is not measured again: an interrupted
benchmark goes on where it stopped, and more rounds add to those of before. ``--report`` only writes the table
and the picture.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import engines
import report
import rows as plan
from rows import Row, Test

from lumen_mlir.measure.limits import Meter

ROOT = engines.ROOT
# For a first guess of how long it takes: operations and bytes per second and thread of a slow engine.
_GUESS_OPERATIONS, _GUESS_READ, _GUESS_OPENING = 100e9, 15e9, 12.0
_GUESS_PARAMETERS = {plan.SMALL: 360e6, plan.LARGE: 655e6}


def main(arguments: list[str] | None = None) -> None:
    options = _parse(arguments)
    rows = _rows(options)
    results = _read(options.results)
    peers = []
    if not options.report:
        peers = _peers(options)
        names = [report.LUMEN, *(peer.name for peer in peers)]
        missing = [row for row in rows if _missing(row, names, options.rounds, results)]
        minutes = f"about {_guess(missing, options.rounds):.0f} minutes"
        print(f"{len(rows)} rows, {len(missing)} of them to measure, in {minutes}", file=sys.stderr)
        print(f"results go to {options.results}", file=sys.stderr)
        if options.list:
            for row in rows:
                print(row.key + ("" if row in missing else "  (done)"))
            return
        ours = _lumen(report.LUMEN, options.lumen_python, options)
        _measure(missing, [ours, *peers], options, results)
    _write(options, rows, results)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", nargs="?", type=Path, help="a GGUF file")
    add("--synthetic", metavar="SHAPE:FORMAT[:LAYERS]", help="a file with random weights made for this run")
    add("--table", choices=[*plan.TABLES, "all"], help="the rows of a table of docs/performance.md")
    add("--only", action="append", metavar="REGEX", help="only rows whose name matches (see --list)")
    add("--list", action="store_true", help="show the rows and how long they take")
    add("--report", action="store_true", help="measure nothing; write what is known")
    add("--json", action="store_true", help="print JSON, for scripts")
    add("-p", "--prompt", type=_numbers, default=[512])
    add("-n", "--generate", type=_numbers, default=[32])
    add("-d", "--depth", type=_numbers, default=[0])
    add("-b", "--batch", type=_numbers, default=[1], help="rows at once, for -n")
    add("-t", "--threads", type=_numbers, default=[1, 2])
    add("--rounds", type=int, default=5)
    add("--quiet", type=float, default=0, metavar="GB/S", help="begin a round when memory is read so fast,")
    add("--quiet-int8", type=float, default=0, metavar="GOP/S", help="and 8-bit numbers multiplied so fast")
    add("--patience", type=float, default=60, metavar="S", help="wait no longer for that; then go on")
    add("--target", default="native", help="of Lumen, and what llama.cpp is built for")
    add("--peer", choices=["llama.cpp", "openvino", "lumen"], default="llama.cpp")
    add("--peer-python", help="a Python that has the peer")
    add("--llama-bench", metavar="PATH", help="a llama-bench binary instead of llama-cpp-python")
    add("--peer-name", help="what tables call the peer")
    add("--peer-options", default="", help="more options for llama-bench")
    add("--flash", default="0", help="flash attention of llama.cpp: 0, 1, or 0,1 for the better of both")
    add("--lumen-python", default=sys.executable)
    add("--lumen-option", action="append", default=[], metavar="NAME=VALUE", help="of lumen_mlir.LLM")
    add("--folder", type=Path, default=ROOT / "build" / "benchmarks", help="for files and caches")
    add("--keep", action="store_true", help="keep the synthetic files")
    add("--results", type=Path, help="JSON lines  [default: FOLDER/PEER-TARGET.jsonl]")
    options = parser.parse_args(arguments)
    if sum(map(bool, (options.model, options.synthetic, options.table))) != 1:
        parser.error("give one of MODEL, --synthetic and --table")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    default = "llama-bench" if options.llama_bench else options.peer
    options.peer_name = options.peer_name or default.replace("lumen", plan.OTHER_LUMEN)
    options.folder = options.folder.resolve()
    options.folder.mkdir(parents=True, exist_ok=True)
    options.results = options.results or options.folder / f"{options.peer_name}-{options.target}.jsonl"
    return options


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _rows(options: argparse.Namespace) -> list[Row]:
    if options.table:
        names = list(plan.TABLES) if options.table == "all" else [options.table]
        rows = [row for name in names for row in plan.TABLES[name]()]
    else:
        shape, form, layers = options.model.stem if options.model else "", "", None
        if options.synthetic:
            shape, form, *rest = options.synthetic.split(":")
            layers = int(rest[0]) if rest else None
        tests = []
        for depth in options.depth:
            tests += [Test(count, 0, depth) for count in options.prompt if count]
            tests += [Test(0, n, depth, size) for n in options.generate if n for size in options.batch]
        rows = plan.of_file(shape, form, layers, tests, options.threads)
    if options.only:
        rows = [row for row in rows if any(re.search(pattern, row.key) for pattern in options.only)]
    if not rows:
        raise SystemExit("there is nothing to measure")
    return rows


def _lumen(name: str, python: str, options: argparse.Namespace) -> engines.Worker:
    return engines.Worker(
        name,
        python,
        "lumen_worker.py",
        [f"target={options.target}", *options.lumen_option],
        {**os.environ, "LUMEN_CACHE_DIR": str(options.folder / "cache")},
    )


def _peers(options: argparse.Namespace) -> list[engines.Engine]:
    name = options.peer_name
    if options.llama_bench:
        return [engines.LlamaBench(name, options.llama_bench, options.peer_options.split())]
    if options.peer == "openvino":
        if not options.peer_python:
            raise SystemExit("--peer openvino needs --peer-python, a Python that has openvino-genai")
        return [engines.OpenVino(name, options.peer_python)]
    if options.peer == "lumen":
        if not options.peer_python:
            raise SystemExit("--peer lumen needs --peer-python, a Python that has the other installation")
        return [_lumen(name, options.peer_python, options)]
    # A list of rows needs the names of the engines only, and builds nothing.
    python = options.peer_python or ("" if options.list else engines.llama_cpp_python(options.target))
    flags = options.flash.split(",")
    return [
        engines.Worker(
            name if flag == "0" else f"{name}, flash", python, "llama_cpp_worker.py", [f"flash={flag}"]
        )
        for flag in flags
    ]


def _missing(row: Row, names: list[str], rounds: int, results: list[dict[str, Any]]) -> list[int]:
    """The rounds of ``row`` that some engine has not run."""
    done = {(result["engine"], result["round"]) for result in results if result["row"] == row.key}
    return [number for number in range(rounds) if any((name, number) not in done for name in names)]


def _guess(rows: Iterable[Row], rounds: int) -> float:
    seconds = 0.0
    for _, group in groupby(rows, key=lambda row: row.file):
        seconds += _GUESS_OPENING
        for row in group:
            weights = _GUESS_PARAMETERS.get(row.shape, 1e9)
            once = row.test.prompt * 2 * weights / _GUESS_OPERATIONS
            once += row.test.generate * weights * 1.4 / _GUESS_READ
            fill = row.test.depth * 2 * weights / _GUESS_OPERATIONS
            seconds += (rounds * (once * 1.35 + 0.4) + fill) / min(row.threads, 2)
    return seconds / 60


def _measure(
    rows: list[Row], turns: list[engines.Engine], options: argparse.Namespace, results: list[dict[str, Any]]
) -> None:
    begin, names = time.monotonic(), [engine.name for engine in turns]
    total, done = sum(len(_missing(row, names, options.rounds, results)) for row in rows), 0
    for _, group in groupby(rows, key=lambda row: row.file):
        of_file = list(group)
        model = _model(of_file[0], options)
        try:
            for engine in turns:
                engine.open(model, of_file)
            for number in range(options.rounds):
                for row in of_file:
                    if number not in _missing(row, names, options.rounds, results):
                        continue
                    before = _wait_until_quiet(row.threads, options)
                    # Whoever begins has the cooler machine: they take turns at that too.
                    for engine in turns if number % 2 == 0 else turns[::-1]:
                        _run(engine, row, number, before, options, results)
                    done += 1
                    left = (time.monotonic() - begin) / done * (total - done)
                    print(
                        f"\r{done} of {total} done, {left / 60:.1f} minutes left  ", end="", file=sys.stderr
                    )
        finally:
            for engine in turns:
                engine.close()
            if not options.model and not options.keep:
                model.unlink(missing_ok=True)
    print(file=sys.stderr)


@cache
def _meter(threads: int) -> Meter:
    return Meter(threads=threads)


def _wait_until_quiet(threads: int, options: argparse.Namespace) -> dict[str, int]:
    """Returns what ``threads`` threads do a second once that is what was asked for, or after ``--patience``
    seconds what it is by then: ``read_before`` in bytes, ``int8_before`` in operations."""
    end = time.monotonic() + options.patience
    wanted = {"read": 1e9 * options.quiet, "int8": 1e9 * options.quiet_int8}
    while True:
        now = {name: statistics.median(_meter(threads).once(name) for _ in range(3)) for name in wanted}
        if all(now[name] >= wanted[name] for name in wanted) or time.monotonic() > end:
            return {f"{name}_before": round(value) for name, value in now.items()}
        time.sleep(0.2)


def _run(
    engine: engines.Engine,
    row: Row,
    number: int,
    before: dict[str, int],
    options: argparse.Namespace,
    results: list[dict[str, Any]],
) -> None:
    measured = engine.measure(row)
    if measured is None:
        return
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    result = {"row": row.key, "engine": engine.name, "round": number, "threads": row.threads, "time": moment}
    results.append(result | before | measured | engine.info)
    with open(options.results, "a", encoding="utf-8") as file:
        print(json.dumps(results[-1]), file=file)


def _model(row: Row, options: argparse.Namespace) -> Path:
    if options.model:
        return options.model
    path = options.folder / row.file
    if not path.exists():
        command = [options.lumen_python, "-m", "lumen_mlir.testing.synthetic", str(path)]
        command += ["--shape", row.shape, "--format", row.format]
        command += ["--layers", str(row.layers)] if row.layers else []
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return path


def _read(path: Path) -> list[dict[str, Any]]:
    """Results so far; a last line that was cut off does not count."""
    results = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                results.append(json.loads(line))
            except ValueError:
                print(f"{path}: a line is not JSON; it is left out", file=sys.stderr)
    return results


def _write(options: argparse.Namespace, rows: list[Row], results: list[dict[str, Any]]) -> None:
    summaries = report.summarize(rows, results)
    if not summaries:
        raise SystemExit("no row has a round of both engines")
    keys = {row.key for row in rows}
    used = [result for result in results if result["row"] in keys]
    if options.json:
        print(
            json.dumps(
                {"rows": [report.plain(summary) for summary in summaries], "limits": report.limits(used)}
            )
        )
        return
    about = {f"{r['engine']}: {r.get('version', '')}, {r.get('kernels', '')}": None for r in used}
    text = "\n\n".join(
        [report.table(summaries), report.limits_line(used), "\n".join(f"- {a}" for a in about)]
    )
    print(text)
    base = options.results.with_suffix("")
    base.with_name(f"{base.name}.md").write_text(text + "\n", encoding="utf-8")
    title = f"Lumen ({options.target}) beside {options.peer_name}"
    base.with_name(f"{base.name}.svg").write_text(report.picture(summaries, title), encoding="utf-8")


def _stop(*_: object) -> None:
    raise SystemExit("\nstopped; the same command goes on here")


if __name__ == "__main__":
    # Interrupted or terminated, it ends its engines.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    main()

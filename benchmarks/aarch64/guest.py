# SPDX-License-Identifier: Apache-2.0
"""Programs for 64-bit ARM on another machine: building them, running them, counting what they execute."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FOLDER = ROOT / "build" / "benchmarks" / "aarch64"
COMPILER = ("clang-22", "--target=aarch64-linux-gnu")
CXX = ("clang++-22", "--target=aarch64-linux-gnu", "-std=c++17")
TOOLS = {
    "clang-22": "clang-22", "llvm-mca-22": "llvm-22", "llvm-objdump-22": "llvm-22",
    "qemu-aarch64": "qemu-user", "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
}  # fmt: skip

_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(\S.*)$")


def check_tools() -> None:
    """Ends the program where a tool is missing, with the packages that have them."""
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if missing:
        sys.exit(f"missing packages: {' '.join(sorted(missing))}")


def run(words: list[Any], **options: Any) -> str:
    """What a command prints. Ends the program with its errors where it fails."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, words))} failed ({done.returncode}):\n{done.stderr.strip()[-2000:]}")
    return done.stdout


@lru_cache
def versions() -> str:
    """The tools that results depend on."""
    clang = re.search(r"version (\S+)", run([COMPILER[0], "--version"]))
    qemu = re.search(r"version (\S+)", run(["qemu-aarch64", "--version"]))
    return f"clang and llvm-mca {_short(clang)}, qemu {_short(qemu)}"


def _short(match: re.Match | None) -> str:
    return match[1].split("-")[0].split("+")[0] if match else "of unknown version"


def newer(result: Path, *sources: Path) -> bool:
    """Whether a file is there and no older than what it is made of."""
    return result.exists() and all(result.stat().st_mtime >= source.stat().st_mtime for source in sources)


def plugin() -> Path:
    """The plugin of qemu that counts."""
    source, result = HERE / "count.c", FOLDER / "count.so"
    if not newer(result, source):
        FOLDER.mkdir(parents=True, exist_ok=True)
        number = re.search(r"version (\d+)", run(["qemu-aarch64", "--version"]))
        version = 2 if number and int(number[1]) >= 9 else 1
        run([COMPILER[0], "-O2", "-shared", "-fPIC", f"-DPLUGIN_VERSION={version}", source, "-o", result])
    return result


def thread_team() -> list[Path]:
    """The objects of the runtime's team of threads."""
    results = []
    for name in ("ThreadTeam", "TeamSize"):
        source, result = ROOT / "runtime" / f"{name}.cpp", FOLDER / f"{name}.o"
        if not newer(result, source, source.with_suffix(".h")):
            FOLDER.mkdir(parents=True, exist_ok=True)
            run([*CXX, "-O2", "-c", f"-I{ROOT}", source, "-o", result])
        results.append(result)
    return results


def counting(folder: Path, *options: str) -> list[str]:
    """What runs a program in qemu, and counts what it executes in files in ``folder``."""
    return [
        "qemu-aarch64", "-cpu", "max", "-L", "/usr/aarch64-linux-gnu",
        "-plugin", ",".join([str(plugin()), f"out={folder / 'counts'}", *options]),
    ]  # fmt: skip


def counted(folder: Path) -> list[tuple[int, int, int]]:
    """Of all programs that were counted there: pieces of code, their instructions, and how often they ran."""
    files = sorted(folder.glob("counts.*"))
    rows = [line.split() for file in files for line in file.read_text(encoding="ascii").splitlines()]
    for file in files:
        file.unlink()
    return [(int(address, 16), int(length), int(runs)) for address, length, runs in rows]


def executed(folder: Path) -> int:
    """How many instructions they have executed."""
    return sum(length * runs for _, length, runs in counted(folder))


@dataclass(frozen=True)
class Trace:
    """What a program executed of some functions.

    Attributes:
      pieces: code without jumps in between, as lines of assembly.
      order: the numbers of the pieces, in the order in which they ran: int64.
    """

    pieces: list[list[str]]
    order: np.ndarray


def trace(program: Path, arguments: list[Any], functions: str, folder: Path) -> Trace:
    """What a program executed of the functions whose names match ``functions``.

    The program has one thread and is linked statically at a fixed address.
    """
    run([*counting(folder, f"trace={folder / 'trace'}"), program, *arguments])
    counts, code = counted(folder), _code(program, functions)
    (file,) = folder.glob("trace.*")
    order = np.fromfile(file, np.uint32).astype(np.int64)
    file.unlink()
    pieces = [[code.get(address + 4 * i, "") for i in range(length)] for address, length, _ in counts]
    inside = np.array([address in code for address, _, _ in counts], bool)
    return Trace(pieces, order[inside[order]])


def _code(program: Path, functions: str) -> dict[int, str]:
    """The instructions of functions by their addresses."""
    # Labels of hand-written assembly are symbols too, but none of functions.
    symbols = (line.split() for line in run(["llvm-readelf-22", "-sW", program]).splitlines())
    spans = [
        (int(words[1], 16), int(words[1], 16) + int(words[2], 0))
        for words in symbols
        if len(words) == 8 and words[3] == "FUNC" and re.fullmatch(functions, words[7])
    ]
    if not spans:
        return {}
    begin, end = min(begin for begin, _ in spans), max(end for _, end in spans)
    command = ["llvm-objdump-22", "-d", "--no-show-raw-insn", "--mattr=+all"]
    command += [f"--start-address={begin}", f"--stop-address={end}", str(program)]
    result: dict[int, str] = {}
    for match in map(_INSTRUCTION.match, run(command).splitlines()):
        if match and any(begin <= int(match[1], 16) < end for begin, end in spans):
            result[int(match[1], 16)] = match[2].split("//")[0].split(" <")[0].strip().replace("\t", " ")
    return result

# SPDX-License-Identifier: Apache-2.0
"""A process in which calls can be made to fail (by ``inject.c``): it does what is asked in forks."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

from fuzz import cold_start
from lumen_mlir.errors import LumenError
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.hf import HFFolder
from lumen_mlir.quantize.quantization import Choices, quantize_file

# The kinds of calls that can be made to fail.
CALLS = (
    "write", "read", "open", "mmap", "malloc", "fallocate", "ftruncate", "rename", "unlink", "mkdir",
)  # fmt: skip


def start(models: cold_start.Models, folder: Path, which: str) -> str:
    """A start with the cache folder ``cache``; some logits."""
    return str(cold_start.start(models, which, folder / "cache"))


def write(source: GGUFFile | HFFolder, folder: Path, choices: Choices) -> str:
    """A file that is written; its size, and whether it can be read."""
    quantize_file(source, folder / "out.gguf", choices, threads=1)
    return f"{GGUFFile.open(folder / 'out.gguf').fingerprint() != ''} {(folder / 'out.gguf').stat().st_size}"


SCENARIOS = {
    "start": lambda models, folder: start(models, folder, "file"),
    "start folder": lambda models, folder: start(models, folder, "folder"),
    # Its code is in the cache, and nothing else.
    "pack": lambda models, folder: start(models, folder, "file"),
    "quantize": lambda models, folder: write(GGUFFile.open(models.file), folder, Choices("q4_0")),
    "convert": lambda models, folder: write(HFFolder.open(models.folder), folder, Choices("f16")),
}


def run(library: ctypes.CDLL, models: cold_start.Models, asked: dict) -> dict:
    """One scenario with one fault, and once more without: how they ended."""
    scenario = SCENARIOS[asked["scenario"]]

    def disturbed(folder: Path) -> str:
        library.lumen_inject(asked["call"].encode(), asked["n"], asked["error"])
        try:
            answer = {"result": scenario(models, folder)}
        except (LumenError, MemoryError) as error:
            answer = {"refused": str(error) or type(error).__name__}
        finally:
            failed = library.lumen_injected()
        calls = {call: library.lumen_calls(call.encode()) for call in CALLS}
        return json.dumps({**answer, "failed": bool(failed), "calls": calls})

    with tempfile.TemporaryDirectory(prefix="lumen-fault-") as name:
        folder = Path(name)
        if asked["scenario"] == "pack":
            shutil.copytree(models.file.parent / "expected/objects", folder / "cache/objects")
        status, text = cold_start.in_a_child(disturbed, folder)
        left = [path.name for path in folder.rglob("*.tmp")]
        again = None
        if asked["n"]:
            again = cold_start.in_a_child(scenario, models, folder)
    return {"status": status, "text": text, "left": left, "again": again}


def main() -> None:
    """Answers lines of JSON on stdin by lines on stdout, until stdin ends."""
    logging.getLogger("lumen_mlir").setLevel(logging.CRITICAL)
    library = ctypes.CDLL(None)
    library.lumen_inject.argtypes = [ctypes.c_char_p, ctypes.c_long, ctypes.c_int]
    library.lumen_calls.argtypes, library.lumen_calls.restype = [ctypes.c_char_p], ctypes.c_long
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    models = cold_start.prepare(Path(sys.argv[1]))
    print(json.dumps({"ready": models.tokens}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps({**run(library, models, asked), "id": asked["id"]}), file=answers, flush=True)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The engines that take turns: workers that keep a model open, and ``llama-bench`` binaries."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

from rows import Row

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent

# What llama.cpp is built with for a target of Lumen, so that both may use the same instructions.
_BUILD_OPTIONS = {
    "native": "-DGGML_NATIVE=ON",
    "x86-64-v3": "-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON "
    "-DGGML_AVX_VNNI=OFF -DGGML_AVX512=OFF",
}


class Engine(Protocol):
    """``measure`` gives the nanoseconds of one run as ``ns`` (and what else is known of it); None where the
    engine cannot run the row's test.
    """

    name: str
    info: dict[str, Any]

    def open(self, model: Path, rows: list[Row]) -> None: ...

    def measure(self, row: Row) -> dict[str, Any] | None: ...

    def close(self) -> None: ...


def context_of(rows: list[Row]) -> int:
    """Tokens of context that the tests of ``rows`` need."""
    return max(row.test.prompt + row.test.generate * row.test.batch + row.test.depth for row in rows) + 64


class Worker:
    """A process that runs one of the ``*_worker.py``."""

    def __init__(self, name: str, python: str, script: str, options: list[str] = (), env: dict | None = None):
        self.name, self.info = name, {}
        self._command = [python, str(HERE / script)]
        self._options, self._env = list(options), env
        self._process: subprocess.Popen | None = None

    def open(self, model: Path, rows: list[Row]) -> None:
        self.close()
        self._process = subprocess.Popen(
            [*self._command, str(model), str(context_of(rows)), *self._options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=self._env,
        )
        self.info = self._answer()
        self.info.pop("engine", None)

    def measure(self, row: Row) -> dict[str, Any] | None:
        test = row.test
        request = {
            "threads": row.threads,
            "prompt": test.prompt,
            "generate": test.generate,
            "depth": test.depth,
            "batch": test.batch,
        }
        print(json.dumps(request), file=self._process.stdin, flush=True)
        answer = self._answer()
        return None if answer.get("unsupported") else answer

    def close(self) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.terminate()
            self._process.wait()
            self._process = None

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            command = " ".join(map(str, self._process.args))
            raise SystemExit(
                f"{self.name} ended with status {self._process.wait()}; to see why, run: {command}"
            )
        return json.loads(line)


class OpenVino(Worker):
    """OpenVINO fixes the number of threads when it opens a model."""

    def __init__(self, name: str, python: str):
        super().__init__(name, python, "openvino_worker.py")
        self._opened: tuple[Path, list[Row]] | None = None

    def open(self, model: Path, rows: list[Row]) -> None:
        self._opened = model, rows
        self._options = []

    def measure(self, row: Row) -> dict[str, Any] | None:
        if self._options != [str(row.threads)]:
            self._options = [str(row.threads)]
            super().open(*self._opened)
        return super().measure(row)


class LlamaBench:
    """Any ``llama-bench`` binary: llama.cpp's own or a fork's. It opens the model for every run."""

    def __init__(self, name: str, binary: str, options: list[str] = ()):
        path = shutil.which(binary)
        if path is None:
            raise SystemExit(f"{binary}: there is no such program")
        self.name, self.info, self._binary, self._options = name, {}, path, list(options)
        self._model: Path | None = None

    def open(self, model: Path, rows: list[Row]) -> None:
        self._model = model

    def measure(self, row: Row) -> dict[str, Any] | None:
        test = row.test
        if test.batch > 1:
            return None
        command = [self._binary, "-m", str(self._model), "-p", str(test.prompt), "-n", str(test.generate)]
        command += ["-t", str(row.threads), "-r", "1", "-o", "json"]
        command += ["-d", str(test.depth)] if test.depth else []
        done = subprocess.run([*command, *self._options], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
        result = parse_llama_bench(done.stdout, row)
        self.info = {"version": result.pop("version"), "kernels": result.pop("kernels")}
        return result

    def close(self) -> None:
        pass


def parse_llama_bench(text: str, row: Row) -> dict[str, Any]:
    """The result of ``row`` in what ``llama-bench -o json`` prints. ``SystemExit`` where it is not there."""
    try:
        # Forks print a few lines of their own before or behind the list.
        results = json.loads(text[text.index("[") : text.rindex("]") + 1])
        for result in results:
            found = result["n_prompt"], result["n_gen"], result["n_threads"]
            if found == (row.test.prompt, row.test.generate, row.threads):
                break
        else:
            raise SystemExit(f"llama-bench has no result for {row.test.name} on {row.threads} threads")
        nanoseconds = result["avg_ns"]
    except (ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"this is not what llama-bench -o json prints ({error!r}): {text[:200]!r}") from None
    version = f"{result.get('build_commit', '')} ({result.get('build_number', '')})"
    return {"ns": nanoseconds, "version": version, "kernels": result.get("cpu_info", "")}


def llama_cpp_python(target: str) -> str:
    """A Python that has llama-cpp-python built for ``target``; builds it from source where it is missing."""
    ready = ROOT / ".venv-peers" / "bin" / "python"
    if target == "native" and _has(ready, "llama_cpp"):
        return str(ready)
    if target not in _BUILD_OPTIONS:
        raise SystemExit(f"there are no build options for llama.cpp on {target}; give --peer-python")
    folder = ROOT / "build" / "benchmarks" / f"llama.cpp-{target}"
    python = folder / "bin" / "python"
    if not _has(python, "llama_cpp"):
        print(f"building llama-cpp-python for {target} in {folder} (10 to 20 minutes)", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = ["env", f"CMAKE_ARGS={_BUILD_OPTIONS[target]}", str(python), "-m", "pip", "install", "-q"]
        # A wheel that pip has built before may be one for another target.
        command += ["--no-binary", "llama-cpp-python", "--no-cache-dir", "llama-cpp-python"]
        subprocess.run(command, check=True)
    return str(python)


def _has(python: Path, module: str) -> bool:
    if not python.exists():
        return False
    return subprocess.run([str(python), "-c", f"import {module}"], capture_output=True).returncode == 0

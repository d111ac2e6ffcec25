# SPDX-License-Identifier: Apache-2.0
"""What an installed wheel must be able to do. Runs with the Python of the installation, in any folder.

``smoke.py [START END]`` prints a line for each check and ends with 1 where one failed. START and END are when
the installation began and ended, in seconds of the clock: the first line then tells how long all of it took.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lumen_mlir

BIN = Path(sys.executable).parent
MODULE = """
func.func @twice(%x: tensor<2x4xf32>) -> tensor<2x4xf32> {
  %y = lumen.add %x, %x : tensor<2x4xf32>
  return %y : tensor<2x4xf32>
}
"""
TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}"


def run(*command: object, stdin: str = "", code: int = 0) -> str:
    """What a program of the wheel prints; anything but this exit code is a failure."""
    words = [str(BIN / str(command[0])), *map(str, command[1:])]
    # Emulated programs are slow.
    done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=900)
    output = done.stdout + done.stderr
    assert done.returncode == code, f"{' '.join(words)} ended with {done.returncode}: {output}"
    assert "Traceback" not in output, output
    return output if code else done.stdout


def first_token(start: float, installed: float) -> str:
    """Korean text by the embedded model, from nothing."""
    command = [str(BIN / "lumen"), "generate", "-p", "이 영화", "-n", "24", "--temp", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        first = process.stdout.read(1)
        seconds = time.time() - start
        text = (first + process.stdout.read()).decode()
    assert process.returncode == 0
    assert sum("가" <= letter <= "힣" for letter in text) > 5, text
    installation = f"{installed - start:.1f} s to install, " if installed > start else ""
    return f"{installation}{seconds:.1f} s from the start to the first token: {text.strip()}"


def no_llvm_outside() -> str:
    """Neither LLVM nor a compiler is on this system, so nothing of them can have been used."""
    import shutil

    from lumen_mlir import _mlir
    from lumen_mlir.compiler import targets

    for program in ("cc", "gcc", "g++", "clang", "llc", "mlir-opt"):
        assert shutil.which(program) is None, f"{program} is on the path"
    with open("/proc/self/maps") as maps:
        libraries = {line.split()[-1] for line in maps if ".so" in line}
    assert not [name for name in libraries if "libMLIR" in name or "libLLVM" in name or "libstdc++" in name]
    size = Path(_mlir.__file__).stat().st_size / 1e6
    return f"{size:.0f} MB of extension, Python {sys.version.split()[0]}, target {targets.native().name}"


def chat(folder: Path) -> str:
    """A scripted model with a template answers what it must."""
    from lumen_mlir.testing.scripted import write_scripted

    path = folder / "chat.gguf"
    write_scripted(path, ["hi", "there", "</s>"], control=["</s>"], eos="</s>", template=TEMPLATE)
    answer = run("lumen", "chat", path, "-p", "hi").strip()
    assert answer == "there", answer
    return answer


def opt(folder: Path) -> str:
    """``lumen-opt`` reads from a pipe and from a file, and its errors are diagnostics."""
    printed = run("lumen-opt", "--canonicalize", stdin=MODULE)
    assert "lumen.add" in printed, printed
    file = folder / "module.mlir"
    file.write_text(MODULE)
    assert run("lumen-opt", file, "--canonicalize") == printed
    wrong = run("lumen-opt", stdin=MODULE.replace("lumen.add", "lumen.no_such_op"), code=1)
    assert "error:" in wrong, wrong
    assert "Unknown command line argument" in run("lumen-opt", "--no-such-option", code=1)
    return "diagnostics and results"


def own_module() -> str:
    """A module of the user's, compiled and run."""
    import numpy as np

    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    engine = lumen_mlir.compile(MODULE)
    np.testing.assert_array_equal(engine.invoke("twice", x), 2 * x)
    return "on this machine"


def stages(folder: Path) -> str:
    """What the compiler makes of the embedded model: operations, and code for all architectures."""
    printed = run("lumen", "compile", "--emit", "lumen")
    assert "lumen.linear" in printed, printed[:500]
    targets = {"armv8-a": "fmla", "x86-64-v3": "vfmadd", "wasm32-simd128": "i32x4.dot_i16x8_s"}
    for target, instruction in targets.items():
        listing = run("lumen", "compile", "--emit", "asm", "--target", target)
        assert instruction in listing, listing[:500]
    here = "armv8-a" if platform.machine() == "aarch64" else "x86-64-v2"
    file = folder / "model.o"
    run("lumen", "compile", "--emit", "obj", "--target", here, "-o", file)
    assert file.read_bytes()[:4] == b"\x7fELF"
    return f"code for {', '.join(targets)}; {file.stat().st_size / 1e3:.0f} kB of object code for {here}"


def description() -> str:
    """The embedded model's file, and the formats."""
    from lumen_mlir.data import embedded_model_path

    table = run("lumen", "inspect", embedded_model_path(), "--tensors")
    assert "q8_0" in table.lower(), table
    assert "q4_0" in run("lumen", "formats").lower()
    return f"{table.count(chr(10))} lines about the embedded model"


def quantize(folder: Path) -> str:
    """The embedded model in another format, its description, and its text."""
    from lumen_mlir.data import embedded_model_path

    path = folder / "q4.gguf"
    run("lumen", "quantize", embedded_model_path(), path, "--format", "q4_k_m", "--requantize")
    assert "q4_k" in run("lumen", "inspect", path, "--tensors").lower()
    text = run("lumen", "generate", path, "-p", "배우들의", "-n", "8", "--temp", "0")
    assert any("가" <= letter <= "힣" for letter in text), text
    return f"{path.stat().st_size / 1e6:.1f} MB"


def python_api() -> str:
    """``LLM`` in this process."""
    from lumen_mlir.data import embedded_model_path

    llm = lumen_mlir.LLM(embedded_model_path(), threads=2)
    text = "".join(llm.generate("오랜만에", max_tokens=8, temperature=0))
    assert any("가" <= letter <= "힣" for letter in text), text
    return text.strip()


def errors() -> str:
    """A failure is one line."""
    said = run("lumen", "generate", "no-such-file.gguf", "-p", "x", code=1)
    assert said.startswith("lumen: error: ") and said.count("\n") == 1, said
    return said.strip()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["LUMEN_CACHE_DIR"] = str(folder / "cache")
        start, installed = map(float, sys.argv[1:3]) if len(sys.argv) > 2 else [time.time()] * 2
        checks = {
            "first token": lambda: first_token(start, installed),
            "system": no_llvm_outside,
            "chat": lambda: chat(folder),
            "lumen-opt": lambda: opt(folder),
            "files": description,
            "own module": own_module,
            "compile": lambda: stages(folder),
            "quantize": lambda: quantize(folder),
            "Python": python_api,
            "errors": errors,
        }
        failed = 0
        for title, check in checks.items():
            try:
                print(f"  {title}: {check()}", flush=True)
            except Exception as error:
                failed += 1
                print(f"  {title}: FAILED: {type(error).__name__}: {error}", flush=True)
        sys.exit(failed != 0)


if __name__ == "__main__":
    main()

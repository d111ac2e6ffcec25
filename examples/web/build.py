# SPDX-License-Identifier: Apache-2.0
"""Makes a folder for a web server: the page of this folder, and a model that runs in it.

python examples/web/build.py DIR [--model MODEL] [--target wasm32-relaxed-simd]

Takes clang 22, and Debian's packages lld-22, wasi-libc, libc++-22-dev-wasm32, libc++abi-22-dev-wasm32 and
libclang-rt-22-dev-wasm32.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PAGE = ("index.html", "page.js", "worker.js", "model.js", "text.js")
# Of the runtime library, what the page takes.
SOURCES = (
    "embed/Failure.cpp",
    *(f"sampling/{name}.cpp" for name in ("Candidates", "Random", "Sampler", "Weights")),
    *(
        f"tokenizer/{name}.cpp"
        for name in (
            *("BytePairs", "Compose", "File", "FileSteps", "Finder"),
            *("Pattern", "SentencePieces", "Steps", "Tokenizer", "Utf8"),
        )
    ),
    "Checksum.cpp",
)
FLAGS = (
    *("--target=wasm32-wasi", "-Wno-deprecated", "-mexec-model=reactor"),
    *("-std=c++17", "-O2", "-msimd128", "-ffp-contract=off", "-Wl,--strip-all"),
)


def compile_text(output: Path) -> None:
    """The tokenizer and the sampler as a module."""
    compiler = shutil.which("clang++-22") or "clang++"
    sources = [str(HERE / "text.cpp"), *(str(ROOT / "runtime" / source) for source in SOURCES)]
    subprocess.run([compiler, *FLAGS, f"-I{ROOT}", *sources, "-o", str(output)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes a folder for a web server.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", help="a GGUF file; by default the model that comes with Lumen")
    parser.add_argument("--target", default="wasm32-simd128")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    bundle = options.folder / "bundle"
    model = [options.model] if options.model else []
    # What it replaces has only a bundle's files.
    (bundle / "text.wasm").unlink(missing_ok=True)
    command = [sys.executable, "-m", "lumen_mlir", "compile", *model]
    try:
        subprocess.run([*command, "--target", options.target, "--bundle", str(bundle)], check=True)
        compile_text(bundle / "text.wasm")
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"build.py: {error}", file=sys.stderr)
        return 1
    for name in PAGE:
        shutil.copy(HERE / name, options.folder / name)
    print(f"to see it: {Path(sys.executable).name} -m http.server -d {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Perplexity of the embedded model in every format, by Lumen and by llama.cpp, on the same files.

    .venv/bin/python benchmarks/perplexity.py [--model F16.gguf] [--formats q4_k_m,q6_k]

Every file is quantized by Lumen from the model given. Prints the table of docs/quantizers.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from lumen_mlir import LLM
from lumen_mlir.cli.table import markdown
from lumen_mlir.data import embedded_model_path
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.quantize.mixtures import MIXTURES
from lumen_mlir.quantize.quantization import quantize_file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FORMATS = (*(name for name in MIXTURES if name != "mxfp4_moe"), "mxfp4", "nvfp4")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", default=str(ROOT / ".venv-peers" / "bin" / "python"))
    parser.add_argument("--model", default=str(embedded_model_path()), help="the file to quantize")
    parser.add_argument("--text", default=str(ROOT / "test" / "data" / "heldout.txt"))
    parser.add_argument("-c", "--context", type=int, default=256)
    parser.add_argument("--formats", default=",".join(FORMATS))
    options = parser.parse_args()
    source = GGUFFile.open(options.model)
    text = Path(options.text).read_text(encoding="utf-8")
    rows = []
    for name in options.formats.split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/{name}.gguf"
            plan = quantize_file(source, path, name)
            llm = LLM(path, context=options.context, pack_cache=False)
            ours = llm.perplexity(text, context=options.context)
            script = str(HERE / "llama_cpp_perplexity.py")
            command = [options.peer_python, script, options.text, str(options.context), path]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            theirs = json.loads(done.stdout)
        if theirs["tokens"] != ours.tokens:
            raise SystemExit(f"{name}: {ours.tokens} tokens scored by Lumen, {theirs['tokens']} by llama.cpp")
        difference = ours.value / theirs["value"] - 1
        bits = 8 * plan.nbytes / plan.weights
        numbers = f"{bits:.2f}", f"{ours.value:.2f}", f"{theirs['value']:.2f}", f"{ours.error:.1f}"
        rows.append((name, *numbers, f"{100 * difference:+.2f} %"))
        print(" ".join(rows[-1]), file=sys.stderr, flush=True)
    header = ("format", "bits per weight", "Lumen", "llama.cpp", "± (both)", "difference")
    print(markdown(header, rows, right=range(1, 6)))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Lumen's quantizers beside llama.cpp's on the same weights: errors and times.

    .venv/bin/python benchmarks/quantizers.py --peer-python .venv-peers/bin/python [--model F16.gguf]

llama.cpp's quantizers are called by ``ggml_quantize_chunk`` in the library that llama-cpp-python brings.
Times are the CPU time of one thread, which other work on the machine changes little.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lumen_mlir import formats
from lumen_mlir.cli.table import markdown
from lumen_mlir.data import embedded_model_path
from lumen_mlir.formats.quantize import quantize
from lumen_mlir.formats.quantized import QuantFormat
from lumen_mlir.gguf import GGUFFile

ROOT = Path(__file__).resolve().parents[1]
FORMATS = (
    "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k", "iq4_nl", "iq4_xs",
    "mxfp4", "nvfp4", "tq1_0", "tq2_0", "q1_0", "q2_0",
)  # fmt: skip
ROWS, COLUMNS = 512, 1024

Quantizer = Callable[[QuantFormat, np.ndarray, "np.ndarray | None"], np.ndarray]


def ggml(python: str) -> Quantizer:
    """ggml's quantizers, from the library of that Python's llama-cpp-python."""
    code = "import llama_cpp, pathlib; print(pathlib.Path(llama_cpp.__file__).parent / 'lib')"
    folder = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    library = ctypes.CDLL(f"{folder}/libggml-base.so")
    call, pointer = library.ggml_quantize_chunk, ctypes.c_void_p
    call.restype, call.argtypes = (
        ctypes.c_size_t,
        [ctypes.c_int, pointer, pointer, *[ctypes.c_int64] * 3, pointer],
    )

    def run(fmt: QuantFormat, x: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
        rows, columns = x.shape
        raw = np.zeros((rows, fmt.row_bytes(columns)), np.uint8)
        weights = None if importance is None else importance.ctypes.data
        call(fmt.ggml_type, x.ctypes.data, raw.ctypes.data, 0, rows, columns, weights)
        return raw

    return run


def data(model: str | None) -> dict[str, np.ndarray]:
    """Weights float32 [rows, COLUMNS] by the name of what they are drawn from."""
    rng = np.random.default_rng(0)
    shape = ROWS, COLUMNS
    return {
        "Gaussian": rng.standard_normal(shape, dtype=np.float32),
        "Laplace": rng.laplace(size=shape).astype(np.float32),
        "Student t(4)": rng.standard_t(4, size=shape).astype(np.float32),
        "model": model_weights(GGUFFile.open(model or embedded_model_path())),
    }


def model_weights(file: GGUFFile) -> np.ndarray:
    """A part of every matrix of the layers, each with root mean square 1, so that all count alike."""
    parts = []
    for info in file.tensors.values():
        if len(info.shape) == 2 and info.name.startswith("blk.") and info.shape[1] % 256 == 0:
            raw = file.little_endian(info.name).reshape(info.shape[0], -1)
            weights = formats.get(info.type).dequantize(raw[:64])
            parts.append(weights.reshape(-1, 256) / np.sqrt(np.mean(weights**2)))
    weights = np.concatenate(parts)
    return weights[: len(weights) // 4 * 4].reshape(-1, COLUMNS)


def rmse(fmt: QuantFormat, x: np.ndarray, raw: np.ndarray, weights: np.ndarray | float = 1) -> float:
    return float(np.sqrt(np.mean(weights * (fmt.dequantize(raw) - x) ** 2)))


def rate(quantizer: Quantizer, fmt: QuantFormat, x: np.ndarray) -> float:
    """Millions of weights per second of CPU time, the best of three runs."""
    times = []
    for _ in range(3):
        begin = time.thread_time()
        quantizer(fmt, x, None)
        times.append(time.thread_time() - begin)
    return x.size / min(times) / 1e6


def errors(theirs: Quantizer, weights: dict[str, np.ndarray]) -> str:
    header = ["format", "Lumen", "llama.cpp", *weights, "Lumen, M/s", "llama.cpp, M/s"]
    rows = []
    for name in FORMATS:
        fmt, x = formats.get(name), weights["Gaussian"]
        pairs = [
            (rmse(fmt, w, quantize(fmt, w)), rmse(fmt, w, theirs(fmt, w, None))) for w in weights.values()
        ]
        ratios = [f"{a / b:.3f}" if b > 1e-7 else "-" for a, b in pairs]
        rates = [rate(quantizer, fmt, x) for quantizer in (quantize, theirs)]
        rows.append([name, *(f"{e:.5f}" for e in pairs[0]), *ratios, *(f"{one:.0f}" for one in rates)])
    return markdown(header, rows, right=range(1, len(header)))


def own_weights(name: str, x: np.ndarray) -> tuple[str, np.ndarray] | None:
    """How llama.cpp weights squared errors without an importance matrix, where it does."""
    if name in ("q3_k", "q6_k", "iq4_nl", "iq4_xs"):
        return "x²", x * x
    if name in ("q4_k", "q5_k"):
        groups = x.reshape(-1, 32)
        spread = np.sqrt(np.mean(groups**2, axis=1, keepdims=True))
        return "abs(x) + rms(group)", (spread + np.abs(groups)).reshape(x.shape)
    return ("abs(x)", np.abs(x)) if name == "q2_k" else None


def weighted(theirs: Quantizer, weights: dict[str, np.ndarray]) -> str:
    header = ["format", "weights", *(f"{name}{suffix}" for name in weights for suffix in ("", " (told)"))]
    rows = []
    for name in FORMATS:
        fmt, row = formats.get(name), []
        for x in weights.values():
            if (own := own_weights(name, x)) is None:
                break
            label, importance = own
            peer = rmse(fmt, x, theirs(fmt, x, None), importance)
            row += [
                f"{rmse(fmt, x, quantize(fmt, x, given), importance) / peer:.3f}"
                for given in (None, importance)
            ]
        else:
            rows.append([name, label, *row])
    return markdown(header, rows, right=range(2, len(header)))


def with_importance(theirs: Quantizer, weights: dict[str, np.ndarray]) -> str:
    importance = np.random.default_rng(1).lognormal(0, 1.5, COLUMNS).astype(np.float32)
    rows = []
    for name in FORMATS:
        fmt, ratios = formats.get(name), []
        for x in weights.values():
            # Columns of the model's weights have been reordered, which changes nothing here.
            ours, peer = (rmse(fmt, x, q(fmt, x, importance), importance) for q in (quantize, theirs))
            ratios.append(f"{ours / peer:.3f}" if peer > 1e-7 else "-")
        rows.append([name, *ratios])
    return markdown(["format", *weights], rows, right=range(1, 1 + len(weights)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer-python", default=str(ROOT / ".venv-peers" / "bin" / "python"))
    parser.add_argument("--model", help="an F16 file for the real weights, instead of the embedded Q8_0 one")
    options = parser.parse_args()
    theirs, weights = ggml(options.peer_python), data(options.model)
    print(errors(theirs, weights))
    print("\n" + weighted(theirs, weights))
    print("\n" + with_importance(theirs, weights))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Files that Lumen quantizes: llama.cpp reads them all, mixes types alike, and finds the same perplexity."""

from __future__ import annotations

import ctypes
from pathlib import Path

import gguf
import llama_cpp
import numpy as np
import peers
import pytest

from lumen_mlir import LLM, formats
from lumen_mlir.data import embedded_model_path
from lumen_mlir.formats.quantize import quantize
from lumen_mlir.gguf import GGUFFile
from lumen_mlir.models import Model
from lumen_mlir.quantize import mixtures
from lumen_mlir.quantize.quantization import Choices, plan, quantize_file
from lumen_mlir.reference import ReferenceSession
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing.synthetic import Shape, write_synthetic

HELDOUT = Path(__file__).parents[1] / "data" / "heldout.txt"
SHAPES = {
    "narrow": Shape(192, 9, 8, 2, 24, 320, 301, 128, False),
    "wide": Shape(256, 17, 8, 2, 32, 512, 301, 128, False),
    "tied": Shape(256, 4, 4, 4, 64, 768, 301, 128, True),
}
TYPES = dict.fromkeys(mixtures.base(name) for name in (*mixtures.MIXTURES, "nvfp4"))


@pytest.fixture(scope="module", params=SHAPES)
def synthetic(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / f"{request.param}.gguf"
    write_synthetic(path, SHAPES[request.param], "f16")
    return path


@pytest.fixture(scope="module")
def random_model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("models") / "f32.gguf"
    peers.write_gguf(path, peers.tiny_qwen2("wide", 5), "f32")
    return path


@pytest.mark.parametrize("name", mixtures.MIXTURES)
def test_mixtures_are_llama_cpps(synthetic, name, tmp_path):
    try:
        peers.quantize(synthetic, tmp_path / "theirs.gguf", mixtures.file_type(name))
    except RuntimeError:
        pytest.skip(f"llama.cpp has no type to fall back to from {name}")
    theirs = GGUFFile.open(tmp_path / "theirs.gguf")
    ours = plan(GGUFFile.open(synthetic), Choices(name))
    assert {item.info.name: item.type for item in ours.items} == {
        info.name: info.type for info in theirs.tensors.values()
    }
    assert theirs.metadata.integer("general.file_type") == mixtures.file_type(name)


@pytest.mark.parametrize("name", TYPES)
def test_llama_cpp_runs_every_format(random_model, name, tmp_path):
    path = tmp_path / "m.gguf"
    quantize_file(GGUFFile.open(random_model), path, Choices(name, pure=True))
    ids = np.random.default_rng(1).integers(0, peers.SHAPES["wide"][5], 40)
    exact = ReferenceSession(Model.open(path), context=64, kv_type="f32").step(ids, 0)
    llama = peers.LlamaCpp(path, 64, kv_type="f32")
    distance = peers.distance(llama.logits(ids), exact)
    print(f"{name}: llama.cpp's logits are {distance:.4f} from those of exact activations")
    # Its activations have 8 bits, for some formats with a scale for 256 of them.
    assert distance < 0.05
    assert len(llama.greedy([1, 2, 3], 5)[0]) == 5


@pytest.mark.parametrize("name", ["q8_0", "q4_1", "q2_k", "q4_k", "q6_k", "iq4_nl", "mxfp4"])
def test_errors_are_no_larger(name):
    """Beside the quantizers that ``llama-quantize`` runs; benchmarks/quantizers.py compares all of them."""
    library = ctypes.CDLL(str(Path(llama_cpp.__file__).parent / "lib" / "libggml-base.so"))
    call, pointer = library.ggml_quantize_chunk, ctypes.c_void_p
    sizes = [ctypes.c_int64] * 3
    call.argtypes, call.restype = [ctypes.c_int, pointer, pointer, *sizes, pointer], ctypes.c_size_t
    fmt, rng = formats.get(name), np.random.default_rng(2)
    for x in (rng.standard_normal((64, 512)), rng.laplace(size=(64, 512)), rng.standard_t(4, (64, 512))):
        x = x.astype(np.float32)
        raw = np.zeros((64, fmt.row_bytes(512)), np.uint8)
        call(fmt.ggml_type, x.ctypes.data, raw.ctypes.data, 0, *x.shape, None)
        theirs = gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(fmt.ggml_type))
        ours = fmt.dequantize(quantize(fmt, x))
        assert np.linalg.norm(ours - x) <= 1.02 * np.linalg.norm(theirs - x)


@pytest.mark.parametrize("name", ["q8_0", "q4_k_m", "q2_k", "iq4_xs"])
def test_perplexity(name, tmp_path, tmp_path_factory):
    path, text = tmp_path / "m.gguf", HELDOUT.read_text(encoding="utf-8")
    quantize_file(GGUFFile.open(embedded_model_path()), path, name)
    cache = Cache(tmp_path_factory.getbasetemp() / "cache")
    ours = LLM(path, context=256, cache=cache).perplexity(text, context=256)
    llama = peers.LlamaCpp(path, 256)
    value, error, tokens = llama.perplexity(llama.tokenize(text), 256)
    print(f"{name}: {ours} here, {value:.4f} ± {error:.4f} by llama.cpp")
    assert tokens == ours.tokens
    assert ours.value == pytest.approx(value, rel=5e-3)

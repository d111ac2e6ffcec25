# SPDX-License-Identifier: Apache-2.0
"""The engine: modules compiled through the stages and run by teams of threads, against NumPy."""

import numpy as np
import pytest
from emulated import marks_of

import lumen_mlir
from lumen_mlir import ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.errors import LumenError, MLIRError
from lumen_mlir.run.engine import aligned_empty, allocate
from lumen_mlir.storage.cache import Cache

# In the form "loops": kernels are loops over buffers. @scale has two phases: each row's largest value, then
# all values divided by the largest of all rows, which other workers have found.
SCALE = """
module attributes {lumen.max_tokens = 40 : i64} {
func.func private @scale(%x: memref<?x64xf32>, %peaks: memref<?x1xf32>, %out: memref<?x64xf32>)
    attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %c64 = arith.constant 64 : index
  %zero = arith.constant 0.0 : f32
  %tokens = memref.dim %x, %c0 : memref<?x64xf32>
  scf.forall (%t) in (%tokens) {
    %peak = scf.for %i = %c0 to %c64 step %c1 iter_args(%most = %zero) -> (f32) {
      %value = memref.load %x[%t, %i] : memref<?x64xf32>
      %size = math.absf %value : f32
      %next = arith.maximumf %most, %size : f32
      scf.yield %next : f32
    }
    memref.store %peak, %peaks[%t, %c0] : memref<?x1xf32>
  }
  scf.forall (%t, %part) in (%tokens, 4) {
    %peak = scf.for %i = %c0 to %tokens step %c1 iter_args(%most = %zero) -> (f32) {
      %other = memref.load %peaks[%i, %c0] : memref<?x1xf32>
      %next = arith.maximumf %most, %other : f32
      scf.yield %next : f32
    }
    %c16 = arith.constant 16 : index
    %begin = arith.muli %part, %c16 : index
    %values = vector.load %x[%t, %begin] : memref<?x64xf32>, vector<16xf32>
    %divisor = vector.broadcast %peak : f32 to vector<16xf32>
    %scaled = arith.divf %values, %divisor : vector<16xf32>
    vector.store %scaled, %out[%t, %begin] : memref<?x64xf32>, vector<16xf32>
  }
  return
}
func.func private @exp(%x: memref<?x64xf32>, %factor: f32, %out: memref<?x64xf32>)
    attributes {lumen.kernel = "rows"} {
  %c0 = arith.constant 0 : index
  %c16 = arith.constant 16 : index
  %c64 = arith.constant 64 : index
  %tokens = memref.dim %x, %c0 : memref<?x64xf32>
  %factors = vector.broadcast %factor : f32 to vector<16xf32>
  scf.forall (%t) in (%tokens) {
    scf.for %i = %c0 to %c64 step %c16 {
      %values = vector.load %x[%t, %i] : memref<?x64xf32>, vector<16xf32>
      %scaled = arith.mulf %values, %factors : vector<16xf32>
      %e = math.exp %scaled : vector<16xf32>
      vector.store %e, %out[%t, %i] : memref<?x64xf32>, vector<16xf32>
    }
  }
  return
}
func.func @f(%x: memref<?x64xf32> {lumen.tokens}, %factor: f32,
    %out: memref<?x64xf32> {lumen.out, lumen.result = 0 : i64, lumen.rows = 0 : i64}) {
  %c0 = arith.constant 0 : index
  %rows = memref.dim %x, %c0 : memref<?x64xf32>
  %peaks = memref.alloc(%rows) : memref<?x1xf32>
  %scaled = memref.alloc(%rows) : memref<?x64xf32>
  call @scale(%x, %peaks, %scaled) : (memref<?x64xf32>, memref<?x1xf32>, memref<?x64xf32>) -> ()
  call @exp(%scaled, %factor, %out) : (memref<?x64xf32>, f32, memref<?x64xf32>) -> ()
  return
}
}
"""


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    return lumen_mlir.compile(SCALE, form="loops", threads=2, cache=Cache(tmp_path_factory.mktemp("cache")))


def expected(x, factor):
    return np.exp(x / np.abs(x).max() * np.float32(factor))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads(engine, threads):
    engine.set_threads(threads)
    assert engine.threads == threads
    generator = np.random.default_rng(0)
    for rows in (1, 2, 7, 40):
        x = generator.standard_normal((rows, 64), np.float32)
        np.testing.assert_allclose(engine.invoke("f", x, 3.5), expected(x, 3.5), rtol=1e-6)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=marks_of(name)) for name in targets.names() if name != "native"]
)
def test_targets_agree(engine, name):
    target = targets.get(name)
    other = lumen_mlir.compile(SCALE, target, form="loops", threads=1, use_cache=False)
    x = np.linspace(-20, 20, 5 * 64, dtype=np.float32).reshape(5, 64)
    np.testing.assert_allclose(other.invoke("f", x, 20.0), engine.invoke("f", x, 20.0), rtol=1e-6)


def test_another_architecture_is_refused():
    foreign = next(target for target in targets.TARGETS if target.is_foreign())
    with pytest.raises(LumenError, match=r"this machine \(\w+\) cannot run code for target"):
        lumen_mlir.compile(SCALE, foreign, form="linalg", use_cache=False)


def test_no_rows(engine):
    assert engine.invoke("f", np.zeros((0, 64), np.float32), 1.0).shape == (0, 64)


def test_calls_can_be_repeated(engine):
    x = np.ones((3, 64), np.float32)
    out = np.empty((3, 64), np.float32)
    call = engine.bind("f", x, 1.0, outs=[out])
    call.run()
    assert call.results[0] is out
    np.testing.assert_allclose(out, expected(x, 1), rtol=1e-6)
    x[1] = 4
    call.set(1, 2.0)
    call.run()
    np.testing.assert_allclose(out, expected(x, 2), rtol=1e-6)


ROWS = np.zeros((3, 64), np.float32)


@pytest.mark.parametrize(
    "inputs, outs, message",
    [
        ([ROWS], None, r"f takes 2 arguments \(f32\[\?, 64\], f32\), not 1"),
        ([ROWS, 1.0], [None, None], "f has 1 out arguments, not 2"),
        ([[1.0], 1.0], None, r"f: argument 0: expected an array f32\[\?, 64\], got list"),
        ([ROWS.astype(np.float64), 1.0], None, r"expected f32\[\?, 64\], got float64\[3, 64\]"),
        ([ROWS[:, :63], 1.0], None, r"f: argument 0: expected f32\[\?, 64\], got float32\[3, 63\]"),
        ([ROWS[0], 1.0], None, r"expected f32\[\?, 64\], got float32\[64\]"),
        ([ROWS[::2], 1.0], None, r"the array float32\[2, 64\] must be contiguous in row-major order"),
        ([ROWS, "1"], None, r"f: argument 1: expected a number \(f32\), got str"),
        ([np.zeros((41, 64), np.float32), 1.0], None, "41 rows, but the module is compiled for at most 40"),
        ([ROWS, 1.0], [np.zeros((2, 64), np.float32)], "argument 2: 2 rows where the result has 3"),
        ([ROWS, 1.0], [ROWS], "argument 2 shares memory with argument 0, and one is written"),
        ([ROWS, 1.0], [np.broadcast_to(np.float32(0), (3, 64))], "must be contiguous"),
    ],
)
def test_bad_arguments(engine, inputs, outs, message):
    with pytest.raises(LumenError, match=message):
        engine.invoke("f", *inputs, outs=outs)


def test_more_bad_arguments(engine):
    frozen = np.zeros((3, 64), np.float32)
    frozen.flags.writeable = False
    with pytest.raises(LumenError, match="is written and must not be read-only"):
        engine.invoke("f", ROWS, 1.0, outs=[frozen])
    odd = np.zeros(3 * 64 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(3, 64)
    with pytest.raises(LumenError, match="must begin at a multiple of 4 bytes"):
        engine.invoke("f", odd, 1.0)
    with pytest.raises(LumenError, match="there is no function 'g'; there are f"):
        engine.invoke("g")
    with pytest.raises(LumenError, match="a team has 1 to 1024 threads, not 0"):
        engine.set_threads(0)


# In the form "lumen": a product, and a cache of its own that is updated in place.
MODEL = """
module attributes {lumen.max_tokens = 16 : i64} {
func.func @linear(%x: tensor<?x64xf32>, %w: tensor<40x64xf32>, %b: tensor<40xf32>) -> tensor<?x40xf32> {
  %y = lumen.linear %x, %w bias(%b : tensor<40xf32>)
    : tensor<?x64xf32>, tensor<40x64xf32> -> tensor<?x40xf32>
  return %y : tensor<?x40xf32>
}
func.func @norm_some(%x: tensor<?x32xf32>, %w: tensor<32xf32> {lumen.name = "norm"}, %rows: tensor<?xi32>)
    -> tensor<?x32xf32> {
  %some = lumen.select_rows %x, %rows : tensor<?x32xf32>, tensor<?xi32> -> tensor<?x32xf32>
  %y = lumen.rms_norm %some, %w {epsilon = 1.0e-06 : f32} : tensor<?x32xf32>, tensor<32xf32>
  return %y : tensor<?x32xf32>
}
func.func @append(%k: tensor<1x1x?x32x16xf32>, %x: tensor<?x32xf32>, %layer: index, %places: tensor<?xi32>)
    -> tensor<1x1x?x32x16xf32> {
  %k2 = lumen.kv_append %k, %x, %layer, %places {kind = "key"}
    : tensor<1x1x?x32x16xf32>, tensor<?x32xf32>, tensor<?xi32>
  return %k2 : tensor<1x1x?x32x16xf32>
}
}
"""


@pytest.fixture(scope="module")
def model():
    return lumen_mlir.compile(MODEL, threads=2, use_cache=False)


def test_rows_of_results(model):
    signature = model.signatures["norm_some"]
    assert str(signature) == "norm_some(f32[?, 32], f32[32], i32[?], f32[?, 32])"
    assert signature.describe(1) == "norm_some: argument 1 (norm)"
    generator = np.random.default_rng(1)
    x, w = generator.standard_normal((9, 32), np.float32), generator.standard_normal(32, np.float32)
    rows = np.array([8, 0, 4, 5, 0], np.int32)
    result = model.invoke("norm_some", x, w, rows)
    x = x[rows]
    want = x / np.sqrt((x.astype(np.float64) ** 2).mean(1, keepdims=True) + 1e-6) * w
    assert result.shape == (5, 32)
    np.testing.assert_allclose(result, want, rtol=1e-5)
    with pytest.raises(LumenError, match="5 rows where the result has 4"):
        model.invoke("norm_some", x, w, rows[:4], outs=[result])
    with pytest.raises(LumenError, match=r"argument 2: expected i32\[\?\], got int64\[5\]"):
        model.invoke("norm_some", x, w, rows.astype(np.int64))


def test_caches_are_updated_in_place(model):
    k = np.zeros((1, 1, 2, 32, 16), np.float32)
    x = np.random.default_rng(2).standard_normal((3, 32), np.float32)
    places = np.arange(15, 18, dtype=np.int32)
    assert model.invoke("append", k, x, 0, places) is k
    np.testing.assert_array_equal(k[0, 0, 0, :, 15], x[0])
    np.testing.assert_array_equal(k[0, 0, 1, :, :2], x[1:].T)
    assert np.count_nonzero(k) == x.size
    with pytest.raises(LumenError, match=r"argument 2: -1 is not in 0\.\."):
        model.invoke("append", k, x, -1, places)
    with pytest.raises(LumenError, match=r"argument 2: expected a whole number \(index\), got float"):
        model.invoke("append", k, x, 1.0, places)


def test_packed_weights_are_aligned(model):
    argument = model.signatures["linear"].arguments[1]
    assert argument.alignment == 64 and argument.element == "i8"
    bytes_ = aligned_empty([argument.shape[0] + 64])
    with pytest.raises(LumenError, match="linear: argument 1: .* must begin at a multiple of 64 bytes"):
        model.bind("linear", np.zeros((1, 64), np.float32), bytes_[1:-63], np.zeros(40, np.float32))


def test_object_cache(cache):
    seen = []
    keywords = {"form": "loops", "threads": 1, "cache": cache}
    first = lumen_mlir.compile(SCALE, **keywords, on_stage=seen.append)
    assert not first.cached and seen == ["vector", "kernels", "obj"]
    second = lumen_mlir.compile(SCALE, **keywords, on_stage=seen.append)
    assert second.cached and len(seen) == 3
    assert second.program == first.program
    assert second.program.kernels == ("scale", "exp")
    x = np.ones((2, 64), np.float32)
    np.testing.assert_array_equal(first.invoke("f", x, 1.0), second.invoke("f", x, 1.0))
    # A module is its text; another target, option or text is another object.
    with ir.Context():
        assert lumen_mlir.compile(ir.Module.parse(str(ir.Module.parse(SCALE))), **keywords).cached is False
    assert not lumen_mlir.compile(SCALE, "generic", **keywords).cached
    assert not lumen_mlir.compile(SCALE, options=CompilerOptions(opt_level=1), **keywords).cached
    kinds = [entry.kind for entry in cache.entries()]
    assert kinds.count("objects") == 4 and kinds.count("kernels") == 6


def test_bad_modules(cache):
    with pytest.raises(MLIRError):
        lumen_mlir.compile("func.func @f(", cache=cache)
    with pytest.raises(LumenError, match="a module can be compiled from lumen, .*vector, not from 'llvm'"):
        lumen_mlir.compile(SCALE, form="llvm", cache=cache)
    with pytest.raises(LumenError, match="unknown target 'z80'"):
        lumen_mlir.compile(SCALE, "z80", cache=cache)
    assert cache.entries() == []


def test_memory():
    memory = allocate(5000)
    assert memory.size == 5000 and memory.ctypes.data % 4096 == 0 and not memory.any()
    assert allocate(0).size == 0
    array = aligned_empty((3, 5), np.float16)
    assert array.shape == (3, 5) and array.ctypes.data % 64 == 0

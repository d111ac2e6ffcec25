# SPDX-License-Identifier: Apache-2.0
"""The upstream-like execution engine."""

import ctypes

import numpy as np
import pytest

from lumen_mlir import ir
from lumen_mlir.execution_engine import ExecutionEngine
from lumen_mlir.passmanager import PassManager

LOWERING = "builtin.module(convert-scf-to-cf,convert-to-llvm,reconcile-unrealized-casts)"


def lower(text):
    module = ir.Module.parse(text)
    PassManager.parse(LOWERING).run(module)
    return module


class MemRef1D(ctypes.Structure):
    """The descriptor of a one-dimensional memref."""

    _fields_ = [
        ("allocated", ctypes.c_void_p),
        ("aligned", ctypes.c_void_p),
        ("offset", ctypes.c_int64),
        ("sizes", ctypes.c_int64 * 1),
        ("strides", ctypes.c_int64 * 1),
    ]

    @classmethod
    def of(cls, array):
        return cls(array.ctypes.data, array.ctypes.data, 0, (array.size,), (1,))


@pytest.fixture
def context():
    with ir.Context() as context:
        yield context


@pytest.mark.parametrize("opt_level", [0, 2])
def test_scalars(context, opt_level):
    module = lower("""
      func.func @add(%a: f32, %b: f32) -> f32 attributes {llvm.emit_c_interface} {
        %0 = arith.addf %a, %b : f32
        return %0 : f32
      }""")
    engine = ExecutionEngine(module, opt_level=opt_level)
    a, b, result = ctypes.c_float(1.5), ctypes.c_float(2.0), ctypes.c_float()
    engine.invoke("add", ctypes.pointer(a), ctypes.pointer(b), ctypes.pointer(result))
    assert result.value == 3.5


def test_memrefs(context):
    module = lower("""
      func.func @scale(%x: memref<?xf32>, %by: f32) attributes {llvm.emit_c_interface} {
        %c0 = arith.constant 0 : index
        %c1 = arith.constant 1 : index
        %n = memref.dim %x, %c0 : memref<?xf32>
        scf.for %i = %c0 to %n step %c1 {
          %0 = memref.load %x[%i] : memref<?xf32>
          %1 = arith.mulf %0, %by : f32
          memref.store %1, %x[%i] : memref<?xf32>
        }
        return
      }""")
    engine = ExecutionEngine(module)
    values = np.arange(5, dtype=np.float32)
    descriptor = ctypes.pointer(ctypes.pointer(MemRef1D.of(values)))
    engine.invoke("scale", descriptor, ctypes.pointer(ctypes.c_float(3.0)))
    assert values.tolist() == [0, 3, 6, 9, 12]


def test_missing_function(context):
    engine = ExecutionEngine(lower("func.func @f() { return }"))
    with pytest.raises(ir.MLIRError, match="cannot link"):
        engine.invoke("f")


def test_not_lowered(context):
    with pytest.raises(ir.MLIRError, match="cannot be translated"):
        ExecutionEngine(ir.Module.parse("func.func @f() { return }"))


def test_shared_libraries(context):
    text = """
      func.func private @cblrt_no_such(f64) -> f64
      func.func @f(%x: f64) -> f64 attributes {llvm.emit_c_interface} {
        %0 = func.call @cblrt_no_such(%x) : (f64) -> f64
        return %0 : f64
      }"""
    with pytest.raises(ir.MLIRError, match="cblrt_no_such"):
        ExecutionEngine(lower(text)).raw_lookup("f")
    engine = ExecutionEngine(lower(text.replace("cblrt_no_such", "cbrt")), shared_libs=["libm.so.6"])
    result = ctypes.c_double()
    engine.invoke("f", ctypes.pointer(ctypes.c_double(27.0)), ctypes.pointer(result))
    assert result.value == pytest.approx(3.0)
    with pytest.raises(ir.MLIRError, match="no-such.so"):
        ExecutionEngine(lower("func.func @f() { return }"), shared_libs=["/no-such.so"])


def test_dump_to_object_file(context, tmp_path):
    path = tmp_path / "f.o"
    ExecutionEngine(lower("func.func @f() { return }")).dump_to_object_file(str(path))
    assert path.read_bytes().startswith(b"\x7fELF")


def test_engine_outlives_its_module(context):
    engine = ExecutionEngine(
        lower("""func.func @f() -> i64 attributes {llvm.emit_c_interface} {
          %0 = arith.constant 7 : i64
          return %0 : i64
        }""")
    )
    result = ctypes.c_int64()
    engine.invoke("f", ctypes.pointer(result))
    assert result.value == 7

# SPDX-License-Identifier: Apache-2.0
"""Code generation and loading of objects: kinds, targets, errors, f16 conversions."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from code_cache import libraries_with_llvm

from lumen_mlir import ir
from lumen_mlir._mlir import codegen

# There the extension contains LLVM, with the code generators that Lumen has targets for.
IN_A_WHEEL = "/libLLVM" not in " ".join(libraries_with_llvm(Path("/proc/self/maps").read_text()))
BASELINE = {"triple": "x86_64-unknown-linux-gnu", "cpu": "x86-64", "features": ""}

MODULE = """
llvm.mlir.global external constant @lumen_arena_size_f(123456789012 : i64) : i64
llvm.func @expf(f32) -> f32
llvm.func @twice(%x: i64) -> i64 { %0 = llvm.add %x, %x : i64
  llvm.return %0 : i64 }
llvm.func @e(%x: f32) -> f32 { %0 = llvm.call @expf(%x) : (f32) -> f32
  llvm.return %0 : f32 }
"""


@pytest.fixture
def context():
    with ir.Context() as context:
        yield context


def function(loaded, name, result, *arguments):
    return ctypes.CFUNCTYPE(result, *arguments)(loaded.lookup(name))


def test_kinds(context):
    module = ir.Module.parse(MODULE)
    assert b"define noundef i64 @twice" in codegen.emit(module, "llvm") or b"@twice(i64" in codegen.emit(
        module, "llvm"
    )
    assert b"twice:" in codegen.emit(module, "asm")
    assert codegen.emit(module, "obj").startswith(b"\x7fELF")
    with pytest.raises(ValueError, match="kind is 'llvm', 'asm' or 'obj', not 'exe'"):
        codegen.emit(module, "exe")


@pytest.mark.parametrize("opt_level", [0, 1, 2, 3])
@pytest.mark.parametrize("target", [{}, BASELINE])
def test_load_and_call(context, opt_level, target):
    loaded = codegen.ObjectFile(codegen.emit(ir.Module.parse(MODULE), opt_level=opt_level, **target))
    assert loaded.read_i64("lumen_arena_size_f") == 123456789012
    assert function(loaded, "twice", ctypes.c_int64, ctypes.c_int64)(21) == 42
    assert function(loaded, "e", ctypes.c_float, ctypes.c_float)(1.0) == pytest.approx(np.e)


def test_module_can_be_used_after_code_generation(context):
    module = ir.Module.parse(MODULE)
    before = str(module)
    assert codegen.emit(module) == codegen.emit(module)
    assert str(module) == before


def test_target_decides_instructions(context):
    module = ir.Module.parse("""llvm.func @f(%a: vector<8xf32>, %b: vector<8xf32>) -> vector<8xf32> {
      %0 = llvm.fmul %a, %b : vector<8xf32>
      llvm.return %0 : vector<8xf32> }""")
    assert b"%ymm" not in codegen.emit(module, "asm", **BASELINE)
    assert b"%ymm" in codegen.emit(module, "asm", **{**BASELINE, "features": "+avx2"})
    assert b"%ymm" in codegen.emit(module, "asm", **{**BASELINE, "cpu": "x86-64-v3"})


@pytest.mark.parametrize(
    "options, message",
    [
        ({**BASELINE, "cpu": "i-none"}, "unknown CPU 'i-none' for target x86_64-unknown-linux-gnu"),
        ({**BASELINE, "features": "+none"}, r"unknown feature '\+none'"),
        ({**BASELINE, "features": "avx2"}, "unknown feature 'avx2'"),
        ({"triple": "none"}, "no code generator for target 'none'"),
        ({"opt_level": 4}, "optimization level is 0, 1, 2 or 3, not 4"),
    ],
)
def test_bad_options(context, options, message, capfd):
    with pytest.raises(ir.MLIRError, match=message):
        codegen.emit(ir.Module.parse(MODULE), **options)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "triple, machine",
    [
        ("x86_64-unknown-linux-gnu", 62),
        ("aarch64-unknown-linux-gnu", 183),
        ("riscv64-unknown-linux-gnu", 243),
    ],
)
def test_every_code_generator_is_there(context, triple, machine):
    """Not only this machine's: the field e_machine of the object says which made it."""
    module = ir.Module.parse(MODULE)
    if machine == 243 and IN_A_WHEEL:
        with pytest.raises(ir.MLIRError, match=f"^no code generator for target '{triple}'$"):
            codegen.emit(module, triple=triple)
        return
    code = codegen.emit(module, triple=triple)
    assert code.startswith(b"\x7fELF") and int.from_bytes(code[18:20], "little") == machine


def test_untranslatable_module_has_diagnostics(context):
    module = ir.Module.parse('func.func @f() { return } loc("net.py":4:2)')
    with pytest.raises(ir.MLIRError, match="cannot be translated to LLVM IR") as caught:
        codegen.emit(module)
    assert "func.func" in caught.value.error_diagnostics[0].message


CANNOT_SELECT = """llvm.func @f(%a: vector<16xi32>, %b: vector<64xi8>) -> vector<16xi32> {
  %0 = llvm.call_intrinsic "llvm.x86.avx512.vpdpbusd.512"(%a, %b, %b)
    : (vector<16xi32>, vector<64xi8>, vector<64xi8>) -> vector<16xi32>
  llvm.return %0 : vector<16xi32> }"""
BAD_ASSEMBLY = """llvm.func @f() { llvm.inline_asm has_side_effects "bogus", "" : () -> ()
  llvm.return }"""


@pytest.mark.parametrize("text", [CANNOT_SELECT, BAD_ASSEMBLY])
def test_back_end_errors_are_exceptions(context, text):
    for _ in range(2):
        with pytest.raises(ir.MLIRError, match="code generation failed: .+"):
            codegen.emit(ir.Module.parse(text), **BASELINE)
    # Code generation works on after a crash.
    assert codegen.emit(ir.Module.parse(MODULE))


def test_missing_symbols(context):
    loaded = codegen.ObjectFile(codegen.emit(ir.Module.parse(MODULE)))
    with pytest.raises(ir.MLIRError, match="cannot link 'nothing': .*nothing"):
        loaded.lookup("nothing")
    module = ir.Module.parse("""llvm.func @nowhere()
      llvm.func @f() { llvm.call @nowhere() : () -> ()
        llvm.return }""")
    with pytest.raises(ir.MLIRError, match="cannot link 'f': .*nowhere"):
        codegen.ObjectFile(codegen.emit(module)).lookup("f")


@pytest.mark.parametrize("size", [0, 4, 60, 300, -1])
def test_damaged_object(context, size):
    data = codegen.emit(ir.Module.parse(MODULE))
    with pytest.raises(ir.MLIRError):
        codegen.ObjectFile(data[:size]).lookup("twice")


def test_host(context):
    assert "linux" in codegen.host_triple() and codegen.host_cpu_name()
    features = codegen.host_features()
    assert all(isinstance(value, bool) for value in features.values())
    if codegen.host_triple().startswith("x86_64"):
        assert features["sse2"]


@pytest.mark.skipif(not codegen.host_triple().startswith("x86_64"), reason="x86-64's calling convention")
def test_half_precision_without_hardware(context):
    text = """
      llvm.func @extend(%x: i16) -> f32 {
        %0 = llvm.bitcast %x : i16 to f16
        %1 = llvm.fpext %0 : f16 to f32
        llvm.return %1 : f32 }
      llvm.func @truncate(%x: f32) -> i16 {
        %0 = llvm.fptrunc %x : f32 to f16
        %1 = llvm.bitcast %0 : f16 to i16
        llvm.return %1 : i16 }
      llvm.func @truncate64(%x: f64) -> i16 {
        %0 = llvm.fptrunc %x : f64 to f16
        %1 = llvm.bitcast %0 : f16 to i16
        llvm.return %1 : i16 }"""
    module = ir.Module.parse(text)
    assert b"callq\t__truncsfhf2" in codegen.emit(module, "asm", **BASELINE)
    loaded = codegen.ObjectFile(codegen.emit(module, **BASELINE))
    extend = function(loaded, "extend", ctypes.c_float, ctypes.c_uint16)
    truncate = function(loaded, "truncate", ctypes.c_uint16, ctypes.c_float)
    truncate64 = function(loaded, "truncate64", ctypes.c_uint16, ctypes.c_double)

    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    extended = np.array([extend(int(bits)) for bits in range(65536)], np.float32)
    np.testing.assert_array_equal(extended, halves.astype(np.float32))

    # Every number that f16 has, the ties between neighbours, and both sides of each tie.
    finite = np.sort(halves[np.isfinite(halves)].astype(np.float32))
    ties = (finite[1:] + finite[:-1]) / 2
    ends = np.float32([65504, 65519.996, 65520, 65536, 1e30, np.inf, -np.inf, 1e-30, 2e-38, 1e-45, -1e-45])
    values = np.concatenate(
        [ties, np.nextafter(ties, np.float32(9e9)), -np.nextafter(ties, np.float32(-9e9))]
    )
    for numbers, call in [(np.concatenate([finite, values, ends]), truncate)]:
        with np.errstate(over="ignore"):
            expected = numbers.astype(np.float16).view(np.uint16)
        got = np.array([call(float(value)) for value in numbers], np.uint16)
        np.testing.assert_array_equal(got, expected)
    # From f64 there is only one rounding: just above a tie rounds up.
    wide = ties[::50].astype(np.float64)
    wide = np.concatenate([wide, np.nextafter(wide, 1e9), np.nextafter(wide, -1e9), [1e300, -1e300, 1e-300]])
    with np.errstate(over="ignore"):
        expected = wide.astype(np.float16).view(np.uint16)
    np.testing.assert_array_equal(np.array([truncate64(value) for value in wide], np.uint16), expected)
    assert np.isnan(np.array([truncate(float("nan"))], np.uint16).view(np.float16)[0])


def test_perf_map(context):
    data = codegen.emit(ir.Module.parse(MODULE))
    script = (
        "import sys, os; from lumen_mlir._mlir import codegen;"
        "loaded = codegen.ObjectFile(sys.stdin.buffer.read(), perf_map=True);"
        "address = loaded.lookup('twice'); path = f'/tmp/perf-{os.getpid()}.map';"
        "print(f'{address:x}', open(path).read()); os.remove(path)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script], input=data, capture_output=True, check=True, env=os.environ
    )
    address, *lines = run.stdout.decode().split(maxsplit=1)[0:1] + run.stdout.decode().splitlines()
    assert any(line.split()[-3::2] == [address, "twice"] for line in lines)


FIRST_CODE_FOR_ARM = """
import sys, threading
from lumen_mlir import ir
from lumen_mlir._mlir import codegen

sys.setswitchinterval(1e-5)
together = threading.Barrier(4)
done = []

def generate():
    with ir.Context():
        module = ir.Module.parse("llvm.func @f() { llvm.return }")
        together.wait()
        done.append(codegen.emit(module, "obj", "aarch64-unknown-linux-gnu", "generic", ""))

threads = [threading.Thread(target=generate) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit(len(done) != 4)
"""


def test_threads_find_a_back_end_complete():
    """Each process initializes it once, while other threads look for it."""
    for _ in range(5):
        run = subprocess.run([sys.executable, "-c", FIRST_CODE_FOR_ARM], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr

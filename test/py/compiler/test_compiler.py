# SPDX-License-Identifier: Apache-2.0
"""The compiler driver: stages, stopping, errors that can be reproduced."""

import os
import subprocess
from dataclasses import dataclass

import pytest

from lumen_mlir import ir, pipelines
from lumen_mlir.compiler.driver import Compiler, CompilerOptions
from lumen_mlir.errors import LumenCompileError, LumenError
from lumen_mlir.pipelines import Stage
from lumen_mlir.storage import failures
from lumen_mlir.storage.cache import Cache

STAGES = (
    Stage("folded", "builtin.module(canonicalize)"),
    Stage("buffers", "builtin.module(one-shot-bufferize{bufferize-function-boundaries})"),
    Stage("llvm", "builtin.module(convert-to-llvm,reconcile-unrealized-casts)"),
)
GOOD = """
func.func @f(%x: i32) -> i32 {
  %0 = arith.constant 3 : i32
  %1 = arith.addi %0, %0 : i32
  %2 = arith.addi %1, %x : i32
  return %2 : i32
}
"""
BAD = """
func.func @f(%x: tensor<4xf32>) {
  "test.op"(%x) : (tensor<4xf32>) -> () loc("net.py":7:3)
  return
}
"""


@dataclass(frozen=True)
class AnyTarget:
    triple: str = "x86_64-unknown-linux-gnu"
    cpu: str = "x86-64-v3"
    features: str = ""
    launches: bool = False
    has_shaders: bool = False

    def attribute(self):
        return (
            f'#lumen.target<name = "{self.cpu}", triple = "{self.triple}", cpu = "{self.cpu}",'
            ' features = "", vector_registers = 16, vector_bits = 256, fma = true, f16 = true,'
            " cache_line = 64, rows = 16, tokens = 4>"
        )


@pytest.fixture
def context():
    with ir.Context() as context:
        yield context


def compiler(**keywords):
    return Compiler(AnyTarget(), stages=STAGES, **keywords)


def test_stops_at_any_stage(context):
    seen = []
    module = ir.Module.parse(GOOD)
    before = str(module)
    driver = compiler(on_stage=seen.append)
    assert "lumen.target" in str(driver.run(module, stop_after="lumen"))
    assert "constant 6" in driver.emit(module, "folded") and "func.func" in driver.emit(module, "folded")
    seen.clear()
    assert "llvm.func @f" in str(driver.run(module))
    assert seen == ["folded", "buffers", "llvm"]
    assert str(module) == before
    assert driver.emit_names == ("lumen", "folded", "buffers", "llvm", "asm", "obj")
    assert "f:" in driver.emit(module, "asm") and driver.compile(module) == driver.emit(module, "obj")
    with pytest.raises(LumenError, match="unknown stage 'nothing'; there are lumen, folded, buffers, llvm"):
        driver.run(module, stop_after="nothing")


def test_options_are_checked():
    with pytest.raises(LumenError, match="activations are 'int8' or 'exact', not 'int4'"):
        CompilerOptions(activations="int4")
    with pytest.raises(LumenError, match="not 9"):
        CompilerOptions(opt_level=9)


def failure(module, **keywords):
    with pytest.raises(LumenCompileError) as caught:
        compiler(**keywords).run(module)
    return caught.value


def test_failure_can_be_reproduced(context, tmp_path, monkeypatch, lumen_opt):
    monkeypatch.setenv("LUMEN_CACHE_DIR", str(tmp_path / "cache"))
    context.allow_unregistered_dialects = True
    error = failure(ir.Module.parse(BAD))
    assert error.stage == "buffers"
    assert str(error).startswith("the compiler's stage 'buffers' failed: \"net.py\":7:3: error: op was not")
    assert "\n" not in str(error) and error.command in str(error)
    assert [diagnostic.location.line for diagnostic in error.diagnostics] == [7]
    assert error.file.parent == tmp_path / "cache/failures" and "test.op" in error.file.read_text()
    assert f"lumen-opt {error.file} --pass-pipeline='builtin.module(one-shot-" in error.command
    path = os.pathsep.join([os.path.dirname(lumen_opt), os.environ["PATH"]])
    again = subprocess.run(
        error.command, shell=True, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert again.returncode == 1 and "net.py:7:3: error: op was not bufferized" in again.stderr


def test_failures_are_kept_but_not_all(context, tmp_path, monkeypatch):
    monkeypatch.setenv("LUMEN_CACHE_DIR", str(tmp_path / "cache"))
    context.allow_unregistered_dialects = True
    module = ir.Module.parse(BAD)
    files = [failure(module).file for _ in range(failures.KEPT + 3)]
    assert sorted((tmp_path / "cache/failures").iterdir()) == sorted(files[3:])
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700
    Cache().clear()
    assert not any(path.exists() for path in files)
    # Without a cache they go to the temporary files.
    monkeypatch.setenv("LUMEN_CACHE_LIMIT", "0")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    assert failure(module).file.parent == tmp_path / f"tmp/lumen-mlir-{os.geteuid()}/failures"


def test_no_folder_for_the_reproducer(context, monkeypatch):
    monkeypatch.setenv("LUMEN_CACHE_DIR", "/proc/none")
    monkeypatch.setattr("tempfile.tempdir", "/proc")
    context.allow_unregistered_dialects = True
    error = failure(ir.Module.parse(BAD))
    assert error.file is None and "to reproduce" not in str(error)


def test_code_generation_error(context, tmp_path, monkeypatch):
    monkeypatch.setenv("LUMEN_CACHE_DIR", str(tmp_path / "cache"))
    module = ir.Module.parse(
        'llvm.func @f() { llvm.inline_asm has_side_effects "bogus", "" : () -> ()\nllvm.return }'
    )
    with pytest.raises(LumenCompileError) as caught:
        compiler().compile(module)
    error = caught.value
    assert error.stage == "obj" and "bogus" in str(error) and "\n" not in str(error)
    assert "bogus" in error.file.read_text() and str(error.file) in error.command
    again = subprocess.run(error.command, shell=True, capture_output=True, text=True)
    assert again.returncode == 1 and again.stderr.startswith("lumen: error: code generation failed: ")
    assert "bogus" in again.stderr


def test_pipelines_parse(context):
    from lumen_mlir.passmanager import PassManager

    for activations in ("int8", "exact"):
        for stage in pipelines.stages(activations):
            assert PassManager.parse(stage.pipeline)


PIPELINE_INPUT = """
func.func @f(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {
  %0 = lumen.add %x, %x : tensor<?x64xf32>
  return %0 : tensor<?x64xf32>
}
"""


def reproduce(error, opt):
    """What the shell says to the command as it is printed."""
    command = error.command
    assert str(error).endswith(f"(to reproduce: {command})")
    path = {"PATH": os.pathsep.join([os.path.dirname(opt), os.environ["PATH"]])}
    return subprocess.run(command, shell=True, capture_output=True, text=True, env={**os.environ, **path})


@pytest.mark.parametrize("number", range(4))
def test_failure_of_every_stage_can_be_reproduced(context, tmp_path, monkeypatch, lumen_opt, number):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    stages = list(pipelines.stages())
    broken = stages[number].pipeline.removesuffix(")") + ",lumen-check-stage{stage=nothing})"
    stages[number] = Stage(stages[number].name, broken)
    with pytest.raises(LumenCompileError, match="unknown stage 'nothing'") as caught:
        Compiler(AnyTarget(), stages=stages).compile(ir.Module.parse(PIPELINE_INPUT))
    assert caught.value.stage == stages[number].name
    again = reproduce(caught.value, lumen_opt)
    assert again.returncode == 1 and "error: unknown stage 'nothing'" in again.stderr


@pytest.mark.parametrize("kind", ["asm", "obj"])
def test_failure_of_code_generation_can_be_reproduced(context, tmp_path, monkeypatch, lumen_opt, kind):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    driver = Compiler(AnyTarget(features="+nothing"))
    with pytest.raises(LumenCompileError, match="unknown feature '\\+nothing'") as caught:
        driver.emit(ir.Module.parse(PIPELINE_INPUT), kind)
    again = reproduce(caught.value, lumen_opt)
    assert again.returncode == 1 and "lumen: error: unknown feature '+nothing'" in again.stderr


def test_crash_in_a_stage_can_be_reproduced(context, tmp_path, monkeypatch, lumen_opt):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    text = """func.func @f(%x: f32) -> vector<4294967296xf32> {
      %0 = vector.broadcast %x : f32 to vector<4294967296xf32>
      return %0 : vector<4294967296xf32>
    }"""
    stages = [
        Stage("folded", "builtin.module(cse)"),
        Stage("lowered", "builtin.module(convert-vector-to-llvm)"),
    ]
    with pytest.raises(LumenCompileError, match="the compiler crashed: SmallVector unable to grow") as caught:
        Compiler(AnyTarget(), stages=stages).run(ir.Module.parse(text))
    assert caught.value.stage == "lowered"
    again = reproduce(caught.value, lumen_opt)
    assert again.returncode == 1 and "error: the compiler crashed: SmallVector unable to grow" in again.stderr

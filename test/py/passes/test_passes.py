# SPDX-License-Identifier: Apache-2.0
"""Every pass on every stage's IR ends in a result or a diagnostic, and so does what crashes MLIR itself."""

import subprocess

import numpy as np
import pass_inputs
import pytest

import lumen_mlir
from lumen_mlir import ir
from lumen_mlir.errors import MLIRError
from lumen_mlir.passmanager import PassManager


def outcomes(text: str, *pipelines: str) -> list[str]:
    """What each pipeline makes of the module: "ran", or the first line of the error."""
    found = []
    with ir.Context() as context:
        context.allow_unregistered_dialects = True
        context.enable_multithreading(False)
        try:
            module = ir.Module.parse(text)
        except MLIRError as error:
            return [str(error).splitlines()[0]] * len(pipelines)
        for pipeline in pipelines:
            try:
                PassManager.parse(pipeline).run(module.clone())
                found.append("ran")
            except MLIRError as error:
                assert "crashed" not in str(error)
                found.append(str(error).splitlines()[0])
    return found


PASSES = pass_inputs.lumen_passes()
PASSES["lumen-check-stage"] = "builtin.module(lumen-check-stage{stage=vector})"
PASSES["lumen-keep-side"] = "builtin.module(lumen-keep-side{side=device})"


def test_every_pass_on_every_stage():
    ran = dict.fromkeys(PASSES, 0)
    for stage in pass_inputs.stage_inputs():
        for name, outcome in zip(PASSES, outcomes(stage.text, *PASSES.values()), strict=True):
            ran[name] += outcome == "ran"
    # A pass that no stage gets through would tell nothing.
    assert all(ran.values()), ran


def test_every_pass_on_every_lit_input():
    for entry in pass_inputs.lit_inputs():
        outcomes(entry.text, *PASSES.values())


def test_passes_of_a_module_without_the_dialect():
    for pipeline in PASSES.values():
        outcomes("module {}", pipeline)
    assert outcomes("module {}", "builtin.module(lumen-pack-weights{rows=16})") == ["ran"]


# What MLIR crashes on by itself, each in another way: a fatal error, a signal, a stack that overflows.
HUGE = """
func.func @f(%x: f32) -> vector<4294967296xf32> {
  %0 = vector.broadcast %x : f32 to vector<4294967296xf32>
  return %0 : vector<4294967296xf32>
}
"""
MINUS = "#m = affine_map<(d0) -> (" + "-" * 3_000_000 + "d0)>"


def test_crash_in_a_pass_is_an_error():
    with ir.Context() as context:
        module = ir.Module.parse(HUGE)
        with pytest.raises(MLIRError, match="the compiler crashed: SmallVector unable to grow"):
            PassManager.parse("builtin.module(convert-vector-to-llvm)").run(module)
        # The context is left alone from then on; others work.
        with pytest.raises(MLIRError, match="the compiler crashed in this context"):
            ir.Module.parse("module {}")
        del module
    del context
    assert outcomes("func.func @f() { return }", "builtin.module(canonicalize)") == ["ran"]


def test_stack_overflow_is_an_error():
    with ir.Context(), pytest.raises(MLIRError, match="the compiler crashed|unable to parse"):
        ir.Module.parse(MINUS)


@pytest.mark.parametrize(
    "text",
    [
        "module attributes {test.a = " + "[" * 100_000 + "]" * 100_000 + "} {}",
        "func.func @f() {" + "scf.execute_region {" * 10_000 + "}" * 10_000 + "return }",
        "func.func private @f(" + "tuple<" * 100_000 + ">" * 100_000 + ")",
        "module {} loc(" + "callsite(" * 50_000,
    ],
)
def test_deep_nesting_is_an_error(text):
    with ir.Context(), pytest.raises(MLIRError, match="brackets are nested more than 512 deep at line 1"):
        ir.Module.parse(text)


def test_aliases_cannot_stand_for_endless_text():
    lines = ["#a0 = [1, 2]", *(f"#a{i + 1} = [#a{i}, #a{i}]" for i in range(60))]
    with ir.Context(), pytest.raises(MLIRError, match="attributes and types have more than 16777216 parts"):
        ir.Module.parse("\n".join([*lines, "module attributes {test.a = #a60} {}"]))
    lines = ["#a0 = [1]", *(f"#a{i + 1} = [#a{i}]" for i in range(2000))]
    with ir.Context(), pytest.raises(MLIRError, match="attributes or types are nested more than 512 deep"):
        ir.Module.parse("\n".join([*lines, "module attributes {test.a = #a2000} {}"]))


def test_brackets_in_strings_and_comments_are_no_nesting():
    with ir.Context():
        ir.Module.parse('module attributes {test.a = "' + "[" * 1000 + '\\"("} {} // ' + "(" * 1000)


@pytest.mark.parametrize(("length", "flag"), [(20_000, "lumen-bufferize"), (500, "lumen-form-kernels")])
def test_deep_chain_of_operations(length, flag):
    lines = [f"%{i + 1} = lumen.add %{i}, %{i} : tensor<?x64xf32>" for i in range(length)]
    header, end = "func.func @f(%0: tensor<?x64xf32>) -> tensor<?x64xf32> {", f"return %{length}"
    text = "\n".join([header, *lines, f"{end} : tensor<?x64xf32> }}"])
    outcomes(text, PASSES[flag])


def test_crash_of_lumen_opt_is_an_error(tmp_path, lumen_opt):
    path = tmp_path / "huge.mlir"
    path.write_text(HUGE)
    done = subprocess.run([lumen_opt, path, "--convert-vector-to-llvm"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "error: the compiler crashed: SmallVector unable to grow" in done.stderr


@pytest.mark.parametrize("name", ["exit", "system", "open", "lumen_nothing"])
def test_code_reaches_no_function_by_name(name):
    text = f"""
    func.func private @{name}(i32)
    func.func @f(%a: i32) {{
      func.call @{name}(%a) : (i32) -> ()
      return
    }}
    """
    with pytest.raises(MLIRError, match=f"cannot link 'lumen_entry_f': .*{name}"):
        lumen_mlir.compile(text, form="loops", use_cache=False)


def test_code_reaches_the_math_library():
    text = """
    func.func private @kernel(%x: memref<8xf32>, %y: memref<8xf32>) attributes {lumen.kernel = "rows"} {
      scf.forall (%i) in (8) {
        %0 = memref.load %x[%i] : memref<8xf32>
        %1 = math.sin %0 : f32
        memref.store %1, %y[%i] : memref<8xf32>
      }
      return
    }
    func.func @f(%x: memref<8xf32>, %y: memref<8xf32>) {
      call @kernel(%x, %y) : (memref<8xf32>, memref<8xf32>) -> ()
      return
    }
    """
    engine = lumen_mlir.compile(text, form="loops", use_cache=False)
    out = np.zeros(8, np.float32)
    engine.invoke("f", np.full(8, 0.5, np.float32), out)
    assert np.allclose(out, np.sin(0.5))

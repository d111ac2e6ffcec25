# SPDX-License-Identifier: Apache-2.0
"""Pass managers: text pipelines, errors, printing, threads."""

import threading

import pytest

from lumen_mlir import ir
from lumen_mlir.passmanager import PassManager

CONSTANTS = """
func.func @f() -> i32 {
  %0 = arith.constant 3 : i32
  %1 = arith.addi %0, %0 : i32
  return %1 : i32
}
"""


@pytest.fixture
def context():
    with ir.Context() as context:
        yield context


def test_pipeline_text_runs(context):
    module = ir.Module.parse(CONSTANTS)
    PassManager.parse("builtin.module(func.func(canonicalize,cse))").run(module)
    assert "arith.addi" not in str(module) and "constant 6" in str(module)


def test_pipeline_text_round_trips(context):
    text = str(PassManager.parse("builtin.module(func.func(cse),symbol-dce)"))
    assert text == "builtin.module(func.func(cse),symbol-dce)"
    assert str(PassManager.parse(text)) == text


def test_add_and_run_on_operation(context):
    manager = PassManager("builtin.module")
    manager.add("canonicalize")
    module = ir.Module.parse(CONSTANTS)
    manager.run(module.operation)
    assert "arith.addi" not in str(module)
    # A pipeline may anchor on a nested operation.
    module = ir.Module.parse(CONSTANTS)
    PassManager.parse("func.func(canonicalize)").run(module.body.operations[0])
    assert "arith.addi" not in str(module)


@pytest.mark.parametrize(
    "text, message",
    [
        ("builtin.module(no-such-pass)", "'no-such-pass' does not refer to a registered pass"),
        ("builtin.module(cse", "expected|not a pass pipeline"),
        ("builtin.module(canonicalize{bad=1})", "no such option bad"),
    ],
)
def test_bad_pipeline(context, text, message):
    with pytest.raises(ir.MLIRError, match=message) as caught:
        PassManager.parse(text)
    assert "\n" not in str(caught.value)


def test_wrong_anchor(context):
    with pytest.raises(ir.MLIRError, match="can't run 'func.func' pass manager on 'builtin.module' op"):
        PassManager.parse("func.func(cse)").run(ir.Module.parse(CONSTANTS))


def test_failure_carries_diagnostics(context):
    context.allow_unregistered_dialects = True
    module = ir.Module.parse(
        'func.func @f(%x: tensor<4xf32>) { "test.op"(%x) : (tensor<4xf32>) -> () loc("net.py":7:3) return }'
    )
    with pytest.raises(ir.MLIRError) as caught:
        PassManager.parse("builtin.module(one-shot-bufferize)").run(module)
    (diagnostic,) = caught.value.error_diagnostics
    assert diagnostic.message == "op was not bufferized"
    assert (diagnostic.location.filename, diagnostic.location.line) == ("net.py", 7)
    assert str(caught.value) == 'pass pipeline failed\n  "net.py":7:3: error: op was not bufferized'


def test_run_invalidates_what_was_inside(context):
    module = ir.Module.parse(CONSTANTS)
    function = module.body.operations[0]
    block = function.regions[0].blocks[0]
    body = module.body
    PassManager.parse("builtin.module(cse)").run(module)
    for use in [lambda: function.name, lambda: block.operations, lambda: body.operations]:
        with pytest.raises(RuntimeError, match="invalidated"):
            use()
    assert module.body.operations[0].name == "func.func"


def test_ir_printing_and_timing(context, capfd):
    manager = PassManager.parse("builtin.module(canonicalize)")
    manager.enable_ir_printing()
    manager.enable_timing()
    manager.run(ir.Module.parse(CONSTANTS))
    text = capfd.readouterr().err
    assert "IR Dump After Canonicalizer" in text and "Execution time report" in text


def test_print_to_files(context, tmp_path):
    manager = PassManager.parse("builtin.module(canonicalize)")
    manager.enable_ir_printing(tree_printing_dir_path=str(tmp_path))
    manager.run(ir.Module.parse(CONSTANTS))
    assert [path.name for path in tmp_path.rglob("*.mlir")] == ["0_canonicalize.mlir"]


def test_threads_compile_at_once():
    results = []

    def work():
        with ir.Context():
            for _ in range(10):
                module = ir.Module.parse(CONSTANTS)
                PassManager.parse("builtin.module(canonicalize,convert-to-llvm)").run(module)
                results.append(str(module))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 40 and len(set(results)) == 1

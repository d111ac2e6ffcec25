# SPDX-License-Identifier: Apache-2.0
"""Objects of kernels: what models share, what is compiled anew, and what does not change them."""

import logging
import os
import re

import numpy as np
import pytest

import lumen_mlir
from lumen_mlir import formats, ir, pipelines
from lumen_mlir._mlir import codegen
from lumen_mlir.compiler import driver, targets
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.compiler.objects import take_kernels
from lumen_mlir.errors import LumenCompileError, MLIRError
from lumen_mlir.passmanager import PassManager
from lumen_mlir.storage.cache import Cache

KERNEL = """
  func.func private @{name}(%x: tensor<?x64xf32>) -> tensor<?x64xf32> attributes {{lumen.kernel = "rows"}} {{
    %y = {op} : tensor<?x64xf32>
    return %y : tensor<?x64xf32>
  }}
"""
OPS = {
    "silu": "lumen.silu %x",
    "gelu": "lumen.gelu %x",
    "scale": "lumen.scale %x {factor = 2.5 : f32}",
}
NAMES = tuple(OPS)


def module(*names: str, tokens: int = 16, layers: int = 1) -> str:
    """A model of the ``fused`` form that applies kernels, one after the other, ``layers`` times."""
    calls, value = [], "%x"
    for number, name in enumerate([*names] * layers):
        calls.append(f"    %{number} = call @{name}({value}) : (tensor<?x64xf32>) -> tensor<?x64xf32>\n")
        value = f"%{number}"
    kernels = "".join(KERNEL.format(name=name, op=OPS[name]) for name in names)
    step = "".join(
        ["  func.func @step(%x: tensor<?x64xf32>) -> tensor<?x64xf32> {\n", *calls, f"    return {value}"]
    )
    limit = f"lumen.max_tokens = {tokens} : i64"
    return f"module attributes {{{limit}}} {{{kernels}{step} : tensor<?x64xf32>\n  }}\n}}"


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def compiled(monkeypatch):
    """The kernels (None: what calls them) that code was generated for, as it happens."""
    names = []
    generate = driver.generate_code

    def counting(op, *arguments):
        found = re.search(r"llvm.func @lumen_kernel_(\w+)\(.*\{$", str(op), re.M)
        names.append(found and found[1])
        return generate(op, *arguments)

    monkeypatch.setattr(driver, "generate_code", counting)
    return names


def build(text: str, cache: Cache, **keywords):
    return lumen_mlir.compile(text, "x86-64-v2", 1, form="fused", cache=cache, **keywords)


def test_models_share_kernels(cache, compiled):
    told = []
    first = build(module("silu", "gelu"), cache, on_object=lambda *progress: told.append(progress))
    assert sorted(map(str, compiled)) == ["None", "gelu", "silu"] and told[-1] == (3, 3)
    compiled.clear()
    # Another number of layers and tokens: only what calls the kernels is new.
    deeper = build(module("silu", "gelu", tokens=32, layers=3), cache)
    assert not deeper.cached and compiled == [None]
    compiled.clear()
    # One kernel more is one kernel to compile, and so is one that is another. (It stands between the others,
    # which go on reading and writing what is aligned as it was.)
    build(module("silu", "scale", "gelu"), cache)
    assert sorted(map(str, compiled)) == ["None", "scale"]
    compiled.clear()
    build(module("silu", "gelu").replace("lumen.gelu", "lumen.silu"), cache)
    assert sorted(map(str, compiled)) == ["None", "gelu"]
    compiled.clear()
    # The whole module at once, if it is the same.
    assert build(module("silu", "gelu"), cache).cached and not compiled

    x = np.random.default_rng(1).standard_normal((5, 64)).astype(np.float32)
    once = first.invoke("step", x)
    np.testing.assert_array_equal(deeper.invoke("step", x), first.invoke("step", first.invoke("step", once)))


def test_options_of_the_code_are_in_the_key(cache, compiled):
    build(module("silu"), cache)
    compiled.clear()
    build(module("silu"), cache, options=CompilerOptions(opt_level=1))
    assert sorted(map(str, compiled)) == ["None", "silu"]
    compiled.clear()
    # Profiles are taken where kernels are called.
    build(module("silu"), cache, options=CompilerOptions(profile=True))
    assert compiled == [None]


def test_damaged_kernel_is_compiled_again(cache, compiled, caplog):
    expected = build(module("silu", "gelu"), cache).program.objects
    for entry in cache.entries():
        if entry.kind == "objects":
            entry.path.unlink()
    victim = next(entry for entry in cache.entries() if entry.kind == "kernels")
    data = bytearray(victim.path.read_bytes())
    data[-1] ^= 1
    victim.path.write_bytes(data)
    compiled.clear()
    with caplog.at_level(logging.WARNING):
        again = build(module("silu", "gelu"), cache)
    assert "is damaged" in caplog.text and len(compiled) == 2 and None in compiled
    assert again.program.objects == expected


def test_threads_do_not_change_objects(tmp_path, monkeypatch):
    text, objects = module(*NAMES), []
    for processors in (1, 3):
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid, count=processors: set(range(count)))
        objects.append(build(text, Cache(tmp_path / str(processors))).program.objects)
    assert objects[0] == objects[1] and len(objects[0]) == 4


@pytest.mark.parametrize("processors", [1, 2])
def test_failure_names_the_kernel(cache, monkeypatch, processors):
    generate = driver.generate_code

    def failing(op, *arguments):
        if "@lumen_kernel_gelu(" in str(op) and "@step" not in str(op):
            raise MLIRError("cannot select")
        return generate(op, *arguments)

    monkeypatch.setattr(driver, "generate_code", failing)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)))
    with pytest.raises(
        LumenCompileError, match="stage 'obj' failed on the kernel 'gelu': cannot select"
    ) as info:
        build(module(*NAMES), cache)
    assert info.value.kernel == "gelu" and "@lumen_kernel_silu" not in info.value.file.read_text()
    assert not any(entry.kind == "objects" for entry in cache.entries())
    # Nothing is left over that a second try would stumble over.
    monkeypatch.setattr(driver, "generate_code", generate)
    assert not build(module(*NAMES), cache).cached


def test_without_threads_to_start(cache, monkeypatch):
    import threading

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert build(module(*NAMES), cache).program.kernels == NAMES


def test_objects_are_linked_with_each_other(cache):
    program = build(module("silu"), cache).program
    with pytest.raises(MLIRError, match="lumen_kernel_silu"):
        codegen.ObjectFile(program.objects[-1]).lookup("lumen_entry_step")
    assert codegen.ObjectFile(list(program.objects)).lookup("lumen_entry_step")


@pytest.mark.parametrize("target", ["x86-64-v3", "x86-64-v4+vnni", "armv8-a", "armv8.6-a+i8mm"])
def test_what_is_printed_is_what_runs(target):
    """The code of each kernel is the same, be it generated with the whole module or by itself."""
    weight = "tensor<64x256x!lumen.q<@q8_0>>"
    text = f"""
      {formats.get("q8_0").emit_ir()}
      func.func @f(%x: tensor<?x256xf32>, %w: {weight}) -> tensor<?x64xf32> {{
        %d = lumen.dequantize %w : {weight} -> tensor<64x256xf32>
        %y = lumen.linear %x, %d : tensor<?x256xf32>, tensor<64x256xf32> -> tensor<?x64xf32>
        return %y : tensor<?x64xf32>
      }}"""
    chosen = targets.get(target)
    stages = (*pipelines.stages()[:3], pipelines.vector_to_kernels(profile=False))
    with ir.Context():
        module = ir.Module.parse(text)
        whole = functions_of(driver.Compiler(chosen).emit(module, "asm"))
        kernels = take_kernels(driver.Compiler(chosen, stages=stages).run(module))
        assert len(kernels) >= 3
        for kernel in kernels:
            alone = ir.Module.parse(kernel.text)
            PassManager.parse(pipelines.KERNEL_TO_LLVM.pipeline).run(alone)
            code = functions_of(driver.generate_code(alone, "asm", chosen, 3).decode())
            assert code == {kernel.name: whole[kernel.name]}


def functions_of(assembly: str) -> dict[str, str]:
    """The instructions of each function, without the numbers of labels, prefixes and links of names."""
    # Constants have labels and sizes, too.
    start = r"^\s*\.type\s+(?:lumen_kernel_)?(\w+),[@%]function\n.*?^(?:lumen_kernel_)?\1:.*?\n"
    found = re.findall(start + r"(.*?)^\s*\.size\s", assembly, re.M | re.S)
    plain = [(r"lumen_kernel_|@PLT", ""), (r"(\.LBB|\.LCPI|\.Lfunc_end|\.Ltmp)\d+", r"\1"), (r"#.*|//.*", "")]
    functions = {}
    for name, body in found:
        for pattern, replacement in plain:
            body = re.sub(pattern, replacement, body)
        lines = (line.strip() for line in body.splitlines())
        functions[name] = "\n".join(line for line in lines if line and not line.startswith(".p2align"))
    return functions

# SPDX-License-Identifier: Apache-2.0
"""The table of targets: choosing, refusing, and what the compiler is told."""

import operator
import re
from dataclasses import replace

import pytest

from lumen_mlir import ir
from lumen_mlir._mlir import codegen
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Dot
from lumen_mlir.errors import LumenError

V3 = ["avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"]
V2 = ["cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3"]
V4 = ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]
BF16 = ["avx512vnni", "avx512bf16"]
NEON = ["fp-armv8", "neon"]
DOTPROD = [*NEON, "dotprod"]

each_target = pytest.mark.parametrize(
    "name", [name for name in targets.names() if name != "native" and "-emulated" not in name]
)

# (For Vulkan, MLIR makes the code.)
each_target_of_llvm = pytest.mark.parametrize(
    "name", [each.name for each in targets.TARGETS if not (each.has_shaders or "-emulated" in each.name)]
)


@pytest.fixture
def machine(monkeypatch):
    """Makes this machine one of this architecture whose CPU has these features."""

    def pretend(architecture, *features):
        monkeypatch.setattr(codegen, "host_triple", lambda: f"{architecture}-unknown-linux-gnu")
        monkeypatch.setattr(codegen, "host_features", lambda: dict.fromkeys(features, True))
        monkeypatch.setattr(codegen, "host_cpu_name", lambda: "pretended")

    return pretend


@pytest.mark.parametrize(
    "architecture, features, name",
    [
        ("x86_64", [], "generic"),
        ("x86_64", V2, "x86-64-v2"),
        ("x86_64", V2 + V3, "x86-64-v3"),
        ("x86_64", V2 + V3 + ["avxvnni"], "x86-64-v3+avxvnni"),
        ("x86_64", V2 + V3 + V4, "x86-64-v4"),
        ("x86_64", V2 + V3 + V4 + ["avx512vnni"], "x86-64-v4+vnni"),
        ("x86_64", V2 + V3 + V4 + ["avx512vnni", "amx-tile", "amx-int8"], "x86-64-v4+amx"),
        # Tiles of floats only.
        ("x86_64", V2 + V3 + V4 + ["avx512vnni", "amx-tile", "amx-bf16"], "x86-64-v4+vnni"),
        ("x86_64", V2 + V3 + V4 + BF16, "x86-64-v4+bf16"),
        # Cores on which pairs of bf16 are slow.
        ("x86_64", V2 + V3 + V4 + BF16 + ["avx512fp16"], "x86-64-v4+vnni"),
        # A level counts only as a whole.
        ("x86_64", V2 + V3[1:] + V4, "x86-64-v2"),
        # Features of one architecture say nothing on another.
        ("aarch64", NEON, "armv8-a"),
        ("aarch64", DOTPROD, "armv8.2-a+dotprod"),
        ("aarch64", [*DOTPROD, "i8mm", "bf16"], "armv8.6-a+i8mm"),
        # smmla alone does not make the row.
        ("aarch64", [*NEON, "i8mm", "bf16"], "armv8-a"),
        ("aarch64", [*DOTPROD, "i8mm"], "armv8.2-a+dotprod"),
        ("aarch64", V2 + V3, "generic"),
    ],
)
def test_native(monkeypatch, machine, architecture, features, name):
    machine(architecture, *features)
    # What is generic is compiled for the machine, which is not the one that is pretended.
    generic = targets.TARGETS[-1]
    assert (generic.name, generic.triple) == ("generic", "")
    here = replace(generic, triple=codegen.host_triple())
    monkeypatch.setattr(targets, "TARGETS", (*targets.TARGETS[:-1], here))
    assert targets.native().name == targets.get(None).name == targets.get("native").name == name


def test_what_linux_says_of_arm_cpus():
    """The words of the auxiliary vector of machines, as /proc/cpuinfo spells them out."""
    # Cortex-A72: fp asimd evtstrm crc32 cpuid.
    assert codegen.arm_features(0x883, 0) == NEON
    # Neoverse N1: … fphp asimdhp … asimddp.
    assert codegen.arm_features(0x1EFF | 1 << 15 | 1 << 16 | 1 << 20, 1) == [*NEON, "fullfp16", "dotprod"]
    # Neoverse V1: … sve … i8mm bf16.
    v1 = codegen.arm_features(1 << 22 | 1 << 20 | 1 << 10 | 3, 1 << 14 | 1 << 13)
    assert v1 == [*NEON, "fullfp16", "dotprod", "sve", "i8mm", "bf16"]
    assert codegen.arm_features(0, 0) == []
    # All that the rows ask for can be found.
    every = codegen.arm_features(2**64 - 1, 2**64 - 1)
    rows = [target for target in targets.TARGETS if codegen.architecture(target.triple) == "aarch64"]
    assert len(rows) == 3 and all(set(row.needs) <= set(every) for row in rows if row.triple)


def test_names():
    assert targets.get("v3") is targets.get("x86-64-v3")
    assert targets.get(targets.get("v2")) is targets.get("x86-64-v2")
    with pytest.raises(
        LumenError, match=r"unknown target 'v5'; there are x86-64-v4\+amx, .*, generic, native"
    ):
        targets.get("v5")


def test_refuses_what_the_cpu_cannot_run(machine):
    machine("x86_64", *V2, *V3)
    assert targets.check_runs(targets.get("v3")).name == "x86-64-v3"
    with pytest.raises(LumenError) as caught:
        targets.check_runs(targets.get("x86-64-v4+vnni"))
    assert str(caught.value) == (
        "this CPU (pretended) cannot run code for target x86-64-v4+vnni: it lacks avx512f, avx512bw, "
        "avx512cd, avx512dq, avx512vl, avx512vnni"
    )


@pytest.mark.parametrize(
    "here, name, there", [("x86_64", "armv8-a", "aarch64"), ("aarch64", "x86-64-v2", "x86_64")]
)
def test_refuses_other_architectures(machine, here, name, there):
    # Whatever the CPU is said to have.
    machine(here, *V2, *NEON)
    target = targets.get(name)
    assert target.is_foreign() and target.missing() == (there,)
    with pytest.raises(LumenError) as caught:
        targets.check_runs(target)
    assert str(caught.value) == (
        f"this machine ({here}) cannot run code for target {name} ({there}), only compile it"
    )


def test_architectures():
    assert codegen.architecture("") == codegen.architecture(codegen.host_triple())
    assert codegen.architecture("arm64-apple-darwin") == "aarch64"
    assert codegen.architecture("amd64-linux") == "x86_64"
    assert codegen.architecture("z80") == "unknown"
    assert not targets.get("generic").is_foreign()


def assembly(target, text):
    with ir.Context():
        module = ir.Module.parse(text)
        return codegen.emit(module, "asm", target.triple, target.cpu, target.features).decode()


@each_target_of_llvm
def test_rows_are_valid(name):
    """The attribute parses, LLVM knows the names, and features that code uses are features it asks for."""
    target = targets.get(name)
    with ir.Context():
        assert f'name = "{name}"' in str(ir.Attribute.parse(target.attribute()))
    assert re.search(r"\bf[:(]", assembly(target, "llvm.func @f() { llvm.return }"))
    used = {feature.removeprefix("+") for feature in target.features.split(",") if feature}
    assert used <= set(target.needs)


@each_target
def test_the_attribute_says_what_the_row_says(name):
    target = targets.get(name)
    with ir.Context():
        text = str(ir.Attribute.parse(target.attribute()))
        assert str(ir.Attribute.parse(text)) == text
        # MLIR prints a nested attribute without its name.
        assert text.replace("<m =", "#lumen.dot<m =") == target.attribute()
        for dot in (target.dot, target.pair_dot, target.mma):
            assert dot is None or str(ir.Attribute.parse(dot.attribute())) == dot.attribute()


@each_target_of_llvm
def test_the_table_says_what_llvm_does(name):
    """Registers, their width, and the instructions that the flags promise, in LLVM's own code."""
    target = targets.get(name)
    # What is generic promises the least, and a machine may have more.
    agrees = operator.eq if target.triple else operator.ge
    # Of a warp, each thread has a lane.
    floats, halves = (
        ("f32", "f16") if target.warp > 1 else (f"vector<{target.lanes}x{f}>" for f in ("f32", "f16"))
    )
    fma = assembly(
        target,
        f"""llvm.func @f(%a: {floats}, %b: {floats}, %c: {floats}) -> {floats} {{
          %0 = llvm.intr.fmuladd(%a, %b, %c) : ({floats}, {floats}, {floats}) -> {floats}
          llvm.return %0 : {floats} }}""",
    )
    assert agrees(bool(re.search(r"\b(vfmadd\d+ps|fmla|fma\.rn\.f32)\b", fma)), target.fma)
    # One vector is one register: nothing comes from memory.
    assert not re.search(r"\((%rdi|%rsi|%rsp)\)|\[(x0|sp)", fma)
    f16 = assembly(
        target,
        f"""llvm.func @f(%p: !llvm.ptr) -> {floats} {{
          %0 = llvm.load %p : !llvm.ptr -> {halves}
          %1 = llvm.fpext %0 : {halves} to {floats}
          llvm.return %1 : {floats} }}""",
    )
    assert agrees(bool(re.search(r"\b(vcvtph2ps|fcvtl|cvt\.f32\.f16)\b", f16)), target.f16)


def test_shapes_of_dot_products():
    assert str(Dot(1, 16, 4)) == "dot 1x16x4 i32"
    assert targets.get("v3").arithmetic == "dot 1x16x2 i16"
    assert targets.get("generic").arithmetic == "plain arithmetic"

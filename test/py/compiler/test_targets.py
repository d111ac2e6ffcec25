# SPDX-License-Identifier: Apache-2.0
"""The table of targets: choosing, refusing, and what the compiler is told."""

import pytest

from lumen_mlir import ir
from lumen_mlir._mlir import codegen
from lumen_mlir.compiler import targets
from lumen_mlir.errors import LumenError

V3 = ["avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"]
V2 = ["cx16", "popcnt", "sahf", "sse3", "sse4.1", "sse4.2", "ssse3"]
V4 = ["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]


@pytest.fixture
def cpu(monkeypatch):
    """Makes this machine's CPU one with these features."""

    def pretend(*features):
        monkeypatch.setattr(codegen, "host_features", lambda: dict.fromkeys(features, True))
        monkeypatch.setattr(codegen, "host_cpu_name", lambda: "pretended")

    return pretend


@pytest.mark.parametrize(
    "features, name",
    [
        ([], "generic"),
        (V2, "x86-64-v2"),
        (V2 + V3, "x86-64-v3"),
        (V2 + V3 + ["avxvnni"], "x86-64-v3+avxvnni"),
        (V2 + V3 + V4, "x86-64-v4"),
        (V2 + V3 + V4 + ["avx512vnni"], "x86-64-v4+vnni"),
        # A level counts only as a whole.
        (V2 + V3[1:] + V4, "x86-64-v2"),
    ],
)
def test_native(cpu, features, name):
    cpu(*features)
    assert targets.native().name == targets.get(None).name == targets.get("native").name == name


def test_names():
    assert targets.get("v3") is targets.get("x86-64-v3")
    assert targets.get(targets.get("v2")) is targets.get("x86-64-v2")
    with pytest.raises(
        LumenError, match=r"unknown target 'v5'; there are x86-64-v4\+vnni, .*, generic, native"
    ):
        targets.get("v5")


def test_refuses_what_the_cpu_cannot_run(cpu):
    cpu(*V2, *V3)
    assert targets.check_runs(targets.get("v3")).name == "x86-64-v3"
    with pytest.raises(LumenError) as caught:
        targets.check_runs(targets.get("x86-64-v4+vnni"))
    assert str(caught.value) == (
        "this CPU (pretended) cannot run code for target x86-64-v4+vnni: it lacks avx512f, avx512bw, "
        "avx512cd, avx512dq, avx512vl, avx512vnni"
    )


@pytest.mark.parametrize("name", [name for name in targets.names() if name != "native"])
def test_rows_are_valid(name):
    """The attribute parses, LLVM knows the names, and features that code uses are features it asks for."""
    target = targets.get(name)
    with ir.Context():
        assert f'name = "{name}"' in str(ir.Attribute.parse(target.attribute()))
        module = ir.Module.parse("llvm.func @f() { llvm.return }")
        assert codegen.emit(module, "obj", target.triple, target.cpu, target.features)
    used = {feature.removeprefix("+") for feature in target.features.split(",") if feature}
    assert used <= set(target.needs)

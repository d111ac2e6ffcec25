# SPDX-License-Identifier: Apache-2.0
"""Modules to run passes on: what lit's inputs hold, and tiny models of several kinds at every stage."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tensor_modules import MODULES

from lumen_mlir import formats, ir, pipelines
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler
from lumen_mlir.formats.packing import Tile
from lumen_mlir.models import Model
from lumen_mlir.run.packed_weights import pack_module
from lumen_mlir.testing.families import write_family

ROOT = Path(__file__).parents[2]
TENSORS = (
    "softmax_of_open_sizes", "layer_norm", "attention_of_one_head", "loop_over_rows", "branch", "calls",
    "slices", "concat", "lookup", "places", "halves", "relu_squared_between_products",
)  # fmt: skip
"""Of ``tensor_modules``."""


@dataclass(frozen=True)
class Input:
    """``passes``: of Lumen's own, what the input was written for; empty where that is not known."""

    name: str
    text: str
    passes: tuple[str, ...] = ()


def lumen_passes() -> dict[str, str]:
    """Every pass of ``passes/**/*.td``: its flag, and a pipeline that runs it on a module."""
    found = {}
    for path in sorted((ROOT / "passes").rglob("*.td")):
        for flag, anchor in re.findall(r'Pass<"([\w-]+)", "::mlir::(\w+(?:::\w+)?)"', path.read_text()):
            inner = f"func.func({flag})" if anchor == "func::FuncOp" else flag
            found[flag] = f"builtin.module({inner})"
    return found


def lit_inputs() -> Iterator[Input]:
    """The modules of ``test/lit``, one by one, without comments."""
    for path in sorted((ROOT / "test" / "lit").rglob("*.mlir")):
        text = path.read_text()
        passes = tuple(flag for flag in lumen_passes() if re.search(rf"{flag}\b(?!-)", text))
        for number, part in enumerate(re.split(r"^// -----.*$|^//--- .*$", text, flags=re.M)):
            lines = [line for line in part.splitlines() if not line.lstrip().startswith("//")]
            if len("".join(lines)) > 40:
                yield Input(f"{path.stem}-{number}", "\n".join(lines), passes)


def models() -> dict[str, str]:
    """Tiny models of several kinds, and tensor modules, in the ``lumen`` form."""
    found = {}
    kinds = {
        "dense": ("qwen3", "f16"),
        "windows": ("mistral-window", "q8_0"),
        "experts": ("exaone-moe", "f16"),
    }
    with tempfile.TemporaryDirectory() as folder, ir.Context():
        for name, (family, kv_type) in kinds.items():
            path = f"{folder}/{family}.gguf"
            write_family(path, family, "f16")
            found[name] = str(Model.open(path).module(kv_type=kv_type, max_tokens=8))
        found["pack"] = str(
            pack_module([("q4_k", Tile(16, 4)), ("iq4_xs", Tile(8, 4)), ("bf16", Tile(16, 1))])
        )
    found["quantized"] = _quantized("q4_k", "q8_0")
    for name in TENSORS:
        found[name] = f"module attributes {{lumen.max_tokens = 8 : i64}} {{\n{MODULES[name].text}\n}}"
    return found


def _quantized(*names: str) -> str:
    """Norm, products of weights in several formats that read the same values, gated and added up."""
    lines = [formats.get(name).emit_ir() for name in names]
    weights = [f"%w{i}: tensor<256x256x!lumen.q<@{name}>>" for i, name in enumerate(names)]
    lines.append(
        f"func.func @f(%x: tensor<?x256xf32>, %n: tensor<256xf32>, {', '.join(weights)})\n"
        "-> tensor<?x256xf32> {\n"
        "%0 = lumen.rms_norm %x, %n {epsilon = 1.0e-6 : f32} : tensor<?x256xf32>, tensor<256xf32>"
    )
    for i, name in enumerate(names):
        quantized, floats = f"tensor<256x256x!lumen.q<@{name}>>", "tensor<256x256xf32>"
        lines.append(f"%d{i} = lumen.dequantize %w{i} : {quantized} -> {floats}")
        lines.append(f"%y{i} = lumen.linear %0, %d{i} : tensor<?x256xf32>, {floats} -> tensor<?x256xf32>")
    lines.append(
        "%a = lumen.silu %y0 : tensor<?x256xf32>\n%s = lumen.mul %a, %y1 : tensor<?x256xf32>\n"
        "%r = lumen.add %s, %x : tensor<?x256xf32>\nreturn %r : tensor<?x256xf32>\n}"
    )
    return "module attributes {lumen.max_tokens = 8 : i64} {\n" + "\n".join(lines) + "\n}"


def stage_inputs(target: str = "x86-64-v3") -> Iterator[Input]:
    """Each of ``models`` at every stage."""
    compiler = Compiler(targets.get(target))
    for model, text in models().items():
        with ir.Context():
            module = ir.Module.parse(text)
            for stage in (pipelines.INPUT, *(stage.name for stage in compiler.stages)):
                yield Input(f"{model}-{stage}", str(compiler.run(module, stop_after=stage)))


def kernel_inputs(most: int = 20_000) -> Iterator[Input]:
    """Of each of ``stage_inputs`` the functions that call nothing, of at most ``most`` characters each."""
    for stage in stage_inputs():
        with ir.Context():
            module = ir.Module.parse(stage.text)
            header = stage.text[: stage.text.index("{\n", stage.text.index("module")) + 1]
            operations = [(op, str(op)) for op in module.body.operations]
            formats_text = [text for op, text in operations if op.name == "lumen.format"]
            for op, text in operations:
                alone = not re.search(r"\bcall @|addressof|get_global", text)
                if op.name in ("func.func", "llvm.func") and alone and len(text) < most:
                    symbol = op.attributes["sym_name"].value
                    yield Input(f"{stage.name}-{symbol}", "\n".join([header, *formats_text, text, "}"]))

# SPDX-License-Identifier: Apache-2.0
"""Mutated IR through the parser, the verifier, passes, stages and the code generator.

The inputs are those of ``test/lit`` and the stages of tiny models, with numbers, types, lines and words
changed. Whatever they hold, the end is a result or a ``LumenError``, and of Lumen's own passes not one that
says that the compiler crashed.
"""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "py"))

import pass_inputs

from lumen_mlir import ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import Compiler, CompilerOptions
from lumen_mlir.errors import LumenError, MLIRError
from lumen_mlir.passmanager import PassManager

GOAL = 100_000
SMOKE = 15
SECONDS = 20.0
MEMORY = 4 << 30

NUMBERS = (
    "0", "1", "-1", "2", "3", "4", "7", "16", "31", "33", "64", "255", "256", "65536", "2147483648",
    "4294967296", "9223372036854775807", "-9223372036854775808", "?",
)  # fmt: skip
TYPES = (
    "f32", "f16", "bf16", "f64", "i1", "i4", "i8", "i16", "i32", "i64", "index", "i128", "si8",
    "complex<f32>", "vector<4xf32>", "none", "tuple<>", "!lumen.q<@q8_0>", "!lumen.q<@nosuch>",
    "memref<4xf32>", "!llvm.ptr",
)  # fmt: skip
SHAPED = ("tensor<", "memref<", "vector<", "tensor<*x", "memref<?x", "vector<[4]x", "tensor<?x")
ATTRIBUTES = (
    *(f'lumen.kernel = "{kind}"' for kind in ("product", "rows", "attention", "pack", "routing", "tensor")),
    *("lumen.kernel = 1", "lumen.nowait", "lumen.max_tokens = 0 : i64", 'lumen.max_tokens = "x"'),
    *("lumen.prefetch = -1 : i64", 'lumen.target = "x"', "lumen.name = 1 : i64", "lumen.tile = 3 : i64"),
    *('lumen.result = "x"', "lumen.rows = 99 : i64", "lumen.out", "lumen.arena"),
)
NUMBER = r"(?<![%@#\w.])-?\d+(?![\w.]*e)"
TYPE = r"(?:(?<=x)|\b)(f32|f16|i8|i16|i32|i64|i1|index|bf16|f64)\b"


@dataclass
class State:
    inputs: list[pass_inputs.Input]
    passes: dict[str, str]


def prepare(folder: Path) -> State:
    lit = list(pass_inputs.lit_inputs())
    stages = [entry for entry in pass_inputs.stage_inputs() if len(entry.text) < 20_000]
    inputs = [*filter(verifies, lit), *stages, *filter(verifies, pass_inputs.kernel_inputs())]
    return State(inputs, pass_inputs.lumen_passes())


def verifies(entry: pass_inputs.Input) -> bool:
    try:
        with ir.Context() as context:
            context.allow_unregistered_dialects = True
            ir.Module.parse(entry.text)
    except MLIRError:
        return False
    return True


def attempt(state: State, rng: random.Random) -> str:
    chosen = rng.choice(state.inputs)
    text = chosen.text
    for _ in range(rng.choice((0, 1, 1, 1, 1, 2))):
        text = mutate(text, rng)
    names = chosen.passes if chosen.passes and rng.random() < 0.7 else tuple(state.passes)
    pipelines = [state.passes[name] for name in rng.choices(names, k=rng.choice((1, 1, 1, 2)))]
    with ir.Context() as context:
        context.enable_multithreading(False)
        context.allow_unregistered_dialects = True
        module = ir.Module.parse(text)
        if rng.random() < 0.15:
            return caught(lambda: compile_from(module, rng))
        for pipeline in pipelines:
            try:
                PassManager.parse(pipeline).run(module)
            except MLIRError as error:
                assert "crashed" not in str(error), f"{chosen.name}: {pipeline}: {error}"
                raise
        if rng.random() < 0.3:
            return caught(lambda: PassManager.parse("builtin.module(canonicalize,cse)").run(module))
    return "run"


def caught(work: Callable[[], object]) -> str:
    """What MLIR's own passes and LLVM crash on is no fault here, as long as the crash is an error."""
    try:
        work()
    except LumenError as error:
        if "crashed" in str(error):
            return "crashed"
        raise
    return "compiled"


def compile_from(module: ir.Module, rng: random.Random) -> None:
    """The stages from any one on, and the code generator."""
    target = targets.get(rng.choice(("x86-64-v4+vnni", "x86-64-v3", "generic")))
    stages = Compiler(target).stages[rng.randrange(5) :]
    Compiler(target, CompilerOptions(opt_level=0), stages=stages).compile(module)


def mutate(text: str, rng: random.Random) -> str:
    """One change: of a number, a type, a kind of shape, an operand, a line, a dictionary or a word."""
    kind = rng.random()
    if kind < 0.40:
        return _replace(text, rng, NUMBER, lambda _: rng.choice(NUMBERS))
    if kind < 0.60:
        return _replace(text, rng, TYPE, lambda _: rng.choice(TYPES))
    if kind < 0.70:
        return _replace(text, rng, r"\b(tensor|memref|vector)<", lambda _: rng.choice(SHAPED))
    if kind < 0.78:
        names = re.findall(r"%\w+(?:#\d)?", text)
        return _replace(text, rng, r"%\w+(?:#\d)?", lambda _: rng.choice(names))
    if kind < 0.86:
        lines = text.splitlines()
        at = rng.randrange(len(lines))
        lines[at : at + 1] = rng.choice(([], [lines[at]] * 2, [lines[rng.randrange(len(lines))], lines[at]]))
        return "\n".join(lines)
    if kind < 0.90:
        return _replace(text, rng, r"\{[^{}]*\}", lambda _: rng.choice(("{}", "")))
    if kind < 0.94:
        words = re.findall(r'"\w+"|\b[a-z]+\.[a-z_]\w*|@\w+', text)
        return _replace(text, rng, r'"\w+"|\b[a-z]+\.[a-z_]\w*|@\w+', lambda _: rng.choice(words))
    return _replace(
        text, rng, r"attributes \{|\{(?=\w+(\.\w+)? = )", lambda m: f"{m[0]}{rng.choice(ATTRIBUTES)}, "
    )


def _replace(text: str, rng: random.Random, pattern: str, new) -> str:
    """One match of ``pattern``, if there is one, replaced."""
    found = list(re.finditer(pattern, text))
    if not found:
        return text
    match = rng.choice(found)
    made = new(match)
    # Often all that are equal, so that more of the text still fits together.
    chosen = [other for other in found if other[0] == match[0]] if rng.random() < 0.4 else [match]
    for match in reversed(chosen):
        text = text[: match.start()] + made + text[match.end() :]
    return text

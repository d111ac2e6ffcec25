# SPDX-License-Identifier: Apache-2.0
"""Calls of everything public with odd arguments: values, types, shapes and arrays that nobody should pass.

A call ends in a result or in ``LumenError``. Signals, hangs and other exceptions are faults, and so is a
write to memory that was not given to be written. Arrays lie beside pages without access.
"""

from __future__ import annotations

import decimal
import inspect
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import lumen_mlir
from lumen_mlir import LLM, formats, ir
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.errors import LumenError
from lumen_mlir.formats import kv_cache
from lumen_mlir.formats.quantize import quantize
from lumen_mlir.generate.perplexity import perplexity
from lumen_mlir.generate.sampling import Sampler
from lumen_mlir.gguf.writer import GGUFWriter
from lumen_mlir.run import memory
from lumen_mlir.run.engine import Engine
from lumen_mlir.run.session_options import SessionOptions
from lumen_mlir.run.stepper import Stepper
from lumen_mlir.storage.cache import Cache
from lumen_mlir.testing import guarded

GOAL = 100_000
SMOKE = 200
SECONDS = 5.0
MEMORY = 4 << 30

WIDTH, VOCABULARY, PAGES, EXPERTS = 32, 40, 3, 4

MODULE = """
module attributes {lumen.max_tokens = 16 : i64} {
FORMAT
func.func @look_up(%ids: tensor<?xi32>, %table: tensor<40x32xf16>) -> tensor<?x32xf32> {
  %x = lumen.embedding %ids, %table : tensor<?xi32>, tensor<40x32xf16> -> tensor<?x32xf32>
  return %x : tensor<?x32xf32>
}
func.func @look_up_any(%ids: tensor<?xi32>, %table: tensor<?x32x!lumen.q<@q8_0>>) -> tensor<?x32xf32> {
  %x = lumen.embedding %ids, %table
    : tensor<?xi32>, tensor<?x32x!lumen.q<@q8_0>> -> tensor<?x32xf32>
  return %x : tensor<?x32xf32>
}
func.func @attend(%x: tensor<?x32xf32>, %table: tensor<?x16xf32>, %k: tensor<2x2x?x16x16xf32>,
    %v: tensor<2x2x?x16x16xf32>, %layer: index, %positions: tensor<?xi32>, %places: tensor<?xi32>,
    %pages: tensor<?x?xi32>, %runs: tensor<?x3xi32>)
    -> (tensor<?x32xf32>, tensor<2x2x?x16x16xf32>, tensor<2x2x?x16x16xf32>) {
  %q = lumen.rope %x, %table, %positions {head_dim = 16 : i64, style = "neox"}
    : tensor<?x32xf32>, tensor<?x16xf32>, tensor<?xi32>
  %k2 = lumen.kv_append %k, %q, %layer, %places {kind = "key"}
    : tensor<2x2x?x16x16xf32>, tensor<?x32xf32>, tensor<?xi32>
  %v2 = lumen.kv_append %v, %x, %layer, %places {kind = "value"}
    : tensor<2x2x?x16x16xf32>, tensor<?x32xf32>, tensor<?xi32>
  %a = lumen.attention %q, %k2, %v2, %layer, %positions, %pages, %runs {heads = 2 : i64, kv_heads = 2 : i64,
    scale = 0.25 : f32} : tensor<?x32xf32>, tensor<2x2x?x16x16xf32>, tensor<2x2x?x16x16xf32>,
    tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return %a, %k2, %v2 : tensor<?x32xf32>, tensor<2x2x?x16x16xf32>, tensor<2x2x?x16x16xf32>
}
func.func @look_back(%q: tensor<?x32xf32>, %k: tensor<2x2x?x16x16xf32>,
    %v: tensor<2x2x?x16x16xf32>, %layer: index, %positions: tensor<?xi32>, %pages: tensor<?x?xi32>,
    %runs: tensor<?x3xi32>) -> tensor<?x32xf32> {
  %next = arith.constant 1 : index
  %before = arith.subi %layer, %next : index
  %a = lumen.attention %q, %k, %v, %before, %positions, %pages, %runs
    {heads = 2 : i64, kv_heads = 2 : i64, window = 40 : i64, scale = 0.25 : f32}
    : tensor<?x32xf32>, tensor<2x2x?x16x16xf32>, tensor<2x2x?x16x16xf32>,
      tensor<?xi32>, tensor<?x?xi32>, tensor<?x3xi32>
  return %a : tensor<?x32xf32>
}
func.func @add_some(%x: tensor<?x32xf32>, %y: tensor<?x32xf32>, %w: tensor<32xf32>, %rows: tensor<?xi32>)
    -> tensor<?x32xf32> {
  %s = lumen.add %x, %y : tensor<?x32xf32>
  %l = lumen.select_rows %s, %rows : tensor<?x32xf32>, tensor<?xi32> -> tensor<?x32xf32>
  %n = lumen.rms_norm %l, %w {epsilon = 1.0e-06 : f32} : tensor<?x32xf32>, tensor<32xf32>
  return %n : tensor<?x32xf32>
}
func.func @choose(%logits: tensor<?x4xf32>) -> (tensor<?x2xi32>, tensor<?x2xf32>) {
  %e, %w = lumen.route %logits {gating = "softmax", normalized = true, scale = 1.0 : f32}
    : tensor<?x4xf32> -> tensor<?x2xi32>, tensor<?x2xf32>
  return %e, %w : tensor<?x2xi32>, tensor<?x2xf32>
}
func.func @sort(%e: tensor<?x2xi32>) -> (tensor<?x2xi32>, tensor<?x2xi32>, tensor<5x2xi32>) {
  %s, %p, %g = lumen.group_tokens %e : tensor<?x2xi32> -> tensor<?x2xi32>, tensor<?x2xi32>, tensor<5x2xi32>
  return %s, %p, %g : tensor<?x2xi32>, tensor<?x2xi32>, tensor<5x2xi32>
}
func.func @mix(%x: tensor<?x32xf32>, %source: tensor<?x2xi32>, %place: tensor<?x2xi32>,
    %groups: tensor<5x2xi32>, %weights: tensor<?x2xf32>, %w: tensor<128x32xf32>) -> tensor<?x32xf32> {
  %y = lumen.gather_rows %x, %source : tensor<?x32xf32>, tensor<?x2xi32> -> tensor<?x64xf32>
  %z = lumen.expert_linear %y, %w, %groups
    : tensor<?x64xf32>, tensor<128x32xf32>, tensor<5x2xi32> -> tensor<?x64xf32>
  %r = lumen.combine %z, %weights, %place
    : tensor<?x64xf32>, tensor<?x2xf32>, tensor<?x2xi32> -> tensor<?x32xf32>
  return %r : tensor<?x32xf32>
}
func.func @pack(%w: tensor<?x?x!lumen.q<@q8_0>>)
    -> tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>> {
  %p = lumen.pack %w : tensor<?x?x!lumen.q<@q8_0>>
    -> tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
  return %p : tensor<?x?x!lumen.q<@q8_0>, #lumen.packed<rows = 16, k = 4>>
}
}
"""


@dataclass
class State:
    """What the calls are made on."""

    folder: Path
    cache: Cache
    engine: Engine
    llm: LLM
    stepper: Stepper
    reference: LLM
    paths: list[Path]


def prepare(folder: Path) -> State:
    cache = Cache(folder / "cache")
    engine = lumen_mlir.compile(
        MODULE.replace("FORMAT", formats.get("q8_0").emit_ir()), threads=1, cache=cache
    )
    llm = LLM(cache=cache, threads=1, context=64, kv_pool=256)
    # Functions that need more than the rest are loaded before memory is limited.
    llm.generate("x", 2).text()
    reference = LLM(cache=cache, engine="reference", context=32)
    (folder / "text.gguf").write_text("GGUF, but not quite")
    return State(
        folder,
        cache,
        engine,
        llm,
        llm.stepper(),
        reference,
        [folder, folder / "text.gguf", folder / "none.gguf"],
    )


# --- odd values ---------------------------------------------------------------------------------------------


class Strange:
    """Says nothing of itself that is of use, and cannot be compared."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("cannot be compared")

    __hash__ = None


NUMBERS = (
    0, 1, -1, 2, 3, 7, 15, 16, 17, 31, 32, 33, 40, 47, 48, 49, 63, 64, 65, 255, 256, 1023, 1024, 2**15, 2**16,
    2**31 - 1, 2**31, -(2**31), 2**32, 2**53, 2**62, 2**63 - 1, 2**63, -(2**63), 2**64, 2**70, -(2**70),
    10**30,
)  # fmt: skip
FLOATS = (0.0, -0.0, 0.5, 1.0, 1.5, -1.0, 1e-45, 1e30, 1e308, math.inf, -math.inf, math.nan)
TEXTS = (
    "", "a", "오늘 본 영화는", "native", "f16", "q8_0", "int8", "compiled", "2G", "-1", "1e9", "nan",
    "\0", "\ud800",
    "x" * 1000, "../..", "%s{}", "user", "{{ 1 }}", "module {}", "\n", "<|im_start|>",
)  # fmt: skip
DTYPES = (
    "i1",
    "u1",
    "i2",
    "i4",
    "i8",
    "u8",
    "f2",
    "f4",
    "f8",
    "c8",
    "?",
    "O",
    "S3",
    "U2",
    ">i4",
    ">f4",
    "M8[s]",
)


def odd_array(rng: random.Random) -> np.ndarray:
    """An array of any type, shape and layout."""
    dtype = np.dtype(rng.choice(DTYPES))
    shape = tuple(rng.choice((0, 1, 2, 3, 16, 32, 33)) for _ in range(rng.randrange(4)))
    if dtype.kind in "OSUM":
        return np.zeros(shape, dtype)
    values = (
        guarded.array(shape, dtype, at_end=rng.random() < 0.5) if dtype.kind != "?" else np.ones(shape, "?")
    )
    with np.errstate(all="ignore"):
        fill = rng.choice(FLOATS) if dtype.kind in "fc" else rng.choice((0, 1, -1, 5, 100)) % 128
        values[...] = fill
    return spoiled(rng, values)


def spoiled(rng: random.Random, values: np.ndarray) -> np.ndarray:
    """The array in another layout, or as it is."""
    match rng.randrange(12):
        case 0:
            values.flags.writeable = False
        case 1:
            return values[::-1] if values.ndim else values
        case 2:
            return values.T
        case 3:
            return np.broadcast_to(values, (2, *values.shape))
        case 4 if values.size:
            memory = np.zeros(values.nbytes + 1, np.uint8)[1:]
            return memory.view(values.dtype).reshape(values.shape) if values.ndim else values
        case 5:
            return np.frombuffer(values.tobytes() or b"\0" * values.itemsize, values.dtype)
        case 6:
            return values.view(np.matrix) if values.ndim == 2 else values
        case 7:
            return np.ma.masked_array(values)
    return values


def odd(rng: random.Random, depth: int = 0) -> Any:
    """Any value."""
    kind = rng.randrange(20 if depth < 2 else 14)
    match kind:
        case 0 | 1 | 2:
            return rng.choice(NUMBERS)
        case 3 | 4:
            return rng.choice(FLOATS)
        case 5 | 6:
            return rng.choice(TEXTS)
        case 7:
            return rng.choice((None, True, False, Ellipsis, NotImplemented))
        case 8:
            return rng.choice((b"", b"abc", bytearray(b"x"), memoryview(b"xyz"), 1j, decimal.Decimal("1.5")))
        case 9:
            return rng.choice((np.int8(3), np.int64(-1), np.uint64(2**63), np.float32(0.5), np.bool_(True)))
        case 10 | 11:
            return odd_array(rng)
        case 12:
            return rng.choice((Strange(), object(), len, int, Path("x"), range(3), range(10**9)))
        case 13:
            return rng.choice((Strange, np.float32, lambda *a, **k: None, iter([1, 2])))
        case 14 | 15:
            return [odd(rng, depth + 1) for _ in range(rng.randrange(4))]
        case 16:
            return tuple(odd(rng, depth + 1) for _ in range(rng.randrange(4)))
        case 17 | 18:
            keys = ("role", "content", "name", "tool_calls", "type", "text", 1)
            return {rng.choice(keys): odd(rng, depth + 1) for _ in range(rng.randrange(4))}
        case _:
            return {1, "a"} if rng.random() < 0.5 else frozenset()


def perhaps(rng: random.Random, value: Any, chance: float = 0.3) -> Any:
    """``value``, or by chance any other."""
    return odd(rng) if rng.random() < chance else value


def call(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Calls it; a wrong number or name of arguments is Python's own error and counts as refused."""
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError as error:
        raise LumenError("not its arguments") from error
    except ValueError:
        pass
    return function(*arguments, **keywords)


def some(rng: random.Random, options: dict[str, Callable[[], Any]]) -> dict[str, Any]:
    """Some of the options, each with the value it has or any other."""
    names = [name for name in options if rng.random() < 0.4]
    return {name: perhaps(rng, options[name](), 0.4) for name in names}


# --- engines and sessions -----------------------------------------------------------------------------------


def arguments(rng: random.Random, name: str) -> list[Any]:
    """Arguments of a function of the module that fit, nearly always."""
    count = rng.choice((0, 1, 2, 5, 16, 17)) if rng.random() < 0.3 else rng.choice((1, 2, 3, 5))

    def floats(*shape: int) -> np.ndarray:
        values = guarded.array(shape, np.float32, at_end=rng.random() < 0.5)
        values.fill(rng.choice(FLOATS) if rng.random() < 0.3 else 0.25)
        return values

    def whole(limit: int, *shape: int) -> np.ndarray:
        values = guarded.array(shape, np.int32, at_end=rng.random() < 0.5)
        values.reshape(-1)[:] = [rng.randrange(limit) for _ in range(values.size)]
        if values.size and rng.random() < 0.2:
            values.reshape(-1)[rng.randrange(values.size)] = rng.choice(
                (-1, limit, 2**31 - 1, -(2**31), limit + 1)
            )
        return values

    blocks = 4 * rng.choice((0, 1, 3)) + (rng.random() < 0.1)
    caches = [floats(2, 2, n, 16, 16) for n in (blocks, blocks if rng.random() < 0.9 else blocks + 1)]

    def where(places: bool) -> list[np.ndarray]:
        """Positions, perhaps places, pages and runs: mostly of one sequence or two."""
        sequences, columns = rng.choice((1, 2)), rng.choice((1, 2))
        first = rng.choice((0, 0, 1, 47, 62, 63, 64, 100, 127, 2**31 - 1 - count))
        cut = rng.randrange(count + 1) if sequences > 1 else count
        positions = guarded.array((count,), np.int32, at_end=rng.random() < 0.5)
        positions[:cut], positions[cut:] = np.arange(first, first + cut), np.arange(count - cut)
        runs = [[0, cut, 0], [cut, count - cut, sequences - 1]]
        table = np.array([run for run in runs if run[1]], np.int32).reshape(-1, 3)
        if table.size and rng.random() < 0.3:
            table[rng.randrange(len(table)), rng.randrange(3)] = rng.choice((-1, 0, 1, count, 2**31 - 1))
        pages = whole(max(blocks // 4, 1), sequences, columns)
        return [positions, *([whole(max(16 * blocks, 1), count)] if places else []), pages, table]

    match name:
        case "look_up":
            return [whole(VOCABULARY, count), np.ones((VOCABULARY * WIDTH,), np.float16).view(np.uint8)]
        case "look_up_any":
            rows = rng.choice((1, 3, VOCABULARY))
            raw = guarded.array((rows * 34,), np.uint8)
            return [whole(rows, count), raw, rows if rng.random() < 0.8 else rng.choice(NUMBERS)]
        case "attend":
            table = floats(rng.choice((0, 1, 64, 128)), 16)
            return [floats(count, WIDTH), table, *caches, rng.choice((0, 1, 2, 2**63 - 1)), *where(True)]
        case "look_back":
            return [floats(count, WIDTH), *caches, rng.choice((0, 1, 2, 3)), *where(False)]
        case "add_some":
            other = count if rng.random() < 0.8 else count + 1
            return [
                floats(count, WIDTH),
                floats(other, WIDTH),
                floats(WIDTH),
                whole(max(count, 1), rng.choice((0, 1, count, 16, 17))),
            ]
        case "choose":
            return [floats(count, EXPERTS)]
        case "sort":
            return [whole(EXPERTS, count, 2)]
        case "mix":
            groups = np.array([[0, 0], [1, count], *[[0, 2 * count]] * 3], np.int32)
            if rng.random() < 0.3:
                groups[rng.randrange(5), rng.randrange(2)] = rng.choice((-1, 1, 4, 5, 2 * count, 2**31 - 1))
            weight = guarded.array((128 * 32 * 4,), np.uint8)
            tables = [whole(max(count, 1), count, 2), whole(max(2 * count, 1), count, 2)]
            return [floats(count, WIDTH), *tables, groups, floats(count, 2), weight]
        case _:
            rows, columns = rng.choice((1, 5, 16, 33)), rng.choice((32, 64))
            raw = guarded.array((rows * columns // 32 * 34,), np.uint8)
            sizes = (rows, columns) if rng.random() < 0.7 else (rng.choice(NUMBERS), rng.choice(NUMBERS))
            return [raw, *sizes]


def invoke(state: State, rng: random.Random) -> Any:
    name = rng.choice(list(state.engine.signatures))
    values = arguments(rng, name)
    for i in range(len(values)):
        values[i] = perhaps(rng, values[i], 0.04)
        if isinstance(values[i], np.ndarray) and rng.random() < 0.04:
            values[i] = spoiled(rng, values[i])
    if rng.random() < 0.03:
        values = values[:-1] if rng.random() < 0.5 else [*values, odd(rng)]
    outs = None
    if name == "pack" or rng.random() < 0.1:
        size = rng.choice((0, 64, 1152, 2304, 4608, 6912))
        outs = [guarded.array((size,), np.uint8)] if name == "pack" else odd(rng)
    frozen = [(v, v.tobytes()) for v in values if isinstance(v, np.ndarray) and not v.flags.writeable]
    try:
        if rng.random() < 0.8:
            return state.engine.invoke(perhaps(rng, name, 0.02), *values, outs=outs)
        bound = state.engine.bind(name, *values, outs=outs)
        bound.run()
        for _ in range(3):
            number = rng.randrange(len(values))
            bound.set(perhaps(rng, number, 0.1), perhaps(rng, arguments(rng, name)[number], 0.2))
            bound.run()
        return bound.results
    finally:
        for value, before in frozen:
            assert value.tobytes() == before, "a read-only array was written"


def step(state: State, rng: random.Random) -> Any:
    stepper = state.stepper if rng.random() < 0.9 else state.reference.executor
    count = rng.choice((1, 1, 2, 5))
    tokens: Any = [rng.randrange(100) for _ in range(count)]
    if rng.random() < 0.2:
        tokens = np.array(tokens, rng.choice(("i1", "i4", "u8", "f4", "c8")))
    first = rng.choice((0, count, 1, count - 1))
    shape = (count - first if rng.random() < 0.9 else count, state.llm.model.config.vocabulary)
    out = None
    if rng.random() < 0.5:
        out = spoiled(rng, guarded.array(shape, np.float32)) if min(shape) >= 0 else odd(rng)
    frozen = out.tobytes() if isinstance(out, np.ndarray) and not out.flags.writeable else None
    try:
        return stepper.step(
            perhaps(rng, tokens, 0.2),
            perhaps(rng, rng.choice((0, 1, 30, 59, 62, 63, 64)), 0.2),
            perhaps(rng, first, 0.2),
            perhaps(rng, out, 0.2),
        )
    finally:
        assert frozen is None or out.tobytes() == frozen, "a read-only array was written"


def rest_of_session(state: State, rng: random.Random) -> Any:
    match rng.randrange(4):
        case 0:
            return state.stepper.can_resume(odd(rng))
        case 1:
            return state.llm.set_threads(perhaps(rng, rng.choice((1, 2)), 0.5))
        case 2:
            return state.engine.set_threads(perhaps(rng, rng.choice((1, 2, None)), 0.5))
        case _:
            return state.stepper.kernel_times


# --- models -------------------------------------------------------------------------------------------------

OPTIONS: dict[str, Callable[[], Any]] = {
    "threads": lambda: 1, "context": lambda: 32, "kv_type": lambda: "f16", "activations": lambda: "int8",
    "target": lambda: "native", "chunk": lambda: 8, "pack_cache": lambda: True, "profile": lambda: False,
}  # fmt: skip
SAMPLING: dict[str, Callable[[], Any]] = {
    "temperature": lambda: 0.8, "top_k": lambda: 40, "top_p": lambda: 0.9, "min_p": lambda: 0.1,
    "repeat_penalty": lambda: 1.1, "seed": lambda: 1, "typical_p": lambda: 0.9,
    "presence_penalty": lambda: 0.5, "frequency_penalty": lambda: 0.1, "logit_bias": lambda: {3: 1.5},
}  # fmt: skip


def open_llm(state: State, rng: random.Random) -> Any:
    options = some(rng, OPTIONS)
    options |= some(
        rng, {"engine": lambda: "compiled", "format": lambda: None, "memory_budget": lambda: "1G"}
    )
    options |= some(rng, {"pre_tokenizer": lambda: None}) if rng.random() < 0.3 else {}
    if rng.random() < 0.3:
        options["path"] = perhaps(rng, rng.choice(state.paths), 0.6)
    # The options that compile anew or take much memory are few.
    if type(options.get("chunk")) is int and options["chunk"] > 0:
        options["chunk"] = 8 if options["chunk"] < 2**16 else options["chunk"]
    return call(LLM, cache=state.cache, **options)


def options_of(state: State, rng: random.Random) -> Any:
    return SessionOptions.of(**some(rng, OPTIONS))


def generate(state: State, rng: random.Random) -> Any:
    llm = state.llm if rng.random() < 0.9 else state.reference
    options = some(rng, SAMPLING) | some(rng, {"stop": lambda: ["x"], "ignore_eos": lambda: True})
    prompt = perhaps(rng, rng.choice(("오늘 본", [1, 2, 3], "", np.array([4, 5]))), 0.3)
    text = call(llm.generate, prompt, perhaps(rng, 2, 0.2), **options)
    return list(itertools.islice(text, 2))


def chat(state: State, rng: random.Random) -> Any:
    messages: Any = [{"role": "user", "content": "안녕"}]
    if rng.random() < 0.6:
        messages = [
            {
                rng.choice(("role", "role", "rôle", 1)): perhaps(rng, "user"),
                perhaps_key(rng): perhaps(rng, "text"),
            }
            for _ in range(rng.randrange(3))
        ]
    options = some(
        rng, {"tools": lambda: [], "enable_thinking": lambda: False, "variables": lambda: {"a": 1}}
    )
    text = call(state.llm.chat, perhaps(rng, messages, 0.3), perhaps(rng, 1, 0.2), **options)
    return list(itertools.islice(text, 1))


def perhaps_key(rng: random.Random) -> str:
    return rng.choice(("content", "content", "name", "tool_calls"))


def text_and_tokens(state: State, rng: random.Random) -> Any:
    llm = state.llm
    ids = rng.choice(([1, 2, 3], [], [10**6], [-1], np.array([1, 2]), [1.5], "12", range(70)))
    match rng.randrange(6):
        case 0:
            return call(llm.tokenize, perhaps(rng, "오늘 본", 0.6), special=perhaps(rng, True, 0.2))
        case 1:
            return call(llm.detokenize, perhaps(rng, ids, 0.5), special=perhaps(rng, True, 0.2))
        case 2:
            return llm.logits(perhaps(rng, ids, 0.5))
        case 3:
            return llm.last_logits(perhaps(rng, ids, 0.5))
        case 4:
            return llm.each_logits(perhaps(rng, ids, 0.5), lambda logits: None, perhaps(rng, 0, 0.3))
        case _:
            text = perhaps(rng, rng.choice(("글 " * 40, [1] * 70)), 0.3)
            return perplexity(llm, text, context=perhaps(rng, 8, 0.3), parts=perhaps(rng, 2, 0.3))


# --- the rest -----------------------------------------------------------------------------------------------


def in_formats(state: State, rng: random.Random) -> Any:
    name = rng.choice(("q8_0", "q4_k", "f16", "bf16", "iq4_nl", "tq2_0"))
    fmt = formats.get(name)
    match rng.randrange(6):
        case 0:
            return formats.get(odd(rng))
        case 1:
            return formats.by_ggml_type(odd(rng))
        case 2:
            return formats.is_known(odd(rng))
        case 3:
            values = np.full(
                (2, rng.choice((256, 32, 0, 5))), rng.choice(FLOATS), rng.choice(("f4", "f8", "i4"))
            )
            return quantize(perhaps(rng, name, 0.1), perhaps(rng, values, 0.4))
        case 4:
            raw = np.full((2, rng.choice((fmt.row_bytes(256), 34, 0, 7))), 0x7C, np.uint8)
            return fmt.dequantize(perhaps(rng, raw, 0.4))
        case _:
            return fmt.row_bytes(odd(rng))


def sample(state: State, rng: random.Random) -> Any:
    sampler = call(Sampler, **some(rng, SAMPLING | {"repeat_last": lambda: 3}))
    sampler.accept(perhaps(rng, [1, 2], 0.2))
    values = np.full(rng.choice((0, 1, 70, 300)), rng.choice(FLOATS), np.float32)
    return sampler.sample(perhaps(rng, values, 0.3))


def in_targets(state: State, rng: random.Random) -> Any:
    match rng.randrange(4):
        case 0:
            return targets.get(odd(rng))
        case 1:
            return kv_cache.get(odd(rng))
        case 2:
            return call(CompilerOptions, **some(rng, {"activations": lambda: "int8", "opt_level": lambda: 1,
                        "tile_tokens": lambda: 0, "block_bytes": lambda: 0}))  # fmt: skip
        case _:
            return memory.parse_budget(odd(rng))


def in_memory(state: State, rng: random.Random) -> Any:
    options = SessionOptions.of(**some(rng, {"context": lambda: 32, "kv_type": lambda: "f16"}))
    if rng.random() < 0.5:
        return memory.footprint(state.llm.model, options, state.cache)
    budget = memory.parse_budget(rng.choice((1, 10**6, 10**7, "100M", 2**70)))
    return memory.fit(state.llm.model, options, budget, state.cache)


def write_gguf(state: State, rng: random.Random) -> Any:
    path = state.folder / "written.gguf"
    writer = call(GGUFWriter, path, perhaps(rng, 32, 0.2))
    for i in range(rng.randrange(3)):
        writer.add(perhaps(rng, f"key{i}", 0.2), odd(rng), perhaps(rng, rng.randrange(13), 0.2))
    for i in range(rng.randrange(2)):
        shape = perhaps(rng, (2, 32), 0.4)
        data = np.zeros(256, np.uint8)
        writer.add_tensor(
            perhaps(rng, f"t{i}", 0.2), shape, perhaps(rng, "f32", 0.3), lambda data=data: [data]
        )
    return writer.write()


def compile_module(state: State, rng: random.Random) -> Any:
    text = rng.choice(("module {}", "func.func @f() { return }", "x"))
    options = some(rng, {"target": lambda: "native", "threads": lambda: 1, "form": lambda: "lumen"})
    return call(lumen_mlir.compile, perhaps(rng, text, 0.4), **options, use_cache=False)


def in_ir(state: State, rng: random.Random) -> Any:
    """The bindings raise what MLIR's own raise: also TypeError, ValueError and the like."""
    with ir.Context():
        try:
            match rng.randrange(5):
                case 0:
                    return ir.Module.parse(odd(rng))
                case 1:
                    return ir.Attribute.parse(odd(rng))
                case 2:
                    return ir.Type.parse(odd(rng))
                case 3:
                    shape = [odd(rng), odd(rng)]
                    return ir.RankedTensorType.get(shape, perhaps(rng, ir.F32Type.get(), 0.3))
                case _:
                    operations = ir.Module.parse("func.func @f() { return }").body.operations
                    return operations[perhaps(rng, 0, 0.5)].attributes[perhaps(rng, "sym_name", 0.5)]
        except (TypeError, ValueError, LookupError, AttributeError, RuntimeError, OverflowError) as error:
            raise LumenError("as MLIR's bindings do") from error


ATTEMPTS = {
    invoke: 40, step: 15, rest_of_session: 4, open_llm: 2, options_of: 3, generate: 6, chat: 4,
    text_and_tokens: 6, in_formats: 6, sample: 5, in_targets: 5, in_memory: 1, write_gguf: 3,
    compile_module: 1, in_ir: 3,
}  # fmt: skip


def attempt(state: State, rng: random.Random) -> str:
    (chosen,) = rng.choices(list(ATTEMPTS), list(ATTEMPTS.values()))
    try:
        with np.errstate(all="ignore"):
            chosen(state, rng)
    except MemoryError as error:
        raise AssertionError(f"no memory for {chosen.__name__}") from error
    return chosen.__name__

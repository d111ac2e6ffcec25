# SPDX-License-Identifier: Apache-2.0
"""What the machine can do at most: reading memory and multiplying, measured with generated code.

Numbers of a shared machine change from minute to minute, so limits are measured in the run that they are
compared with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Target
from lumen_mlir.run import engine
from lumen_mlir.run.packed_weights import zeros
from lumen_mlir.storage.cache import Cache

# Several times the last-level cache that a core can use; it is read in pieces, which the workers share out.
_READ_BYTES, _PIECE_BYTES = 1 << 28, 1 << 16
_PIECES = _READ_BYTES // _PIECE_BYTES
# Independent sums, as many as hide the latency of a multiplication and still fit 16 registers.
_SUMS = 12
_STREAMS = 8
# Products of a worker, and into how many pieces these are cut, so that a worker whose core is slower does
# fewer of them.
_ROUNDS, _PIECES_OF_WORKER = 100_000, 16
_REPETITIONS = 10


@dataclass(frozen=True)
class Limits:
    """Limits of a team of threads.

    Attributes:
      threads: of the team.
      read: bytes per second that it reads from memory, in order.
      int8: operations per second of the target's 8-bit dot product; multiplying and adding count as two.
      float32: operations per second of fused multiplication and addition.
    """

    threads: int
    read: float
    int8: float
    float32: float

    def seconds(self, read: float = 0, int8: float = 0, float32: float = 0) -> float:
        """The least time for reading so many bytes and carrying out so many operations, all at once."""
        return max(read / self.read, int8 / self.int8, float32 / self.float32)

    def best(self, other: Limits) -> Limits:
        """The better of two measurements of one team, limit by limit."""
        return Limits(
            self.threads,
            max(self.read, other.read),
            max(self.int8, other.int8),
            max(self.float32, other.float32),
        )


def measure(target: Target | None = None, threads: int = 1, cache: Cache | None = None) -> Limits:
    """Measures the limits of ``threads`` threads running code for ``target``; takes about half a second.

    The best of several runs counts: whatever else the machine does can only slow it down.
    """
    meter = Meter(target, threads, cache)
    return Limits(
        threads,
        **{name: max(meter.once(name) for _ in range(_REPETITIONS)) for name in ("read", "int8", "float32")},
    )


class Meter:
    """Measures a limit once at a time, so that measurements can alternate with what they are compared to."""

    def __init__(
        self,
        target: Target | None = None,
        threads: int = 1,
        cache: Cache | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self.threads = threads
        self._clock = clock
        target = targets.native() if target is None else target
        lanes = target.lanes
        program = engine.compile(_module(lanes), target, threads, form="loops", cache=cache)
        memory = zeros((_READ_BYTES // (4 * lanes), lanes), np.int32, huge=True)
        memory[:] = 1  # pages that nothing has written are all the same one
        pieces = min(_PIECES_OF_WORKER * threads, _PIECES)
        rounds = _ROUNDS * threads // pieces
        products = 2 * lanes * _SUMS * rounds * pieces
        self._calls = {
            "read": (program.bind("read", memory), memory.nbytes),
            "int8": (program.bind("int8", pieces, rounds, np.ones((64, _SUMS, 4), np.int8)), 4 * products),
            "float32": (program.bind("float32", pieces, rounds, np.ones((64, _SUMS), np.float32)), products),
        }

    def once(self, name: str) -> float:
        """Measures ``read`` (bytes per second), ``int8`` or ``float32`` (operations per second)."""
        call, amount = self._calls[name]
        start = self._clock()
        call.run()
        return amount / (self._clock() - start)


def _module(lanes: int) -> str:
    """Three functions in the ``loops`` form, on vectors of ``lanes`` 32-bit lanes."""
    parts = (_read(lanes), _products(lanes, "int8"), _products(lanes, "float32"))
    return "\n".join(["module attributes {lumen.max_tokens = 1 : i64} {", *parts, "}"])


def _read(lanes: int) -> str:
    """Adds up memory, piece by piece."""
    rows, piece = _READ_BYTES // (4 * lanes), _PIECE_BYTES // (4 * lanes)
    memory, vector = f"memref<{rows}x{lanes}xi32>", f"vector<{lanes}xi32>"

    def body(i: int) -> str:
        return f"""
      %offset{i} = arith.constant {i} : index
      %row{i} = arith.addi %i, %offset{i} : index
      %value{i} = vector.load %memory[%row{i}, %c0] : {memory}, {vector}
      %next{i} = arith.addi %sum{i}, %value{i} : {vector}"""

    loop = f"""
    %rows = arith.constant {piece} : index
    %begin = arith.muli %piece, %rows : index
    %end = arith.addi %begin, %rows : index
    %step = arith.constant {_STREAMS} : index
    {_sums(vector, "%begin to %end step %step", _STREAMS, body)}"""
    return _function("read", f"%memory: {memory}", vector, f"(%piece) in ({_PIECES})", loop)


def _products(lanes: int, name: str) -> str:
    """Sums of products, every piece its own. One factor comes from the first-level cache, as in a kernel:
    a product of values that never change would be moved out of the loop."""
    integer = name == "int8"
    small = f"memref<64x{_SUMS}x4xi8>" if integer else f"memref<64x{_SUMS}xf32>"
    vector = f"vector<{lanes}x{'i32' if integer else 'f32'}>"

    def body(i: int) -> str:
        if integer:  # 7 bits are what every target multiplies in one go
            return f"""
      %offset{i} = arith.constant {i} : index
      %x{i} = vector.load %x[%place, %offset{i}, %c0] : {small}, vector<4xi8>
      %next{i} = lumen.dot4 %ones, %x{i}, %sum{i} {{bits = 7 : i64}}
          : vector<{4 * lanes}xi8>, vector<4xi8>, {vector}"""
        return f"""
      %offset{i} = arith.constant {i} : index
      %x{i} = memref.load %x[%place, %offset{i}] : {small}
      %factor{i} = vector.broadcast %x{i} : f32 to {vector}
      %next{i} = vector.fma %factor{i}, %ones, %sum{i} : {vector}"""

    ones = f"dense<1> : vector<{4 * lanes}xi8>" if integer else f"dense<1.0> : {vector}"
    loop = f"""
    %ones = arith.constant {ones}
    %c63 = arith.constant 63 : index
    {_sums(vector, "%c0 to %rounds step %c1", _SUMS, body, "%place = arith.andi %i, %c63 : index")}"""
    arguments = f"%pieces: index, %rounds: index, %x: {small}"
    return _function(name, arguments, vector, "(%piece) in (%pieces)", loop)


def _sums(vector: str, bounds: str, count: int, body: Callable[[int], str], before: str = "") -> str:
    """A loop over ``%i`` that carries ``count`` sums, ``%sum<n>`` to ``%next<n>``, and adds up ``%total``."""
    first = ", ".join(f"%sum{i} = %zero" for i in range(count))
    types = ", ".join([vector] * count)
    add = "arith.addf" if "f32" in vector else "arith.addi"
    totals = ["%sums#0", *(f"%total{i}" for i in range(1, count - 1)), "%total"]
    combined = [f"{totals[i]} = {add} {totals[i - 1]}, %sums#{i} : {vector}" for i in range(1, count)]
    return f"""
    %sums:{count} = scf.for %i = {bounds} iter_args({first}) -> ({types}) {{
      {before}
      {"".join(map(body, range(count)))}
      scf.yield {", ".join(f"%next{i}" for i in range(count))} : {types}
    }}
    {chr(10).join(combined)}"""


def _function(name: str, arguments: str, vector: str, loop: str, body: str) -> str:
    """A public function that calls a kernel, whose loop leaves ``%total`` of every iteration ``%piece``."""
    results = f"memref<{_PIECES}x{vector.removeprefix('vector<').removesuffix('>')}>"
    names, types = zip(*(argument.split(": ") for argument in arguments.split(", ")), strict=True)
    zero = "0.0" if "f32" in vector else "0"
    return f"""
func.func private @{name}_kernel({arguments}, %results: {results}) attributes {{lumen.kernel = "rows"}} {{
  %c0 = arith.constant 0 : index
  %c1 = arith.constant 1 : index
  %zero = arith.constant dense<{zero}> : {vector}
  scf.forall {loop} {{
    {body}
    vector.store %total, %results[%piece, %c0] : {results}, {vector}
  }}
  return
}}
func.func @{name}({arguments}, %results: {results} {{lumen.out, lumen.result = 0 : i64}}) {{
  call @{name}_kernel({", ".join(names)}, %results) : ({", ".join(types)}, {results}) -> ()
  return
}}"""

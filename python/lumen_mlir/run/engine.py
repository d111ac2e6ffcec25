# SPDX-License-Identifier: Apache-2.0
"""Running compiled modules: ``engine = lumen_mlir.compile(module)``, ``engine.invoke("name", *arrays)``."""

from __future__ import annotations

import math
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lumen_mlir import env, ir, pipelines
from lumen_mlir.compiler.bounds import Bound, Count, Elements, Equal, Groups, Pages, Runs
from lumen_mlir.compiler.driver import CompilerOptions
from lumen_mlir.compiler.objects import OnObject
from lumen_mlir.compiler.signature import Signature
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError, shown
from lumen_mlir.formats import packing
from lumen_mlir.run.code import Buffer, Held
from lumen_mlir.run.device import Place, place_of
from lumen_mlir.run.program import Program, compiled
from lumen_mlir.storage.cache import Cache
from lumen_mlir.storage.mapping import private_memory
from lumen_mlir.support.locks import turn_lock
from lumen_mlir.support.threads import ThreadTeam, default_thread_count


def compile(
    module: ir.Module | str,
    target: str | Target | None = None,
    threads: int | None = None,
    options: CompilerOptions | None = None,
    *,
    form: str = pipelines.INPUT,
    cache: Cache | None = None,
    use_cache: bool = True,
    on_stage: Callable[[str], None] | None = None,
    on_signatures: Callable[[tuple[Signature, ...]], None] | None = None,
    on_object: OnObject | None = None,
    device: str | None = None,
) -> Engine:
    """Compiles a module of the ``lumen`` dialect, or takes the compiled objects from the cache.

    Of a module that is not there, kernels may be, if another module has them too.

    Args:
      module: a module or its text. It is not changed.
      target: a name of ``lumen_mlir.compiler.targets``, by default this machine's.
      threads: of the team that runs it; by default ``LUMEN_THREADS`` or the number of physical cores.
      options: of the compiler.
      form: the form that the module is in: "lumen", or the name of the stage that it has passed. Behind
        "fused" nothing says what positions and ids stand for: that arguments stay inside of arrays is then
        for the caller to see to.
      cache: where objects are kept, by default the user's cache; with ``use_cache`` False nowhere.
      on_stage: called with the name of each stage of the compiler before it runs.
      on_object: called with how many objects are compiled or were there, and of how many. There is one for
        each kernel.
      device: what runs it, as in ``SessionOptions``.
      on_signatures: called with what the functions take before the longest part of compiling; not where the
        module comes from the cache.

    Raises:
      LumenError: the target, the device or the form is not known, or no device runs code for the target
        (``lumen_mlir.run.device``).
      MLIRError: the text is no module.
      LumenCompileError: a stage failed.
    """
    if not isinstance(module, (str, ir.Module)):
        raise LumenError(f"a module or its text was expected, got {type(module).__name__}")
    place = place_of(device, target)
    program, cached = compiled(
        module,
        place.target,
        options or CompilerOptions(),
        form,
        cache=(cache or Cache()) if use_cache else None,
        on_stage=on_stage,
        on_signatures=on_signatures,
        on_object=on_object,
    )
    return Engine(program, place, threads, cached)


class Engine:
    """A loaded program and the team of threads that runs it. ``compile`` makes it.

    Calls from several threads of Python run one after the other. A forked process can go on with it: its
    memory is its own, and its team begins anew.

    Attributes:
      program: what is loaded.
      place: where it runs, and what it was compiled for.
      cached: True where it came from the cache.
      lock: reentrant; whoever holds it is the only one to change and run calls.
    """

    def __init__(self, program: Program, place: Place, threads: int | None = None, cached: bool = False):
        self.program = program
        self.place = place
        self.cached = cached
        self._code = place.device.load(program.objects, place.target)
        self._functions = {
            signature.name: _Function(
                signature,
                self._code.lookup(f"lumen_entry_{signature.name}"),
                self._code.read_i64(f"lumen_arena_size_{signature.name}"),
            )
            for signature in program.signatures
        }
        self._arena = allocate(max((f.arena_bytes for f in self._functions.values()), default=0))
        self.lock = turn_lock()
        self.set_threads(threads)
        _engines.add(self)

    @property
    def target(self) -> Target:
        """What it was compiled for."""
        return self.place.target

    @property
    def threads(self) -> int:
        """The size of the team."""
        return self._threads

    def set_threads(self, threads: int | None) -> None:
        """Runs with a team of another size from now on."""
        if threads is None:
            threads = env.THREADS.get() or default_thread_count()
        if not isinstance(threads, int) or isinstance(threads, bool) or not 1 <= threads <= 1024:
            raise LumenError(f"a team has 1 to 1024 threads, not {shown(threads)}")
        with self.lock:
            self._code.set_threads(threads)
            self._threads = threads

    def team(self) -> ThreadTeam | None:
        """The threads that run it, for other work between calls; None where these are not of this process."""
        return self._code.team()

    @property
    def shares_memory(self) -> bool:
        """Whether the code works on the arrays of a call themselves, and not on copies elsewhere."""
        return self._code.shares_memory

    @property
    def signatures(self) -> dict[str, Signature]:
        """The functions that can be called, by name."""
        return {signature.name: signature for signature in self.program.signatures}

    @property
    def kernel_times(self) -> np.ndarray:
        """Calls and nanoseconds of each of ``program.kernels`` so far: int64 [kernels, 2], counted in place.

        Raises ``LumenError`` where the program was not compiled with ``CompilerOptions(profile=True)``, or
        runs where nobody can count in place.
        """
        if not self.program.profile:
            raise LumenError("the program does not count the time of its kernels: compile it with profile")
        return self._code.counters("lumen_profile", 2 * len(self.program.kernels)).reshape(-1, 2)

    @property
    def arena_bytes(self) -> int:
        """Memory for intermediates (only what the tokens of a call need is touched)."""
        return self._arena.size

    @property
    def own_bytes(self) -> int:
        """Memory that its runs take besides what they are passed and the arena."""
        return self._code.own_bytes

    def invoke(self, name: str, *inputs: Any, outs: Sequence[np.ndarray | None] | None = None) -> Any:
        """Calls the function ``name``.

        Args:
          inputs: an array per tensor and a number per scalar, in the order of the function's arguments. A
            weight is its bytes (uint8); where the module takes it packed they begin at a multiple of 64. A
            weight with dynamic dimensions is followed by them. KV caches are updated in place.
          outs: arrays for the results that are not updated in place; None, there or instead, for new ones.

        Returns:
          The results: one array, or a tuple of them; None where the function has none.

        Raises:
          LumenError: there is no such function, or an argument does not fit it.
        """
        call = self.bind(name, *inputs, outs=outs)
        call.run()
        results = call.results
        return results[0] if len(results) == 1 else results or None

    def bind(self, name: str, *inputs: Any, outs: Sequence[np.ndarray | None] | None = None) -> Call:
        """A call that can run many times; the arguments are checked now. They are those of ``invoke``."""
        if not isinstance(name, str) or name not in self._functions:
            raise LumenError(f"there is no function {shown(name)}; there are {', '.join(self._functions)}")
        signature = self._functions[name].signature
        if len(inputs) != len(signature.inputs):
            raise LumenError(
                f"{signature.name} takes {len(signature.inputs)} arguments "
                f"({', '.join(map(str, signature.inputs))}), not {len(inputs)}"
            )
        expected = len(signature.outs)
        if outs is not None and not isinstance(outs, (list, tuple)):
            raise LumenError(f"outs are a list of arrays or None, not {type(outs).__name__}")
        given = [None] * expected if outs is None else list(outs)
        if len(given) != expected:
            raise LumenError(f"{signature.name} has {expected} out arguments, not {len(given)}")
        return Call(self, self._functions[name], [*inputs, *given])

    def _run(self, call: Call) -> None:
        with self.lock:
            self._code.run(call._function.address, call._slots, call)


_engines: weakref.WeakSet[Engine] = weakref.WeakSet()


def _forget_teams() -> None:
    """In a forked child: the threads of the teams exist in the parent only."""
    for engine in list(_engines):
        engine._code.forget_threads()


os.register_at_fork(after_in_child=_forget_teams)


@dataclass
class _Function:
    signature: Signature
    address: int
    arena_bytes: int
    # Where the words of each argument begin.
    starts: list[int] = field(init=False)
    # What arguments must keep to: what their shapes and numbers say, and what the elements of arrays do.
    bounds: list[Bound] = field(init=False)
    element_bounds: list[Bound] = field(init=False)

    def __post_init__(self) -> None:
        of_elements = (Elements, Groups, Pages, Runs)
        self.bounds = [b for b in self.signature.bounds if not isinstance(b, of_elements)]
        self.element_bounds = [b for b in self.signature.bounds if isinstance(b, of_elements)]
        counts = [argument.slots for argument in self.signature.arguments]
        self.starts = [sum(counts[:i]) for i in range(len(counts) + 1)]


class Call:
    """A function with its arguments. Keeps the arrays alive; ``engine.bind`` makes it."""

    def __init__(self, engine: Engine, function: _Function, values: list[Any]):
        self._engine = engine
        self._function = function
        self._values: list[Any] = values
        self._slots = np.zeros(function.starts[-1] + 1, np.uint64)
        self._slots[-1] = address_of(engine._arena)
        self._checked = False
        self._kept: frozenset[int] = frozenset()
        self._zero: frozenset[int] = frozenset()
        self._on_demand: frozenset[int] = frozenset()
        self._versions: dict[int, int] = {}
        self._held: Held | None = None
        for number, value in enumerate(values):
            argument = function.signature.arguments[number]
            if argument.out and value is None:
                value = np.empty(self._out_shape(number), argument.dtype)
            self._encode(number, value)

    def set(self, number: int, value: Any) -> None:
        """Gives argument ``number`` (counted as in ``invoke``, outs behind inputs) another value."""
        if type(number) is not int or not 0 <= number < len(self._values):
            name, last = self._function.signature.name, len(self._values) - 1
            raise LumenError(f"{name} has arguments 0 to {last}, not {shown(number)}")
        # Its workers may be reading the words.
        with self._engine.lock:
            self._encode(number, value)

    def words(self, number: int) -> np.ndarray:
        """The 64-bit words that pass argument ``number``: the value, or the address and dynamic dimensions.

        For callers that ``repeat`` a call and know that what they write fits: nothing is checked again, and
        arrays are not kept alive. To be written under the engine's ``lock``.
        """
        starts = self._function.starts
        return self._slots[starts[number] : starts[number + 1]]

    def run(self) -> None:
        """Calls the function. Raises ``LumenError`` where the arguments do not fit together."""
        with self._engine.lock:
            self.check()
            self.repeat()

    def check(self) -> None:
        """Raises ``LumenError`` where the arguments do not fit together, or elements are out of range."""
        with self._engine.lock:
            if not self._checked:
                self._check_together()
                self._checked = True
            for bound in self._function.element_bounds:
                bound.check(self._function.signature, self._values)

    def repeat(self) -> None:
        """Calls the function without a check: for callers of ``words``, who called ``check`` once."""
        self._engine._run(self)

    def keep(self, *numbers: int, zero: bool = False) -> None:
        """From now on nothing but this call reads or writes the arrays of these arguments.

        Where code runs with memory of its own, they stay there from run to run instead of being copied. An
        argument that is given another array is copied once. ``zero``: the arrays hold zeros, and what is not
        read need not be copied.
        """
        self._kept |= {*numbers}
        self._zero |= {*numbers} if zero else set()

    def leave(self, *numbers: int) -> None:
        """From now on these out arguments are written as a whole, and ``read_held`` reads what is wanted.

        Where code runs with memory of its own, they stay there, until the next run. Others are as ever.
        """
        self._on_demand |= {*numbers}

    def renew(self, *numbers: int) -> None:
        """What is kept has been changed in the arrays of these arguments. Under the engine's ``lock``."""
        for number in numbers:
            self._versions[number] = self._versions.get(number, 0) + 1

    def hold(self) -> bool:
        """Takes over what was to be kept, before the first run.

        True where it lies elsewhere from now on: then the arrays are let go, and what ``check`` looks at
        is not there any more. False where the call goes on with the arrays.
        """
        with self._engine.lock:
            self._held = self._engine._code.hold(self._slots, self)
            if self._held is not None:
                for number in self._kept:
                    self._values[number] = None
            return self._held is not None

    def read_held(self, number: int, places: Sequence[tuple[int, memoryview]]) -> None:
        """Copies bytes from places of what ``hold`` has taken over of an argument, or what a run has left."""
        assert self._held is not None
        with self._engine.lock:
            self._held.read(self._function.starts[number], places)

    def write_held(self, number: int, places: Sequence[tuple[int, memoryview]]) -> None:
        """Copies bytes to places of what ``hold`` has taken over of an argument."""
        assert self._held is not None
        with self._engine.lock:
            self._held.write(self._function.starts[number], places)

    def buffers(self) -> Iterator[Buffer]:
        """The memory that the words stand for, as they are now, for a device."""
        starts = self._function.starts
        for number, argument in enumerate(self._function.signature.arguments):
            if argument.shape is None:
                continue
            dynamic = iter(self._slots[starts[number] + 1 : starts[number + 1]].tolist())
            shape = [next(dynamic) if size is None else size for size in argument.shape]
            size = math.prod(shape) * argument.dtype.itemsize
            written, kept = argument.result is not None, number in self._kept
            version = self._versions.get(number, 0)
            left = number in self._on_demand
            yield Buffer(starts[number], size, written, kept, number in self._zero, version, on_demand=left)
        yield Buffer(starts[-1], self._function.arena_bytes, scratch=True)

    @property
    def results(self) -> tuple[np.ndarray, ...]:
        """The arrays that hold the results."""
        held = zip(self._function.signature.arguments, self._values, strict=True)
        by_number = {argument.result: value for argument, value in held if argument.result is not None}
        return tuple(by_number[i] for i in range(self._function.signature.results))

    def _encode(self, number: int, value: Any) -> None:
        signature, starts = self._function.signature, self._function.starts
        if isinstance(value, np.ndarray):
            # What a subclass says of itself need not be so.
            value = np.asarray(value)
        words = signature.arguments[number].encode(value, signature.describe(number))
        self._slots[starts[number] : starts[number + 1]] = words
        self._values[number] = value
        self._checked = False

    def _rows(self, number: int) -> int:
        """The rows that an out argument must have."""
        alike = self._function.signature.arguments[number].rows
        assert alike is not None
        return len(self._values[alike])

    def _out_shape(self, number: int) -> tuple[int, ...]:
        signature = self._function.signature
        argument = signature.arguments[number]
        shape: tuple[Any, ...] = argument.shape or ()
        if argument.rows is not None:
            return (self._rows(number), *shape[1:])
        if None not in shape:
            return shape
        # What a bound demands of each size.
        sizes = {bound.left: bound.right for bound in signature.bounds if isinstance(bound, Equal)}
        known = [
            Count(size) if size is not None else sizes.get(Count.of((number, i)))
            for i, size in enumerate(shape)
        ]
        if None in known:
            raise LumenError(f"{signature.describe(number)}: the array {argument} must be given as an out")
        return tuple(size.value(self._values) for size in known if size is not None)

    def _check_together(self) -> None:
        signature = self._function.signature
        spans = []
        for number, (argument, value) in enumerate(zip(signature.arguments, self._values, strict=True)):
            if argument.shape is None:
                continue
            if argument.tokens and len(value) > signature.max_tokens:
                raise LumenError(
                    f"{signature.describe(number)}: {len(value)} rows, but the module is compiled for "
                    f"at most {signature.max_tokens} tokens"
                )
            if argument.rows is not None and len(value) != self._rows(number):
                raise LumenError(
                    f"{signature.describe(number)}: {len(value)} rows where the result has "
                    f"{self._rows(number)}"
                )
            if value.size:
                begin = address_of(value)
                spans.append((begin, begin + value.nbytes, argument.result is not None, number))
        spans.sort()
        end, written, last = 0, False, -1
        for bound in self._function.bounds:
            bound.check(signature, self._values)
        for begin, stop, writes, number in spans:
            if begin < end and (writes or written):
                raise LumenError(
                    f"{signature.describe(number)} shares memory with argument {last}, and one is written"
                )
            if stop > end:
                end, written, last = stop, writes, number


def allocate(size: int) -> np.ndarray:
    """``size`` bytes (uint8) at a page boundary; pages count as memory when they are first touched."""
    return np.frombuffer(private_memory(size), np.uint8)[:size]


def aligned_empty(shape: Sequence[int], dtype: Any = np.uint8) -> np.ndarray:
    """An array that begins at a multiple of 64 bytes, as packed weights must."""
    dtype = np.dtype(dtype)
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    alignment = packing.alignment()
    memory = np.empty(size + alignment, np.uint8)
    begin = -address_of(memory) % alignment
    return memory[begin : begin + size].view(dtype).reshape(shape)


def address_of(array: np.ndarray) -> int:
    """Where an array begins."""
    return array.__array_interface__["data"][0]

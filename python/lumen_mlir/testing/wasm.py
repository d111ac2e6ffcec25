# SPDX-License-Identifier: Apache-2.0
"""WebAssembly in this process: a device that runs its targets with wasmtime (of the extra ``test``)."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from lumen_mlir.compiler.targets import Target
from lumen_mlir.compiler.webassembly import HEAP, WORKER, link_module
from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.run.code import Code, Passed
from lumen_mlir.run.copies import Copies

ARCHITECTURE = "wasm32"
_PAGE = 4096
# Of WebAssembly's memories, which grow by them, up to what 32 bits address.
_GROWTH, _MOST = 65536, 1 << 32
# Words of calls are few; what is left of the page is for them.
_FIRST = len(WORKER)


class Wasmtime:
    """A device for the targets of WebAssembly."""

    name = "an engine of WebAssembly"

    def missing(self, target: Target) -> tuple[str, ...]:
        """``Device.missing``; wasmtime has all features of the targets."""
        return () if target.architecture == ARCHITECTURE else (target.architecture,)

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        """``Device.load``."""
        return _WasmCode(link_module(objects, target))

    def free_memory(self) -> None:
        """``Device.free_memory``."""
        return None


class _WasmCode:
    """An instance of a module."""

    shares_memory = False
    own_bytes = 0

    def __init__(self, module: bytes):
        import wasmtime

        configuration = wasmtime.Config()
        configuration.wasm_simd = True
        configuration.wasm_relaxed_simd = True
        engine = wasmtime.Engine(configuration)
        self._store = wasmtime.Store(engine)
        self._traps = (wasmtime.Trap, wasmtime.WasmtimeError)
        try:
            compiled = wasmtime.Module(engine, module)
            instance = wasmtime.Instance(self._store, compiled, [])
        except wasmtime.WasmtimeError as error:
            raise LumenError(f"wasmtime says: {one_line(error)}") from None
        # Its objects cannot close themselves any more when the interpreter ends.
        for resource in (engine, self._store, compiled):
            weakref.finalize(self, resource.close)
        self._exports: Any = instance.exports(self._store)
        self._memory = _Memory(self._exports["memory"], self._store, self._exports[HEAP].value(self._store))
        self._call_page = self._memory.allocate(_PAGE, 0)
        self._copies = Copies(self._memory)
        # Addresses of functions are numbers of this list, from 1 on.
        self._functions: list[Any] = []

    def lookup(self, name: str) -> int:
        found = self._exports.get(name)
        if found is None:
            raise LumenError(f"wasmtime says: there is no symbol '{name}'")
        if hasattr(found, "value"):
            return int(found.value(self._store))
        self._functions.append(found)
        return len(self._functions)

    def read_i64(self, name: str) -> int:
        value = bytearray(8)
        self._memory.read([(self.lookup(name), memoryview(value))])
        return int.from_bytes(value, "little", signed=True)

    def set_threads(self, threads: int) -> None:
        """The memory is not shared, so one worker does all of it, whatever ``threads`` is."""

    def hold(self, slots: np.ndarray, passed: Passed) -> None:
        # It does so with the first run.
        return None

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        with self._copies.passed(slots, passed) as words:
            data = words.astype("<u8").tobytes()
            if _FIRST + len(data) > _PAGE:
                raise LumenError(f"a call has {len(words)} words, more than wasmtime is given a page for")
            worker, place = self._call_page, self._call_page + _FIRST
            self._memory.write(worker, memoryview(WORKER))
            self._memory.write(place, memoryview(data))
            try:
                self._functions[entry - 1](self._store, place, worker)
            except self._traps as error:
                raise LumenError(f"wasmtime says: {one_line(error)}") from None

    def counters(self, name: str, count: int) -> np.ndarray:
        raise LumenError("kernels are profiled only where their code runs in this process, not by wasmtime")

    def forget_threads(self) -> None:
        pass


class _Memory:
    """The memory of an instance, from an address on."""

    def __init__(self, memory: Any, store: Any, begin: int):
        self._memory, self._store = memory, store
        self._end = begin
        # By their sizes in pages; and of each address that is given out.
        self._free: dict[int, list[int]] = {}
        self._blocks: dict[int, tuple[int, int]] = {}

    def allocate(self, size: int, place: int) -> int:
        pages = max(1, -(-(place + size) // _PAGE))
        unused = self._free.get(pages)
        begin = unused.pop() if unused else self._extend(pages * _PAGE)
        self._blocks[begin + place] = (pages, begin)
        return begin + place

    def free(self, address: int) -> None:
        pages, begin = self._blocks.pop(address)
        self._free.setdefault(pages, []).append(begin)

    def write(self, address: int, data: memoryview) -> None:
        self._memory.write(self._store, data, address)

    def clear(self, address: int, size: int) -> None:
        self.write(address, memoryview(bytes(size)))

    def read(self, places: Sequence[tuple[int, memoryview]]) -> None:
        for address, data in places:
            data[:] = memoryview(self._memory.read(self._store, address, address + len(data)))

    def _extend(self, size: int) -> int:
        import wasmtime

        begin = -(-self._end // _PAGE) * _PAGE
        end = begin + size
        more = -(-end // _GROWTH) - self._memory.size(self._store)
        try:
            if end > _MOST:
                raise LumenError(f"no memory for {size} bytes: WebAssembly has 4 GiB")
            if more > 0:
                self._memory.grow(self._store, more)
        except wasmtime.WasmtimeError as error:
            raise LumenError(f"wasmtime says: no memory for {size} bytes: {one_line(error)}") from None
        self._end = end
        return begin

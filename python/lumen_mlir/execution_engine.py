# SPDX-License-Identifier: Apache-2.0
"""Running functions of a module, under the names of MLIR's own bindings (``mlir.execution_engine``).

For small things: a function with the attribute ``llvm.emit_c_interface`` is called with pointers to its
arguments. Lumen's own models run through ``lumen_mlir.run.engine``.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

from lumen_mlir import ir
from lumen_mlir._mlir import codegen
from lumen_mlir.storage.atomic_file import replacing

__all__ = ["ExecutionEngine"]


class ExecutionEngine:
    """Compiles a module of the ``llvm`` dialect for this machine and loads it.

    ``opt_level`` is 0 to 3; ``shared_libs`` are paths of libraries whose symbols the module may use.
    Raises ``MLIRError`` if the module cannot be translated, compiled or linked. Addresses and functions
    taken from the engine are valid as long as it lives.
    """

    def __init__(
        self,
        module: ir.Module,
        opt_level: int = 2,
        shared_libs: Sequence[str] | None = None,
        enable_object_dump: bool = True,
    ):
        # The object is kept in any case: upstream's flag has nothing left to decide.
        del enable_object_dump
        self._bytes = codegen.emit(module, "obj", opt_level=opt_level, packed_interface=True)
        self._object = codegen.ObjectFile(self._bytes, shared_libs=list(shared_libs or []))

    def raw_lookup(self, name: str) -> int:
        """The address of the function ``void f(void **arguments)`` that wraps ``name``."""
        return self._object.lookup(f"_mlir__mlir_ciface_{name}")

    def lookup(self, name: str) -> Callable[..., None]:
        """The wrapper of ``name`` as a ``ctypes`` function of one ``void **``."""
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.raw_lookup(name))

    def invoke(self, name: str, *ctypes_args: Any) -> None:
        """Calls ``name`` with pointers to its arguments, and to its result where it has one.

        A memref is given as a pointer to a pointer to its descriptor, as upstream does.
        """
        addresses = [ctypes.cast(argument, ctypes.c_void_p) for argument in ctypes_args]
        self.lookup(name)((ctypes.c_void_p * len(addresses))(*addresses))

    def dump_to_object_file(self, file_name: str) -> None:
        """Writes the object file. Raises ``OSError``."""
        with replacing(file_name, len(self._bytes)) as file:
            file.write(self._bytes)

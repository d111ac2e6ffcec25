# SPDX-License-Identifier: Apache-2.0
# Written by tools/stubs.py.

from collections.abc import Sequence

import lumen_mlir._mlir.ir

def emit(
    module: lumen_mlir._mlir.ir.Operation | lumen_mlir._mlir.ir.Module,
    kind: str = "obj",
    triple: str | None = None,
    cpu: str | None = None,
    features: str | None = None,
    opt_level: int = 3,
    *,
    passes: str | None = None,
    packed_interface: bool = False,
) -> bytes: ...
def host_triple() -> str: ...
def architecture(triple: str) -> str: ...
def host_cpu_name() -> str: ...
def host_features() -> dict: ...
def release_memory() -> None: ...

class ObjectFile:
    def __init__(
        self, data: bytes | Sequence[bytes], shared_libs: Sequence[str] = [], perf_map: bool = False
    ) -> None: ...
    def lookup(self, name: str) -> int: ...
    def read_i64(self, name: str) -> int: ...

# SPDX-License-Identifier: Apache-2.0
"""AMX on CPUs without it: a handler of signals does what its instructions would have done.

Code for a target with tiles so runs on any x86-64 machine whose vectors suffice. See tile_emulator.c.
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from emulated import RUNNERS

from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Target

SOURCE = Path(__file__).with_suffix(".c")
_FLAGS = ("-O2", "-shared", "-fPIC")

AMX = targets.get("x86-64-v4+amx")
_V3 = targets.get("x86-64-v3")

TILES: Target = dataclasses.replace(
    AMX,
    name="tiles",
    cpu=_V3.cpu,
    features="+amx-tile,+amx-int8",
    needs=_V3.needs,
    dot=None,
    pair_dot=None,
)
"""The tiles of ``AMX`` on a machine with AVX2: what vectors of 512 bits do is done on halves of them."""

NARROW: Target = dataclasses.replace(
    TILES,
    name="narrow-tiles",
    vector_bits=_V3.vector_bits,
    vector_registers=_V3.vector_registers,
    dot=_V3.dot,
    pair_dot=_V3.pair_dot,
    mma=dataclasses.replace(AMX.mma, n=8),
    rows=_V3.rows,
    tokens=_V3.tokens,
)
"""Half as wide, with all that AVX2 has."""


def missing() -> tuple[str, ...]:
    """What keeps this machine from emulating."""
    if _V3.missing():
        return _V3.missing()
    return () if shutil.which("cc") else ("a C compiler",)


needs_emulator = pytest.mark.skipif(bool(missing()), reason=f"this machine lacks {', '.join(missing())}")


@functools.cache
def _library() -> ctypes.CDLL:
    digest = hashlib.blake2b(SOURCE.read_bytes() + repr(_FLAGS).encode(), digest_size=8).hexdigest()
    path = RUNNERS / f"tile-emulator-{digest}.so"
    if not path.exists():
        RUNNERS.mkdir(parents=True, exist_ok=True)
        # Renamed when it is whole: other processes build it at the same time.
        with tempfile.TemporaryDirectory(dir=RUNNERS) as folder:
            built = Path(folder) / path.name
            subprocess.run(["cc", *_FLAGS, str(SOURCE), "-o", str(built)], check=True)
            os.replace(built, path)
    library = ctypes.CDLL(str(path))
    for counter in (library.lumen_tile_products, library.lumen_tile_configurations):
        counter.restype = ctypes.c_ulong
    return library


def has_tiles() -> bool:
    """Whether the CPU runs AMX itself, so that nothing is emulated."""
    from lumen_mlir._mlir import codegen

    return codegen.host_features().get("amx-int8", False)


def products() -> int:
    """How many products of tiles were emulated since the process began."""
    return _library().lumen_tile_products()


@contextmanager
def emulated_tiles() -> Iterator[None]:
    """AMX works in this block, in all threads."""
    library = _library()
    if library.lumen_emulate_tiles():
        raise OSError("the handler of signals cannot be installed")
    try:
        yield
    finally:
        library.lumen_stop_emulating_tiles()

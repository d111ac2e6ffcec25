# SPDX-License-Identifier: Apache-2.0
# Written by tools/stubs.py.

from typing import Annotated

import numpy
from numpy.typing import NDArray

class ThreadTeam:
    def __init__(self, threads: int) -> None: ...
    @property
    def size(self) -> int: ...
    @property
    def active(self) -> int: ...
    def run(
        self,
        address: int,
        slots: Annotated[NDArray[numpy.uint64], dict(shape=(None,), order="C", device="cpu")],
    ) -> None: ...
    def measure_barrier(self, repetitions: int = 10000) -> float: ...

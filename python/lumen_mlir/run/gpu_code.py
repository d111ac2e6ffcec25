# SPDX-License-Identifier: Apache-2.0
"""What code on a GPU has in common, whichever driver runs it."""

from __future__ import annotations

import numpy as np

from lumen_mlir.errors import LumenError
from lumen_mlir.run.code import Held, Passed
from lumen_mlir.run.copies import Copies
from lumen_mlir.run.driver_memory import Driver, DriverMemory


class GpuCode:
    """The part of ``lumen_mlir.run.code.Code`` that is the same for all GPUs.

    Args:
      driver: of the GPU.
    """

    shares_memory = False
    own_bytes = 0

    def __init__(self, driver: Driver):
        self._memory = DriverMemory(driver)
        # To give memory back and to take it waits for the GPU.
        self._copies = Copies(self._memory, exact=False)
        self._is_lost = False

    def set_threads(self, threads: int) -> None:
        """A GPU has the threads that it has, whatever ``threads`` is."""

    def team(self) -> None:
        return None

    def hold(self, slots: np.ndarray, passed: Passed) -> Held:
        self._check()
        return self._copies.hold(slots, passed)

    def counters(self, name: str, count: int) -> np.ndarray:
        raise LumenError("kernels are profiled only where their code runs in this process, not on a GPU")

    def forget_threads(self) -> None:
        self._is_lost = True

    def _check(self) -> None:
        if self._is_lost:
            raise LumenError("a forked process cannot use code that was loaded on a GPU before")

# SPDX-License-Identifier: Apache-2.0
"""Where compiled code runs: in this process, or elsewhere for targets that this machine cannot run."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Sequence

import numpy as np

from lumen_mlir import env
from lumen_mlir._mlir import codegen
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.driver import launches
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run.code import Code, Device, Passed
from lumen_mlir.support.threads import ThreadTeam


class ThisProcess:
    """The device that every machine has."""

    def missing(self, target: Target) -> tuple[str, ...]:
        return target.missing()

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        return LoadedCode(objects)


class LoadedCode:
    """Code in this process. ``libraries``: paths of shared libraries whose functions it calls."""

    shares_memory = True

    def __init__(self, objects: Sequence[bytes], libraries: Sequence[str] = ()):
        self._object = codegen.ObjectFile(list(objects), shared_libs=list(libraries))
        self._team: ThreadTeam | None = None
        self._threads = 1

    def lookup(self, name: str) -> int:
        return self._object.lookup(name)

    def read_i64(self, name: str) -> int:
        return self._object.read_i64(name)

    def set_threads(self, threads: int) -> None:
        self._team = _team_of(threads)
        self._threads = threads

    def team(self) -> ThreadTeam:
        team = self._team
        if team is None:
            team = self._team = _team_of(self._threads)
        return team

    def run(self, entry: int, slots: np.ndarray, passed: Passed) -> None:
        self.team().run(entry, slots)

    def counters(self, name: str, count: int) -> np.ndarray:
        words = (ctypes.c_int64 * count).from_address(self._object.lookup(name))
        # The counters are gone when the object is.
        words.owner = self._object  # type: ignore[attr-defined]
        return np.frombuffer(words, np.int64)  # type: ignore[call-overload]

    def forget_threads(self) -> None:
        # Those of the team exist in the parent only, perhaps amid a call.
        self._team = None


def _team_of(threads: int) -> ThreadTeam:
    try:
        return ThreadTeam(threads)
    except RuntimeError as error:
        raise LumenError(f"a team of {threads} threads cannot be started: {error}") from None


_this_process = ThisProcess()
_others: list[Device] = []


@contextlib.contextmanager
def using(other: Device) -> Iterator[None]:
    """Inside, targets that ``other`` can run are run by it, even those that this process could run."""
    _others.append(other)
    try:
        yield
    finally:
        _others.remove(other)


def of(target: Target) -> Device:
    """The device that runs code for ``target``.

    That is one of ``using``, else this process, else the program that ``LUMEN_RUNNER`` names.

    Raises:
      LumenError: says what is lacking where none of them can run it, or that the program does not work.
    """
    for other in reversed(_others):
        if not other.missing(target):
            return other
    if not _this_process.missing(target):
        return _this_process
    if target.triple.startswith("nvptx"):
        return _gpu_for(target)
    if launches(target):
        return _vulkan_device()
    command = env.RUNNER.get()
    if not command:
        targets.check_runs(target)
        return _this_process
    # Few need it.
    from lumen_mlir.run.runner import Runner

    runner = Runner(command)
    if missing := runner.missing(target):
        raise LumenError(
            f"the runner ({runner.architecture}) cannot run code for target {target.name}: "
            f"it lacks {', '.join(missing)}"
        )
    return runner


def _gpu_for(target: Target) -> Device:
    """The GPU of this machine. Raises ``LumenError`` where it cannot run code for the target."""
    # Few need it.
    from lumen_mlir.run.cuda import Cuda
    from lumen_mlir.run.cuda_driver import first_gpu

    driver = first_gpu()
    gpu = Cuda(driver)
    if gpu.missing(target):
        raise LumenError(
            f"this GPU ({driver.name}, sm_{driver.capability}) cannot run code for target {target.name}"
        )
    return gpu


def _vulkan_device() -> Device:
    """The device of Vulkan of this machine. Raises ``LumenError`` where there is none."""
    # Few need it.
    from lumen_mlir.run.vulkan import Vulkan
    from lumen_mlir.run.vulkan_driver import first_device

    return Vulkan(first_device())


def check_runs(target: Target) -> Target:
    """``target``, if a device runs its code; ``LumenError`` says what is lacking otherwise."""
    of(target)
    return target

# SPDX-License-Identifier: Apache-2.0
"""Where compiled code runs: in this process, or elsewhere for targets that this machine cannot run."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lumen_mlir import env
from lumen_mlir._mlir import codegen
from lumen_mlir.compiler import targets
from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError
from lumen_mlir.run.code import Code, Device, Passed
from lumen_mlir.run.device_name import CPU, GPUS, DeviceName
from lumen_mlir.support.threads import ThreadTeam


class ThisProcess:
    """The device that every machine has."""

    name = CPU

    def __str__(self) -> str:
        return self.name

    def missing(self, target: Target) -> tuple[str, ...]:
        return target.missing()

    def free_memory(self) -> None:
        """Its memory is the machine's, which can give way to mapped weights."""
        return None

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        return LoadedCode(objects)


class LoadedCode:
    """Code in this process. ``libraries``: paths of shared libraries whose functions it calls."""

    shares_memory = True
    own_bytes = 0

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

    def hold(self, slots: np.ndarray, passed: Passed) -> None:
        return None

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


_GPU_OF_TRIPLE = {"nvptx": "cuda", "spirv": "vulkan"}
"""Kinds of GPUs, by how LLVM's triples begin."""


@dataclass(frozen=True)
class Place:
    """Where code runs, and what it is compiled for."""

    device: Device
    target: Target


_this_process = ThisProcess()
_others: list[Device] = []
_named: list[tuple[str, Device]] = []


@contextlib.contextmanager
def using(other: Device, name: str | None = None) -> Iterator[None]:
    """Inside, targets that ``other`` can run are run by it, even those that this process could run.

    With a name, such as "cuda:0", it stands for the device of this name instead.
    """
    if name is not None:
        _named.append((str(DeviceName.parse(name)), other))
    else:
        _others.append(other)
    try:
        yield
    finally:
        if name is not None:
            _named.pop()
        else:
            _others.remove(other)


def place_of(name: str | None = None, target: str | Target | None = None) -> Place:
    """Where code runs that is meant for a device, a target, or both.

    Args:
      name: of the device; None for the one that runs the target, which is the CPU where nothing else is said.
      target: a name of ``lumen_mlir.compiler.targets``; None or "native" for the best one of the device.

    Raises:
      LumenError: a name is not known, the device is not there, or it cannot run code for the target.
    """
    any_target = target is None or target == "native"
    if name is None:
        chosen = targets.get(target)
        return Place(of(chosen), chosen)
    wanted = DeviceName.parse(name)
    if wanted.kind == CPU:
        chosen = targets.get(target)
        found = of(chosen) if chosen.warp == 1 else _this_process
    else:
        found = _open(wanted)
        chosen = _best_target(found) if any_target else targets.get(target)
    if found.missing(chosen):
        more = (
            "" if wanted.kind == CPU else f"; it runs {', '.join(each.name for each in _targets_of(found))}"
        )
        raise LumenError(f"device {found} cannot run code for target {chosen.name}{more}")
    return Place(found, chosen)


def _targets_of(device: Device) -> list[Target]:
    """The targets whose code a device runs, the best first."""
    return [target for target in targets.TARGETS if not device.missing(target)]


def _best_target(device: Device) -> Target:
    found = _targets_of(device)
    if not found:
        raise LumenError(f"device {device} runs code for none of the targets of GPUs: it is too old")
    return found[0]


def _open(name: DeviceName) -> Device:
    """A GPU. Raises ``LumenError`` where it is not there."""
    for other_name, other in reversed(_named):
        if other_name == str(name):
            return other
    # Few need it, and not every version has all of them.
    try:
        module = importlib.import_module(GPUS[name.kind])
    except ModuleNotFoundError as error:
        if error.name != GPUS[name.kind]:
            raise
        raise LumenError(
            f"device {name} is not there: this version of Lumen runs no models through {name.kind}"
        ) from None
    gpu: Device = module.open_gpu(name.number)
    return gpu


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
    for prefix, kind in _GPU_OF_TRIPLE.items():
        if target.triple.startswith(prefix):
            return place_of(kind, target).device
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

# SPDX-License-Identifier: Apache-2.0
"""Other machines in an emulator: devices that run code for targets of another architecture.

The runner is compiled from a checkout of the sources, once for all that it is used for.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lumen_mlir.compiler.targets import Target
from lumen_mlir.errors import LumenError, one_line
from lumen_mlir.run.code import Code
from lumen_mlir.run.runner import Runner

_SOURCES = (
    "runtime/runner/Runner.cpp",
    "runtime/ThreadTeam.cpp",
    "runtime/TeamSize.cpp",
    "runtime/embed/CpuFeatures.cpp",
)
_HEADERS = (
    "runtime/ThreadTeam.h",
    "runtime/TeamSize.h",
    "runtime/embed/CpuFeatures.h",
    "runtime/embed/TileState.h",
)
# The code looks for the functions of the math library in the runner.
_FLAGS = ("-std=c++17", "-O2", "-pthread", "-rdynamic", "-Wl,--no-as-needed", "-lm", "-ldl")


@dataclass(frozen=True)
class Emulator:
    """What runs programs of an architecture.

    Attributes:
      compiler: of C++, on this machine.
      command: runs a program, on a CPU whose name follows it.
      cpus: from the least capable to the most.
      packages: Debian's, that have all of it.
    """

    compiler: str
    command: tuple[str, ...]
    cpus: tuple[str, ...]
    packages: tuple[str, ...]


EMULATORS = {
    "aarch64": Emulator(
        "aarch64-linux-gnu-g++",
        ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-cpu"),
        # Armv8.0; with dot products; with all that the emulator knows.
        ("cortex-a72", "neoverse-n1", "max"),
        ("qemu-user", "g++-aarch64-linux-gnu"),
    ),
}
"""By architectures, as LLVM calls them."""


def build_runner(checkout: Path, architecture: str, folder: Path) -> Path:
    """The runner of an architecture, compiled into ``folder`` unless it is there.

    Raises ``LumenError`` where there is no compiler for it, or the compiler fails.
    """
    emulator = _emulator_of(architecture)
    compiler = _find(emulator.compiler, emulator)
    return build_once(compiler, checkout, _SOURCES, _HEADERS, _FLAGS, folder, f"lumen-runner-{architecture}")


def build_once(
    compiler: str,
    checkout: Path,
    sources: Sequence[str],
    headers: Sequence[str],
    flags: Sequence[str],
    folder: Path,
    name: str,
) -> Path:
    """What a compiler makes of sources, in ``folder``: ``name`` and a hash of all that it depends on.

    Raises ``LumenError`` where the compiler fails.
    """
    version = subprocess.run([compiler, "--version"], capture_output=True, check=False).stdout
    digest = hashlib.blake2b(repr((tuple(flags), version)).encode(), digest_size=8)
    for source in (*sources, *headers):
        digest.update((checkout / source).read_bytes())
    result = folder / f"{name}-{digest.hexdigest()}"
    if result.exists():
        return result
    folder.mkdir(parents=True, exist_ok=True)
    # Renamed when it is whole: other processes build it at the same time.
    with tempfile.TemporaryDirectory(dir=folder) as temporary:
        built = Path(temporary) / name
        paths = [str(checkout / source) for source in sources]
        command = [compiler, f"-I{checkout}", *paths, *flags, "-o", str(built)]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        if done.returncode:
            raise LumenError(f"{name} cannot be compiled: {one_line(done.stderr.strip())}")
        os.replace(built, result)
    return result


def command_of(runner: Path, architecture: str, cpu: str | None = None) -> tuple[str, ...]:
    """What starts a runner in the emulator; ``cpu``: one of its names, by default the most capable."""
    emulator = _emulator_of(architecture)
    program, *options = emulator.command
    return (_find(program, emulator), *options, cpu or emulator.cpus[-1], str(runner))


class Emulated:
    """A device for all targets of other architectures that have an emulator.

    Each runs on the least capable CPU that has what the target needs, so that code for more ends in a signal.

    Args:
      checkout: the sources of the runner.
      folder: where runners are kept.
    """

    def __init__(self, checkout: Path, folder: Path):
        self.name = "emulated machines"
        self._checkout, self._folder = checkout, folder
        self._runners = functools.cache(self._start)

    def missing(self, target: Target) -> tuple[str, ...]:
        """``Device.missing``; this machine's own architecture counts as missing."""
        architecture = target.architecture
        if not target.is_foreign() or architecture not in EMULATORS:
            return (architecture,)
        return self.runner_for(target).missing(target)

    def load(self, objects: Sequence[bytes], target: Target) -> Code:
        """``Device.load``."""
        return self.runner_for(target).load(objects, target)

    def free_memory(self) -> None:
        """``Device.free_memory``."""
        return None

    def runner_for(self, target: Target) -> Runner:
        """What runs code for a target, or lacks least of what it needs."""
        architecture = target.architecture
        cpus = _emulator_of(architecture).cpus
        runners = [self._runners(architecture, cpu) for cpu in cpus[:-1]]
        able = (runner for runner in runners if not runner.missing(target))
        return next(able, None) or self._runners(architecture, cpus[-1])

    def _start(self, architecture: str, cpu: str) -> Runner:
        runner = build_runner(self._checkout, architecture, self._folder)
        return Runner(command_of(runner, architecture, cpu))


def _emulator_of(architecture: str) -> Emulator:
    if architecture not in EMULATORS:
        raise LumenError(f"no emulator for {architecture} is known; there are {', '.join(EMULATORS)}")
    return EMULATORS[architecture]


def _find(program: str, emulator: Emulator) -> str:
    found = shutil.which(program)
    if found is None:
        packages = " ".join(emulator.packages)
        raise LumenError(f"{program} is not installed (Debian's packages: {packages})")
    return found

# SPDX-License-Identifier: Apache-2.0
"""Tries the inputs of a kind, one by one, in child processes, so that a crash is a finding and not the end.

Every input is made from a random generator that its kind and its number seed, so it can be made again alone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import json
import logging
import os
import pkgutil
import random
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from lumen_mlir.errors import LumenError
from lumen_mlir.storage.atomic_file import replacing

# Inputs that one child process tries, where their kind has no ``BATCH`` of its own.
_BATCH = 500
# A child that says nothing for so many times its kind's limit hangs (the limit itself counts processor time).
_PATIENCE = 10


class Kind(Protocol):
    """A module of ``fuzz.kinds``. Its docstring says what is tried and what counts as a fault.

    Attributes:
      GOAL: inputs that ``make fuzz`` tries.
      SMOKE: inputs that ``make test`` tries.
      SECONDS: of processor time that one input may take.
      MEMORY: bytes that the process may map beyond what it has at the start; None for no limit.
      BATCH: inputs between two notes of the progress; slow kinds have a small one.
    """

    GOAL: int
    SMOKE: int
    SECONDS: float
    MEMORY: int | None

    def prepare(self, folder: Path) -> Any:
        """What all inputs need; once per run. ``folder`` is empty and belongs to this run."""

    def attempt(self, state: Any, rng: random.Random) -> str:
        """Makes an input from ``rng``, tries it, and returns a word for the tally.

        ``LumenError`` counts as refused. Any other exception is a fault; ``AssertionError`` says that a
        result is wrong.
        """


@dataclass
class Fault:
    """An input that must not end as it did; ``what`` is how, in words, perhaps with a traceback."""

    number: int
    what: str

    @property
    def headline(self) -> str:
        """``what`` in one line."""
        return self.what.strip().splitlines()[-1]


@dataclass
class Progress:
    """What was tried so far: the next number, outcomes and how often, faults, seconds."""

    next: int = 0
    tally: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    seconds: float = 0.0

    @staticmethod
    def load(path: Path) -> Progress:
        """From a file that ``save`` wrote; from the beginning where there is none."""
        if not path.exists():
            return Progress()
        data = json.loads(path.read_text())
        faults = [Fault(**fault) for fault in data["faults"]]
        return Progress(data["next"], Counter(data["tally"]), faults, data["seconds"])

    def save(self, path: Path) -> None:
        """Writes all of it to a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            # (asdict cannot copy a Counter before Python 3.12.)
            faults = [asdict(fault) for fault in self.faults]
            file.write(json.dumps({**vars(self), "faults": faults}, indent=1).encode())


def kind_names() -> list[str]:
    """All kinds, by name, such as "gguf-headers"."""
    package = importlib.import_module("fuzz.kinds")
    return sorted(info.name.replace("_", "-") for info in pkgutil.iter_modules(package.__path__))


def kind_of(name: str) -> Kind:
    """The module of a kind. Raises ``ValueError`` for a name that is none."""
    if name not in kind_names():
        raise ValueError(f"unknown kind '{name}'; known are {', '.join(kind_names())}")
    return importlib.import_module(f"fuzz.kinds.{name.replace('-', '_')}")


def rng_of(name: str, number: int) -> random.Random:
    """The generator that input ``number`` of a kind is made from."""
    return random.Random(f"{name}/{number}")


def run(
    name: str,
    upto: int,
    progress: Progress | None = None,
    on_batch: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Tries inputs from ``progress.next`` up to, without, ``upto``; ``on_batch`` is called now and then."""
    kind = kind_of(name)
    progress = progress or Progress()
    with tempfile.TemporaryDirectory(prefix=f"lumen-fuzz-{name}-") as folder:
        state = kind.prepare(Path(folder))
        while progress.next < upto:
            start = time.monotonic()
            last = min(progress.next + getattr(kind, "BATCH", _BATCH), upto)
            for outcome in _outcomes(name, kind, state, progress.next, last):
                if isinstance(outcome, Fault):
                    progress.faults.append(outcome)
                else:
                    progress.tally[outcome] += 1
                progress.next += 1
            progress.seconds += time.monotonic() - start
            on_batch(progress)
    return progress


def run_one(name: str, number: int) -> str:
    """Tries one input in this process, so that a debugger sees it, and returns or raises what it does."""
    kind = kind_of(name)
    with tempfile.TemporaryDirectory(prefix=f"lumen-fuzz-{name}-") as folder:
        return kind.attempt(kind.prepare(Path(folder)), rng_of(name, number))


def _outcomes(name: str, kind: Kind, state: Any, first: int, last: int) -> Iterator[str | Fault]:
    """What becomes of inputs ``first`` up to ``last``; ends early behind an input that ended its process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _child(name, kind, state, first, last, writer)
    os.close(writer)
    number = first
    with open(reader, "rb", buffering=0) as pipe:
        for line in _lines(pipe, _PATIENCE * kind.SECONDS):
            outcome = json.loads(line)
            yield Fault(number, outcome["fault"]) if isinstance(outcome, dict) else outcome
            number += 1
    # Of a child that hangs, too.
    with contextlib.suppress(ProcessLookupError):
        if number < last:
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if number < last:
        yield Fault(number, _ending(status, kind))


def _ending(status: int, kind: Kind) -> str:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return f"it hangs: nothing for {_PATIENCE * kind.SECONDS:g} seconds"
    if os.WIFSIGNALED(status):
        return f"signal {signal.Signals(os.WTERMSIG(status)).name}"
    return f"the process ended with exit code {os.WEXITSTATUS(status)}"


def _lines(pipe: Any, patience: float) -> Iterator[bytes]:
    """Lines as they come, until the other side closes or says nothing for ``patience`` seconds."""
    held = b""
    while select.select([pipe], [], [], patience)[0]:
        data = pipe.read(1 << 16)
        if not data:
            return
        *lines, held = (held + data).split(b"\n")
        yield from lines


def _child(name: str, kind: Kind, state: Any, first: int, last: int, writer: int) -> None:
    """Tries inputs and writes each outcome as a line of JSON; never returns."""
    faulthandler.disable()
    # What is said about bad input is not what is looked at here.
    logging.getLogger("lumen_mlir").setLevel(logging.CRITICAL)
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if kind.MEMORY is not None:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + kind.MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    code = 0
    try:
        for number in range(first, last):
            os.write(writer, json.dumps(_outcome(name, kind, state, number)).encode() + b"\n")
    except BaseException:
        code = 70
    finally:
        os._exit(code)


def _outcome(name: str, kind: Kind, state: Any, number: int) -> str | dict[str, str]:
    start = time.process_time()
    try:
        outcome = kind.attempt(state, rng_of(name, number))
    except LumenError as error:
        outcome = "refused"
        if "\n" in str(error).strip() and type(error) is LumenError:
            return {"fault": f"an error of several lines: {error!r}"}
    except BaseException:
        return {"fault": traceback.format_exc(limit=-8)}
    seconds = time.process_time() - start
    if seconds > kind.SECONDS:
        return {"fault": f"it took {seconds:.1f} seconds ({outcome})"}
    return outcome


def report(name: str, progress: Progress, goal: int, stream: Any = None) -> None:
    """Prints a line about what was tried."""
    stream = stream or sys.stdout
    tried = max(progress.next, 1)
    rate = progress.next / progress.seconds if progress.seconds else 0.0
    outcomes = ", ".join(
        f"{word} {100 * count / tried:.0f} %" for word, count in progress.tally.most_common(4)
    )
    faults = len(progress.faults)
    print(
        f"{name:16} {progress.next:>9,} of {goal:,}  {rate:,.0f}/s  {outcomes or 'nothing yet'}  "
        f"{faults or 'no'} fault{'' if faults == 1 else 's'}",
        file=stream,
        flush=True,
    )

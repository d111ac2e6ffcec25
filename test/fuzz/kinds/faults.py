# SPDX-License-Identifier: Apache-2.0
"""Starts and conversions in which one call of the system fails: the n-th write, open, mapping, allocation.

A fault is a crash, another result, an error that is no ``LumenError`` (or ``MemoryError``), files that are
left behind, or that the next run, in which nothing fails, does not do what it should.
"""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz.fault_server import SCENARIOS

GOAL = 2_000
SMOKE = 1
SECONDS = 20.0
MEMORY = None
BATCH = 20

_ERRORS = {
    "write": (errno.ENOSPC, errno.EIO, errno.EDQUOT, 0),
    "read": (errno.EIO,),
    "open": (errno.EMFILE, errno.EACCES, errno.EIO),
    "mmap": (errno.ENOMEM,),
    "malloc": (errno.ENOMEM,),
    "fallocate": (errno.ENOSPC, errno.EOPNOTSUPP, errno.EIO),
    "ftruncate": (errno.EIO,),
    "rename": (errno.EACCES, errno.EIO, errno.ENOSPC),
    "unlink": (errno.EACCES,),
    "mkdir": (errno.EACCES, errno.ENOSPC),
}


@dataclass
class State:
    server: subprocess.Popen
    # What each scenario results in, and how often it makes each call.
    results: dict[str, str]
    calls: dict[tuple[str, str], int]
    asked: int = 0

    def ask(self, **question: Any) -> dict[str, Any]:
        self.asked += 1
        number = f"{os.getpid()}-{self.asked}"
        self.server.stdin.write(json.dumps({**question, "id": number}) + "\n")
        self.server.stdin.flush()
        # A process that was killed may have left an answer behind.
        while (answer := json.loads(self.server.stdout.readline()))["id"] != number:
            pass
        return answer


def prepare(folder: Path) -> State:
    """Builds the library, starts the process that it is loaded into, and counts its calls."""
    library = folder / "inject.so"
    compiler = next(filter(None, map(shutil.which, ("cc", "clang", "clang-22", "gcc"))))
    source = Path(__file__).parents[1] / "inject.c"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONPATH": os.pathsep.join(sys.path)}
    (folder / "models").mkdir()
    server = subprocess.Popen(
        [sys.executable, "-m", "fuzz.fault_server", folder / "models"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    json.loads(server.stdout.readline())
    state = State(server, {}, {})
    for scenario in SCENARIOS:
        answer = json.loads(state.ask(scenario=scenario, call="write", n=0, error=0)["text"])
        state.results[scenario] = answer["result"]
        state.calls |= {(scenario, call): count for call, count in answer["calls"].items()}
    return state


def attempt(state: State, rng: random.Random) -> str:
    scenario, call = rng.choice([key for key, calls in sorted(state.calls.items()) if calls])
    n = rng.randint(1, state.calls[scenario, call])
    error = rng.choice(_ERRORS[call])
    answer = state.ask(scenario=scenario, call=call, n=n, error=error)
    what = (
        f"{scenario}: {call} {n} of {state.calls[scenario, call]} with {errno.errorcode.get(error, 'less')}"
    )
    status, text = answer["again"]
    assert (status, text) == (0, state.results[scenario]), f"{what}: then {status} {text[:300]}"
    # LLVM ends the process where it gets no memory, with a message.
    if call == "malloc" and answer["status"] == signal.SIGABRT:
        return "malloc ended by LLVM"
    assert answer["status"] == 0, f"{what}: {answer['status']} {answer['text']}"
    first = json.loads(answer["text"])
    if "result" in first:
        assert first["result"] == state.results[scenario], f"{what}: another result"
    else:
        assert "\n" not in first["refused"], f"{what}: {first}"
    # What cannot be removed stays.
    assert call == "unlink" or not answer["left"], f"{what}: left {answer['left']}"
    return f"{call} {'refused' if 'refused' in first else 'right' if first['failed'] else 'not met'}"

# SPDX-License-Identifier: Apache-2.0
"""A few seconds of each kind of fuzzing (``make fuzz`` has the rest), and the frame that runs them."""

import os
import sys
from types import ModuleType

import pytest
from fuzz import frame

from lumen_mlir.errors import LumenError


@pytest.mark.parametrize("name", frame.kind_names())
def test_kinds_find_no_fault(name):
    progress = frame.run(name, frame.kind_of(name).SMOKE)
    assert [(fault.number, fault.what) for fault in progress.faults] == []
    assert progress.next == sum(progress.tally.values())


@pytest.fixture
def kind(monkeypatch):
    """A kind whose inputs end in every way that there is, by their number."""
    module = ModuleType("fuzz.kinds.endings")
    module.SECONDS, module.MEMORY = 0.2, 1 << 28

    def attempt(endings, rng):
        return endings[rng.number]()

    module.prepare = lambda folder: ENDINGS
    module.attempt = attempt
    monkeypatch.setattr(frame, "kind_of", lambda name: module)
    monkeypatch.setattr(frame, "rng_of", lambda name, number: type("Numbered", (), {"number": number}))
    monkeypatch.setattr(frame, "_PATIENCE", 15)
    return module


def _refuse():
    raise LumenError("no")


def _spin():
    while True:
        pass


def _spend():
    import time

    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    return "slow"


ENDINGS = [
    lambda: "fine",
    _refuse,
    lambda: 1 // 0,
    lambda: os.kill(os.getpid(), 11),
    lambda: "fine",
    _spin,
    lambda: sys.exit(3),
    lambda: os._exit(4),
    _spend,
    lambda: bytearray(1 << 30) and "fine",
    lambda: "fine",
]


def test_every_ending_is_seen_and_the_rest_goes_on(kind):
    progress = frame.run("endings", len(ENDINGS))
    assert progress.next == len(ENDINGS)
    assert progress.tally == {"fine": 3, "refused": 1}
    assert [(fault.number, fault.headline) for fault in progress.faults] == [
        (2, "ZeroDivisionError: integer division or modulo by zero"),
        (3, "signal SIGSEGV"),
        (5, "it hangs: nothing for 3 seconds"),
        (6, "SystemExit: 3"),
        (7, "the process ended with exit code 4"),
        (8, "it took 0.3 seconds (slow)"),
        (9, "MemoryError"),
    ]


def test_progress_is_kept(kind, tmp_path):
    path = tmp_path / "state" / "endings.json"
    first = frame.run("endings", 3)
    first.save(path)
    again = frame.Progress.load(path)
    assert again == first
    assert frame.run("endings", 5, again).next == 5
    assert [fault.number for fault in again.faults] == [2, 3]


def test_inputs_can_be_made_again():
    assert frame.rng_of("folders", 7).random() == frame.rng_of("folders", 7).random()
    assert frame.rng_of("folders", 7).random() != frame.rng_of("folders", 8).random()


def test_unknown_kinds_are_named():
    with pytest.raises(ValueError, match="unknown kind 'nothing'; known are "):
        frame.kind_of("nothing")

# SPDX-License-Identifier: Apache-2.0
"""What ``make run`` shows: how far a step is, what failed, and the text at its end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STEP = ROOT / "tools" / "step.sh"

# What a build writes, slowly enough to be watched.
BUILD = "for i in 1 2 3; do echo \"[$i/3] Building\"; sleep 0.7; done; echo 'it\tended'; exit $1"


def step(folder, *command, terminal=False, **variables):
    """One step whose output is a pipe, or a terminal that ``script`` makes."""
    environment = {
        **os.environ,
        "LOG": str(folder / "log"),
        "STEP_SECONDS": "1",
        "TERM": "xterm",
        **variables,
    }
    arguments = [str(STEP), "Building it", *command]
    if terminal:
        quoted = " ".join(f"'{argument}'" for argument in arguments)
        arguments = ["script", "-qec", f"stty cols 40; {quoted}", "/dev/null"]
    return subprocess.run(arguments, capture_output=True, text=True, env=environment, timeout=30)


def test_a_step_in_a_pipe(tmp_path):
    done = step(tmp_path, "bash", "-c", BUILD, "x", "0")
    assert (done.returncode, done.stderr) == (0, "")
    first, *between, last = done.stdout.splitlines()
    assert first == "Building it …" and re.fullmatch(r"Building it: \d+ s", last)
    assert between and all(re.fullmatch(r"Building it \[[123]/3\] \d+ s", line) for line in between)
    assert "[3/3] Building\nit\tended\n" in (tmp_path / "log").read_text()


def test_a_step_on_a_terminal(tmp_path):
    done = step(tmp_path, "bash", "-c", BUILD, "x", "0", terminal=True)
    assert done.returncode == 0
    shown = re.split(r"\r|\x1b\[K|\n", done.stdout)
    assert any(re.fullmatch(r"Building it \[[123]/3\] \d+ s", line) for line in shown)
    assert max(map(len, shown)) < 40 and re.fullmatch(r"Building it: \d+ s", [x for x in shown if x][-1])


def test_a_step_that_fails(tmp_path):
    (tmp_path / "log").write_text("what an earlier step wrote\n")
    done = step(tmp_path, "sh", "-c", "seq 100; echo no compiler >&2; exit 3", STEP_LINES="2")
    assert done.returncode == 3 and "Building it: " not in done.stdout
    head, *tail = done.stderr.splitlines()
    assert re.fullmatch(rf"Building it failed after \d+ s\. The end of {tmp_path}/log:", head)
    assert tail == ["  | 100", "  | no compiler"]
    done = step(tmp_path, "/no/such/command")
    assert done.returncode == 127 and "/no/such/command" in done.stderr


def test_progress_of_packages(tmp_path):
    status = "dlstatus:1:99.0000:Retrieving\npmstatus:dpkg-exec:45.1200:Running dpkg"
    done = step(tmp_path, "sh", "-c", f"echo '{status}'; sleep 2.2")
    assert re.search(r"^Building it \(unpack 45%\) \d s$", done.stdout, re.M), done.stdout


# --- the text at the end ------------------------------------------------------------------------------------


def welcome(*arguments):
    environment = {name: value for name, value in os.environ.items() if name != "LUMEN_THREADS"}
    command = [sys.executable, str(ROOT / "tools" / "welcome.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def default_prompt():
    return re.search(r"^PROMPT \?= (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)[1]


def test_welcome():
    done = welcome("--since", "0", "--bin", "bin", default_prompt())
    assert done.returncode == 0, done.stderr
    _, text, gloss, *rest = done.stdout.splitlines()
    assert text.strip().startswith(default_prompt()) and text.strip() != default_prompt()
    assert gloss == '  "I watched it with my family at the weekend, and we really enjoyed it."'
    assert any(re.fullmatch(r"From `make run` to here: \d+ min \d+ s\.", line) for line in rest)
    assert len([line for line in rest if line.startswith("  bin/lumen ")]) == 3
    assert "\x1b" not in done.stdout


def test_welcome_without_a_gloss():
    """Only the text that is known has a translation."""
    done = welcome("이 영화")
    assert done.returncode == 0 and "family" not in done.stdout and 'prompt was "이 영화"' in done.stdout

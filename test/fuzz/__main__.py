# SPDX-License-Identifier: Apache-2.0
"""The command line of the fuzzers."""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from pathlib import Path

from fuzz import frame


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description="Tries Lumen with very many inputs. Stopped with Ctrl-C, it goes on where it was.",
        epilog="kinds: " + ", ".join(frame.kind_names()),
    )
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="what to try (default: everything)")
    parser.add_argument("--times", type=float, default=1, help="so many times each kind's number of inputs")
    parser.add_argument("--seconds", type=float, help="end each kind after so many seconds")
    parser.add_argument("--state", type=Path, default=Path("build/fuzz"), help="where progress is kept")
    parser.add_argument("--anew", action="store_true", help="begin with the first input")
    parser.add_argument("--only", type=int, metavar="N", help="input N of one kind, in this process")
    asked = parser.parse_args()
    names = asked.kinds or frame.kind_names()
    for name in names:
        if name not in frame.kind_names():
            parser.error(f"unknown kind '{name}'; known are {', '.join(frame.kind_names())}")
    if asked.only is not None:
        if len(names) != 1:
            parser.error("--only goes with one kind")
        print(frame.run_one(names[0], asked.only))
        return 0
    try:
        faults = sum(_run(name, asked) for name in names)
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 1 if faults else 0


def _run(name: str, asked: argparse.Namespace) -> int:
    """Runs one kind; the number of its faults."""
    path = asked.state / f"{name}.json"
    progress = frame.Progress() if asked.anew else frame.Progress.load(path)
    goal = int(asked.times * frame.kind_of(name).GOAL)
    end = None if asked.seconds is None else time.monotonic() + asked.seconds
    shown = [time.monotonic()]

    def after(progress: frame.Progress) -> None:
        progress.save(path)
        now = time.monotonic()
        if now - shown[0] > 30:
            shown[0] = now
            frame.report(name, progress, goal)
        if end is not None and now > end:
            raise TimeoutError

    with contextlib.suppress(TimeoutError):
        frame.run(name, goal, progress, after)
    frame.report(name, progress, goal)
    for fault in progress.faults[:20]:
        print(f"  input {fault.number}: {fault.headline}\n    python -m fuzz {name} --only {fault.number}")
    return len(progress.faults)


if __name__ == "__main__":
    sys.exit(main())

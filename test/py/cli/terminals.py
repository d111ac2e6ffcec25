# SPDX-License-Identifier: Apache-2.0
"""Runs the command line on a terminal of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys


def on_a_terminal(environment, *arguments):
    """What a command writes to a terminal that is its stdout and stderr."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lumen_mlir", *map(str, arguments)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as done:
        os.close(theirs)
        parts = []
        while True:
            try:
                parts.append(os.read(ours, 65536))
            except OSError:  # the other end is closed
                break
            if not parts[-1]:
                break
    os.close(ours)
    return done.returncode, b"".join(parts).decode().replace("\r\n", "\n")

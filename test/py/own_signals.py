# SPDX-License-Identifier: Apache-2.0
"""Tests that press Ctrl-C also run in the background of a script, where shells turn it off."""

from __future__ import annotations

import signal


def hear_interrupts() -> None:
    """Lets SIGINT reach this process and those that it starts, also where it was ignored at its start."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)

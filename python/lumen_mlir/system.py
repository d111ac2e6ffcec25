# SPDX-License-Identifier: Apache-2.0
"""What the machine has free."""

from __future__ import annotations

import contextlib
from pathlib import Path

_MEMINFO, _CONTROL_GROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def available_memory() -> int | None:
    """Bytes that this process can still make resident without pushing others out; None where nobody knows.

    The least of what the system has available and what the control group (of a container) leaves.
    """
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        found.append(int(fields["MemAvailable"].split()[0]) * 1024)
    # Without a limit the file says "max".
    with contextlib.suppress(OSError, ValueError):
        limit, used = (int((_CONTROL_GROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        found.append(max(limit - used, 0))
    return min(found, default=None)

# SPDX-License-Identifier: Apache-2.0
"""What the machine has, and what the control groups of this process (those of a container) leave of it."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path


def control_groups(controller: str, root: str | Path = "/") -> Iterator[tuple[Path, bool]]:
    """The folders of this process's control groups for ``controller``, each followed by those above it.

    With each comes whether it is of version 2. A limit of any of them holds. ``root`` is where ``sys`` and
    ``proc`` are.
    """
    root = Path(root)
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        version2 = not controllers
        if not version2 and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if version2 else controllers)
        group = mount / path.lstrip("/")
        # In a container the path may not exist; its root then does.
        for folder in [group, *group.parents]:
            yield folder, version2
            if folder == mount:
                break


def cpu_name(root: str | Path = "/") -> str:
    """What its maker calls the processor; its architecture where the system does not say."""
    with contextlib.suppress(OSError):
        for line in (Path(root) / "proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def total_memory(root: str | Path = "/") -> int | None:
    """Bytes of memory that the machine has, or its control groups allow; None where nobody knows."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
        found.append(_meminfo(Path(root))["MemTotal"])
    for folder, version2 in control_groups("memory", root):
        with contextlib.suppress(OSError, ValueError):
            found.append(int((folder / f"memory.{'max' if version2 else 'limit_in_bytes'}").read_text()))
    return min(found, default=None)


def _meminfo(root: Path) -> dict[str, int]:
    fields = dict(line.split(":", 1) for line in (root / "proc/meminfo").read_text().splitlines())
    return {name: int(value.split()[0]) * 1024 for name, value in fields.items()}


def available_memory(root: str | Path = "/") -> int | None:
    """Bytes that this process can still make resident without pushing others out; None where nobody knows.

    The least of what the system has available and what each control group leaves. Pages of files that were
    not used lately count as free: the system takes them first.
    """
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
        found.append(_meminfo(Path(root))["MemAvailable"])
    for folder, version2 in control_groups("memory", root):
        limit, used = ("max", "current") if version2 else ("limit_in_bytes", "usage_in_bytes")
        # Without a limit the file says "max", or a number larger than any memory.
        with contextlib.suppress(OSError, ValueError):
            left = int((folder / f"memory.{limit}").read_text()) - int(
                (folder / f"memory.{used}").read_text()
            )
            found.append(max(left + _unused_pages(folder, version2), 0))
    return min(found, default=None)


def _unused_pages(folder: Path, version2: bool) -> int:
    """Bytes of files that a control group holds in memory, but has not used lately."""
    key = "inactive_file" if version2 else "total_inactive_file"
    with contextlib.suppress(OSError, ValueError, KeyError):
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        return int(counts[key])
    return 0

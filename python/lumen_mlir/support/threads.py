# SPDX-License-Identifier: Apache-2.0
"""Teams of native threads, and how many threads to use."""

import math
import os
from pathlib import Path

from lumen_mlir._mlir.team import ThreadTeam
from lumen_mlir.support.system import control_groups

__all__ = ["ThreadTeam", "default_thread_count"]


def default_thread_count(root: str | Path = "/") -> int:
    """The number of physical cores this process may use, at least 1.

    Counts the cores of the processors in the affinity mask once each, however many hardware threads they
    have, and not more than a cgroup's CPU quota allows: barriers of a team that exceeds its quota wait for
    throttled threads. ``root`` is where ``sys`` and ``proc`` are.
    """
    root = Path(root)
    cores = {_core_of(processor, root) for processor in os.sched_getaffinity(0)}
    return max(1, math.floor(min(len(cores), _cgroup_quota(root))))


def _core_of(processor: int, root: Path) -> tuple[str, ...]:
    """What identifies the core of a processor; without topology each one counts."""
    topology = root / f"sys/devices/system/cpu/cpu{processor}/topology"
    try:
        return tuple((topology / name).read_text().strip() for name in ("physical_package_id", "core_id"))
    except OSError:
        return (str(processor),)


def _cgroup_quota(root: Path) -> float:
    """CPUs' worth of time this process's control groups allow; infinite where nothing limits it."""
    return min((_quota_of(*group) for group in control_groups("cpu", root)), default=math.inf)


def _quota_of(folder: Path, version2: bool) -> float:
    try:
        if version2:
            limit, period = (folder / "cpu.max").read_text().split()
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text()
        if limit in ("max", "-1"):
            return math.inf
        return int(limit) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf

# SPDX-License-Identifier: Apache-2.0
"""Teams of native threads, and how many threads to use."""

import math
import os
from pathlib import Path

from lumen_mlir._mlir.team import ThreadTeam

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
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    quota = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        version2 = not controllers
        if not version2 and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / ("" if version2 else controllers)
        group = mount / path.lstrip("/")
        # A limit of any group above holds too; in a container the path may not exist, its root then does.
        for folder in [group, *group.parents]:
            quota = min(quota, _quota_of(folder, version2))
            if folder == mount:
                break
    return quota


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

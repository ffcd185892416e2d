"""How many cores this process really has: affinity and the container's CPU quota."""

import math
import os
from pathlib import Path


def available_cores(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Cores by the affinity mask and cgroup quota (v2 `cpu.max`, v1 `cpu.cfs_quota_us`).

    More threads than cores make OpenMP collapse 20 to 40 fold, and a container sees the whole
    node's cores in os.cpu_count(). A quota of 1.5 counts as 1: two threads would spend it in
    three quarters of each period and stand still, health checks included, for the rest.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    return cores if quota is None else max(1, min(cores, math.floor(quota)))


def have_a_core_each(threads: int) -> bool:
    """Whether so many threads are one for each core of the affinity mask, no more and no fewer.

    Where a quota leaves fewer threads than cores, all cores are others' as well, and each thread is
    best off on whichever is idle. Without a quota others may use them too, and nothing here tells.
    """
    return threads == len(os.sched_getaffinity(0))


def _quota(cgroup: Path) -> float | None:
    try:
        limit, period = (cgroup / "cpu.max").read_text().split()
        return None if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        pass
    try:
        limit = (cgroup / "cpu" / "cpu.cfs_quota_us").read_text()
        period = (cgroup / "cpu" / "cpu.cfs_period_us").read_text()
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError):
        return None

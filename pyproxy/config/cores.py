"""How many processors this process may use: what `workers: auto` comes to."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup/cpu.max")


def cores(quota: Path = _CGROUP) -> int:
    """Those it may run on; fewer where its control group (a container's limit) grants less time than they have."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(found, _granted(quota) or found))


def _granted(quota: Path) -> int | None:
    """Processors' worth of time, rounded up: "QUOTA PERIOD" in microseconds, or "max PERIOD"."""
    try:
        most, period = quota.read_text().split()
        return math.ceil(int(most) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return None  # no limit, or none that is told here

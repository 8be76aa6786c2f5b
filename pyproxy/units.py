"""Sizes and times as people read them."""

from __future__ import annotations

import time

_KIB = 1024


def as_size(nbytes: float) -> str:
    """Bytes in the largest binary unit that leaves a number of at least 1."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if nbytes < _KIB:
            return f"{nbytes:.0f} {unit}" if unit == "B" else f"{nbytes:.1f} {unit}"
        nbytes /= _KIB
    return f"{nbytes:.1f} TiB"


def ago(then: float, *, now: float | None = None) -> str:
    """How long ago an instant (seconds since the epoch) was, in its largest unit."""
    seconds = max(0.0, (time.time() if now is None else now) - then)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def as_duration(seconds: float) -> str:
    """A duration as the configuration has it, in its largest unit that leaves no fraction."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds:g}s"

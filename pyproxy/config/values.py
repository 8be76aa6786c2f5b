"""Durations, sizes and the other plain values of the file: what is a right one, and how one is shown.

Each parser takes what YAML made of the text and returns the value, or raises Wrong.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pyproxy.errors import BadRequirement
from pyproxy.model import printable
from pyproxy.selection import as_glob

_DURATION = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9}(?!\s*ms))?)\s*(ms|s|m|h|d)\Z", re.ASCII)
_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LONGEST = 36500 * 86400.0

_SIZE = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?)\s*([KMGT]I?B|B)\Z", re.ASCII | re.IGNORECASE)
_BYTES = {
    "tib": 1 << 40,
    "tb": 10**12,
    "gib": 1 << 30,
    "gb": 10**9,
    "mib": 1 << 20,
    "mb": 10**6,
    "kib": 1 << 10,
    "kb": 10**3,
    "b": 1,
}
_LARGEST = 1 << 62

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,100}\Z", re.ASCII)

_GLOB = re.compile(r"(?:[A-Za-z0-9._*?-]|\[!?[A-Za-z0-9-]+\]){1,100}\Z", re.ASCII)


class Wrong(Exception):
    """A value that cannot stand there; its words are for people, hold no secret, and follow the key in a message."""


def duration(value: object) -> float:
    """Seconds. A bare number is refused, as nobody can tell whether it means seconds or minutes; 0 is 0 in each."""
    if value == 0 and isinstance(value, int | float) and not isinstance(value, bool):
        return 0.0
    match = _DURATION.match(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise Wrong(f"must be a duration such as 30s, 10m, 2h or 7d{instead_of(value)}")
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST:
        raise Wrong(f"must be at most 36500d{instead_of(value)}")
    return seconds


def some_duration(value: object) -> float:
    """Seconds, more than none: a limit of 0 would refuse everything."""
    seconds = duration(value)
    if seconds <= 0:
        raise Wrong(f"must be more than 0{instead_of(value)}")
    return seconds


def show_duration(seconds: float) -> str:
    """The duration as one would write it: in the largest unit that leaves no fraction."""
    if seconds == 0:
        return "0s"
    for unit, length in _SECONDS.items():
        count = seconds / length
        # A thousandth has no exact float, so a count of milliseconds may miss its whole number by a rounding.
        if round(count) >= 1 and math.isclose(count, round(count), rel_tol=1e-12):
            return f"{round(count)}{unit}"
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def size(value: object) -> int:
    """Bytes: a whole number of them, or a number with a unit of 1000s (MB) or 1024s (MiB). At least 1."""
    count = -1
    if isinstance(value, int) and not isinstance(value, bool):
        count = value
    elif isinstance(value, str) and (match := _SIZE.match(value.strip())):
        whole, _, fraction = match[1].partition(".")
        # Whole numbers all the way: a float cannot hold every size.
        count = int(whole + fraction) * _BYTES[match[2].lower()] // 10 ** len(fraction)
    if count < 0:
        raise Wrong(f"must be a size such as 10MiB, 2GiB or a number of bytes{instead_of(value)}")
    if not 1 <= count <= _LARGEST:
        raise Wrong(f"must be a size from 1 byte up to 4194304TiB{instead_of(value)}")
    return count


def show_size(count: int) -> str:
    """The size as one would write it: in the largest unit of 1024s that leaves no fraction, else in bytes."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        length = _BYTES[unit.lower()]
        if count >= length and count % length == 0:
            return f"{count // length}{unit}"
    return f"{count}B"


def whole(low: int, high: int) -> Callable[[object], int]:
    """A parser of whole numbers from `low` to `high`."""

    def parse(value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        raise Wrong(f"must be a whole number from {low} to {high}{instead_of(value)}")

    return parse


def path(value: object, *, folder: Path) -> Path:
    """A path made absolute: below `folder` where it is a relative one; `~` is the home folder."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise Wrong("must be a path")
    try:
        return Path(os.path.normpath(folder / Path(value).expanduser()))
    except RuntimeError:
        raise Wrong("must be a path without ~, as there is no such home folder") from None


def boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise Wrong(f"must be true or false{instead_of(value)}")


def text(value: object) -> str:
    """Text that YAML read as text: a bare 1.10 is a number, and would come back as 1.1."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        raise Wrong("must be text: put it in quotes")
    raise Wrong(f"must be text{instead_of(value)}")


def choice(*options: str) -> Callable[[object], str]:
    """A parser that takes one of `options`, as written."""

    def parse(value: object) -> str:
        if isinstance(value, str) and value in options:
            return value
        raise Wrong(f"must be {one_of(options)}{instead_of(value)}")

    return parse


def name_glob(value: object) -> str:
    """A project's name, or a glob over such names, normalised as they are: `Acme_*` means what `acme-*` means."""
    if not isinstance(value, str) or not _GLOB.match(value):
        raise Wrong(f"must be a project's name, or a glob of names such as acme-*{instead_of(value)}")
    try:
        return as_glob(value)
    except BadRequirement as exc:
        raise Wrong(str(exc)) from None


def one_of(options: Sequence[str]) -> str:
    """`a, b or c`."""
    return " or ".join([", ".join(options[:-1]), options[-1]] if len(options) > 1 else options)


def as_key(name: str) -> str:
    """A key or a name as it stands in a path or a message: quoted only where it is an odd one."""
    return name if _PLAIN.match(name) else printable(name, 60)


def instead_of(value: object) -> str:
    """`, not …`: what stands there, for a message. Not to be called for what may hold a secret."""
    if value is None:
        return ", not null"
    if isinstance(value, bool):
        return f", not {str(value).lower()}"
    if isinstance(value, int | float):
        return f", not {printable(str(value), 40).strip(chr(39))}"
    if isinstance(value, str):
        return f", not {printable(value, 60)}"
    return ", not a mapping" if isinstance(value, dict) else ", not a list"

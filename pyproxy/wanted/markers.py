"""Whether a marker may hold for whom a cache serves: machines of any kind, not this one."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Final

from packaging.markers import Marker

_PYTHONS: Final = tuple(f"3.{minor}" for minor in range(8, 16))
_SYSTEMS: Final = (
    ("posix", "Linux", "linux", "x86_64"),
    ("posix", "Linux", "linux", "aarch64"),
    ("posix", "Darwin", "darwin", "arm64"),
    ("posix", "Darwin", "darwin", "x86_64"),
    ("nt", "Windows", "win32", "AMD64"),
)
_IMPLEMENTATIONS: Final = (("cpython", "CPython"), ("pypy", "PyPy"))


def _environments() -> tuple[dict[str, str], ...]:
    return tuple(
        {
            "implementation_name": implementation[0],
            "implementation_version": f"{python}.9",
            "os_name": system[0],
            "platform_machine": system[3],
            "platform_python_implementation": implementation[1],
            "platform_release": "",
            "platform_system": system[1],
            "platform_version": "",
            "python_full_version": f"{python}.9",
            "python_version": python,
            "sys_platform": system[2],
        }
        for python, system, implementation in product(_PYTHONS, _SYSTEMS, _IMPLEMENTATIONS)
    )


_ENVIRONMENTS: Final = _environments()


def may_hold(marker: Marker | None, extras: frozenset[str] = frozenset()) -> bool:
    """Whether it holds in one of the usual environments (CPython and PyPy from 3.8 on), with one of these extras."""
    return marker is None or _may_hold(marker, extras)


@lru_cache(4096)
def _may_hold(marker: Marker, extras: frozenset[str]) -> bool:
    return any(
        marker.evaluate({**environment, "extra": extra}) for extra in ("", *extras) for environment in _ENVIRONMENTS
    )

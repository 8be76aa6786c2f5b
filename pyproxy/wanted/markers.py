"""What holds for whom a cache serves: machines of any kind and the Pythons on them, not this one."""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from typing import Final, TypeAlias

from packaging.markers import Marker
from packaging.specifiers import InvalidSpecifier, SpecifierSet

Python: TypeAlias = str | None
"""A version of Python, `3.12` or `3.12.4`. None: any of the usual ones, which are those from 3.8 on."""

_USUAL: Final = tuple(f"3.{minor}" for minor in range(8, 16))
_SYSTEMS: Final = (
    ("posix", "Linux", "linux", "x86_64"),
    ("posix", "Linux", "linux", "aarch64"),
    ("posix", "Darwin", "darwin", "arm64"),
    ("posix", "Darwin", "darwin", "x86_64"),
    ("nt", "Windows", "win32", "AMD64"),
)
_IMPLEMENTATIONS: Final = (("cpython", "CPython"), ("pypy", "PyPy"))
_SERIES: Final = 2  # segments of a version that has no patch


def may_hold(marker: Marker | None, extras: frozenset[str] = frozenset(), python: Python = None) -> bool:
    """Whether it holds on one of the usual machines, with this Python and one of these extras or none."""
    return marker is None or _may_hold(marker, extras, python)


def runs_on(requires_python: str | None, python: Python) -> bool:
    """Whether `Requires-Python` admits it. One that cannot be read admits all, as it does for pip."""
    return requires_python is None or _runs_on(requires_python, python)


@lru_cache(4096)
def _may_hold(marker: Marker, extras: frozenset[str], python: Python) -> bool:
    environments = [_environment(*of) for of in product(_patches(python), _SYSTEMS, _IMPLEMENTATIONS)]
    return any(marker.evaluate({**one, "extra": extra}) for extra in ("", *extras) for one in environments)


@lru_cache(4096)
def _runs_on(requires_python: str, python: Python) -> bool:
    try:
        wanted = SpecifierSet(requires_python)
    except InvalidSpecifier:
        return True
    return any(wanted.contains(full, prereleases=True) for full in _patches(python))


def _patches(python: Python) -> list[str]:
    """Full versions that stand for it: the first and the last of a series."""
    return [
        full
        for one in (_USUAL if python is None else (python,))
        for full in ((f"{one}.0", f"{one}.99") if one.count(".") < _SERIES else (one,))
    ]


def _environment(full: str, system: tuple[str, str, str, str], implementation: tuple[str, str]) -> dict[str, str]:
    os_name, platform_system, sys_platform, machine = system
    return {
        "implementation_name": implementation[0],
        "implementation_version": full,
        "os_name": os_name,
        "platform_machine": machine,
        "platform_python_implementation": implementation[1],
        "platform_release": "",
        "platform_system": platform_system,
        "platform_version": "",
        "python_full_version": full,
        "python_version": ".".join(full.split(".")[:2]),
        "sys_platform": sys_platform,
    }

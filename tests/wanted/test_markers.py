from __future__ import annotations

import pytest
from packaging.markers import Marker

from pyproxy.wanted.markers import Python, may_hold, runs_on


@pytest.mark.parametrize(
    ("marker", "python", "expected"),
    [
        ("python_version < '3.9'", None, True),
        ("python_version < '3.9'", "3.9", False),
        ("python_version < '3.9'", "3.8.1", True),
        ("python_full_version < '3.12.4'", "3.12", True),
        ("python_full_version < '3.12.4'", "3.12.4", False),
        ("python_version < '3'", None, False),
        ("sys_platform == 'darwin' and platform_machine == 'arm64'", "3.12", True),
        ("sys_platform == 'darwin' and os_name == 'nt'", None, False),
        ("implementation_name == 'pypy'", None, True),
        ("extra == 'x'", None, False),
    ],
)
def test_may_hold__on_any_machine_with_this_python(marker: str, python: Python, *, expected: bool) -> None:
    assert may_hold(Marker(marker), python=python) is expected


def test_may_hold__extras__are_those_asked_for() -> None:
    marker = Marker("extra == 'x' and sys_platform == 'win32'")
    assert may_hold(marker, frozenset({"x", "y"}))
    assert not may_hold(marker, frozenset({"y"}))
    assert may_hold(None)


@pytest.mark.parametrize(
    ("requires", "python", "expected"),
    [
        (None, None, True),
        (">=3.12", None, True),
        (">=3.12", "3.11", False),
        (">=3.11.5", "3.11", True),
        (">=3.11.5", "3.11.4", False),
        ("~=3.99", None, False),
        (">=2.7, !=3.0.*", "3.8", True),
        ("no specifier", "3.8", True),
    ],
)
def test_runs_on__this_python_or_any_usual_one(requires: str | None, python: Python, *, expected: bool) -> None:
    assert runs_on(requires, python) is expected

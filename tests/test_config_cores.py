"""What `workers: auto` comes to: the processors there are, less where a container grants less."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyproxy.config.cores import cores

HERE = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("max 100000\n", HERE),
        ("50000 100000\n", 1),
        ("100000 100000\n", 1),
        ("100001 100000\n", min(HERE, 2)),
        ("99999999999 100000\n", HERE),
        ("", HERE),
        ("1 0\n", HERE),
        ("nothing of the kind", HERE),
    ],
)
def test_cores__by_the_control_group(tmp_path: Path, text: str, found: int) -> None:
    quota = tmp_path / "cpu.max"
    quota.write_text(text)

    assert cores(quota) == found


def test_cores__no_control_group__all_that_there_are(tmp_path: Path) -> None:
    assert cores(tmp_path / "none") == HERE

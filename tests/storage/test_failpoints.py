from __future__ import annotations

import errno

import pytest

from pyproxy.errors import StoreTrouble
from pyproxy.storage.failpoints import VARIABLE, Failpoints


def points(text: str) -> Failpoints:
    return Failpoints.from_environment({VARIABLE: text})


def test_failpoint__not_asked_for__does_nothing() -> None:
    none = Failpoints.from_environment({})
    assert not none.armed("renamed")
    none.passing("renamed")


def test_failpoint__errno__is_raised_at_that_point_alone() -> None:
    armed = points("renamed:ENOSPC")
    armed.passing("dir-synced")
    with pytest.raises(OSError, match="No space") as caught:
        armed.passing("renamed")
    assert caught.value.errno == errno.ENOSPC


def test_failpoint__nth_passage__is_the_only_one_that_acts() -> None:
    armed = points("temp-created:EIO@2, renamed:sleep=0")
    armed.passing("temp-created")
    with pytest.raises(OSError, match="Input/output"):
        armed.passing("temp-created")
    armed.passing("temp-created")
    armed.passing("renamed")


@pytest.mark.parametrize(
    "text", ["renamd:kill", "renamed", "renamed:die", "renamed:kill@x", "renamed:sleep=soon", "renamed:ENOSUCH"]
)
def test_failpoint__misspelt__is_refused(text: str) -> None:
    with pytest.raises(StoreTrouble, match=VARIABLE):
        points(text)

"""When a process that serves looks for garbage: not while it starts, and later less often than is usual."""

from __future__ import annotations

import gc
from typing import Final

YOUNG: Final = 10_000
"""Objects between two looks for garbage: few things here are cyclic, and a page of many files makes as many at once. At
the usual 700 it takes a tenth of the time that requests for cold pages do."""


def wait() -> None:
    """Lets garbage lie: what is imported stays, and to look through it again and again is a twentieth of a start."""
    gc.disable()


def collect() -> None:
    """Looks for garbage from now on, and leaves alone what is there."""
    gc.freeze()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    gc.enable()

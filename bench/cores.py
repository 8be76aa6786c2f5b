"""Which cores servers run on, and which are left to those that ask: neither may take the other's time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

ALL: Final = frozenset(os.sched_getaffinity(0))
SERVER: Final = frozenset({min(ALL)})
CLIENT: Final = (ALL - SERVER) or ALL


@contextmanager
def on(cores: frozenset[int]) -> Iterator[None]:
    """What is started within the block runs on these cores, and so do its children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)

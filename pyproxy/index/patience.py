"""How long one request waits for remotes: all its waits together, however many remotes and projects it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

PATIENCE = 9.0
"""Seconds a client waits for remotes where nothing stale can be served: every page answer starts within 10 s."""

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def patience() -> Iterator[None]:
    """All that is waited for within the block takes no longer than PATIENCE together."""
    token = _deadline.set(asyncio.get_running_loop().time() + PATIENCE)
    try:
        yield
    finally:
        _deadline.reset(token)


def time_left() -> float:
    """Seconds that the request under way may still wait; all of PATIENCE where it is nobody's request.

    For waits alone: what is fetched for everybody has a time of its own, not that of who happened to ask first.
    """
    deadline = _deadline.get()
    return PATIENCE if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())

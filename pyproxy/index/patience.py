"""How long one request waits for remotes: all its waits together, however many remotes and projects it asks."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token

PATIENCE = 9.0
"""Seconds a client waits for remotes where nothing stale can be served: every page answer starts within 10 s."""

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class _Patience:
    """A context of three lines: `contextlib`'s would take three times as long, and each request has one."""

    __slots__ = ("_token",)

    def __enter__(self) -> None:
        self._token: Token[float | None] = _deadline.set(asyncio.get_running_loop().time() + PATIENCE)

    def __exit__(self, *_: object) -> None:
        _deadline.reset(self._token)


def patience() -> AbstractContextManager[None]:
    """All that is waited for within the block takes no longer than PATIENCE together."""
    return _Patience()


def time_left() -> float:
    """Seconds that the request under way may still wait; all of PATIENCE where it is nobody's request.

    For waits alone: what is fetched for everybody has a time of its own, not that of who happened to ask first.
    """
    deadline = _deadline.get()
    return PATIENCE if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())

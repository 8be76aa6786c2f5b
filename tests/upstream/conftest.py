"""A scripted upstream, and remotes that ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyproxy.upstream import FailureMemory, Pace, RemoteSettings, Upstream
from pyproxy.upstream.reach import Lookup
from tests.fakes.raw_upstream import RawUpstream


class Clock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Counted:
    """An observer that keeps what it is told."""

    asked_for: list[tuple[str, str, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def asked(self, remote: str, kind: str, status: str, seconds: float) -> None:
        self.asked_for.append((remote, kind, status))
        self.seconds.append(seconds)

    @property
    def statuses(self) -> list[str]:
        return [status for _, _, status in self.asked_for]


class Remotes:
    """Makes remotes; all are closed at the end of the test."""

    def __init__(self, url: str) -> None:
        self.counted = Counted()
        self._url = url
        self._made: list[Upstream] = []

    def __call__(
        self,
        url: str | None = None,
        *,
        pace: Pace | None = None,
        memory: FailureMemory | None = None,
        lookup: Lookup | None = None,
        **settings: Any,  # the fields of RemoteSettings
    ) -> Upstream:
        patience = {"connect_timeout": 5.0, "read_timeout": 5.0, "retries": 0}
        made = Upstream(
            RemoteSettings("public", self._url if url is None else url, **{**patience, **settings}),
            observe=self.counted,
            pace=pace or Pace(),
            memory=memory,
            lookup=lookup,
        )
        self._made.append(made)
        return made

    async def close(self) -> None:
        for made in self._made:
            await made.close()


@pytest.fixture
async def up() -> AsyncIterator[RawUpstream]:
    async with RawUpstream() as upstream:
        yield upstream


@pytest.fixture
async def remotes(up: RawUpstream) -> AsyncIterator[Remotes]:
    """`remotes()` asks `up` below /simple/, unless another URL is given; no retries, unless some are."""
    made = Remotes(f"{up.url}simple/")
    yield made
    await made.close()


@pytest.fixture
def counted(remotes: Remotes) -> Counted:
    return remotes.counted


@pytest.fixture
def soon() -> Callable[[], float]:
    """A deadline that no test reaches which does not mean to."""
    return lambda: asyncio.get_running_loop().time() + 10

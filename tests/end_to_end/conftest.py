"""What most end-to-end tests begin with: a scripted remote, and how long a client waits made short on demand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from tests.fakes.raw_upstream import RawUpstream


@pytest.fixture
async def up() -> AsyncIterator[RawUpstream]:
    async with RawUpstream() as remote:
        yield remote


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the seconds that a client waits for a remote where nothing stale can be served."""

    def to(seconds: float) -> None:
        monkeypatch.setattr("pyproxy.index.patience.PATIENCE", seconds)
        monkeypatch.setattr("pyproxy.index.keeper.PATIENCE", seconds)
        monkeypatch.setattr("pyproxy.index.companions.PATIENCE", seconds)

    return to

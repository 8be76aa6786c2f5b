"""A bar on a terminal: how far a long command has come."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, TextIO

from pyproxy.units import as_size

_BAR: Final = 24
_EVERY: Final = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """So many of the files that are known to be wanted are done; `nbytes` have come."""

    done: int = 0
    files: int = 0
    nbytes: int = 0


def render(progress: Progress, seconds: float, width: int) -> str:
    """One line of at most `width` columns."""
    full = _BAR * progress.done // progress.files if progress.files else 0
    bar = "█" * full + "░" * (_BAR - full)
    speed = f"  {as_size(progress.nbytes / seconds)}/s" if seconds >= 1 else ""
    return f"{bar} {progress.done}/{progress.files} files  {as_size(progress.nbytes)}{speed}"[: max(0, width - 1)]


@contextlib.asynccontextmanager
async def shown(out: TextIO, now: Callable[[], Progress]) -> AsyncIterator[None]:
    """Draws within the block, where `out` is a terminal, and leaves no trace of it."""
    if not out.isatty():
        yield
        return
    drawing = asyncio.create_task(_draw(out, now, time.monotonic()))
    try:
        yield
    finally:
        drawing.cancel()
        await asyncio.gather(drawing, return_exceptions=True)
        out.write("\r\x1b[K")
        out.flush()


async def _draw(out: TextIO, now: Callable[[], Progress], begun: float) -> None:
    while True:
        line = render(now(), time.monotonic() - begun, shutil.get_terminal_size().columns)
        out.write(f"\r\x1b[K{line}")
        out.flush()
        await asyncio.sleep(_EVERY)

from __future__ import annotations

import asyncio
import io

import pytest

from pyproxy.progress import Progress, render, shown


def test_render__half_done__is_half_a_bar() -> None:
    line = render(Progress(2, 4, 3 << 20), 2.0, 80)
    assert line == f"{'█' * 12}{'░' * 12} 2/4 files  3.0 MiB  1.5 MiB/s"


def test_render__nothing_known_yet__has_no_speed() -> None:
    assert render(Progress(), 0.0, 80) == f"{'░' * 24} 0/0 files  0 B"


@pytest.mark.parametrize("width", [0, 1, 10, 30])
def test_render__narrow_terminal__is_never_wider(width: int) -> None:
    assert len(render(Progress(2, 4, 5), 9.0, width)) <= width


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_shown__terminal__is_drawn_and_left_clean() -> None:
    out = Terminal()
    async with shown(out, lambda: Progress(1, 2, 3)):
        await asyncio.sleep(0)
    assert "1/2 files" in out.getvalue()
    assert out.getvalue().endswith("\r\x1b[K")


async def test_shown__no_terminal__writes_nothing() -> None:
    out = io.StringIO()
    async with shown(out, lambda: Progress(1, 2, 3)):
        await asyncio.sleep(0)
    assert out.getvalue() == ""

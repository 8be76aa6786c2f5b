"""The warm rows as a picture: bars on a logarithmic scale, pyproxy against nginx and the fastest of the others."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from typing import Final

from bench.figures import Row
from bench.servers import CACHE, PYPROXY, STATIC

_COLOURS: Final = {
    PYPROXY: "#1f6feb",
    STATIC: "#57606a",
    CACHE: "#8c959f",
    "devpi-server": "#bf8700",
    "proxpi": "#1a7f37",
    "pypiserver": "#cf222e",
    "simple-repository-server": "#8250df",
}
_LEFT, _WIDTH, _BAR, _GAP, _TOP = 260, 620, 9, 14, 46


def svg(rows: Sequence[Row]) -> str:
    """Rates relative to nginx static's in each row; rows without it are left out."""
    shown = [row for row in rows if _relative(row)]
    lines: list[str] = []
    y = _TOP
    for row in shown:
        bars = _relative(row)
        middle = y + len(bars) * _BAR / 2 + 4
        lines.append(f'<text x="{_LEFT - 10}" y="{middle:.0f}" text-anchor="end">{html.escape(row.title)}</text>')
        for name, value in bars.items():
            width = max(_x(value) - _LEFT, 1)
            title = f"{name}: {value:.3g} x nginx static"
            lines.append(
                f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR - 1}" fill="{_COLOURS[name]}">'
                f"<title>{html.escape(title)}</title></rect>"
            )
            y += _BAR
        y += _GAP
    return "\n".join((_open(y + 10), *_axis(y), *_legend(), *lines, "</svg>", ""))


def _relative(row: Row) -> dict[str, float]:
    static = row.cells.get(STATIC)
    if static is None or not static.median or row.unit not in ("req/s", "MB/s"):
        return {}
    found = {name: row.cells[name].median for name in _COLOURS if name in row.cells}
    return {name: value / static.median for name, value in found.items() if value}


def _x(value: float) -> float:
    """From a ten thousandth to twice nginx's rate."""
    low, high = -4.0, math.log10(2)
    return _LEFT + _WIDTH * (min(max(math.log10(value), low), high) - low) / (high - low)


def _open(height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 30} {height}" '
        f'font-family="sans-serif" font-size="11" fill="#24292f">'
        f'<rect width="100%" height="100%" fill="#ffffff"/>'
    )


def _axis(bottom: int) -> Iterator[str]:
    for value in (0.0001, 0.001, 0.01, 0.1, 1):
        x = _x(value)
        stroke = "#57606a" if value == 1 else "#d0d7de"
        yield f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{bottom - _GAP}" stroke="{stroke}"/>'
        yield f'<text x="{x:.1f}" y="{_TOP - 10}" text-anchor="middle">{value:g}</text>'


def _legend() -> Iterator[str]:
    x = 10
    for name, colour in _COLOURS.items():
        yield f'<rect x="{x}" y="6" width="10" height="10" fill="{colour}"/><text x="{x + 14}" y="15">{name}</text>'
        x += 34 + 7 * len(name)

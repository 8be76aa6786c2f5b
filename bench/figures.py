"""What was measured: rows of cells, how one compares with another round by round, and whether a bar is met."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

EQUAL: Final = 0.05
"""On a noisy machine, less of a difference is none."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One server's figures in a row, round by round. `cpu` is what one request cost it, in microseconds.

    `why` tells why there are none, or what to know of them.
    """

    values: tuple[float, ...] = ()
    cpu: tuple[float, ...] = ()
    why: str = ""

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None

    @property
    def cost(self) -> float | None:
        return statistics.median(self.cpu) if self.cpu else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One bar of the table and the figure that it was held against; None where it could not be measured."""

    text: str
    figure: float | None
    met: bool | None


@dataclass(frozen=True, slots=True)
class Row:
    """One question to all servers."""

    key: str
    title: str
    unit: str
    cells: Mapping[str, Cell]
    verdicts: tuple[Verdict, ...] = ()
    note: str = ""


def ratio(these: Sequence[float], those: Sequence[float]) -> float | None:
    """The median of what each round gives by itself; None where a side has no figure."""
    pairs = [one / other for one, other in zip(these, those, strict=False) if other]
    return statistics.median(pairs) if pairs else None


def at_least(text: str, figure: float | None, bar: float) -> Verdict:
    return Verdict(text, figure, None if figure is None else figure >= bar * (1 - EQUAL))


def at_most(text: str, figure: float | None, bar: float) -> Verdict:
    return Verdict(text, figure, None if figure is None else figure <= bar * (1 + EQUAL))


def at_most_exactly(text: str, figure: float | None, bar: float) -> Verdict:
    """For counts, which no noise explains."""
    return Verdict(text, figure, None if figure is None else figure <= bar)


@dataclass(slots=True)
class Tally:
    """Cells while they are being measured: written by one row's rounds alone."""

    values: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    why: dict[str, str] = field(default_factory=dict)

    def add(self, server: str, value: float, cpu: float | None = None) -> None:
        self.values.setdefault(server, []).append(value)
        if cpu is not None:
            self.cpu.setdefault(server, []).append(cpu)

    def fail(self, server: str, why: str) -> None:
        """It has no figure in this row, whatever was measured before."""
        self.why[server] = why
        self.values.pop(server, None)
        self.cpu.pop(server, None)

    def cells(self) -> dict[str, Cell]:
        return {name: self._cell(name) for name in dict.fromkeys((*self.values, *self.why))}

    def _cell(self, name: str) -> Cell:
        return Cell(tuple(self.values.get(name, ())), tuple(self.cpu.get(name, ())), self.why.get(name, ""))


def medians(cells: Mapping[str, Cell], names: Sequence[str]) -> Iterator[float]:
    for name in names:
        if (cell := cells.get(name)) is not None and cell.median is not None:
            yield cell.median

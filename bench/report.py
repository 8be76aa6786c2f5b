"""A run as people read it: a table in Markdown, all figures as JSON, and the README between its markers."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bench.figures import Cell, Row, Verdict, ratio
from bench.load import WRK
from bench.servers import PYPROXY, STATIC

BEGIN: Final = "<!-- table: written by `make bench ARGS=--save` -->"
END: Final = "<!-- end of table -->"

_HEAD: Final = ("what", "unit", "pyproxy", "compared with", "ratio", "CPU", "bar", "met")
_SMALL: Final = 100


@dataclass(frozen=True, slots=True)
class Run:
    """What a report tells of its run."""

    date: str
    rounds: int
    seconds: float
    load: float
    """How busy the machine was with other things when it began: runnable processes, of the last minute."""
    minutes: float
    whole: bool

    def words(self) -> str:
        system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
        cores = f"{os.cpu_count()} cores"
        ending = "" if self.whole else " until it was interrupted"
        by = "wrk" if WRK else "the generator of bench/load.py"
        return (
            f"{self.date}; {system}, {cores}, load {self.load:.1f} before the run; {self.rounds} interleaved rounds of "
            f"{self.seconds:g} s by {by}, {self.minutes:.1f} minutes{ending}."
        )


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= _SMALL else f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """Every row with its bars."""
    lines = [_line(_HEAD), _line(["---", "---", *["---:"] * 4, "---", "---"])]
    for row in rows:
        lines += _lines(row)
    return "\n".join(lines)


def _lines(row: Row) -> Iterable[str]:
    ours = row.cells.get(PYPROXY) or next(iter(row.cells.values()), Cell())
    other = _other(row)
    them = row.cells.get(other, Cell())
    verdicts = row.verdicts or (Verdict("", None, None),)
    compared = f"{other}: {number(them.median)}" if other else ""
    shown = number(ours.median) if ours.values else ours.why
    first = (row.title, row.unit, shown, compared, number(ratio(ours.values, them.values)), _costs(ours, them))
    for at, verdict in enumerate(verdicts):
        yield _line((*(first if at == 0 else [""] * len(first)), _bar(verdict), _met(verdict)))


def _other(row: Row) -> str:
    """What stands beside pyproxy in a row: nginx static, or whatever comes second in it."""
    names = [name for name in row.cells if name != PYPROXY]
    return STATIC if STATIC in names else next(iter(names), "")


def _costs(ours: Cell, them: Cell) -> str:
    if ours.cost is None:
        return ""
    return f"{number(ours.cost)} / {number(them.cost)}" if them.cost is not None else number(ours.cost)


def _bar(verdict: Verdict) -> str:
    return verdict.text if verdict.figure is None else f"{verdict.text}: {number(verdict.figure)}"


def _met(verdict: Verdict) -> str:
    return {True: "yes", False: "**no**", None: ""}[verdict.met]


def peers_table(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Every row with all servers: the median, and how many times pyproxy's it is."""
    shown = [name for name in names if any(name in row.cells for row in rows)]
    lines = [_line(["what", "unit", *shown]), _line(["---", "---", *["---:"] * len(shown)])]
    for row in rows:
        ours = row.cells.get(PYPROXY, Cell())
        lines.append(_line([row.title, row.unit, *(_cell(row.cells.get(name), ours, name) for name in shown)]))
    return "\n".join(lines)


def _cell(cell: Cell | None, ours: Cell, name: str) -> str:
    if cell is None:
        return ""
    if cell.median is None:
        return cell.why
    against = ratio(cell.values, ours.values)
    return number(cell.median) if name == PYPROXY or against is None else f"{number(cell.median)} ({number(against)}x)"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def notes(rows: Sequence[Row], absent: Mapping[str, str]) -> str:
    """What the tables have no room for."""
    lines = [f"- {name} could not be measured: {why}." for name, why in absent.items()]
    lines += [f"- {row.title}: {row.note}." for row in rows if row.note]
    met = [verdict.met for row in rows for verdict in row.verdicts]
    lines.append(
        f"- {met.count(True)} bars are met, {met.count(False)} are not, {met.count(None)} could not be judged."
    )
    return "\n".join(lines)


def as_json(run: Run, rows: Sequence[Row], absent: Mapping[str, str]) -> str:
    """All figures, round by round."""
    kept = {
        "run": asdict(run),
        "python": sys.version,
        "machine": platform.platform(),
        "cores": os.cpu_count(),
        "absent": dict(absent),
        "rows": [asdict(row) for row in rows],
    }
    return json.dumps(kept, indent=1) + "\n"


def put_into(readme: Path, text: str) -> None:
    """Replaces what stands between the markers. Raises ValueError where they are missing."""
    before, begin, rest = readme.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} has no place for the table")
    readme.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}", "utf-8")

"""One run of the benchmarks: which rows, in which order, and where the report goes."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from bench import cold, cores, footprint, growth, installs, plot, report, stall, warm
from bench.client import WrongAnswer
from bench.figures import Cell, Row, Verdict
from bench.programs import Unavailable
from bench.servers import CACHE, PYPROXY, STATIC
from bench.stage import Options, Stage, bring_all, say, several, stage

PEERS: Final = ("devpi-server", "proxpi", "pypiserver", "simple-repository-server")
HERE: Final = Path(__file__).parent

WORKERS: Final = 4
_HERD: Final = ("herd-fetches", "herd-time")


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are measured together, by their keys: they run if one of them is asked for."""

    keys: tuple[str, ...]
    rows: Callable[[Stage], Iterator[Row]]


def _warm(on: Stage) -> Iterator[Row]:
    asked = [row for row in warm.ROWS if wanted(on.options, row.key)]
    yield from warm.measure(on, asked, warm.names(on), on.peers)


def _several(on: Stage) -> Iterator[Row]:
    """Rows with several workers, which are there for these alone."""
    servers = several(on, WORKERS)
    names = (f"{PYPROXY} x{WORKERS}", f"{STATIC} x{WORKERS}")
    asked = [row for row in warm.with_workers(warm.ROWS, WORKERS) if wanted(on.options, row.key)]
    try:
        yield from warm.measure(on, asked, names, ())
        if any(wanted(on.options, key) for key in _HERD):
            yield from cold.herd(on, {name: one for name, one in servers.items() if name.startswith(PYPROXY)})
    finally:
        for name, server in servers.items():
            on.servers.pop(name)
            server.program.stop()


def _installs(on: Stage) -> Iterator[Row]:
    for row in installs.QUICK if on.options.quick else installs.ROWS:
        if wanted(on.options, row.key):
            yield from installs.measure(on, row)


_PARTS: Final[Sequence[Part]] = (
    Part(tuple(row.key for row in warm.ROWS), _warm),
    Part(("cold-p12", "cold-p300", "cold-p3000"), cold.pages),
    Part(("cold-burst",), cold.burst),
    Part(("cold-100m", "cold-100m-first"), cold.large),
    Part((*(row.key for row in warm.with_workers(warm.ROWS, WORKERS)), *_HERD), _several),
    Part(tuple(row.key for row in installs.ROWS), _installs),
    Part(("memory-end",), footprint.at_the_end),
    Part(("start", "memory-rest"), footprint.at_rest),
    Part(("stall",), stall.measure),
    Part(("growth-rate", "growth-memory"), growth.measure),
)


def wanted(options: Options, key: str) -> bool:
    return any(fnmatch(key, one) for one in options.only)


def measured(options: Options, folder: Path, rows: list[Row]) -> dict[str, str]:
    """Fills `rows` with all that are asked for; why which server has no figure.

    A run that is interrupted leaves what was measured until then.
    """
    with stage(options, folder, cold.offered) as on:
        bring_all(on)
        for part in _PARTS:
            if any(wanted(options, key) for key in part.keys):
                rows += _rows(on, part)
        return on.absent


def _rows(on: Stage, part: Part) -> list[Row]:
    """The rows of a part; where it broke off, rows that say so: the others are measured all the same."""
    try:
        return [row for row in part.rows(on) if wanted(on.options, row.key)]
    except (WrongAnswer, Unavailable) as exc:
        say(f"failed: {exc}")
        keys = [key for key in part.keys if wanted(on.options, key)]
        return [Row(key, key, "", {PYPROXY: Cell(why=str(exc))}, (Verdict("failed", None, met=False),)) for key in keys]


def _options() -> tuple[Options, argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often each server is measured (5)")
    parser.add_argument("--seconds", type=float, help="how long in one round (0.8)")
    parser.add_argument("--quick", action="store_true", help="every part once, tiny, without peers: does it run?")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="ROW", help="rows by key; * and ? match")
    parser.add_argument("--peers", nargs="+", metavar="NAME", help=f"all, none, or of {', '.join(PEERS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where all figures go")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="where the picture goes")
    parser.add_argument("--save", action="store_true", help="write README.md's table, results.json and results.svg")
    asked = parser.parse_args()
    named = asked.peers or (["none"] if asked.quick else ["all"])
    peers = PEERS if named == ["all"] else tuple(name for name in named if name != "none")
    if unknown := set(peers) - set(PEERS):
        parser.error(f"no such peer: {', '.join(unknown)}")
    rounds = asked.rounds or (1 if asked.quick else 5)
    seconds = asked.seconds or (0.2 if asked.quick else 0.8)
    return Options(rounds, seconds, quick=asked.quick, only=tuple(asked.only), peers=peers), asked


def _report(run: report.Run, rows: Sequence[Row], absent: Mapping[str, str], asked: argparse.Namespace) -> None:
    everyone = (PYPROXY, STATIC, CACHE, *PEERS)
    tables = (report.table(rows), "All servers; in brackets how many times pyproxy's figure:")
    text = "\n\n".join((run.words(), *tables, report.peers_table(rows, everyone), report.notes(rows, absent)))
    print(text)
    for path in (asked.json, HERE / "results.json" if asked.save else None):
        if path is not None:
            path.write_text(report.as_json(run, rows, absent))
    for path in (asked.svg, HERE / "results.svg" if asked.save else None):
        if path is not None:
            path.write_text(plot.svg(rows))
    if asked.save:
        report.put_into(HERE / "README.md", text)


def main() -> None:
    options, asked = _options()
    os.sched_setaffinity(0, cores.CLIENT)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    began, date, load = time.monotonic(), time.strftime("%Y-%m-%d"), os.getloadavg()[0]
    rows: list[Row] = []
    absent: dict[str, str] = {}
    whole = True
    try:
        with tempfile.TemporaryDirectory(prefix="pyproxy-bench-") as folder:
            absent = measured(options, Path(folder), rows)
    except KeyboardInterrupt:
        whole = False
    minutes = (time.monotonic() - began) / 60
    run = report.Run(date, options.rounds, options.seconds, load, minutes, whole)
    _report(run, rows, absent, asked)
    say(f"{'done' if whole else 'interrupted'} after {minutes:.1f} minutes")
    sys.exit(0 if whole else 1)

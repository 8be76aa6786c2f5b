"""One run of the benchmarks: which rows, in which order, and where the report goes."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from bench import cores, plot, report, warm
from bench.figures import Row
from bench.servers import CACHE, PYPROXY, STATIC
from bench.stage import Options, Stage, bring_all, say, stage

PEERS: Final = ("devpi-server", "proxpi", "pypiserver", "simple-repository-server")
HERE: Final = Path(__file__).parent

Part = Callable[[Stage], Iterator[Row]]


def _warm(on: Stage) -> Iterator[Row]:
    yield from warm.measure(on, [row for row in warm.ROWS if wanted(on.options, row.key)], warm.names(on))


PARTS: Final[Sequence[Part]] = (_warm,)


def wanted(options: Options, key: str) -> bool:
    return any(fnmatch(key, one) for one in options.only)


def measured(options: Options, folder: Path) -> tuple[list[Row], dict[str, str]]:
    """All rows asked for, and why which server has no figure."""
    with stage(options, folder) as on:
        bring_all(on)
        rows = [row for part in PARTS for row in part(on)]
        return rows, on.absent


def _options() -> tuple[Options, argparse.Namespace]:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="how often each server is measured (5)")
    parser.add_argument("--seconds", type=float, help="how long in one round (1)")
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
    seconds = asked.seconds or (0.1 if asked.quick else 1.0)
    return Options(rounds, seconds, quick=asked.quick, only=tuple(asked.only), peers=peers), asked


def main() -> None:
    options, asked = _options()
    os.sched_setaffinity(0, cores.CLIENT)
    began = time.monotonic()
    run = report.Run(time.strftime("%Y-%m-%d"), options.rounds, options.seconds, os.getloadavg()[0])
    with tempfile.TemporaryDirectory(prefix="pyproxy-bench-") as folder:
        rows, absent = measured(options, Path(folder))
    minutes = (time.monotonic() - began) / 60
    everyone = (PYPROXY, STATIC, CACHE, *PEERS)
    text = "\n\n".join(
        (
            f"{run.words()} {minutes:.1f} minutes.",
            report.table(rows),
            "All servers; in brackets how many times pyproxy's figure:",
            report.peers_table(rows, everyone),
            report.notes(rows, absent),
        )
    )
    print(text)
    kept = report.as_json(run, rows, absent)
    for path in (asked.json, HERE / "results.json" if asked.save else None):
        if path is not None:
            path.write_text(kept)
    for path in (asked.svg, HERE / "results.svg" if asked.save else None):
        if path is not None:
            path.write_text(plot.svg(rows))
    if asked.save:
        report.put_into(HERE / "README.md", text)
    say(f"done in {minutes:.1f} minutes")

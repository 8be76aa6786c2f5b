"""The whole graph installed by real clients: cold and warm, the upstream near and far."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.catalogue import GRAPH_ROOT
from bench.client import WrongAnswer
from bench.figures import Cell, Row, Tally, Verdict, at_most, ratio
from bench.peers import makers
from bench.programs import LOOPBACK, Unavailable
from bench.servers import CACHE, PYPROXY, STATIC, NginxCache, Pyproxy, Server
from bench.stage import Stage, say

DIRECT: Final = "direct"
FAR: Final = 0.02
_LONGEST: Final = 300.0
_PEER_ROUNDS: Final = 1


@dataclass(frozen=True, slots=True)
class Install:
    """One row. `cold` gives each server an empty cache first; `latency` is the upstream's, in seconds."""

    key: str
    title: str
    tool: str
    cold: bool
    latency: float = 0.0
    rounds: int = 5
    against: str = STATIC
    bar: float | None = None
    peers: bool = True


ROWS: Final = (
    Install("uv-warm", "uv pip install of the graph, warm", "uv", cold=False, bar=1.1),
    Install("uv-cold", "uv pip install of the graph, cold", "uv", cold=True, against=DIRECT),
    Install(
        *("uv-cold-far", "uv pip install of the graph, cold, upstream 20 ms away", "uv"),
        cold=True,
        latency=FAR,
        against=DIRECT,
        bar=0.9,
    ),
    Install("pip-warm", "pip install of the graph, warm", "pip", cold=False, rounds=2, peers=False),
    Install(
        *("pip-cold-far", "pip install of the graph, cold, upstream 20 ms away", "pip"),
        cold=True,
        latency=FAR,
        rounds=2,
        against=DIRECT,
        peers=False,
    ),
)

QUICK: Final = tuple(row for row in ROWS if row.key in {"uv-cold-far", "pip-warm"})
"""Each client once, and once cold."""


def measure(on: Stage, row: Install) -> Iterator[Row]:
    """Each round installs once from each: from nothing, into nothing, with no cache of the client's own."""
    tally = Tally()
    rounds = min(on.options.rounds, row.rounds)
    for number in range(rounds):
        say(f"round {number + 1}: {row.title}")
        for name, index in _indexes(on, row, number).items():
            if name not in tally.why:
                _try(on, row, name, index, tally)
    for name, why in on.absent.items():
        if row.peers or name == STATIC:
            tally.fail(name, why)
    cells = tally.cells()
    figure = ratio(cells[PYPROXY].values, cells.get(row.against, Cell()).values)
    bars: tuple[Verdict, ...] = ()
    if row.bar is not None:
        bars = (at_most(f"≤ {row.bar:g} x {row.against}", figure, row.bar),)
    order = sorted(cells, key=lambda name: (name != PYPROXY, name != row.against))
    yield Row(row.key, row.title, "s", {name: cells[name] for name in order}, bars)


def _indexes(on: Stage, row: Install, number: int) -> Mapping[str, Callable[[], Server] | str]:
    """What is installed from: a server to be started with an empty cache, or the URL of one that is there."""
    peers = [name for name in on.peers if row.peers and number < _PEER_ROUNDS]
    if not row.cold:
        names = [name for name in (PYPROXY, STATIC, *([CACHE] if row.peers else []), *peers) if name in on.servers]
        if on.options.quick:
            names = [PYPROXY]
        return {**{name: on.servers[name].simple for name in names}, DIRECT: on.index}
    there = makers(on.index, on.folder / "hosted")
    fresh: dict[str, Callable[[], Server] | str] = {
        PYPROXY: lambda: Pyproxy(on.folder / "cold-pyproxy", on.index),
        DIRECT: on.index,
    }
    if CACHE in on.servers and row.peers and not on.options.quick:
        fresh[CACHE] = lambda: NginxCache(on.folder / "cold-nginx", on.index)
    for name in peers:
        if name != "pypiserver":  # it is never cold: it is given the files
            fresh[name] = lambda name=name: there[name](on.folder / f"cold-{name}")  # type: ignore[misc]  # bound early
    return fresh


def _try(on: Stage, row: Install, name: str, index: Callable[[], Server] | str, tally: Tally) -> None:
    server = None
    try:
        if not isinstance(index, str):
            server = index()
            server.start()
            index = server.simple
        on.steer("latency", seconds=str(row.latency))
        seconds = installed(on, row.tool, index)
    except (Unavailable, WrongAnswer) as exc:
        tally.fail(name, str(exc))
    else:
        tally.add(name, seconds)
    finally:
        on.steer("latency", seconds="0")
        if server is not None:
            server.program.stop()
            server.program.clear()


def installed(on: Stage, tool: str, index: str) -> float:
    """Seconds that the client took to install the graph from this index. Raises WrongAnswer where it did not."""
    target = on.folder / "installed"
    shutil.rmtree(target, ignore_errors=True)
    where = ("--index-url", index, "--target", target)
    if tool == "uv":
        command = (*_uv(), "pip", "install", "--quiet", "--no-cache", "--no-config", "--python", sys.executable, *where)
    else:
        pip = (sys.executable, "-m", "pip", "--isolated", "install", "--quiet", "--no-cache-dir", "--no-input")
        command = (*pip, "--disable-pip-version-check", *where)
    began = time.monotonic()
    try:
        done = subprocess.run(
            [str(word) for word in (*command, GRAPH_ROOT)],
            capture_output=True,
            text=True,
            timeout=_LONGEST,
            check=False,
            env=_clean(),
        )
    except subprocess.TimeoutExpired as exc:
        raise WrongAnswer(f"{tool} took longer than {_LONGEST:.0f} s") from exc
    took = time.monotonic() - began
    wanted = sum(page.name.startswith("graph-") for page in on.pages)
    found = len(list(target.glob("*.dist-info")))
    if done.returncode or found != wanted:
        said = done.stderr.strip().splitlines()
        raise WrongAnswer(f"{tool} installed {found} of {wanted}: {said[-1][:160] if said else ''}")
    return took


def _uv() -> tuple[str | Path, ...]:
    beside = Path(sys.executable).with_name("uv")
    found = beside if beside.exists() else shutil.which("uv")
    if found is None:
        raise Unavailable("uv is not on this machine")
    return (found,)


def _clean() -> dict[str, str]:
    """The environment without what steers the clients elsewhere."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return {**kept, **LOOPBACK, "PIP_CONFIG_FILE": os.devnull}

"""What a server takes while nobody asks, after all has been asked, and how long it takes to come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

from bench.figures import Row, Tally, at_most
from bench.programs import Unavailable
from bench.servers import PYPROXY, Server, restarted
from bench.stage import Stage, say

_REST = 1.0
_MEGA = 1e6


def at_the_end(on: Stage) -> Iterator[Row]:
    """For who was there all along: what the run has left in memory."""
    tally = Tally()
    for name, server in on.servers.items():
        tally.add(name, server.program.memory().resident / _MEGA)
    _absent(on.absent, tally)
    ours = tally.cells()[PYPROXY].median
    yield Row("memory-end", "memory at the end", "MB", tally.cells(), (at_most("≤ 150 MB", ours, 150.0),))


def at_rest(on: Stage) -> Iterator[Row]:
    """Starts all anew over what they have on disk. For the end of a run: nothing is warm afterwards."""
    ready, memory = Tally(), Tally()
    for number in range(on.options.rounds):
        say(f"round {number + 1}: starts")
        for name, server in on.servers.items():
            if name in ready.why or (name in on.peers and number >= 1):
                continue
            _start(name, server, ready, memory)
    for tally in (ready, memory):
        _absent(on.absent, tally)
    starts, rests = ready.cells(), memory.cells()
    yield Row("start", "start to ready", "s", starts, (at_most("≤ 0.6 s", starts[PYPROXY].median, 0.6),))
    yield Row("memory-rest", "memory at rest", "MB", rests, (at_most("≤ 60 MB", rests[PYPROXY].median, 60.0),))


def _start(name: str, server: Server, ready: Tally, memory: Tally) -> None:
    try:
        ready.add(name, restarted(server, empty=False))
    except Unavailable as exc:
        ready.fail(name, str(exc))
        memory.fail(name, str(exc))
        return
    time.sleep(_REST)  # what a start leaves to be done behind is done then
    memory.add(name, server.program.memory().resident / _MEGA)


def _absent(absent: Mapping[str, str], tally: Tally) -> None:
    for name, why in absent.items():
        tally.fail(name, why)

"""How long the event loop stands still while a page of 3,000 files is fetched, parsed, filtered and rendered.

    python -m bench.stall CONFIG DATA

runs a daemon in this process with a clock beside it: each line on stdin is answered with the longest time in
milliseconds that the clock was late since the last one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO, Final

from bench import cores
from bench.catalogue import HTML, JSON
from bench.client import WrongAnswer, get
from bench.figures import Row, Tally, at_most
from bench.servers import PYPROXY, ROOT
from bench.stage import Stage, say
from pyproxy.app import running
from pyproxy.config import Flags, load

FILES: Final = 3000
_TICK: Final = 0.001
_IDLE: Final = 0.3
_CONFIG: Final = """
    remotes: {{up: {{url: "{index}", prereleases: false, exclude_platforms: [windows], excludes: ["nothing-*"]}}}}
    distributions: {{main: {{remote: up}}}}
"""


class _Clock:
    """Ticks every millisecond on the loop; remembers the worst that it was late."""

    def __init__(self) -> None:
        self.worst = 0.0  # written by the loop's own thread alone

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + _TICK
            await asyncio.sleep(_TICK)
            self.worst = max(self.worst, loop.time() - due)

    def take(self) -> float:
        worst, self.worst = self.worst, 0.0
        return worst * 1000


async def _probe(config: Path, data: Path) -> None:
    clock = _Clock()
    listen = Flags(listen="127.0.0.1:0", data=data)
    async with running(load(config, flags=listen)) as daemon:
        ticking = asyncio.create_task(clock.run())
        print(daemon.url, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(clock.take(), flush=True)
        ticking.cancel()


def measure(on: Stage) -> Iterator[Row]:
    """The stall while one cold page comes, and beside it that of a loop with nothing to do for as long."""
    folder = on.folder / "stall"
    folder.mkdir()
    config = folder / "pyproxy.yaml"
    config.write_text(_CONFIG.format(index=on.index))
    tally = Tally()
    command = (sys.executable, "-m", "bench.stall", config, folder / "data")
    with cores.on(cores.SERVER), folder.joinpath("log").open("wb") as log:
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env={"PYTHONPATH": str(ROOT)},
        )
    with process as probe:
        if probe.stdin is None or probe.stdout is None:
            raise WrongAnswer("the probe has no pipes")
        index = probe.stdout.readline().strip()
        if not index:
            raise WrongAnswer(f"the probe did not start: {folder.joinpath('log').read_text()[-200:]}")
        for number in range(on.options.rounds):
            say(f"round {number + 1}: stall")
            _round(on, index, (probe.stdin, probe.stdout), tally)
        probe.stdin.close()
    cells = tally.cells()
    bar = at_most("≤ 20 ms", cells[PYPROXY].median, 20.0)
    yield Row("stall", f"largest stall of the loop during a cold page of {FILES:,} files", "ms", cells, (bar,))


_serial = count()


def _round(on: Stage, index: str, pipes: tuple[IO[str], IO[str]], tally: Tally) -> None:
    asking, answers = pipes

    def take() -> float:
        asking.write("\n")
        asking.flush()
        return float(answers.readline())

    project = f"p{FILES}-stall-{next(_serial)}"
    for form in (JSON, HTML):
        get(f"{on.index}{project}/", {"Accept": form, "Accept-Encoding": "gzip"})
    take()
    time.sleep(_IDLE)
    tally.add("an idle loop", take())
    for form in (JSON, HTML):
        answer = get(f"{index}{project}/", {"Accept": form, "Accept-Encoding": "gzip"})
        if not answer.links():
            raise WrongAnswer(f"answers {answer.status} for a cold page of {FILES} files")
    tally.add(PYPROXY, take())


if __name__ == "__main__":
    asyncio.run(_probe(Path(sys.argv[1]), Path(sys.argv[2])))

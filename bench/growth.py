"""What a large cache costs a warm page: the same pages asked of stores that hold a hundred projects and a million.

The stores are filled through pyproxy's own storage code. The pages that are asked for are real; all others have the
contents of one of them, which nobody can tell from outside as nobody asks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from bench.catalogue import JSON, made_up
from bench.client import WrongAnswer, get
from bench.figures import Cell, Row, Tally, at_least, at_most, ratio
from bench.load import load
from bench.servers import PYPROXY, Pyproxy
from bench.stage import Stage, say
from pyproxy.config import load as load_config
from pyproxy.model import ProjectName, as_project
from pyproxy.simple_api import linker, parse_page
from pyproxy.site import origin_of
from pyproxy.storage.environment import Txn
from pyproxy.storage.records import PageHead, Records, pack_page
from pyproxy.storage.rows import pack, page_key
from pyproxy.storage.store import open_store

HOT: Final = 100
_GROWN: Final = "p12-grown-"
_REMOTE: Final = "up"
_BATCH: Final = 10_000
_MEGA: Final = 1e6


def measure(on: Stage) -> Iterator[Row]:
    sizes = (100, 1000) if on.options.quick else (100, 10_000, 1_000_000)
    servers = dict(_filled(on, sizes))
    rates, memory, own = Tally(), Tally(), Tally()
    try:
        for server in servers.values():
            server.start()
            for number in range(HOT):
                get(f"{server.simple}{hot(number)}/", {"Accept": JSON, "Accept-Encoding": "identity"})
        if any(_GROWN in path for path in on.steer("counts")):
            raise WrongAnswer("the upstream was asked for what a filled store holds")
        for number in range(on.options.rounds):
            say(f"round {number + 1}: growth")
            for name, server in servers.items():
                rate, cost = _rate(on, server)
                rates.add(name, rate, cost)
                used = server.program.memory()
                memory.add(name, used.resident / _MEGA)
                own.add(name, used.own / _MEGA)
    finally:
        for server in servers.values():
            server.program.stop()
            server.program.clear()
    few = _name(sizes[0], sizes)
    cells = rates.cells()
    bar = at_least(f"≥ 0.95 x {few}", ratio(cells[PYPROXY].values, cells[few].values), 1.0)
    yield Row("growth-rate", f"warm pages with {sizes[-1]:,} cached projects", "req/s", cells, (bar,))
    cells = memory.cells()
    bar = at_most(f"≤ 1.5 x {few}", ratio(cells[PYPROXY].values, cells[few].values), 1.5)
    note = f"of that the processes' own: {_told(own.cells())}; the rest are pages of the index and of programs"
    yield Row("growth-memory", f"memory with {sizes[-1]:,} cached projects", "MB", cells, (bar,), note)


def _told(cells: dict[str, Cell]) -> str:
    return ", ".join(f"{name} {cell.median:.0f} MB" for name, cell in cells.items() if cell.median is not None)


def _name(size: int, sizes: tuple[int, ...]) -> str:
    return PYPROXY if size == sizes[-1] else f"with {size:,}"


def _filled(on: Stage, sizes: tuple[int, ...]) -> Iterator[tuple[str, Pyproxy]]:
    for size in (sizes[-1], *sizes[:-1]):  # the first two are held against each other
        server = Pyproxy(on.folder / f"grown-{size}", on.index)
        began = time.monotonic()
        fill(server, on.index, size)
        say(f"filled a store with {size:,} projects in {time.monotonic() - began:.1f} s")
        yield _name(size, sizes), server


def hot(number: int) -> str:
    return f"{_GROWN}{number:07}"


def fill(server: Pyproxy, index: str, size: int) -> None:
    """Gives a server that does not run a store of so many fresh pages. Raises StoreTrouble."""
    origin = origin_of(load_config(server.configured()).remotes[_REMOTE])
    store = open_store(server.data, limit=1 << 40, exclusive=True)
    try:
        packed = [_packed(hot(number), index) for number in range(min(HOT, size))]
        for start in range(0, size, _BATCH):
            batch = range(start, min(start + _BATCH, size))
            rows = [_row(number, origin, packed) for number in batch]
            store.records.writer.call(lambda txn, rows=rows: _put(txn, store.records, rows))  # type: ignore[misc]  # bound early
    finally:
        store.close()


def _row(number: int, origin: str, packed: list[bytes]) -> tuple[bytes, bytes, bytes]:
    """A page's key, head and body."""
    name = hot(number)
    head = PageHead(origin, f'"{number}"', None, time.time(), JSON, number + 1)
    return page_key(_REMOTE, ProjectName(name)), pack(head), packed[number % len(packed)]


def _put(txn: Txn, records: Records, rows: list[tuple[bytes, bytes, bytes]]) -> None:
    for key, head, body in rows:
        txn.put(key, head, db=records.env.heads)
        txn.put(key, body, db=records.env.bodies)


def _packed(name: str, index: str) -> bytes:
    page = made_up(name)
    if page is None:
        raise KeyError(name)
    body = page.as_json(index.removesuffix("/simple/"))
    parsed = parse_page(body, JSON, f"{index}{name}/", as_project(name), linker=linker(_REMOTE, index, None))
    return pack_page(parsed.page)


def _rate(on: Stage, server: Pyproxy) -> tuple[float, float]:
    """Answers a second over the hot pages, and the processor time of one in microseconds."""
    headers = {"Accept": JSON, "Accept-Encoding": "identity"}
    names = [hot(number) for number in range(HOT)]
    answer = get(f"{server.simple}{names[0]}/", headers)
    if len(answer.links()) != 12:  # noqa: PLR2004 - as its name says
        raise WrongAnswer(f"a page out of a filled store has {len(answer.links())} files")
    paths = [f"/pypi/main/simple/{name}/" for name in names]
    before = server.program.cpu()
    flow = load(
        *(server.simple, headers),
        connections=32,
        seconds=on.options.seconds,
        length=len(answer.raw),
        paths=paths,
    )
    return flow.rate, (server.program.cpu() - before) / flow.requests * 1e6

"""Cold rows: what is asked for the first time, against the upstream asked directly in the same moment."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Final

from bench.catalogue import HTML, JSON, Page, write_sized
from bench.client import WrongAnswer, get
from bench.crowd import crowd
from bench.figures import Cell, Row, Tally, Verdict, at_most, at_most_exactly, ratio
from bench.programs import Unavailable
from bench.servers import CACHE, PYPROXY, Server, warmed
from bench.stage import Options, Stage, say

DIRECT: Final = "direct"
_OK: Final = 200
_HOST: Final = "pypiserver"
_SMALLEST: Final = 1000
"""Bytes that a page of 12 files has at least, whatever fields a server leaves out."""
_LARGE, _HERD = "cold-large", "cold-herd"
_SLOW_ROUNDS: Final = 2
"""How often peers are measured where one round of them takes seconds."""

_serial = count()


def offered(folder: Path, options: Options) -> list[Page]:
    """Files that only cold rows ask for, one of each kind for each round."""
    quick = options.quick
    large, herd = (1_000_000, 200_000) if quick else (100_000_000, 5_000_000)
    rounds = range(options.rounds)
    made = [write_sized(folder, f"{_LARGE}-{n}", large) for n in rounds]
    return made + [write_sized(folder, f"{_HERD}-{n}", herd) for n in rounds]


def proxies(on: Stage) -> dict[str, Server]:
    """All servers that fetch what they do not have."""
    return {name: on.servers[name] for name in (PYPROXY, CACHE, *on.peers) if name in on.servers and name != _HOST}


def _due(on: Stage, number: int, slow_rounds: int, tally: Tally) -> dict[str, Server]:
    """Who is measured in this round: not who has failed, and peers, which take seconds, in the first ones alone."""
    kept = proxies(on)
    return {n: one for n, one in kept.items() if n not in tally.why and (n not in on.peers or number < slow_rounds)}


def _why(on: Stage, tally: Tally) -> None:
    for name in (PYPROXY, CACHE, *on.options.peers):
        if name == _HOST and name in on.servers:
            tally.fail(name, "fetches nothing")
        elif name not in on.servers:
            tally.fail(name, on.absent.get(name, "not started"))


# ---------------------------------------------------------------------- pages


def pages(on: Stage) -> Iterator[Row]:
    """One cold page at a time, above what the upstream takes itself."""
    shapes = ((12, 5, 1.5), (300, 3, None), (3000, 2, 20.0))
    tallies = {files: Tally() for files, _, _ in shapes}
    for number in range(on.options.rounds):
        say(f"round {number + 1}: cold pages")
        for files, times, _ in shapes:
            for server in _due(on, number, _SLOW_ROUNDS, tallies[files]).values():
                _page_round(on, server, files, 1 if on.options.quick else times, tallies[files])
    for files, _, bar in shapes:
        tally = tallies[files]
        _why(on, tally)
        cells = tally.cells()
        ours = cells[PYPROXY].median
        verdicts = (at_most(f"≤ {bar:g} ms", ours, bar),) if bar is not None else ()
        yield Row(f"cold-p{files}", f"cold page of {files:,} files, above direct", "ms", cells, verdicts)


def _page_round(on: Stage, server: Server, files: int, times: int, tally: Tally) -> None:
    try:
        tally.add(server.name, statistics.median(_page_above(on, server, files) for _ in range(times)))
    except (WrongAnswer, ValueError) as exc:
        tally.fail(server.name, str(exc))


def _page_above(on: Stage, server: Server, files: int) -> float:
    """Milliseconds."""
    project = f"p{files}-cold-{next(_serial)}"
    _prime(on, project)
    direct = min(_page_seconds(f"{on.index}{project}/", files) for _ in range(3))
    return (_page_seconds(f"{server.simple}{project}/", files) - direct) * 1000


def _page_seconds(url: str, files: int) -> float:
    began = time.monotonic()
    answer = get(url, {"Accept": f"{JSON}, text/html;q=0.1", "Accept-Encoding": "gzip"})
    took = time.monotonic() - began
    if answer.status != _OK or len(answer.links()) != files:
        raise WrongAnswer(f"answers {answer.status} for a cold page of {files} files")
    return took


def burst(on: Stage) -> Iterator[Row]:
    """Different cold pages, all at once."""
    many = 20 if on.options.quick else 200
    tally = Tally()
    for number in range(on.options.rounds):
        say(f"round {number + 1}: {many} cold pages at once")
        for server in _due(on, number, _SLOW_ROUNDS, tally).values():
            _burst_round(on, server, many, tally)
    _why(on, tally)
    cells = tally.cells()
    figure = ratio(cells[PYPROXY].values, cells.get(DIRECT, Cell()).values)
    cells = {PYPROXY: cells.pop(PYPROXY), DIRECT: cells.pop(DIRECT, Cell()), **cells}
    yield Row(
        *("cold-burst", f"{many} different cold pages at once", "ms", cells), (at_most("≤ 2 x direct", figure, 2),)
    )


def _burst_round(on: Stage, server: Server, many: int, tally: Tally) -> None:
    projects = [f"p12-burst-{next(_serial)}" for _ in range(many)]
    for project in projects:
        _prime(on, project)
    try:
        direct = _all_pages([f"{on.index}{project}/" for project in projects])
        through = _all_pages([f"{server.simple}{project}/" for project in projects])
    except WrongAnswer as exc:
        tally.fail(server.name, str(exc))
        return
    tally.add(server.name, through * 1000)
    if server.name == PYPROXY:
        tally.add(DIRECT, direct * 1000)


def _prime(on: Stage, project: str) -> None:
    """The upstream has then rendered the page in all forms, so it costs it the same whoever asks."""
    for form in (JSON, HTML):
        for encoding in ("gzip", "identity"):
            get(f"{on.index}{project}/", {"Accept": form, "Accept-Encoding": encoding})


def _all_pages(urls: Sequence[str]) -> float:
    began = time.monotonic()
    _, found = crowd(urls, accept=f"{JSON}, text/html;q=0.1")
    right = sum(got.status == _OK and got.nbytes > _SMALLEST for got in found)
    if right != len(urls):
        raise WrongAnswer(f"{right} of {len(urls)} answers are right")
    return max(got.last for got in found) - began


# ---------------------------------------------------------------------- files


def large(on: Stage) -> Iterator[Row]:
    """A cold file of 100 MB: its first byte above the upstream's own, and the whole against going direct."""
    first, whole = Tally(), Tally()
    for number in range(on.options.rounds):
        say(f"round {number + 1}: cold 100 MB")
        page = on.page(f"{_LARGE}-{number}")
        for name, server in _due(on, number, _SLOW_ROUNDS, first).items():
            try:
                direct, through = _file(on, page), _file_through(server, page)
            except (WrongAnswer, Unavailable, KeyError) as exc:
                first.fail(name, str(exc))
                whole.fail(name, str(exc))
                continue
            first.add(name, (through[0] - direct[0]) * 1000)
            whole.add(name, through[1] / direct[1])
    for tally in (first, whole):
        _why(on, tally)
    cells, times = first.cells(), whole.cells()
    yield Row(
        *("cold-100m-first", "cold 100 MB: first byte, above direct", "ms", cells),
        (at_most("≤ 3 ms", cells[PYPROXY].median, 3.0),),
    )
    yield Row(
        *("cold-100m", "cold 100 MB: whole, against direct", "x", times),
        (at_most("≤ 1.5 x direct", times[PYPROXY].median, 1.5),),
    )


def _file(on: Stage, page: Page) -> tuple[float, float]:
    return _timed(on.upstream.origin + page.entries[0].path, page)


def _file_through(server: Server, page: Page) -> tuple[float, float]:
    return _timed(warmed(server, page.name).links()[page.entries[0].filename], page)


def _timed(url: str, page: Page) -> tuple[float, float]:
    """Seconds until the first byte and until the last, hashing included on both sides."""
    began = time.monotonic()
    _, (got,) = crowd([url])
    if got.status != _OK or got.digest != page.entries[0].sha256:
        raise WrongAnswer(f"answers {got.status} with {got.nbytes} bytes that are not right")
    return got.first - began, got.last - began


def herd(on: Stage, several: Mapping[str, Server]) -> Iterator[Row]:
    """Many clients for one cold file, held back by the upstream until all have asked. `several` has many workers."""
    clients = 20 if on.options.quick else 200
    fetches, times = Tally(), Tally()
    for number in range(on.options.rounds):
        say(f"round {number + 1}: {clients} clients, one cold file")
        for name, server in {**_due(on, number, 1, fetches), **several}.items():
            if name in fetches.why:
                continue
            try:
                fetched, seconds = _herd(on, server, on.page(f"{_HERD}-{number}"), clients)
            except (WrongAnswer, KeyError) as exc:
                fetches.fail(name, str(exc))
                times.fail(name, str(exc))
                continue
            fetches.add(name, fetched)
            times.add(name, seconds * 1000)
    for tally in (fetches, times):
        _why(on, tally)
    cells = fetches.cells()
    verdicts = [_once(name, max(cells[name].values, default=None)) for name in (PYPROXY, *several)]
    title = f"{clients} clients, one cold 5 MB file"
    yield Row("herd-fetches", f"{title}: upstream fetches", "fetches", cells, tuple(verdicts))
    yield Row("herd-time", f"{title}: until all have it", "ms", times.cells())


def _once(name: str, fetches: float | None) -> Verdict:
    return at_most_exactly(f"{name}: 1 at most", fetches, 1)


def _herd(on: Stage, server: Server, page: Page, clients: int) -> tuple[int, float]:
    """How often the upstream was asked for the file, and the seconds from its release until all had it."""
    entry = page.entries[0]
    url = warmed(server, page.name).links()[entry.filename]
    before = on.steer("hold", name=entry.filename).get(entry.path, 0)

    def release() -> None:
        _settled(on, entry.path)
        on.steer("release")

    try:
        began, found = crowd([url] * clients, asked=release)
    finally:
        after = on.steer("release").get(entry.path, 0)
    right = sum(got.digest == entry.sha256 for got in found)
    if right != clients:
        raise WrongAnswer(f"{right} of {clients} bodies are right")
    return after - before, max(got.last for got in found) - began


def _settled(on: Stage, path: str) -> None:
    """Returns when the upstream is asked no more often than before: all have come as far as they do."""
    before = -1
    ends = time.monotonic() + 5
    while time.monotonic() < ends and ((now := on.steer("counts").get(path, 0)) != before or not now):
        before = now
        time.sleep(0.2)

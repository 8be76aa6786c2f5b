"""Warm rows: what is asked again and again, over many connections, of all servers in turn."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from bench.catalogue import HTML, JSON
from bench.client import Answer, WrongAnswer, get
from bench.figures import Cell, Row, Tally, Verdict, at_least, at_most, ratio
from bench.load import load, one_by_one
from bench.programs import Unavailable
from bench.servers import CACHE, PYPROXY, STATIC, Server, warmed
from bench.stage import KB50, MB5, MB100, Stage, say

OK: Final = 200
NOT_MODIFIED: Final = 304
PEER_SECONDS: Final = 0.25
"""What nothing is held against to a few per cent needs no more."""


@dataclass(frozen=True, slots=True)
class Warm:
    """One warm row: what is asked for, and what the answer must be.

    `what` is a page, a file of a page (`page` then has one file), or that file's core metadata.
    """

    key: str
    title: str
    page: str
    what: Literal["page", "file", "metadata", "304"] = "page"
    accept: str = JSON
    gzip: bool = False
    connections: int = 32
    unit: Literal["req/s", "MB/s"] = "req/s"
    cost: float | None = 1.3
    """How many times nginx's processor time an answer may cost; None: no bar."""
    per_gigabyte: float | None = None
    """How many seconds of processor time a gigabyte may cost."""
    bar: float = 1.0
    peers: float = 5.0
    headers: dict[str, str] = field(default_factory=dict)


def _pages() -> Iterator[Warm]:
    for page, title in (("p12-warm", "12 files"), ("p300-warm", "300 files"), ("p3000-warm", "3,000 files")):
        cost = None if page == "p3000-warm" else 1.3
        short = page.partition("-")[0]
        yield Warm(f"warm-{short}-json", f"page of {title}, JSON", page, cost=cost)
        yield Warm(f"warm-{short}-json-gzip", f"page of {title}, JSON, gzip", page, gzip=True, cost=cost)
        if cost is not None:
            yield Warm(
                f"warm-{short}-html-gzip", f"page of {title}, HTML, gzip", page, accept=HTML, gzip=True, cost=cost
            )


ROWS: Final = (
    *_pages(),
    Warm("warm-304", "304 to If-None-Match", "p300-warm", "304", gzip=True, cost=None),
    Warm("warm-metadata", ".metadata of a wheel", "graph-000", "metadata", cost=None),
    Warm("warm-50k", "wheel of 50 kB", KB50, "file", cost=None, peers=1.2),
    Warm("warm-5m", "wheel of 5 MB", MB5, "file", connections=8, unit="MB/s", cost=None, peers=1.2),
    Warm(
        *("warm-100m", "wheel of 100 MB", MB100, "file"),
        connections=4,
        unit="MB/s",
        cost=None,
        per_gigabyte=0.10,
        peers=1.2,
    ),
)


@dataclass(frozen=True, slots=True)
class _Target:
    """A row's request to one server, checked once: it is answered as it should be, in `length` bytes."""

    url: str
    headers: dict[str, str]
    length: int
    took: float
    """Seconds that one answer took, when nobody else asked."""


def target(on: Stage, server: Server, row: Warm) -> _Target:
    """Raises WrongAnswer where the server answers this otherwise than it should."""
    headers = {"Accept": row.accept if row.accept == JSON else f"{row.accept}, text/html;q=0.9"}
    url = f"{server.simple}{row.page}/"
    if row.what in ("file", "metadata"):
        return _file_target(on, server, row)
    headers["Accept-Encoding"] = "gzip" if row.gzip else "identity"
    answer = get(url, headers)
    page = on.page(row.page)
    listed = set(answer.links())
    if answer.status != OK or not listed >= {entry.filename for entry in page.entries}:
        raise WrongAnswer(f"answers {answer.status} with {len(listed)} of {len(page.entries)} files")
    if row.what == "304":
        headers["If-None-Match"] = answer.fields.get("etag", '"none"')
        answer = get(url, headers)
        if answer.status != NOT_MODIFIED:
            raise WrongAnswer(f"never: answers {answer.status}")
    return _checked(answer, headers)


def _checked(answer: Answer, headers: dict[str, str]) -> _Target:
    took = min(_seconds(answer.url, headers) for _ in range(2))
    return _Target(answer.url, headers, len(answer.raw), took)


def _seconds(url: str, headers: dict[str, str]) -> float:
    began = time.monotonic()
    get(url, headers)
    return time.monotonic() - began


def _file_target(on: Stage, server: Server, row: Warm) -> _Target:
    entry = on.page(row.page).entries[-1]
    links = warmed(server, row.page).links()
    if entry.filename not in links:
        raise WrongAnswer("its page does not name the file")
    headers = {"Accept-Encoding": "identity"}
    metadata = row.what == "metadata"
    answer: Answer = get(links[entry.filename] + (".metadata" if metadata else ""), headers)
    if answer.status != OK or answer.sha256 != (entry.metadata if metadata else entry.sha256):
        raise WrongAnswer(f"never: answers {answer.status} with {len(answer.raw)} bytes")
    return _checked(answer, headers)


def measure(on: Stage, rows: Sequence[Warm], names: Sequence[str], peers: Sequence[str]) -> Iterator[Row]:
    """Each round loads each server with each row once, so that whatever else the machine does hits all alike."""
    tallies = {row.key: Tally() for row in rows}
    targets = {row.key: _targets(on, row, names, tallies[row.key]) for row in rows}
    for number in range(on.options.rounds):
        for row in rows:
            say(f"round {number + 1}: {row.title}")
            order = list(targets[row.key])
            for name in order[number % 2 :] + order[: number % 2]:
                _load(on, row, name, targets[row.key], tallies[row.key])
    for row in rows:
        yield judged(row, tallies[row.key].cells(), names, peers)


def _targets(on: Stage, row: Warm, names: Sequence[str], tally: Tally) -> dict[str, _Target]:
    found = {}
    for name in names:
        if name not in on.servers:
            tally.fail(name, on.absent.get(name, "not started"))
            continue
        try:
            found[name] = target(on, on.servers[name], row)
        except (WrongAnswer, Unavailable, ValueError) as exc:
            tally.fail(name, str(exc))
    return found


def _load(on: Stage, row: Warm, name: str, targets: dict[str, _Target], tally: Tally) -> None:
    asked, program = targets[name], on.servers[name].program
    seconds = min(on.options.seconds, PEER_SECONDS) if name in (*on.peers, CACHE) else on.options.seconds
    slow = name in on.peers and asked.took * row.connections > seconds
    program.settle()
    before = program.cpu()
    try:
        if slow:
            tally.why[name] = "one connection"
            flow = one_by_one(asked.url, asked.headers, seconds=seconds, length=asked.length)
        else:
            flow = load(
                asked.url,
                asked.headers,
                connections=row.connections,
                seconds=seconds,
                length=asked.length,
                large=row.unit == "MB/s",
            )
    except WrongAnswer as exc:
        tally.fail(name, f"under load: {exc}")
        del targets[name]
        return
    program.settle()
    used = program.cpu() - before
    value = flow.rate if row.unit == "req/s" else flow.megabytes
    # Of small answers the cost of one tells most, of large ones that of a gigabyte.
    cost = used / flow.requests * 1e6 if row.unit == "req/s" else used / (flow.nbytes / 1e9)
    tally.add(name, value, cost)


def judged(row: Warm, cells: dict[str, Cell], names: Sequence[str], peers: Sequence[str]) -> Row:
    """The row with its bars. `names` begins with the two that are held against each other."""
    ours, static = (cells.get(name, Cell()) for name in names[:2])
    bar = 0.95 if row.unit == "MB/s" else row.bar
    verdicts = [at_least(f"≥ {bar:g} x {STATIC}", ratio(ours.values, static.values), bar)]
    if row.cost is not None:
        verdicts.append(at_most(f"CPU ≤ {row.cost:g} x {STATIC}'s", ratio(ours.cpu, static.cpu), row.cost))
    if row.per_gigabyte is not None:
        verdicts.append(at_most(f"CPU ≤ {row.per_gigabyte:g} s/GB", ours.cost, row.per_gigabyte))
    if peers:
        verdicts.append(_against_peers(row, cells, ours, peers))
    shown = {PYPROXY: ours, STATIC: static, **{n: cell for n, cell in cells.items() if n not in names[:2]}}
    return Row(row.key, row.title, row.unit, shown, tuple(verdicts))


def _against_peers(row: Warm, cells: dict[str, Cell], ours: Cell, peers: Sequence[str]) -> Verdict:
    text = f"≥ {row.peers:g} x the fastest Python peer"
    rates = {name: rate for name in peers if (rate := cells.get(name, Cell()).median) is not None}
    if not rates:
        return Verdict(f"{text} (none does it)", None, ours.median is not None or None)
    fastest = max(rates, key=lambda name: rates[name])
    return at_least(f"{text} ({fastest})", ratio(ours.values, cells[fastest].values), row.peers)


SEVERAL: Final = ("warm-p12-json-gzip", "warm-p300-json-gzip", "warm-50k", "warm-5m")
"""The rows that are measured with several workers too."""


def with_workers(rows: Sequence[Warm], workers: int) -> list[Warm]:
    return [
        replace(row, key=f"x{workers}-{row.key}", title=f"{workers} workers: {row.title}")
        for row in rows
        if row.key in SEVERAL
    ]


def names(on: Stage) -> list[str]:
    """The columns of the warm rows."""
    return [PYPROXY, STATIC, CACHE, *on.options.peers]

"""Pages as bytes: rendered once, compressed once per coding, kept as long as the page is the same and memory allows."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar, cast

from pyproxy.encoding import Coding, compress
from pyproxy.model import File, ProjectPage
from pyproxy.simple_api import Kind, render_page
from pyproxy.singleflight import Flights

T = TypeVar("T")

CAPACITY = 32 * 1024 * 1024
"""Bytes of rendered pages kept, and of the pages they were made of."""

FILE_WEIGHT = 1024
"""Bytes that a file of a page takes in memory, about."""

OFF_LOOP = 100
"""Files on a page from which on it is rendered in a thread: 100 take 0.2 ms, a hop 0.1 ms."""

LARGE = 64 * 1024
"""Bytes from which on it is a thread's work too, however few the files: 64 KiB take 0.5 ms to compress."""


_DIGEST = 128
"""Characters that the longest of the usual digests has."""

LATER = 0.05
"""Seconds after which memory that is not needed any more is given back."""


class Body(NamedTuple):
    """What is sent, the digest that its strong entity tag is made of, and in what coding it is."""

    content: bytes
    digest: str
    coding: Coding


@dataclass(slots=True)
class Rendering:
    """One page in one serialisation."""

    page: ProjectPage
    identity: bytes
    bodies: dict[Coding, Body]
    """Of those codings that were asked for, one at least; of one that gains nothing, the body in plain."""

    def etag(self, coding: Coding) -> str:
        digest = self.bodies[coding].digest
        return f'"{digest}"' if coding == "identity" else f'"{digest}-{coding}"'

    @property
    def weight(self) -> int:
        """Bytes that it keeps in memory: its bodies, and its page."""
        contents = {id(body.content): len(body.content) for body in self.bodies.values()}
        contents[id(self.identity)] = len(self.identity)
        return sum(contents.values()) + FILE_WEIGHT * len(self.page.files)


@dataclass(frozen=True, slots=True)
class Look:
    """What a rendering depends on beside the page."""

    base_path: str
    project: str
    kind: Kind
    files: str
    """The relative prefix of file links: it differs below /simple/."""


_Bodies: TypeAlias = Mapping[Coding, Body]
_Key: TypeAlias = tuple[Look, int | str, Coding]
"""What is being made: a page (by its identity: who makes it, holds it) in one look; or, of a rendering (by a digest:
who makes a body, holds the bytes alone, and the page's identity may be another's by then), the body in one coding."""


class Renderings:
    """The renderings used last. Owned by the event loop."""

    def __init__(self, executor: Executor, capacity: int = CAPACITY) -> None:
        self._executor = executor
        self._capacity = capacity
        self._kept: OrderedDict[Look, Rendering] = OrderedDict()
        self._weights: dict[Look, int] = {}
        self._bytes = 0
        self._flights: Flights[_Key, Rendering | _Bodies] = Flights()

    async def get(
        self, look: Look, page: ProjectPage, coding: Coding, provenance: Callable[[File], str | None] | None
    ) -> tuple[Rendering, Coding]:
        """The page's rendering with the body for this coding, or for identity where coding gains nothing."""
        found = self._kept.get(look)
        if found is None or found.page is not page:
            found = await self._once(
                (look, id(page), "identity"),
                lambda: _render(look, page, provenance, coding),  # both in one go: it may take a hop to a thread
                large=len(page.files) >= OFF_LOOP or _bulk(page) >= LARGE,
            )
            self._put(look, found)
        else:
            self._kept.move_to_end(look)
        if coding not in found.bodies:
            identity = found.identity
            made = await self._once(
                (look, next(iter(found.bodies.values())).digest, coding),
                lambda: _bodies(look.kind, identity, coding),
                large=len(page.files) >= OFF_LOOP or len(identity) >= LARGE,
            )
            found.bodies.update(made)
            self._put(look, found)
        return found, found.bodies[coding].coding

    def body(self, rendering: Rendering, coding: Coding) -> bytes:
        return rendering.bodies[coding].content

    async def close(self) -> None:
        await self._flights.close()

    def _put(self, look: Look, rendering: Rendering) -> None:
        """Keeps it, weighed anew: a rendering grows when a coding is added."""
        self._bytes -= self._weights.pop(look, 0)
        self._kept[look] = rendering
        self._kept.move_to_end(look)
        self._weights[look] = rendering.weight
        self._bytes += rendering.weight
        gone: list[Rendering] = []
        while self._bytes > self._capacity and len(self._kept) > 1:
            which, what = self._kept.popitem(last=False)
            self._bytes -= self._weights.pop(which)
            gone.append(what)
        if gone:
            # Not before the answer is out: to take a page of 3,000 files apart takes 2 ms.
            asyncio.get_running_loop().call_later(LATER, gone.clear)

    async def _once(self, key: _Key, call: Callable[[], T], *, large: bool) -> T:
        """In a thread where it takes long, and then once for all who ask for a new page at the same time."""
        if not large:
            return call()

        async def run() -> T:
            return await asyncio.get_running_loop().run_in_executor(self._executor, call)

        flights = cast("Flights[_Key, T]", self._flights)  # a key's last part tells which of the two kinds it brings
        return await flights.wait(key, run)


def _bulk(page: ProjectPage) -> int:
    """Bytes of what a remote may make long on a page of few files."""
    # Digests by their number: to add their lengths up takes as long as all the rest.
    files = [
        len(file.link)
        + len(file.requires_python or "")
        + (len(file.yanked) if isinstance(file.yanked, str) else 0)
        + _DIGEST * len(file.hashes)
        for file in page.files
    ]
    others = (*(page.versions or ()), page.status_reason or "", *page.tracks, *page.alternate_locations)
    return sum(files) + sum(map(len, others))


def _render(
    look: Look, page: ProjectPage, provenance: Callable[[File], str | None] | None, coding: Coding
) -> Rendering:
    identity = render_page(page, look.kind, files=look.files, provenance=provenance)
    return Rendering(page, identity, dict(_bodies(look.kind, identity, coding)))


def _bodies(kind: Kind, identity: bytes, coding: Coding) -> _Bodies:
    """The body in this coding; where that gains nothing, in plain.

    The digest is that of the bytes as they are sent. They are a third in what most clients ask for, and then nobody
    waits for a digest of the whole.
    """
    content = compress(identity, coding)
    if coding != "identity" and len(content) >= len(identity):
        return dict.fromkeys((coding, "identity"), _body(kind, identity, "identity"))
    return {coding: _body(kind, content, coding)}


def _body(kind: Kind, content: bytes, coding: Coding) -> Body:
    digest = hashlib.sha256(kind.content_type.encode() + b"\n")
    digest.update(content)
    return Body(content, digest.hexdigest()[:40], coding)

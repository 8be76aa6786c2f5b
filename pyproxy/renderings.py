"""Pages as bytes: rendered once, compressed once per coding, kept as long as the page is the same and memory allows."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TypeVar

from pyproxy.encoding import Coding, compress
from pyproxy.model import File, ProjectPage
from pyproxy.simple_api import Kind, render_page

T = TypeVar("T")

CAPACITY = 32 * 1024 * 1024
"""Bytes of rendered pages kept."""

OFF_LOOP = 100
"""Files on a page from which on it is rendered in a thread: 100 take 0.2 ms, a hop 0.1 ms."""


@dataclass(slots=True)
class Rendering:
    """One page in one serialisation. Strong entity tags, one per coding, over the bytes as rendered."""

    page: ProjectPage
    identity: bytes
    digest: str
    coded: dict[Coding, bytes] = field(default_factory=dict)

    def etag(self, coding: Coding) -> str:
        return f'"{self.digest}"' if coding == "identity" else f'"{self.digest}-{coding}"'

    @property
    def weight(self) -> int:
        return len(self.identity) + sum(map(len, self.coded.values()))


@dataclass(frozen=True, slots=True)
class Look:
    """What a rendering depends on beside the page."""

    base_path: str
    project: str
    kind: Kind
    files: str
    """The relative prefix of file links: it differs below /simple/."""


class Renderings:
    """The renderings used last. Owned by the event loop."""

    def __init__(self, executor: Executor, capacity: int = CAPACITY) -> None:
        self._executor = executor
        self._capacity = capacity
        self._kept: OrderedDict[Look, Rendering] = OrderedDict()
        self._weights: dict[Look, int] = {}
        self._bytes = 0

    async def get(
        self, look: Look, page: ProjectPage, coding: Coding, provenance: Callable[[File], str] | None
    ) -> tuple[Rendering, Coding]:
        """The page's rendering with the body for this coding, or for identity where coding gains nothing."""
        found = self._kept.get(look)
        if found is None or found.page is not page:
            found = await self._off_loop(lambda: _render(look, page, provenance), page)
            self._put(look, found)
        else:
            self._kept.move_to_end(look)
        if coding != "identity" and coding not in found.coded:
            body = await self._off_loop(lambda: compress(found.identity, coding), page)
            found.coded[coding] = body if len(body) < len(found.identity) else b""
            self._put(look, found)
        if coding != "identity" and not found.coded[coding]:
            coding = "identity"
        return found, coding

    def body(self, rendering: Rendering, coding: Coding) -> bytes:
        return rendering.identity if coding == "identity" else rendering.coded[coding]

    def clear(self) -> None:
        """What is rendered may depend on the configuration (public_url): a reload forgets it."""
        self._kept.clear()
        self._weights.clear()
        self._bytes = 0

    def _put(self, look: Look, rendering: Rendering) -> None:
        """Keeps it, weighed anew: a rendering grows when a coding is added."""
        self._bytes -= self._weights.pop(look, 0)
        self._kept[look] = rendering
        self._kept.move_to_end(look)
        self._weights[look] = rendering.weight
        self._bytes += rendering.weight
        while self._bytes > self._capacity and len(self._kept) > 1:
            gone, _ = self._kept.popitem(last=False)
            self._bytes -= self._weights.pop(gone)

    async def _off_loop(self, call: Callable[[], T], page: ProjectPage) -> T:
        if len(page.files) < OFF_LOOP:
            return call()
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)


def _render(look: Look, page: ProjectPage, provenance: Callable[[File], str] | None) -> Rendering:
    body = render_page(page, look.kind, files=look.files, provenance=provenance)
    digest = hashlib.sha256(look.kind.content_type.encode() + b"\n" + body).hexdigest()[:40]
    return Rendering(page, body, digest)

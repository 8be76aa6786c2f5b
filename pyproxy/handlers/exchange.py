"""One request and what becomes of it: what the handlers pass along, and what is counted and logged at the end."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from pyproxy.metrics import RequestKind, Result
from pyproxy.model import Sha256
from pyproxy.part import Part
from pyproxy.site import Distribution, Site


@dataclass(frozen=True, slots=True)
class Repeats:
    """The same request gets the same answer for so many seconds more, unless something of the project changes."""

    seconds: float
    project: str


@dataclass(slots=True)
class Exchange:
    """Written by the handlers of one request, read once it is answered."""

    request: web.BaseRequest
    site: Site
    distribution: Distribution | None = None
    kind: RequestKind = "other"
    result: Result = "hit"
    sent: int = 0
    """Bytes of the body that went out."""
    repeats: Repeats | None = None
    """Set by the handler that knows it. That the answer is the same for everybody who sends the same head, and nothing
    but the site, the project and the local content goes into it, is its to say."""
    part: Part | None = None
    """The body of an answer that may be repeated, where it was sent from a file."""
    local_stamp: int | None = None
    """Of the local content, from before it was looked at; None where none is shown."""
    cache_stamp: int | None = None
    """Of the cache of remotes' files, likewise: what was evicted is not answered any more."""
    cached: Sha256 | None = None
    """The blob of that cache whose bytes are the answer: each answer is a use of it."""

    def kept_by(self, cache_control: str) -> str:
        """The directives, for the client's own cache alone where a guard is in front (RFC 9111 §3.5)."""
        if self.distribution is None or not self.distribution.is_guarded:
            return cache_control
        return f"private, {cache_control.removeprefix('public, ')}"

    @property
    def is_head(self) -> bool:
        return self.request.method == "HEAD"

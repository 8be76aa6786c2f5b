"""Which serialisation of a page a client gets. Decides from two texts; knows no page."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache

from pyproxy.encoding import MAX_HEADER, weighted


class Kind(Enum):
    """A serialisation; the value is its media type. TEXT is HTML under its old name (PEP 691)."""

    JSON = "application/vnd.pypi.simple.v1+json"
    HTML = "application/vnd.pypi.simple.v1+html"
    TEXT = "text/html"

    @property
    def content_type(self) -> str:
        """The `Content-Type` to send. The versioned types take no parameter: Poetry compares the whole value."""
        return "text/html; charset=utf-8" if self is Kind.TEXT else self.value


_LATEST = {
    "application/vnd.pypi.simple.latest+json": Kind.JSON.value,
    "application/vnd.pypi.simple.latest+html": Kind.HTML.value,
}

# What breaks a tie: who names types gets JSON, the smallest; a bare "*/*" is a person or an old tool.
_NAMED = (Kind.JSON, Kind.HTML, Kind.TEXT)
_ANY = (Kind.TEXT, Kind.HTML, Kind.JSON)


def negotiate(accept: str | None, format_parameter: str | None) -> Kind | None:
    """The serialisation for this `Accept` and `?format=`; None where none is acceptable (PEP 691: 406).

    The parameter goes first where it is given. "If a client requests the `latest` version, the server MUST respond
    with the actual version": `latest` is a name for v1 here.
    """
    if format_parameter is not None:
        return _by_parameter(format_parameter)
    if accept is None or not accept.strip():
        return Kind.TEXT
    return _by_accept(accept[:MAX_HEADER])


@lru_cache(64)  # clients say the same few
def _by_accept(accept: str) -> Kind | None:
    ranges = [(_LATEST.get(name, name), weight) for name, weight in weighted(accept) if "/" in name or name == "*"]
    if not ranges:
        return Kind.TEXT  # nothing in it is a media range: as if it were not there
    best: tuple[float, int, int] = (0.0, 0, 0)
    chosen: Kind | None = None
    for kind in Kind:
        precision, weight = _match(kind, ranges)
        tie = (_NAMED if precision else _ANY).index(kind)
        if weight > 0 and (weight, precision, -tie) > best:
            best, chosen = (weight, precision, -tie), kind
    return chosen


def _by_parameter(raw: str) -> Kind | None:
    # A "+" that was not percent-encoded may arrive as a space.
    name = raw.strip().lower().replace(" ", "+")
    name = _LATEST.get(name, name)
    return next((kind for kind in Kind if kind.value == name), None)


def _match(kind: Kind, ranges: list[tuple[str, float]]) -> tuple[int, float]:
    """How precisely the most precise range names this kind, and its weight (RFC 9110 §12.5.1)."""
    group = kind.value.partition("/")[0] + "/*"
    found = (0, 0.0)
    for name, weight in ranges:
        # "*" alone is what old Java clients send.
        precision = 2 if name == kind.value else 1 if name == group else 0 if name in {"*/*", "*"} else -1
        if precision >= 0:
            found = max(found, (precision, weight))
    return found

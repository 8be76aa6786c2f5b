"""The one table from errors to HTTP answers. Each is one readable line; no stack trace reaches a client."""

from __future__ import annotations

from aiohttp import web

from pyproxy.errors import (
    BadName,
    BlobDamaged,
    NotCached,
    NotThere,
    PyproxyError,
    RemoteFailed,
    StoreTrouble,
    VersionUnknown,
    Withheld,
)
from pyproxy.metrics import Result

PROXY_STATUS = "pyproxy; error=destination_unavailable"
"""On a 502 (RFC 9209): the fault lies further up, so a pyproxy that asked need not ask again."""

RETRY_AFTER = "2"
"""Seconds, where the trouble is the daemon's own and may pass."""

NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""On what is said to one client at one time."""

_TABLE: tuple[tuple[type[PyproxyError], int, Result], ...] = (
    (NotThere, 404, "miss"),
    (BadName, 404, "miss"),
    (Withheld, 403, "denied"),
    (RemoteFailed, 502, "error"),
    (NotCached, 503, "error"),
    # Only what was uploaded comes here: it is nowhere else to be had, and no 404 may send a client to other indexes.
    (BlobDamaged, 500, "error"),
    (StoreTrouble, 503, "error"),
    # A distribution pinned to a version that is not there: a fault of the configuration, not of who asks.
    (VersionUnknown, 503, "error"),
)


def answer_to(error: PyproxyError) -> tuple[web.Response, Result]:
    """The answer that tells a client of this error, and how it is counted."""
    for kind, status, result in _TABLE:
        if isinstance(error, kind):
            headers = {}
            if isinstance(error, RemoteFailed):
                headers["Proxy-Status"] = PROXY_STATUS
            if isinstance(error, StoreTrouble | VersionUnknown) and status == 503:  # noqa: PLR2004 - the table's
                headers["Retry-After"] = RETRY_AFTER
            return refusal(status, str(error), headers), result
    return refusal(500, "internal error"), "error"


def refusal(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """An answer of one line: as text, and as the reason phrase, which is all that pip prints."""
    line = " ".join(message.split())
    return web.Response(
        status=status,
        reason=as_reason(line),
        text=line + "\n",
        headers={**NO_STORE, **(headers or {})},
    )


def as_reason(line: str, limit: int = 200) -> str:
    """The line as a reason phrase may hold it (RFC 9112 §4): printable ASCII, not too long."""
    ascii_only = "".join(char if " " <= char <= "~" else "?" for char in line)
    return ascii_only if len(ascii_only) <= limit else ascii_only[: limit - 3] + "..."

"""The client-facing connections: time limits, bounds, accepting, refusing and draining. Knows HTTP, and no index.

Handlers need nothing from here: they get an aiohttp `BaseRequest` and return a `StreamResponse`. Two things they must
know. They are cancelled when their client is found gone, by a reset or a failed write: one that has only shut down its
side waits for its answer. And bytes that they send past `request.writer` (by sendfile on a dup of the socket) they take
off `request.writer.length`: what is left of it in the end was promised and not sent, and the connection is then cut.
"""

from __future__ import annotations

from pyproxy.binding import Where
from pyproxy.wire.connection import Connection, Handler
from pyproxy.wire.limits import Limits
from pyproxy.wire.listener import Listener
from pyproxy.wire.request import Request

__all__ = ["Connection", "Handler", "Limits", "Listener", "Request", "Where"]

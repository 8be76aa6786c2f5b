"""How long a client may take and how much it may send. Numbers, and how many connections the process can hold."""

from __future__ import annotations

import resource
from dataclasses import dataclass

_OWN = 48
"""Descriptors kept for the daemon itself: the store, the log, the loop, connections to remotes."""

_MOST = 65_536

_MOST_KNOWN = 256
_SHARE_KNOWN = 8  # one in so many open files, at most, is one of an answer known by heart


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds, sizes in bytes. Passing one ends the connection, with a line of reason where HTTP allows."""

    header_timeout: float = 10.0
    """From connecting to the first byte of a request, and from there to the end of its head."""
    body_idle: float = 30.0
    """Without a byte of a request's body that is due."""
    keep_alive: float = 75.0
    """Between an answer and the next request."""
    send_stall: float = 60.0
    """Without the client taking a byte of what it is being sent."""
    linger: float = 5.0
    """For what a client still sends after its answer, so that the answer is not lost with the connection."""
    max_connections: int | None = None
    """Beyond it nobody is accepted until somebody leaves; None: by the limit on open files (`connection_cap`)."""
    max_line: int = 8190
    """The request line, and each header field."""
    max_header_fields: int = 128
    max_headers: int = 32_768
    """All header fields together."""
    max_body: int = 1 << 40
    """A request's body. Handlers have narrower bounds of their own; this one holds where they do not look."""
    sweep: float = 1.0
    """How often the times above are looked at: none is kept more exactly than this."""


def connection_cap(open_files: int | None = None) -> int:
    """Connections that leave room for files and remotes, within `open_files` (None: the process's soft limit).

    A connection that is being served may hold a second descriptor: a dup of its socket, a file, or a remote's socket.
    """
    open_files = _limit() if open_files is None else open_files
    if open_files == resource.RLIM_INFINITY:
        return _MOST
    return max(1, min(_MOST, (open_files - _OWN - files_known(open_files)) // 2))


def files_known(open_files: int | None = None) -> int:
    """Files that may be open for answers known by heart, beside those of connections; `open_files` as above."""
    open_files = _limit() if open_files is None else open_files
    return _MOST_KNOWN if open_files == resource.RLIM_INFINITY else min(_MOST_KNOWN, open_files // _SHARE_KNOWN)


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

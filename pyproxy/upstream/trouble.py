"""What goes wrong between here and a remote, in words for people: the one place that knows aiohttp's errors.

No text made here holds a URL, a header or anything else that may carry a secret.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
from http import HTTPStatus

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from pyproxy.errors import ContentWrong, RemoteBusy, RemoteFailed
from pyproxy.model import printable


class Trouble(Exception):
    """One attempt failed. Never leaves this package: `as_error` makes the error that callers see.

    `again`: another attempt may go better. `unconnected`: no connection was made, so the whole origin is in
    doubt, not this document alone. `ours`: no request was sent, and the remote is not to blame.
    """

    def __init__(
        self,
        why: str,
        *,
        again: bool = False,
        unconnected: bool = False,
        ours: bool = False,
        final: bool = False,
        timeout: bool = False,
        retry_after: float | None = None,
        error: type[RemoteFailed] = RemoteFailed,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.again = again
        self.unconnected = unconnected
        self.ours = ours
        self.final = final
        self.timeout = timeout
        self.retry_after = retry_after
        self.error = error

    def as_error(self, remote: str) -> RemoteFailed:
        return self.error(remote, self.why, final=self.final, retry_after=self.retry_after)


class LeadsInside(OSError):
    """A name of a public remote's that stands for addresses which only this machine or its network can reach."""


def busy(status: int, retry_after: float | None) -> Trouble:
    """A remote that asks to be left alone for a while."""
    return Trouble(_answered(status), again=retry_after is not None, retry_after=retry_after, error=RemoteBusy)


def refused(status: int, *, again: bool) -> Trouble:
    """An answer that counts as a failure of the remote."""
    return Trouble(_answered(status), again=again)


def failed_further_up(status: int) -> Trouble:
    """The answer of another pyproxy that could not ask its own remote, after its own retries."""
    return Trouble(f"{_answered(status)}: its own remote failed", final=True)


def wrong(why: str, *, again: bool = False) -> Trouble:
    """An answer that contradicts itself or what was asked. `again`: it may have been damaged on the way."""
    return Trouble(why, again=again, error=ContentWrong)


def cut(got: int, expected: int | None) -> Trouble:
    """A body that ended early."""
    return Trouble(
        f"body cut at {got} bytes" if expected is None else f"body cut at {got} of {expected} bytes", again=True
    )


def _answered(status: int) -> str:
    try:
        return f"answered {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"answered {status}"


def from_exception(exc: BaseException) -> Trouble:
    """The trouble that an exception of the client stands for, while there was no answer yet."""
    match exc:
        case Trouble():
            return exc
        case aiohttp.ClientConnectorError():
            return _while_connecting(exc)
        case aiohttp.ClientHttpProxyError():
            return Trouble(f"its proxy answered {exc.status}", unconnected=True)
        case aiohttp.ServerTimeoutError():
            return Trouble("no answer in time", again=True, timeout=True)
        case aiohttp.ServerDisconnectedError():
            return Trouble("connection closed without an answer", again=True)
        case HttpProcessingError() | aiohttp.ClientResponseError():
            return Trouble("broke HTTP, or its head passes a bound")
        case OSError() | aiohttp.ClientConnectionError():
            return _broken(exc)
        case _:
            return Trouble("could not be asked")


def _while_connecting(exc: aiohttp.ClientConnectorError) -> Trouble:
    match exc:
        case aiohttp.ClientProxyConnectionError():
            return Trouble(f"its proxy: {_os_cause(exc.os_error)}", again=True, unconnected=True)
        case aiohttp.ClientConnectorDNSError():
            return _unresolved(exc.os_error)
        case _:
            return _unconnected(exc.os_error)


def in_body(exc: BaseException, got: int, expected: int | None) -> Trouble:
    """The trouble that an exception stands for in the middle of a body."""
    match exc:
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError():
            return cut(got, expected)
        case OSError() | aiohttp.ClientConnectionError():
            return Trouble(f"{cut(got, expected).why}, {_broken(exc).why}", again=True)
        case _:
            return cut(got, expected)


def _unresolved(exc: OSError) -> Trouble:
    if isinstance(exc, LeadsInside):
        return Trouble(str(exc), unconnected=True)
    # EAI_NONAME is an answer: asking again gets the same one.
    certain = isinstance(exc, socket.gaierror) and exc.errno in {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", -5)}
    return Trouble("name not resolved", again=not certain, unconnected=True)


def _unconnected(exc: OSError) -> Trouble:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return Trouble(f"certificate not trusted: {printable(exc.verify_message)}", unconnected=True)
    if isinstance(exc, ssl.SSLError):
        return Trouble(_tls(exc), unconnected=True)
    return Trouble(_os_cause(exc), again=True, unconnected=True)


def _broken(exc: BaseException) -> Trouble:
    """A connection that was there and broke."""
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            # With TLS 1.3 a refused client certificate shows only once the connection is in use.
            return Trouble(_tls(cause), unconnected=True)
        cause = cause.__cause__
    return Trouble(_os_cause(exc) if isinstance(exc, OSError) else "connection lost", again=True)


def _tls(exc: ssl.SSLError) -> str:
    return f"TLS failed: {exc.reason.lower().replace('_', ' ')}" if exc.reason else "TLS failed"


_CAUSES = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.EPIPE: "connection closed",
    errno.EHOSTUNREACH: "no route to it",
    errno.ENETUNREACH: "no route to it",
    errno.ETIMEDOUT: "no connection in time",
    errno.EMFILE: "too many files open here",
    errno.ENFILE: "too many files open here",
}


def _os_cause(exc: OSError) -> str:
    if isinstance(exc, ConnectionResetError):
        return "connection reset"
    if exc.errno is None:
        return "no connection"
    return _CAUSES.get(exc.errno) or os.strerror(exc.errno).lower()

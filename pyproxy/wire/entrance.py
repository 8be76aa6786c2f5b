"""The way in: connections taken from a listening socket as they come, while there is room for them."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

from pyproxy import logs

_BATCH = 64  # connections accepted between two looks at the rest of the world
_RUSH = 0.005  # seconds after those before, or else a turn, in which more come: then twice as many are accepted at once
_COURTESY = 0.001  # seconds for processes with fewer connections to take one, before this one does
_PAUSE = 0.2  # seconds before trying again to accept when the process is out of descriptors or memory

# The connection was gone before it was accepted, or brought a network error of its own along (accept(2), Linux).
_ITS_OWN_FAULT = {
    errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.EHOSTUNREACH,
    errno.EOPNOTSUPP, errno.ENETUNREACH, errno.EPERM, errno.EINTR,
}  # fmt: skip

_log = logging.getLogger(__name__)


class Entrance:
    """Gives each connection the protocol that `made` makes, as long as there is `room`. Open when made.

    With `ahead` other processes take connections from the same socket: it says whether to let them take the next.
    `broken` is called when nobody is taken any more though nobody asked for it.
    """

    def __init__(
        self,
        listening: socket.socket,
        made: Callable[[], asyncio.Protocol],
        *,
        room: Callable[[], int],
        ahead: Callable[[], bool] | None,
        broken: Callable[[], None],
    ) -> None:
        self._listening = listening
        self._made = made
        self._room = room
        self._ahead = ahead
        self._broken = broken
        self._kind = int(listening.family), int(listening.type), listening.proto
        self._most = _BATCH if ahead is None else 1
        self._pace = 1  # connections to be accepted at once
        self._took = 0.0  # when the last ones were, by the loop's clock
        self._fresh = 0  # how often some were accepted in this turn of the loop and the one before
        self._loop = asyncio.get_running_loop()
        self._transport = _maker(self._loop)
        self._watching = False
        self._waiting: asyncio.TimerHandle | None = None  # until then nobody is taken
        self._coming: set[asyncio.Task[None]] = set()
        self._breathless = False  # accepting fails, and that was logged
        self._closed = False
        self.look()

    def look(self) -> None:
        """To be called when there may be room again."""
        if self._watching or self._closed or self._waiting is not None or self._room() <= 0:
            return
        self._watching = True
        self._loop.add_reader(self._listening, self._ready)

    async def close(self) -> None:
        """Takes nobody any more. Returns when all that were taken have been told to their protocols."""
        self._shut()
        await asyncio.sleep(0)  # asyncio tells them in the next turn
        if self._coming:
            await asyncio.wait(self._coming)

    def _shut(self) -> None:
        self._closed = True
        self._look_away()
        if self._waiting is not None:
            self._waiting.cancel()

    def _look_away(self) -> None:
        if self._watching:
            self._watching = False
            self._loop.remove_reader(self._listening)

    def _wait(self, seconds: float, call: Callable[[], None]) -> None:
        self._look_away()
        self._waiting = self._loop.call_later(seconds, call)

    def _ready(self) -> None:
        """Somebody waits to be accepted."""
        if self._ahead is not None and self._ahead():
            self._wait(_COURTESY, self._take)
        else:
            self._take()

    def _take(self) -> None:
        self._waiting = None
        try:
            self._take_some()
        except Exception:  # noqa: BLE001 - asyncio would log it, and call this again at once, for ever
            _log.exception("no connection is accepted any more")
            self._shut()
            self._broken()

    def _take_some(self) -> None:
        for _ in range(min(self._paced(), self._room() - len(self._coming))):
            try:
                sock, peer = _taken(self._listening, self._kind)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as exc:
                if exc.errno in _ITS_OWN_FAULT:
                    continue
                self._take_breath(exc)
                return
            self._breathless = False
            self._admit(sock, peer)
        # Those admitted now are counted before the loop looks again: asyncio tells their protocols first.
        if self._room() <= 0:
            self._look_away()
        else:
            self.look()

    def _paced(self) -> int:
        """How many to accept now: one, unless they come in a rush.

        Who looks for one more and finds nobody loses 25 µs before the one that came is heard.
        """
        if self._most == 1:
            return 1
        now = self._loop.time()
        rush = self._fresh or now - self._took < _RUSH
        self._pace = min(2 * self._pace, self._most) if rush else 1
        self._took = now
        self._fresh += 1
        # A busy loop's turns take longer than a rush may pause. The second call comes after the next turn's sockets.
        self._loop.call_soon(self._loop.call_soon, self._turned)
        return self._pace

    def _turned(self) -> None:
        self._fresh -= 1

    def _take_breath(self, exc: OSError) -> None:
        """Waits before accepting again: without descriptors or memory, trying at once would only burn time."""
        if not self._breathless:
            self._breathless = True
            logs.event(_log, logging.ERROR, f"cannot accept connections: {exc.strerror}")
        self._wait(_PAUSE, self._take)

    def _admit(self, sock: socket.socket, peer: Any) -> None:  # Any: an address, of a form for each family
        if self._transport is None:
            task = self._loop.create_task(self._admit_slowly(sock))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)
            return
        try:
            self._transport(sock, self._made(), extra={"peername": peer})
        except OSError as exc:
            _lost(sock, exc)

    async def _admit_slowly(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._made, sock)
        except OSError as exc:
            _lost(sock, exc)


def _maker(loop: asyncio.AbstractEventLoop) -> Callable[..., object] | None:
    """What asyncio's own servers make transports with; None where the loop has no such thing.

    `connect_accepted_socket` comes there by a task, a future and two turns of the loop more.
    """
    return getattr(loop, "_make_socket_transport", None)


def _taken(listening: socket.socket, kind: tuple[int, int, int]) -> tuple[socket.socket, Any]:  # Any: as above
    """The next connection, and its peer. Raises OSError, BlockingIOError where nobody waits.

    As `accept` does it, which makes the three numbers of `kind` members of their Enums first.
    """
    fd, peer = listening._accept()  # type: ignore[attr-defined] # noqa: SLF001 - the half of `accept` that typeshed leaves out
    sock = socket.socket(*kind, fileno=fd)
    sock.settimeout(0)
    return sock, peer


def _lost(sock: socket.socket, exc: OSError) -> None:
    sock.close()
    _log.debug("a connection was lost while it was accepted: %s", exc)

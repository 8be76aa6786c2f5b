"""One listening socket and its connections: how many there may be, their times, and draining them at the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import socket
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

from pyproxy import binding, logs
from pyproxy.binding import Where
from pyproxy.part import Spool
from pyproxy.wire.connection import Connection, Handler
from pyproxy.wire.entrance import Entrance
from pyproxy.wire.fast_lane import opened
from pyproxy.wire.limits import Limits, connection_cap, files_known
from pyproxy.wire.memory import Memory

BACKLOG = 4096
"""Connections that the kernel keeps for us, if `net.core.somaxconn` allows: where those beyond the cap wait."""

_YIELD = 16  # one in so many idle connections is closed, each sweep, while others wait for a place
_LAST_WAIT = 5.0  # seconds for connections that were cut to be gone, and for their handlers to end

_log = logging.getLogger(__name__)


class _Server:
    """What the connections of a listener share (`Shared`), and what makes them."""

    def __init__(self, handler: Handler, limits: Limits, spool: Spool, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.limits = limits
        self.handler = handler
        self.draining = False
        self.memory = Memory(spool, files=files_known())
        self.lane = opened(self.memory, loop)
        self.open: set[Connection] = set()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.changed = asyncio.Event()  # set whenever a connection has closed
        self.entrance: Entrance | None = None

    def connection(self) -> Connection:
        return Connection(self, loop=self._loop)

    @property
    def in_flight(self) -> int:
        """Requests whose handler runs, or whose answer is on its way past their handlers."""
        return len(self.tasks) + sum(connection.delivers for connection in self.open)

    def opened(self, connection: Connection) -> None:
        self.open.add(connection)

    def closed(self, connection: Connection) -> None:
        self.open.discard(connection)
        self.changed.set()
        if self.entrance is not None:
            self.entrance.look()


class Listener:
    """Listens at one place and has requests answered. Started once, drained once or twice, all on one loop.

    `where` may also be a bound socket, which is then the listener's to close. With `ahead` it is one that other
    processes listen at too: told how many connections there are here, it says whether to let others take the next.
    `spool` makes the files that large bodies are sent from again; in memory by default.
    """

    def __init__(
        self,
        handler: Handler,
        where: Where | socket.socket,
        *,
        limits: Limits | None = None,
        ahead: Callable[[int], bool] | None = None,
        spool: Spool | None = None,
    ) -> None:
        self._ahead = ahead
        self._spool = spool or Spool()
        self._handler = handler
        self._where = where
        self._limits = limits or Limits()
        self._cap = self._limits.max_connections or connection_cap()
        self.deaf = asyncio.Event()
        """Set when accepting has ended though nobody asked for it."""
        self._server: _Server | None = None
        self._socket: socket.socket | None = None
        self._file: binding.UnixFile | None = None
        self._entrance: Entrance | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Binds and listens. Raises OSError where the place is taken or not ours to take."""
        loop = asyncio.get_running_loop()
        if isinstance(self._where, socket.socket):
            self._socket = self._where
        elif isinstance(self._where, Path):
            self._socket, self._file = binding.bind_unix(self._where)
        else:
            self._socket = await binding.bind_tcp(*self._where)
        self._socket.settimeout(0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # those that it accepts have it from here
        self._socket.listen(BACKLOG)
        self._server = server = _Server(self._handler, self._limits, self._spool, loop)
        self._entrance = server.entrance = self._entrance_to(server, self._socket)
        self._sweeping = loop.create_task(self._sweep(self._socket, server), name="sweep")

    def _entrance_to(self, server: _Server, listening: socket.socket) -> Entrance:
        ahead = self._ahead
        return Entrance(
            listening,
            server.connection,
            room=lambda: self._cap - len(server.open),
            ahead=(lambda: ahead(len(server.open))) if ahead is not None else None,
            broken=self.deaf.set,
        )

    @property
    def address(self) -> Where:
        """Where it listens, with the port that the kernel chose. Raises RuntimeError before `start` and after drain."""
        if self._socket is None:
            raise RuntimeError("not listening")
        if self._socket.family == socket.AF_UNIX:
            return Path(self._socket.getsockname())
        host, port, *_ = self._socket.getsockname()
        return host, port

    @property
    def url(self) -> str:
        """Where it listens as people write it: `http://127.0.0.1:7974`, or `unix:/run/pyproxy.sock`."""
        where = self.address
        if isinstance(where, Path):
            return f"unix:{where}"
        return f"http://[{where[0]}]:{where[1]}" if ":" in where[0] else f"http://{where[0]}:{where[1]}"

    @property
    def open_connections(self) -> int:
        """Connections that clients hold, idle ones included."""
        return 0 if self._server is None else len(self._server.open)

    @property
    def bytes_known(self) -> int:
        """Bytes of answers that are known by heart."""
        return 0 if self._server is None else self._server.memory.bytes

    @property
    def requests_in_flight(self) -> int:
        """Requests whose handler runs or whose answer is being sent."""
        return 0 if self._server is None else self._server.in_flight

    async def drain(self, grace: float) -> None:
        """Stops: nobody new, idle connections closed, requests in flight answered for at most `grace` seconds.

        What is left then is cut off. Called a second time while it runs, it cuts at once.
        """
        server = self._server
        if server is None:
            return
        if server.draining:
            grace = 0
        server.draining = True
        await self._stop_accepting()
        for connection in list(server.open):
            connection.retire()
        if not await _emptied(server, grace):
            if server.in_flight:
                logs.event(_log, logging.WARNING, "out of time to stop: cut off", requests=server.in_flight)
            for connection in list(server.open):
                connection.cut()
            await _emptied(server, _LAST_WAIT)
        if server.tasks:  # their connections are gone, so they are cancelled
            await asyncio.wait(set(server.tasks), timeout=_LAST_WAIT)
        if server.tasks:
            logs.event(_log, logging.ERROR, "requests that do not end", requests=len(server.tasks))
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.wait([self._sweeping])
        server.memory.clear()
        if server.lane is not None:
            server.lane.close()

    async def _stop_accepting(self) -> None:
        if self._entrance is not None:
            await self._entrance.close()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._file is not None:
            self._file.unlink()

    # --- time --------------------------------------------------------------------------------------------------------

    async def _sweep(self, listening: socket.socket, server: _Server) -> None:
        """Looks at all connections once a while: a timer for each wait of each request would cost too much."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._limits.sweep)
            now = loop.time()
            server.memory.sweep(now)
            for connection in list(server.open):
                try:
                    connection.check(now)
                except Exception:  # noqa: BLE001 - one connection's trouble must not leave all others without limits
                    _log.exception("a connection cannot be checked")
                    connection.cut()
            if len(server.open) >= self._cap and not server.draining and _somebody_waits(listening):
                _make_room(server, max(1, self._cap // _YIELD))


def _somebody_waits(listening: socket.socket) -> bool:
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    return bool(poll.poll(0))


def _make_room(server: _Server, count: int) -> None:
    """Closes the connections that have been idle for longest: their clients connect again when they need to."""
    idle = [(since, connection) for connection in server.open if (since := connection.idle_since) is not None]
    for _, connection in sorted(idle, key=itemgetter(0))[:count]:
        connection.retire()


async def _emptied(server: _Server, grace: float) -> bool:
    """Whether all connections have closed within `grace` seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(grace):
            while server.open:
                server.changed.clear()
                await server.changed.wait()
    return not server.open

"""Connections to the hosts of one remote, kept open from one question to the next.

aiohttp makes them (names, TLS, proxies) and parses what comes. Its session and its pool are left out: they took half of
the time of a small request, and that pool hands out connections on which something came that nobody had asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypeAlias, cast

import aiohttp
from aiohttp import ClientRequest
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage

from pyproxy.deadlines import Deadlines
from pyproxy.upstream.heads import Heads
from pyproxy.upstream.trouble import Trouble, from_exception

KEPT: Final = 55.0
"""Seconds for which a connection is kept that nobody uses.

A new one takes round trips, three with TLS. Many servers and firewalls let go after a minute, the latter in silence.
"""

# A body of 500 MB/s fills this in a millisecond; more would only be memory per download.
_BUFFER = 512 * 1024
_MOST_HEADERS = 128
_LONGEST_HEADER = 8190

# Numbers: to take them from their Enum calls a function, for each answer.
_OK: Final = int(HTTPStatus.OK)
_SWITCHING_PROTOCOLS: Final = int(HTTPStatus.SWITCHING_PROTOCOLS)

_NO_LIMITS = aiohttp.ClientTimeout()  # every wait here has a limit of its own

Heard: TypeAlias = tuple[RawResponseMessage, aiohttp.StreamReader]

BROKEN: Final = (aiohttp.ClientError, HttpProcessingError, OSError)
"""What is raised where a connection breaks, or something comes that is no HTTP."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Where connections lead, as aiohttp wants to be told, and the heads of the requests that are sent there."""

    request: ClientRequest
    heads: Heads


class Channel:
    """A connection. In use, it belongs to one question, until `give_back` or `close`."""

    def __init__(self, connection: Connection, route: Route, connections: Connections) -> None:
        self.route = route
        self.protocol = cast("ResponseHandler", connection.protocol)  # there until the connection is closed
        self.unused_since = 0.0
        self._asked = 0.0  # when the question was, by the loop's clock
        self._connection = connection
        self._connections = connections

    async def ask(self, method: str, path: str, fields: Mapping[str, str], *, until: float) -> Heard:
        """Sends a request; gives the head of its answer, with the body that comes after it.

        Raises BROKEN, and Trouble at `until` (the loop's time); the channel is closed then.
        """
        protocol, connections = self.protocol, self._connections
        self._asked = connections.now()
        connections.heads.set(self, until)
        try:
            self.expect(bodiless=method == "HEAD")
            if protocol.transport is not None:  # else reading tells how it was lost
                protocol.transport.write(self.route.heads.head(method, path, fields))
            while True:
                message, content = await protocol.read()
                if message.code >= _OK or message.code == _SWITCHING_PROTOCOLS:
                    return message, content
        except BaseException:
            self.close()
            raise
        finally:
            connections.heads.drop(self)

    def give_up(self) -> None:
        """Wakes who waits for the head of an answer."""
        waited = self._connections.now() - self._asked
        self.protocol.set_exception(Trouble(f"no answer within {waited:.1f} s", again=True, timeout=True))

    def expect(self, *, bodiless: bool) -> None:
        """Makes a parser for the next answer."""
        self.protocol.set_response_params(
            skip_payload=bodiless,
            read_until_eof=True,
            auto_decompress=False,
            read_bufsize=_BUFFER,
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
            max_headers=_MOST_HEADERS,
        )

    def give_back(self) -> None:
        """Keeps the connection for the next question, where it may be used again; closes it otherwise."""
        self._connections.keep(self)

    def close(self) -> None:
        self._connection.close()

    def is_usable(self) -> bool:
        """Whether another question may be asked: it is open, and nothing has come but what was asked for."""
        return self.protocol.is_connected() and not self.protocol.should_close


class Connections:
    """Those of one remote. Made and used on one loop. `close` closes all, also those in use."""

    def __init__(self, resolver: AbstractResolver) -> None:
        # Slots count the requests, so there is no limit here: a second queue would hide who waits.
        self._connector = aiohttp.TCPConnector(limit=0, resolver=resolver, timeout_ceil_threshold=float("inf"))
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self.heads: Deadlines[Channel] = Deadlines(Channel.give_up)
        """By when the head of an answer must have come."""
        self._unused: dict[Route, list[Channel]] = {}  # by route, the longest unused first
        self._sweeping: asyncio.TimerHandle | None = None
        self._closed = False

    def kept(self, route: Route) -> Channel | None:
        """The connection that was used last, of those that nobody uses."""
        channels = self._unused.get(route)
        while channels:
            channel = channels.pop()
            if self._is_good(channel):
                return channel
            channel.close()
        return None

    async def connect(self, route: Route) -> Channel:
        """A new one. Raises Trouble."""
        try:
            connection = await self._connector.connect(route.request, [], _NO_LIMITS)
        except (aiohttp.ClientError, OSError) as exc:
            raise from_exception(exc) from exc
        return Channel(connection, route, self)

    def keep(self, channel: Channel) -> None:
        if self._closed or not channel.is_usable():
            channel.close()
            return
        channel.unused_since = self._loop.time()
        self._unused.setdefault(channel.route, []).append(channel)
        if self._sweeping is None:
            self._sweeping = self._loop.call_later(KEPT, self._sweep)

    async def close(self) -> None:
        self._closed = True
        if self._sweeping is not None:
            self._sweeping.cancel()
        await self._connector.close()
        for channels in self._unused.values():
            for channel in channels:
                channel.close()
        self._unused.clear()

    def _sweep(self) -> None:
        kept: dict[Route, list[Channel]] = {}
        for route, channels in self._unused.items():
            for channel in channels:
                if self._is_good(channel):
                    kept.setdefault(route, []).append(channel)
                else:
                    channel.close()
        self._unused = kept
        self._sweeping = self._loop.call_later(KEPT, self._sweep) if kept else None

    def _is_good(self, channel: Channel) -> bool:
        return channel.is_usable() and self._loop.time() - channel.unused_since < KEPT

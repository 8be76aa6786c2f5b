"""How far a remote may lead: one on a public address never to loopback, private or link-local ones.

Checked where it counts, on the addresses that are about to be connected to, so a name that changes its mind between
check and use gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable

from aiohttp.abc import AbstractResolver, ResolveResult

from pyproxy.upstream.addresses import is_public, is_this_machine, literal
from pyproxy.upstream.trouble import LeadsInside, Trouble
from pyproxy.upstream.urls import Origin

Lookup = Callable[[str, int, socket.AddressFamily], Awaitable[list[ResolveResult]]]

_LOOKUPS_AT_ONCE = 4


class Reach(AbstractResolver):
    """The resolver of one remote's connections, and the judge of addresses spelt out in URLs.

    What the remote is, shows where its own host lies. It is public, for good, once that host has had a public
    address; it is private, and may lead anywhere, as long as it has had none but private ones. Behind a `proxy` names
    are resolved by the proxy, out of sight: a named remote then counts as public, and only spelt-out addresses are
    judged.
    """

    def __init__(self, own: Origin, *, proxied: bool, lookup: Lookup | None = None) -> None:
        self._own = own
        self._proxied = proxied
        self._lookup = SystemLookup() if lookup is None else lookup
        self._private: bool | None = None  # None: not known yet; written by _learn alone
        address = literal(own.host)
        if address is not None:
            self._private = not is_public(address)
        elif is_this_machine(own.host):
            self._private = True
        elif proxied:
            self._private = False

    def admits(self, origin: Origin) -> bool | None:
        """Whether the host, if spelt out as an address, is one that this remote may lead to. None: not known yet."""
        # Asked of every request, so both by the text: an address would be hashed by a function of its own.
        inside = is_this_machine(origin.host) if literal(origin.host) is None else not is_public(origin.host)
        return self._private if inside else True

    async def check(self, origin: Origin) -> None:
        """Raises Trouble where it is not; looks the remote up where that is not known yet."""
        if not self.admits(origin) and not await self._may_lead_inside():
            raise Trouble("led to an address inside this network")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises LeadsInside where the name has addresses, and none that may be connected to; OSError as the system."""
        found = await self._lookup(host, port, family)
        if self._proxied:
            return found  # the proxy's own addresses: the operator chose them
        if host.rstrip(".").lower() == self._own.host:
            self._learn(found)
        public = [result for result in found if is_public(result["host"])]
        if found and len(public) < len(found) and not await self._may_lead_inside():
            if not public:
                raise LeadsInside("its name leads to an address inside this network")
            return public
        return found

    async def close(self) -> None:
        """Nothing is held."""

    def _learn(self, found: list[ResolveResult]) -> None:
        if any(is_public(result["host"]) for result in found):
            # Also where it was private before: else a name could begin inside and then send us there from outside.
            self._private = False
        elif found and self._private is None:
            self._private = True

    async def _may_lead_inside(self) -> bool:
        if self._private is None:
            try:
                self._learn(await self._lookup(self._own.host, self._own.port, socket.AF_UNSPEC))
            except OSError:
                return False  # not known, so no; asked again the next time
        return self._private is True


class SystemLookup:
    """getaddrinfo in threads of its own.

    The loop's shared threads would fill up with look-ups while a name server is silent, and stop everybody's work;
    and these threads, being daemons, hold up no exit.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def __call__(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        async with self._places:
            loop = asyncio.get_running_loop()
            outcome: asyncio.Future[list[ResolveResult]] = loop.create_future()

            def look_up() -> None:
                try:
                    found = _addresses(host, port, family)
                except (OSError, UnicodeError) as exc:
                    error = exc if isinstance(exc, OSError) else socket.gaierror(socket.EAI_NONAME, "not a host name")
                    _tell(loop, lambda: None if outcome.done() else outcome.set_exception(error))
                else:
                    _tell(loop, lambda: None if outcome.done() else outcome.set_result(found))

            threading.Thread(target=look_up, name=f"lookup {host}", daemon=True).start()
            return await outcome


def _tell(loop: asyncio.AbstractEventLoop, what: Callable[[], None]) -> None:
    try:
        loop.call_soon_threadsafe(what)
    except RuntimeError:
        if not loop.is_closed():
            raise
        # Nobody waits any more: the loop was closed while the name server thought.


def _addresses(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    results = []
    for found, _, proto, _, address in socket.getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    ):
        if found not in {socket.AF_INET, socket.AF_INET6}:
            continue
        ip = str(address[0])
        scope = address[3] if found == socket.AF_INET6 and len(address) > 3 else 0  # noqa: PLR2004 - (ip, port, flow, scope)
        results.append(
            ResolveResult(
                hostname=host,
                host=f"{ip}%{scope}" if scope and "%" not in ip else ip,
                port=int(address[1]),
                family=found,
                proto=proto,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
        )
    return results

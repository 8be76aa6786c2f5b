"""Who may come in: a distribution's guard asked for a request, and the answers to those it does not let in."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import hdrs, web

from pyproxy.auth import CHALLENGE, WINDOW, Decision, Right
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.guard import refusal
from pyproxy.site import Distribution

_FROM_ELSEWHERE = ("Forwarded", "X-Forwarded-For", "Via", "Origin")
"""Any of these says that the request began on another machine, or in a page of somebody else's."""


async def may(request: web.BaseRequest, distribution: Distribution, right: Right) -> Decision:
    """Whether the request has the right. Without a guard everybody may read, and this machine may upload."""
    if distribution.guard is not None:
        given = request.headers.getall(hdrs.AUTHORIZATION, [])
        return await distribution.guard.decide(given[0] if len(given) == 1 else None, right, peer_of(request))
    if right == "read" or is_local(request):
        return Decision.ALLOWED
    return Decision.FORBIDDEN


async def listed(exchange: Exchange) -> list[Distribution]:
    """The distributions that a list may name: no hidden one, and no guarded one to who may not read it."""
    return [
        distribution
        for distribution in exchange.site.distributions.values()
        if not distribution.hidden and await may(exchange.request, distribution, "read") is Decision.ALLOWED
    ]


def is_local(request: web.BaseRequest) -> bool:
    """Whether a program on this machine sent it, by itself: no proxy on the way, no browser for another site."""
    peer = peer_of(request)
    if peer and not _is_loopback(peer):
        return False
    if any(name in request.headers for name in _FROM_ELSEWHERE):
        return False
    return all(site in ("none", "same-origin") for site in request.headers.getall("Sec-Fetch-Site", []))


def is_cross_site(request: web.BaseRequest) -> bool:
    """Whether a page of another site had a browser send it, which adds what credentials its user has given it."""
    return any(site.strip().lower() == "cross-site" for site in request.headers.getall("Sec-Fetch-Site", []))


def _is_loopback(peer: str) -> bool:
    address = ipaddress.ip_address(peer.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def peer_of(request: web.BaseRequest) -> str:
    """The address at the other end of the connection; "" for a Unix socket, which counts as this machine."""
    transport = request.transport
    peer = transport.get_extra_info("peername") if transport is not None else None
    return str(peer[0]) if isinstance(peer, tuple) else ""


@dataclass(frozen=True, slots=True)
class Refused:
    """What is said to who may not."""

    status: int
    line: str
    headers: Mapping[str, str] = field(default_factory=dict)


def why_not(decision: Decision, distribution: Distribution, right: Right) -> Refused:
    """401 with a challenge, 403, or 429."""
    match decision:
        case Decision.UNKNOWN:
            challenge = {"WWW-Authenticate": CHALLENGE}
            return Refused(401, f"distribution {distribution.name} wants credentials", challenge)
        case Decision.LATER:
            return Refused(429, "too many wrong credentials; try again later", {"Retry-After": f"{WINDOW:.0f}"})
        case _ if distribution.guard is None:
            line = f"distribution {distribution.name} has no guard, so it takes uploads from this machine alone"
            return Refused(403, line)
        case _:
            return Refused(403, f"these credentials may not {right} in distribution {distribution.name}")


def refused(decision: Decision, distribution: Distribution, right: Right) -> web.Response:
    """The answer to who may not."""
    why = why_not(decision, distribution, right)
    return refusal(why.status, why.line, dict(why.headers))

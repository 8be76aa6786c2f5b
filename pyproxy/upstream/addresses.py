"""Which network addresses are public, and which hosts of URLs are addresses in disguise. Values in, values out."""

from __future__ import annotations

import ipaddress
import re
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address

# Where the internet's own unicast addresses lie. What stands outside of it is not routed, or wraps another address.
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_6TO4 = ipaddress.IPv6Network("2002::/16")
# RFC 6052: how IPv6-only networks reach IPv4. Public exactly where the address inside is.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

# Browsers and inet_aton read a host that ends in a number as an IPv4 address, in any of its spellings.
_ENDS_IN_A_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?\Z")


@lru_cache(1024)
def is_public(address: str | Address) -> bool:
    """Whether the address can lie beyond this machine and its own networks.

    Loopback, private, shared (RFC 6598), link-local, multicast, unspecified and reserved ones cannot, nor what
    carries one of them inside (IPv4-mapped, NAT64), nor what tunnels to any (6to4, Teredo).
    """
    found = ipaddress.ip_address(address.partition("%")[0]) if isinstance(address, str) else address
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(found.ipv4_mapped)
        if found in _NAT64:
            return is_public(IPv4Address(int(found) & 0xFFFFFFFF))
        if found not in _GLOBAL_UNICAST or found in _6TO4:
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


@lru_cache(1024)  # asked of every request; what raises is not kept
def literal(host: str) -> Address | None:
    """The address that the host of a URL spells out; None for a name.

    Raises ValueError for spellings that only some parsers take for an address (`2130706433`, `127.1`, `0x7f.1`):
    who checks and who connects could read them differently.
    """
    if ":" in host:
        return ipaddress.IPv6Address(host.partition("%")[0])
    try:
        return IPv4Address(host)
    except ValueError:
        pass
    if _ENDS_IN_A_NUMBER.match(host):
        raise ValueError("an address in a disguised form")
    try:
        # Whatever else this system's own parser takes for one, in case it knows more forms than the pattern.
        socket.inet_aton(host)
    except OSError:
        return None
    raise ValueError("an address in a disguised form")


def is_this_machine(host: str) -> bool:
    """Whether the name stands for loopback by definition (RFC 6761 §6.3)."""
    name = host.rstrip(".").lower()
    return name == "localhost" or name.endswith(".localhost")

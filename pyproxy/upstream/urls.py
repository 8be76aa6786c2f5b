"""The URLs that are asked: how they are spelt on the wire, and which of them a remote's answers may lead to."""

from __future__ import annotations

import re
import urllib.parse
from functools import lru_cache
from typing import NamedTuple

from yarl import URL

from pyproxy.upstream.addresses import literal
from pyproxy.upstream.trouble import Trouble

LONGEST_URL = 8000
"""Bytes. Longer ones fit no request line (RFC 9112 §3 recommends to take 8000)."""

_DEFAULT_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9._])?\Z")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
# All that may stand in a request line, percent signs included: an escape is sent as it was given.
_AS_IT_STANDS = "!#$%&'()*+,/:;=?@[]~-._"
_SENDABLE = re.compile(rf"[A-Za-z0-9{re.escape(_AS_IT_STANDS)}]*\Z")
_PARTS = re.compile(r"([^:/?#]*)://([^/?#]*)([^?#]*)(?:(\?[^#]+)|\?)?(?:#.*)?\Z")


class Origin(NamedTuple):
    """Scheme, host and port: who is spoken to (RFC 6454). The host is in lower case, without a final dot."""

    scheme: str
    host: str
    port: int


class Target(NamedTuple):
    """A URL that can be asked. What the remote wrote is what it is asked for, letter by letter."""

    base: str
    """Scheme and authority; scheme in lower case, host and port as they were written."""
    path: str
    """With the query, if there is one."""
    origin: Origin

    @property
    def url(self) -> str:
        return self.base + self.path


def target(raw: str) -> Target:
    """Raises Trouble for what is no http or https URL with a plain host, and for userinfo."""
    quoted = raw if _SENDABLE.match(raw) else _quoted(raw)
    if len(quoted) > LONGEST_URL:
        raise Trouble("led to a URL that is too long")
    match = _PARTS.match(quoted)
    scheme = (match[1] if match else quoted.partition(":")[0]).lower()
    if scheme not in _DEFAULT_PORTS:
        raise Trouble("led to a URL that is neither http nor https")
    if match is None:
        raise Trouble("led to a URL without a host")
    base = f"{scheme}://{match[2]}"
    return Target(base, (match[3] or "/") + (match[4] or ""), _origin(base))


def _quoted(raw: str) -> str:
    if _CONTROLS.search(raw):
        raise Trouble("led to a URL with control characters")
    return urllib.parse.quote(raw.strip(" "), safe=_AS_IT_STANDS)


@lru_cache(256)  # asked of every request; what raises is not kept
def _origin(base: str) -> Origin:
    """Whom a URL without a path speaks to. Raises Trouble."""
    try:
        parts = urllib.parse.urlsplit(base)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise Trouble("led to something that is no URL") from None
    if "@" in parts.netloc:
        raise Trouble("led to a URL with a user name in it")
    if not host or port == 0 or ("[" in parts.netloc and ":" not in host):
        raise Trouble("led to a URL without a host")
    try:
        if literal(host) is None and not _NAME.match(host):
            raise Trouble("led to a host that is no name and no address")
        url = URL(base, encoded=True)
    except ValueError:
        raise Trouble("led to a host that is no plain address") from None
    port = port or _DEFAULT_PORTS[parts.scheme]
    if (url.raw_host or "").lower() != host or url.port != port:
        # Who checks and who connects must read it alike.
        raise Trouble("led to something that is no URL")
    return Origin(parts.scheme, host.rstrip(".").lower(), port)


def redirected(here: Target, location: str | None) -> Target:
    """Where a redirect leads. Raises Trouble where it leads nowhere, or out of TLS."""
    if location is None or not location.strip():
        raise Trouble("redirected without saying where to")
    if _CONTROLS.search(location):
        raise Trouble("redirected to a URL with control characters")  # urljoin would drop them
    try:
        parts = urllib.parse.urlsplit(location.strip(" "))
        if not (parts.netloc or parts.path or parts.query):
            raise Trouble("redirected without saying where to")
        there = target(urllib.parse.urljoin(here.url, location.strip(" ")))
    except ValueError:
        raise Trouble("redirected to something that is no URL") from None
    if here.origin.scheme == "https" and there.origin.scheme == "http":
        raise Trouble("redirected from https to http")
    return there


def admitted(origin: Origin, own: Origin, file_hosts: tuple[str, ...] | None) -> bool:
    """Whether the hosts configured (each `host` or `host:port`) admit it. None: any; the remote's own always."""
    if file_hosts is None or origin.host == own.host:
        return True
    names = {origin.host, f"{origin.host}:{origin.port}"}
    return any(entry.lower().rstrip(".").strip("[]").replace("]:", ":") in names for entry in file_hosts)

"""Links: where this proxy serves what a remote's links lead to, and whose file a link names."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote, unquote

from pyproxy.errors import BadName
from pyproxy.model import printable
from pyproxy.simple_api.references import AUTHORITY, DEFAULT_PORTS, HARMFUL, REMEMBERED, BadLink, Base

Linker: TypeAlias = Callable[[str], str | None]
"""A file's absolute URL to its link below `/files/`: a source, which depends on the URL's origin alone, and the URL's
path; None where the file may not be linked."""

_NORMAL = re.compile(r"(https?://[a-z0-9._:\[\]-]+)(/[A-Za-z0-9_~!$&'()*+,;=:@/.%-]*)(?:[?#]|\Z)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Source:
    """The first segment of a link: the remote, and the host where the file lies if it is not the remote's own."""

    remote: str
    netloc: str | None


def linker(remote: str, remote_url: str, file_hosts: Collection[str] | None) -> Linker:
    """Gives the files of a remote their links: `{source}/{path}`.

    `source` is the remote's name where the file lies on the host of the remote's url, else `name~host[:port]`; the
    port is left out where it is the usual one of the scheme of the remote's url, so that `https` files of an `http`
    remote say `:443` and every link can be mapped back. `file_hosts` are the hosts (with any port, or as
    `host:port`) that links may name beside the remote's own; None allows all.

    Raises ValueError where the remote's url is no http or https URL.
    """
    here = Base(remote_url)
    scheme = here.resolve("/").origin.partition("://")[0]
    own_netloc = _netloc(here.resolve("/").origin, scheme)
    allowed = None if file_hosts is None else {host.lower().strip("[]").replace("]:", ":") for host in file_hosts}
    sources: dict[str, str] = {}

    def source(origin: str) -> str | None:
        netloc = _netloc(origin, scheme)
        if netloc == own_netloc:
            return quote(remote, safe="")
        host, port = _host_and_port(origin)
        if allowed is not None and not {host, f"{host}:{port}"} & allowed:
            return None
        return quote(f"{remote}~{netloc}", safe="~:")

    def link(url: str) -> str | None:
        try:
            match = _NORMAL.match(url)
            if match is None or "/." in match[2]:
                match = _NORMAL.match(here.resolve(url).url)
            if match is None:
                return None
            origin, path = match.groups()
            prefix = sources.get(origin) or source(origin)
        except BadLink:
            return None
        if prefix is None:
            return None
        if len(sources) >= REMEMBERED:
            sources.clear()  # by whichever thread: what is lost is only worked out again
        sources[origin] = prefix
        return prefix + linked(path)

    return link


def linked(path: str) -> str:
    """A URL's path as it stands in links. PDM cuts a path at an "@", and pip makes one slash of two."""
    if "@" in path:
        path = path.replace("@", "%40")
    while "//" in path:
        path = path.replace("//", "/%2F")
    return path


def source_of(raw: str) -> Source:
    """What the first segment of a link names, percent-encoded or not.

    Raises BadName for what `linker` never makes.
    """
    remote, tilde, netloc = unquote(raw).partition("~")
    if not remote or HARMFUL.search(remote) or "/" in remote:
        raise BadName(f"not the source of a link: {printable(raw)}")
    if not tilde:
        return Source(remote, None)
    found = AUTHORITY.match(netloc)
    if not found or netloc.endswith(":"):
        raise BadName(f"not the source of a link: {printable(raw)}")
    return Source(remote, netloc)


def _host_and_port(origin: str) -> tuple[str, int]:
    """The host, IPv6 without brackets, and the port."""
    scheme, _, rest = origin.partition("://")
    match = AUTHORITY.match(rest)
    if match is None:
        raise BadLink("a link without a valid host")
    return match[1].strip("[]"), int(match[2] or DEFAULT_PORTS[scheme])


def _netloc(origin: str, usual: str) -> str:
    """Host and port of an origin; the port left out where it is the usual one of the scheme `usual`."""
    rest = origin.partition("://")[2]
    _, port = _host_and_port(origin)
    shown = rest.removesuffix(f":{port}")
    return shown if port == DEFAULT_PORTS[usual] else f"{shown}:{port}"

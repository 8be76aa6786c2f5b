"""Where things are: the address to listen on, the URLs of remotes, host names and headers, and whether two meet."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pyproxy.config.values import Wrong, instead_of
from pyproxy.config.values import path as as_path
from pyproxy.secret import Secret

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?\Z", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}\Z", re.ASCII)
_URL = re.compile(r"[!-~]+\Z", re.ASCII)
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z", re.ASCII)  # RFC 9110 token
_HEADER_VALUE = re.compile(r"[!-~](?:[ \t!-~]{0,8190}[!-~])?\Z", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LAST_PORT = 65535

# sun_path holds 108 bytes on Linux and 104 elsewhere, the closing NUL included.
_LONGEST_SOCKET_PATH = 107 if sys.platform == "linux" else 103

# What makes a request that request: pyproxy writes these itself.
_OWN_HEADERS = frozenset(
    {
        "accept",
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, slots=True)
class Listen:
    """A host and a TCP port to listen on; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return netloc(self.host, self.port)

    @property
    def where(self) -> tuple[str, int]:
        """As a socket is bound."""
        return self.host, self.port


@dataclass(frozen=True, slots=True)
class UnixListen:
    """The path of a Unix socket to listen on."""

    path: Path

    def __str__(self) -> str:
        return f"unix:{self.path}"

    @property
    def where(self) -> Path:
        """As a socket is bound."""
        return self.path


@dataclass(frozen=True, slots=True)
class Address:
    """A URL taken apart: itself without userinfo, and the credentials that stood in it."""

    url: str
    username: Secret | None = None
    password: Secret | None = None


def listen(value: object, *, folder: Path) -> Listen | UnixListen:
    """`HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`; a relative path is one below `folder`."""
    expected = "must be HOST:PORT such as 127.0.0.1:7974, [::1]:7974, or unix:/path"
    if not isinstance(value, str):
        raise Wrong(expected + instead_of(value))
    if value.startswith("unix:"):
        path = as_path(value.removeprefix("unix:"), folder=folder)
        if len(os.fsencode(path)) > _LONGEST_SOCKET_PATH:
            raise Wrong(f"must name a socket by a path of at most {_LONGEST_SOCKET_PATH} bytes{instead_of(value)}")
        return UnixListen(path)
    host, colon, port = value.rpartition(":")
    if host.count(":") and not host.startswith("["):
        raise Wrong(f"must have an IPv6 address in brackets, such as [::1]:7974{instead_of(value)}")
    plain = as_host(host)
    if not colon or plain is None or not _PORT.match(port) or int(port) > _LAST_PORT:
        raise Wrong(expected + instead_of(value))
    return Listen(plain, int(port))


def as_host(raw: str) -> str | None:
    """A host name or address in lower case and without brackets; None where it can be neither."""
    if raw.startswith("[") and raw.endswith("]"):
        try:
            return str(ipaddress.IPv6Address(raw[1:-1])) if "%" not in raw else None
        except ValueError:
            return None
    return raw.lower() if _HOST.match(raw) and ".." not in raw else None


def netloc(host: str, port: int | None) -> str:
    """Host and port as they stand in a URL."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def file_host(value: object) -> str:
    """A host with or without a port, as the links of a page may name it."""
    expected = "must be a host such as files.index.example or files.index.example:8443"
    if not isinstance(value, str):
        raise Wrong(expected + instead_of(value))
    host, colon, port = value.rpartition(":")
    if not colon or value.endswith("]"):
        host, port = value, ""
    plain = as_host(host)
    if plain is None or (colon and host != value and not (_PORT.match(port) and 0 < int(port) <= _LAST_PORT)):
        raise Wrong(expected + ("" if "@" in value else instead_of(value)))
    return netloc(plain, int(port) if port else None)


def remote_url(value: object) -> str:
    """The URL of an index, ending with a slash, with host and scheme in lower case and no default port.

    The messages never repeat the URL: a wrong one may hold a password all the same.
    """
    address = with_userinfo(value)
    if address.username is not None or address.password is not None:
        raise Wrong("must not hold a user name or password: give them as username and password (env:NAME, file:PATH)")
    return address.url


def public_url(value: object) -> str:
    """Where clients see pyproxy, with its path if it has one, without the slash at the end."""
    return remote_url(value).rstrip("/")


def with_userinfo(value: object) -> Address:
    """As `remote_url`, but with a user name and password taken out of the URL instead of refused."""
    parts = _split(value)
    if parts.query or parts.fragment or "?" in str(value) or "#" in str(value):
        raise Wrong("must be the URL of an index without ? and #")
    host = as_host(f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or "")
    if host is None:
        raise Wrong("must name a host: letters, digits, dots and dashes")
    port = None if parts.port == _DEFAULT_PORTS[parts.scheme] else parts.port
    path = parts.path if parts.path.endswith("/") else parts.path + "/"
    return Address(
        f"{parts.scheme}://{netloc(host, port)}{path}",
        Secret(unquote(parts.username)) if parts.username else None,
        Secret(unquote(parts.password)) if parts.password else None,
    )


def proxy_url(value: object) -> Secret:
    """The URL of an HTTP proxy, its credentials in it; a bare HOST:PORT is taken as one by http, as pip does."""
    if isinstance(value, str) and "://" not in value:
        value = f"http://{value}"
    parts = _split(value)
    if parts.path not in {"", "/"} or parts.query or parts.fragment:
        raise Wrong("must be the URL of a proxy, such as http://proxy.example:3128, without a path")
    host = as_host(f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or "")
    if host is None:
        raise Wrong("must name a host: letters, digits, dots and dashes")
    userinfo, at, _ = parts.netloc.rpartition("@")
    return Secret(f"{parts.scheme}://{userinfo}{at}{netloc(host, parts.port or _DEFAULT_PORTS[parts.scheme])}")


def without_userinfo(url: str) -> str:
    """The URL for people and logs: `***` where it holds credentials."""
    parts = urlsplit(url)
    return parts._replace(netloc=f"***@{parts.netloc.rpartition('@')[2]}").geturl() if "@" in parts.netloc else url


def _split(value: object) -> SplitResult:
    expected = "must be an http:// or https:// URL with a host"
    # urlsplit drops tabs and newlines without a word, and takes a backslash for a letter where browsers see a slash.
    if not isinstance(value, str) or not _URL.match(value) or "\\" in value:
        raise Wrong(expected)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        # Its own words may repeat the URL.
        raise Wrong(expected) from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise Wrong(expected)
    if port == 0 or parts.netloc.endswith(":"):
        raise Wrong("must have a port from 1 to 65535, or none")
    return parts


def wrong_header(name: str) -> str | None:
    """Why there can be no such header here; None where there can."""
    if not _HEADER_NAME.match(name):
        return "is not the name of a header"
    return "is a header that pyproxy sets itself" if name.lower() in _OWN_HEADERS else None


def header_value(value: str) -> None:
    """Raises Wrong, which does not repeat the value: it may be a secret."""
    if not _HEADER_VALUE.match(value):
        raise Wrong("must be printable ASCII in one line, not beginning or ending with a space")


def is_loopback(host: str) -> bool:
    """Whether what listens on `host` is out of reach of other machines."""
    address = _as_address(host)
    return address.is_loopback if address else host.rstrip(".") == "localhost"


def is_own(url: str, at: Listen | UnixListen, public: str | None = None) -> bool:
    """Whether a request for `url` would come back to the daemon that listens `at` and is seen as `public`.

    A name is looked up only where the port is the same, so that hardly any configuration waits for a resolver. One
    that cannot be resolved now is no one's address; should it be ours later, the loop is no worse than any that a chain
    of proxies may have.
    """
    if public and any(url.startswith(f"{public}/{place}/") for place in ("pypi", "simple")):
        return True
    parts = urlsplit(url)
    port = parts.port or _DEFAULT_PORTS[parts.scheme]
    if not isinstance(at, Listen) or at.port != port:
        return False
    target = parts.hostname or ""
    if target == at.host:
        return True
    ours = set(_addresses(at.host))
    everywhere = any(address.is_unspecified for address in ours)
    # Connecting to 0.0.0.0 reaches this machine by its loopback address.
    theirs = {_LOOPBACK[it.version] if it.is_unspecified else it for it in _addresses(target)}
    return bool(ours & theirs) or (everywhere and any(_is_local(address) for address in theirs))


_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_LOOPBACK: dict[int, _Ip] = {4: ipaddress.ip_address("127.0.0.1"), 6: ipaddress.ip_address("::1")}


def _as_address(host: str) -> _Ip | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def _addresses(host: str) -> Iterator[_Ip]:
    literal = _as_address(host)
    if literal is not None:
        yield literal
        return
    if host == "localhost" or host.endswith(".localhost"):
        yield from _LOOPBACK.values()  # RFC 6761
        return
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return
    for *_, sockaddr in found:
        address = _as_address(str(sockaddr[0]).partition("%")[0])
        if address is not None:
            yield address


def _is_local(address: _Ip) -> bool:
    """Whether the address is one of this machine's: only those can be bound."""
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 (the protocol's number is its name)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True

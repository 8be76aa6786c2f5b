"""The section `remotes`: where indexes lie, how they are reached, and how long their pages are good."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

from pyproxy.config import values
from pyproxy.config.addresses import (
    Address,
    file_host,
    header_value,
    proxy_url,
    remote_url,
    with_userinfo,
    wrong_header,
)
from pyproxy.config.filters import ALSO_CALLED as FILTERS_ALSO_CALLED
from pyproxy.config.filters import FILTER_KEYS, read_filters
from pyproxy.config.reading import Files
from pyproxy.config.section import Section
from pyproxy.config.settings import Policy, RemoteConfig, TlsConfig
from pyproxy.config.values import Wrong
from pyproxy.errors import PyproxyError
from pyproxy.machine_index import MachineIndex
from pyproxy.secret import Secret

KEYS = (
    "url",
    "policy",
    "ttl",
    "negative_ttl",
    "stale_if_error",
    "stale_after",
    "headers",
    "username",
    "password",
    "proxy",
    "tls",
    "connect_timeout",
    "read_timeout",
    "max_connections",
    "retries",
    "file_hosts",
    "missing_status",
)

_NAME = re.compile(r"[A-Za-z0-9._-]{1,100}\Z", re.ASCII)
_TLS_KEYS = ("ca", "cert", "key", "verify")
# What people know from pip and requests.
_ALSO_CALLED = {
    "index_url": "url",
    "index-url": "url",
    "user": "username",
    "cert": "tls.cert",
    "ca": "tls.ca",
    "verify": "tls.verify",
    "key": "tls.key",
    "timeout": "read_timeout",
    "file_host": "file_hosts",
    **FILTERS_ALSO_CALLED,
}

_DEFAULTS = RemoteConfig(name="", url="")
_NO_ADDRESS = Address("")
_NO_TLS = TlsConfig()


@dataclass(frozen=True, slots=True)
class _Origin:
    """Where a remote without `url` lies, and what comes with that; the remote's own keys win over it."""

    address: Address
    proxy: Secret | None = None
    tls: TlsConfig = _NO_TLS
    machine: bool = False


class Fallback:
    """What stands in for a missing `url`: --upstream, else the machine's own index. Asked for once at most."""

    def __init__(self, files: Files, upstream: Address | None, machine: Callable[[], MachineIndex]) -> None:
        self._files = files
        self._upstream = upstream
        self._machine = machine

    @cached_property
    def origin(self) -> _Origin | str:
        """The origin, or why there is none."""
        if self._upstream is not None:
            return _Origin(self._upstream)
        try:
            return self._from_pip(self._machine())
        except (PyproxyError, Wrong) as exc:
            return f"{exc}; give a url here, or --upstream URL"

    def _from_pip(self, found: MachineIndex) -> _Origin:
        try:
            address = with_userinfo(found.url)
        except Wrong as exc:
            raise Wrong(f"the index that pip on this machine uses {exc}") from None
        contents = ""
        try:
            proxy = proxy_url(found.proxy.reveal()) if found.proxy else None
        except Wrong as exc:
            raise Wrong(f"the proxy that pip on this machine uses {exc}") from None
        try:
            contents += self._files.authorities(found.ca) if found.ca else ""
            contents += self._files.identity(found.cert, None) if found.cert else ""
        except Wrong as exc:
            raise Wrong(f"pip on this machine uses a certificate that cannot be used here: {exc}") from None
        return _Origin(
            Address(address.url, found.username, found.password),
            proxy,
            TlsConfig(ca=found.ca, cert=found.cert, verify=found.verify, contents=contents),
            machine=True,
        )


def read_remotes(remotes: Section, files: Files, fallback: Fallback) -> dict[str, RemoteConfig]:
    """Every remote that can be told; one with a mistake stands there too, for others to name."""
    found: dict[str, RemoteConfig] = {}
    for name in remotes:
        wrong = _wrong_name(name)
        if wrong:
            remotes.wrong(name, wrong)
        section = remotes.section(name, (*KEYS, *FILTER_KEYS), elsewhere=_ALSO_CALLED)
        found[name] = _remote(name, section, files, fallback)
    return found


def as_name(name: str) -> str | None:
    """Why this is no name for a remote or a distribution; None where it is one."""
    if not _NAME.match(name) or name in {".", ".."}:
        return "a name must be of letters, digits, dots, dashes and underscores"
    return None


def _wrong_name(name: str) -> str | None:
    # `local` is the source of local files in links, and `name~host` of a remote's files on another host.
    return "no remote can be called local: links to local files are" if name == "local" else as_name(name)


def _remote(name: str, section: Section, files: Files, fallback: Fallback) -> RemoteConfig:
    origin = _origin(section, fallback)
    username, password = _credentials(section, files, origin.address)
    statuses = section.values("missing_status", values.whole(400, 499), single=True)
    return RemoteConfig(
        name=name,
        url=origin.address.url,
        policy=cast("Policy", section.value("policy", values.choice("on_demand", "streamed", "offline"), "on_demand")),
        ttl=section.value("ttl", values.duration, _DEFAULTS.ttl),
        negative_ttl=section.value("negative_ttl", values.duration, _DEFAULTS.negative_ttl),
        stale_if_error=section.value("stale_if_error", values.duration, _DEFAULTS.stale_if_error),
        stale_after=section.value("stale_after", values.duration, _DEFAULTS.stale_after),
        headers=_headers(section, files, username),
        username=username,
        password=password,
        proxy=section.value("proxy", lambda raw: _proxy(files, raw), origin.proxy),
        tls=_tls(section.section("tls", _TLS_KEYS), files, origin.tls),
        connect_timeout=section.value("connect_timeout", values.some_duration, _DEFAULTS.connect_timeout),
        read_timeout=section.value("read_timeout", values.some_duration, _DEFAULTS.read_timeout),
        max_connections=section.value("max_connections", values.whole(1, 10_000), _DEFAULTS.max_connections),
        retries=section.value("retries", values.whole(0, 10), _DEFAULTS.retries),
        file_hosts=section.values("file_hosts", file_host),
        missing_status=_DEFAULTS.missing_status if statuses is None else frozenset(statuses),
        filters=read_filters(section, files),
        machine=origin.machine,
    )


def _origin(section: Section, fallback: Fallback) -> _Origin:
    if section.has("url"):
        return _Origin(Address(section.value("url", remote_url, "")))
    if isinstance(fallback.origin, str):
        section.mistakes.add_once(section.line, section.path, fallback.origin)
        return _Origin(_NO_ADDRESS)
    return fallback.origin


def _credentials(section: Section, files: Files, address: Address) -> tuple[Secret | None, Secret | None]:
    if not section.has("username") and not section.has("password"):
        return address.username, address.password
    username = section.value("username", lambda raw: _username(files, raw), None)
    password = section.value("password", lambda raw: _one_line(files, raw), None)
    if not section.has("username"):
        section.wrong("password", "needs a username beside it")
    return username, password


def _username(files: Files, raw: object) -> Secret:
    found = _one_line(files, raw)
    if ":" in found.reveal():
        raise Wrong("must not hold a colon: Basic authentication ends the user name there")
    return found


def _one_line(files: Files, raw: object) -> Secret:
    found = files.secret(raw)
    # RFC 7617: "The user-id and password MUST NOT contain any control characters."
    if any(ord(letter) < ord(" ") or ord(letter) == 0x7F for letter in found.reveal()):  # noqa: PLR2004 (DEL)
        raise Wrong("must not hold control characters")
    return found


def _proxy(files: Files, raw: object) -> Secret:
    return proxy_url(files.secret(raw).reveal())


def _headers(section: Section, files: Files, username: Secret | None) -> Mapping[str, Secret]:
    given = section.section("headers")
    found: dict[str, Secret] = {}
    seen: dict[str, str] = {}
    for name in given:
        wrong = wrong_header(name)
        if name.lower() in seen:
            wrong = f"is the same header as {seen[name.lower()]}"
        elif name.lower() == "authorization" and username is not None:
            wrong = "stands against username: a request has one Authorization"
        if wrong:
            given.wrong(name, wrong)
        seen[name.lower()] = name
        value = given.value(name, lambda raw: _header(files, raw), None)
        if value is not None:
            found[name] = value
    return found


def _header(files: Files, raw: object) -> Secret:
    found = files.secret(raw)
    header_value(found.reveal())
    return found


def _tls(section: Section, files: Files, origin: TlsConfig) -> TlsConfig:
    contents: list[str] = []

    def ca_path(raw: object) -> Path:
        path = files.path(raw)
        contents.append(files.authorities(path))
        return path

    ca = section.value("ca", ca_path, None)
    key = section.value("key", files.path, None)
    if section.has("key") and not section.has("cert"):
        section.wrong("key", "needs a cert beside it")

    def cert_path(raw: object) -> Path:
        path = files.path(raw)
        contents.append(files.identity(path, key))
        return path

    cert = section.value("cert", cert_path, None)
    own = section.has("cert")
    return TlsConfig(
        ca=ca or origin.ca,
        cert=cert if own else origin.cert,
        key=key if own else origin.key,
        verify=section.value("verify", values.boolean, origin.verify),
        contents=_digest([origin.contents, *contents]),
    )


def _digest(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest() if any(parts) else ""

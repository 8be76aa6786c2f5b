"""What goes into `Upstream` and what comes out: settings, validators, answers. Frozen, and no HTTP client in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

Kind: TypeAlias = Literal["page", "list", "file", "metadata", "json", "provenance"]
"""What a request to a remote is for; the `kind` of the metrics."""


@dataclass(frozen=True, slots=True)
class RemoteSettings:
    """One remote, as `Upstream` needs it. Times are seconds.

    `url` ends with "/" and carries no userinfo. `ca` (a file or a folder) stands in place of the system's
    certificates. `headers`, `username`, `password` and the client certificate are shown to the origin of `url` alone.
    """

    name: str
    url: str
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True
    proxy: str | None = field(default=None, repr=False)
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    max_connections: int = 50
    retries: int = 3
    missing_status: frozenset[int] = frozenset({404, 410})
    file_hosts: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a file may be: at least `rate` bytes a second, over `window` seconds spent waiting for it.

    The time a reader takes does not count, and silence has its own limit (`read_timeout`).
    """

    rate: float = 1024.0
    window: float = 30.0


@dataclass(frozen=True, slots=True)
class Validators:
    """What tells one state of a document from another (RFC 9110 §8.8), as the remote spelt it."""

    etag: str | None = None
    last_modified: str | None = None

    def __bool__(self) -> bool:
        return self.etag is not None or self.last_modified is not None


class Observer(Protocol):
    """Who counts the requests to remotes."""

    def asked(self, remote: str, kind: str, status: str, seconds: float) -> None:
        """One request was sent. `status`: as answered, or "error", "timeout", "cancelled".

        `seconds`: until the whole answer was there; for files until its head was.
        """


@dataclass(frozen=True, slots=True)
class Unchanged:
    """What the validators name is still what the remote has. `validators` are those to ask with next time."""

    validators: Validators


@dataclass(frozen=True, slots=True)
class Missing:
    """The remote has no such thing, and says so with this status."""

    status: int


@dataclass(frozen=True, slots=True)
class PageFound:
    """A page, decoded. `url` is where it was found after redirects: its relative links start there."""

    body: bytes = field(repr=False)
    content_type: str
    url: str
    validators: Validators


@dataclass(frozen=True, slots=True)
class SmallFound:
    """A small document, decoded."""

    body: bytes = field(repr=False)
    content_type: str
    validators: Validators


@dataclass(frozen=True, slots=True)
class ListFound:
    """The list of projects was written, decoded, to the path given. `url`: where it was found after redirects."""

    content_type: str
    url: str
    validators: Validators


@dataclass(frozen=True, slots=True)
class FileHead:
    """What a remote tells of a file without sending it. `size` is in bytes, None where it does not tell."""

    size: int | None
    validators: Validators
    accepts_ranges: bool


PageUnchanged: TypeAlias = Unchanged
PageMissing: TypeAlias = Missing
ListUnchanged: TypeAlias = Unchanged
ListMissing: TypeAlias = Missing

"""What an Index is: its questions (which projects, which page, which file, and what more is known of a project).

Every feature that changes an answer is an Index around an Index.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar
from urllib.parse import unquote

import msgspec

from pyproxy.arrival import Arrival
from pyproxy.metrics import Result
from pyproxy.model import File, Filename, Hashes, ProjectName, ProjectPage, Sha256
from pyproxy.selection import Sieve
from pyproxy.storage.cache import OpenBlob

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Served(Generic[T]):
    """An answer, where it came from, and for how many seconds more it is fresh (0: it is stale)."""

    value: T
    result: Result
    fresh_for: float

    def within(self, seconds: float) -> Served[T]:
        """The same, fresh for so long at most: what it rests on is then looked at again. It is not stale before."""
        return self if self.fresh_for <= seconds else replace(self, fresh_for=max(seconds, 0.001))


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file as a client names it: the link below `/files/`, percent-decoded, and its last segment."""

    source: str
    path: str
    filename: Filename

    @classmethod
    def from_link(cls, link: str, filename: Filename) -> FileRef:
        """Of a `File.link`, or of what a request has below `/files/`: as they stand, percent-encoded."""
        source, slash, path = link.partition("/")
        return cls(unquote(source), unquote(slash + path), filename)

    @property
    def link(self) -> str:
        return f"{self.source}{self.path}"


@dataclass(frozen=True, slots=True)
class Names:
    """A remote's list of projects: a file of display names, one a line, sorted by normalised name.

    Of them those alone are meant that pass every one of the `sieves`. `digest` stands for all of it.
    """

    path: Path
    digest: str
    sieves: tuple[Sieve, ...] = ()

    def sifted(self, sieve: Sieve) -> Names:
        digest = hashlib.sha256(self.digest.encode() + b"\n" + msgspec.json.encode(sieve)).hexdigest()
        return Names(self.path, digest, (*self.sieves, sieve))


@dataclass(frozen=True, slots=True)
class Document:
    """A small document, served as the remote gave it."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a file without fetching it. `stored`: its bytes are here. `lasting`: as in Content."""

    size: int | None
    etag: str | None
    lasting: bool
    stored: bool


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of a file: stored, on their way, or (small ones) in memory. `etag` is None where only the end tells it.

    `lasting`: the bytes under this link will never be others. Exactly one of `blob`, `arrival` and `body` is
    set; who takes a blob closes it, who takes an arrival begins to read it before anything else is awaited.
    """

    result: Result
    etag: str | None
    lasting: bool
    blob: OpenBlob | None = None
    arrival: Arrival | None = None
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of a project beyond its page: what a JSON API answers with, where there is one.

    `document` is a remote's own; `digests` are those of local files that their page leaves out (md5, blake2b_256).
    """

    document: Document | None = None
    digests: Mapping[Filename, Hashes] = field(default_factory=dict)


class OfferedFile(Protocol):
    """A file that the index lets the client have."""

    @property
    def project(self) -> ProjectName: ...

    @property
    def file(self) -> File: ...

    async def facts(self, *, size: bool) -> Facts:
        """The validator, and where it is wanted the `size`, without a download.

        Raises RemoteFailed, FileUnknown, NotCached.
        """

    async def archive(self) -> Content:
        """The file itself. Raises RemoteFailed, FileUnknown, NotCached, StoreTrouble."""

    async def metadata(self) -> Content:
        """Its core metadata (PEP 658). Raises FileUnknown where it has none, and as `archive`."""

    async def signature(self) -> Content:
        """Its detached signature. Raises FileUnknown where it has none, and as `archive`."""

    async def provenance(self) -> Served[Document]:
        """Its attestations (PEP 740). Raises FileUnknown where it has none, and as `archive`."""


class Index(Protocol):
    """An index of projects. All three questions raise RemoteFailed, NotCached and StoreTrouble."""

    async def projects(self) -> Served[Mapping[str, Names]]:
        """The lists of projects, by the name of who keeps them. Raises ProjectUnknown where there is no list."""

    async def page(self, project: ProjectName) -> Served[ProjectPage]:
        """The project's page. The same object as before as long as nothing in it has changed.

        Raises ProjectUnknown.
        """

    async def file(self, ref: FileRef) -> OfferedFile:
        """The file under a link, whether or not its page was asked for before.

        Raises FileUnknown, and Withheld where policy keeps it from the client.
        """

    async def details(self, project: ProjectName, version: str | None) -> Served[Details]:
        """What more is known of a project; of one release of it where `version` names that.

        Says nothing of what may be shown: the page does. Raises ProjectUnknown at the most where `page` does.
        """


class LocalContent(Index, Protocol):
    """An index of content that lies here: what it has is known at once."""

    @property
    def source(self) -> str:
        """The source of its links."""

    def held(self, project: ProjectName) -> ProjectPage | None:
        """The project's page, None where there is none. The same object as long as nothing in it has changed."""


def etag_of(digest: Sha256 | str, kind: str = "") -> str:
    """A strong entity tag for the bytes that have this digest (RFC 9110 §8.8.3)."""
    return f'"{kind}{digest}"'

"""What the index of local content holds, row by row: the values, their bytes, and the keys they lie under.

A repository has a number here, so that names of any length fit into LMDB's keys. A row of `current` or `past` is the
version that added the file (or took it away) and then the file itself.
"""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import msgspec

from pyproxy.errors import BadName
from pyproxy.model import Filename, Hashes, PackageType, ProjectName, Sha256, printable
from pyproxy.upload.named import identity

Action = Literal["upload", "add", "remove", "yank", "unyank", "copy", "rollback", "rebuild"]

NUMBER: Final = 8
"""Bytes of a version number, big-endian, so that numbers sort as they count."""

_REPOSITORY: Final = re.compile(r"[A-Za-z0-9._-]{1,200}\Z")
_HEAD: Final = struct.Struct(">4sQQ")
_FILENAME_KEY: Final = 200
_HASHED: Final = b"\xff"  # no file name begins so: a hashed one can never meet a plain one


class LocalFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """A file of a repository, as one or several of its versions hold it.

    `size` is in bytes, `upload_time` an RFC 3339 instant with microseconds in UTC. `name` is the project's name as
    the file spells it. `metadata` and `attestations` are digests of documents kept beside the file: its core metadata
    and its provenance.
    """

    filename: Filename
    project: ProjectName
    version: str
    digest: Sha256
    size: int
    package_type: PackageType
    hashes: Hashes = {}
    upload_time: str = ""
    requires_python: str | None = None
    metadata: Sha256 | None = None
    yanked: bool | str = False
    attestations: Sha256 | None = None
    name: str = ""

    @property
    def digests(self) -> tuple[Sha256, ...]:
        """What must be kept for it: its bytes and its documents."""
        return tuple(digest for digest in (self.digest, self.metadata, self.attestations) if digest is not None)


class RepositoryVersion(msgspec.Struct, frozen=True, array_like=True):
    """One version of a repository: what made it, and how many files it added, took away and changed.

    `created_at` is in seconds since the epoch; `files` is how many it holds. A changed file is one whose bytes are
    the same: yanked, say.
    """

    number: int
    created_at: float
    action: str
    summary: str
    added: int
    removed: int
    changed: int
    files: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change did: the repository's version after it, and the files it was about.

    `already` were there as asked. Where only those are, no version was made.
    """

    version: int
    added: tuple[Filename, ...] = ()
    already: tuple[Filename, ...] = ()
    removed: tuple[Filename, ...] = ()
    changed: tuple[Filename, ...] = ()


@dataclass(frozen=True, slots=True)
class Diff:
    """What one version has that another has not, sorted by project and file name."""

    added: tuple[LocalFile, ...]
    removed: tuple[LocalFile, ...]
    changed: tuple[tuple[LocalFile, LocalFile], ...]
    """Files of both that differ in something beside their bytes: as they were, as they are."""


class Head(NamedTuple):
    """A repository: what the keys of its rows begin with, its latest version and how many files that holds.

    A tuple, since each read makes one: a fifth of a microsecond.
    """

    prefix: bytes
    latest: int
    files: int

    def pack(self) -> bytes:
        return _HEAD.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Head:
        return cls._make(_HEAD.unpack(data))


@dataclass(frozen=True, slots=True)
class LocalBlob:
    """A blob as it was taken in: its size in bytes and its file's mtime in nanoseconds."""

    size: int
    mtime_ns: int

    _FORMAT = struct.Struct(">Qq")

    def pack(self) -> bytes:
        return self._FORMAT.pack(self.size, self.mtime_ns)

    @classmethod
    def unpack(cls, data: bytes) -> LocalBlob:
        return cls(*cls._FORMAT.unpack(data))


@dataclass(frozen=True, slots=True)
class Taken:
    """The bytes, and the project, that a file name stands for in a repository, for ever."""

    digest: Sha256
    project: ProjectName

    def pack(self) -> bytes:
        return bytes.fromhex(self.digest) + self.project.encode()

    @classmethod
    def unpack(cls, data: bytes) -> Taken:
        return cls(Sha256(data[:32].hex()), ProjectName(data[32:].decode()))


encoder: Final = msgspec.msgpack.Encoder()
file_decoder: Final = msgspec.msgpack.Decoder(LocalFile)
version_decoder: Final = msgspec.msgpack.Decoder(RepositoryVersion)


def as_repository(raw: str) -> str:
    """Raises BadName for what no repository can be called."""
    if not _REPOSITORY.match(raw):
        raise BadName(f"not a repository's name: {printable(raw)}")
    return raw


# ---------------------------------------------------------------------- keys


def number(value: int) -> bytes:
    return value.to_bytes(NUMBER, "big")


def project_key(project: ProjectName) -> bytes:
    """What the keys of a project's rows have behind their repository's number."""
    return project.encode() + b"\0"


def row_key(head: Head, project: ProjectName, filename: Filename) -> bytes:
    """Where the row of `current` lies; in `past` its closed ones, each with a NUL and the version that added it."""
    name = filename.encode()
    if len(name) > _FILENAME_KEY:
        name = _HASHED + hashlib.sha256(name).digest()
    return head.prefix + project_key(project) + name


def sidecar_key(repository: str, filename: Filename, digest: Sha256) -> bytes:
    """The digest, and what tells apart the sidecars of one blob that several repositories or names share."""
    return bytes.fromhex(digest) + hashlib.sha256(f"{repository}\0{filename}".encode()).digest()[:16]


def spelling_key(head: Head, filename: Filename) -> bytes | None:
    """Where the spelling that is taken of a file's name lies; None for a name of which there are no others."""
    same = identity(filename)
    return None if same is None else head.prefix + hashlib.sha256(same.encode()).digest()


def micros(instant: float) -> bytes:
    """An instant as it sorts, in microseconds since the epoch; before it, and after the year 500000, as at the end."""
    return min(max(0, round(instant * 1e6)), 2**64 - 1).to_bytes(8, "big")

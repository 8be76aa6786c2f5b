"""A file as JSON pages list it (PEP 691, 700, 714, 740), decoded and not looked at yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

import msgspec

_SHA256 = "sha256"

NOTHING = msgspec.Raw(b"null")

Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


@Mapping.register
class Sha256Alone(msgspec.Struct, frozen=True, eq=False, gc=False, forbid_unknown_fields=True):
    """The hashes of nearly every file: a SHA-256 and no other, read as the mapping that it stands for.

    A dict for each of two digests is a third of a page's memory, and a third of the time in which it is read.
    """

    sha256: str

    def __getitem__(self, algorithm: str) -> str:
        if algorithm != _SHA256:
            raise KeyError(algorithm)
        return self.sha256

    def get(self, algorithm: str, default: str | None = None) -> str | None:
        return self.sha256 if algorithm == _SHA256 else default

    def __iter__(self) -> Iterator[str]:
        yield _SHA256

    def __len__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Sha256Alone):
            return self.sha256 == other.sha256
        return other == {_SHA256: self.sha256}

    def __hash__(self) -> int:
        return hash(self.sha256)

    __contains__ = Mapping.__contains__
    keys = Mapping.keys
    values = Mapping.values
    items = Mapping.items


class UsualFile(msgspec.Struct, rename="kebab", gc=False):
    """A file as nearly every index lists it, its digests not checked. What has other digests is none.

    Made in three fifths of the time that a `ListedFile` takes; older names of core metadata need no look where the
    newest is there.
    """

    filename: str
    url: str
    hashes: Sha256Alone
    core_metadata: bool | Sha256Alone
    requires_python: str | None = None
    yanked: bool | str | None = None
    gpg_sig: bool | None = None
    size: Size | None = None
    upload_time: str | None = None
    provenance: str | None = None


class ListedFile(msgspec.Struct, rename="kebab", gc=False):
    """A file as it should be. Null is taken for absent in any field."""

    filename: str
    url: str
    hashes: dict[str, str | None] | None = None
    requires_python: str | None = None
    yanked: bool | str | None = None
    core_metadata: bool | dict[str, str | None] | None = None
    dist_info_metadata: msgspec.Raw = NOTHING
    data_dist_info_metadata: msgspec.Raw = NOTHING
    gpg_sig: bool | None = None
    size: Size | None = None
    upload_time: str | None = None
    provenance: str | None = None

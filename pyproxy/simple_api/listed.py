"""A file as a JSON page lists it (PEP 691, 700, 714, 740), decoded and not looked at yet."""

from __future__ import annotations

from typing import Annotated

import msgspec

NOTHING = msgspec.Raw(b"null")

Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


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

"""What a remote's JSON API document tells, read without trust: a part of another shape is as good as absent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
from packaging.version import InvalidVersion, Version

Object: TypeAlias = dict[str, Any]
"""A JSON object. Any: whatever JSON may hold."""


@dataclass(frozen=True, slots=True)
class Told:
    """`info` is None where there is none; `files` are the entries of `urls` and `releases` by file name."""

    info: Object | None = None
    files: Mapping[str, Object] = field(default_factory=dict)
    vulnerabilities: list[Any] = field(default_factory=list)
    ownership: Object | None = None
    last_serial: int = 0

    def is_of(self, version: str) -> bool:
        """Whether `info` is that of this release (PEP 440: 1.0 is 1.0.0)."""
        said = None if self.info is None else self.info.get("version")
        return isinstance(said, str) and same_version(said, version)


def read_told(body: bytes) -> Told:
    """What the document tells; nothing where it is no JSON object. 5 ms a megabyte."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return Told()
    if not isinstance(document, dict):
        return Told()
    info, serial = document.get("info"), document.get("last_serial")
    ownership, vulnerabilities = document.get("ownership"), document.get("vulnerabilities")
    return Told(
        info if isinstance(info, dict) else None,
        {entry["filename"]: entry for entry in _entries(document) if isinstance(entry.get("filename"), str)},
        vulnerabilities if isinstance(vulnerabilities, list) else [],
        ownership if isinstance(ownership, dict) else None,
        serial if isinstance(serial, int) and not isinstance(serial, bool) else 0,
    )


def same_version(one: str, other: str) -> bool:
    """Whether both spell one version (PEP 440); what is no version is compared as it stands."""
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def _entries(document: Object) -> Iterator[Object]:
    releases = document.get("releases")
    lists = [*releases.values()] if isinstance(releases, dict) else []
    for entries in (*lists, document.get("urls")):
        if isinstance(entries, list):
            yield from (entry for entry in entries if isinstance(entry, dict))

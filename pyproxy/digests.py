"""Which of a page's digests is checked, and how: the strongest that hashlib knows (PEP 503, PEP 691)."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Protocol

from pyproxy.model import Hashes

PREFERENCE = (
    "sha256",
    "sha512",
    "sha384",
    "sha3_512",
    "sha3_384",
    "sha3_256",
    "blake2b",
    "blake2s",
    "sha224",
    "sha3_224",
    "sha1",
    "md5",
)
"""SHA-256 leads though others are longer: it is computed anyhow, as the blob's name."""


_LONGEST = {"blake2b": 128, "blake2s": 64}
"""Hexadecimal digits; these come in many lengths."""


class Hasher(Protocol):
    """What is used of a hashlib object."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


def checkable(hashes: Hashes) -> str | None:
    """The algorithm by which a body is checked against these digests; None where there is none."""
    return next((name for name in PREFERENCE if name in hashes and _has_a_length(name, hashes[name])), None)


def _has_a_length(name: str, digest: str) -> bool:
    """Whether the algorithm can give a digest of this length at all."""
    longest = _LONGEST.get(name)
    return longest is None or 0 < len(digest) <= longest


def hasher(algorithm: str, expected: str) -> Hasher:
    """A hasher whose digest is as long as the expected one (blake2 comes in many lengths)."""
    keyless: dict[str, Callable[..., Hasher]] = {"blake2b": hashlib.blake2b, "blake2s": hashlib.blake2s}
    if algorithm in keyless:
        return keyless[algorithm](digest_size=len(expected) // 2)
    return hashlib.new(algorithm, usedforsecurity=False)


def same(found: str, expected: str) -> bool:
    """Whether two hexadecimal digests are the same, in whatever case."""
    return hmac.compare_digest(found.lower(), expected.lower())


def agrees(hashes: Hashes, body: bytes) -> bool:
    """Whether the body has the strongest of these digests; True where none can be checked."""
    algorithm = checkable(hashes)
    if algorithm is None:
        return True
    found = hasher(algorithm, hashes[algorithm])
    found.update(body)
    return same(found.hexdigest(), hashes[algorithm])

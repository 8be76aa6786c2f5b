"""The digests of a file, all taken while its bytes pass once."""

from __future__ import annotations

import hashlib

from pyproxy.model import Sha256
from pyproxy.upload.form import Digests


class Hashing:
    """Told of a file's bytes piece by piece."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._blake2 = hashlib.blake2b(digest_size=32)

    def update(self, data: bytes) -> None:
        for hasher in (self._sha256, self._md5, self._blake2):
            hasher.update(data)

    def digests(self) -> Digests:
        """Of all that has passed."""
        return Digests(
            sha256=Sha256(self._sha256.hexdigest()), md5=self._md5.hexdigest(), blake2_256=self._blake2.hexdigest()
        )

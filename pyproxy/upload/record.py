"""RECORD: what a wheel says that it holds, and with which digests (PEP 376, PEP 427)."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from pyproxy.model import printable
from pyproxy.upload.refusal import UploadRefused

# "The hash algorithm must be sha256 or better; specifically, md5, sha1 and sha224 are not permitted."
_ALGORITHMS: Final = frozenset({"sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512", "blake2b", "blake2s"})

_COLUMNS: Final = 3
_SIGNATURES: Final = (".jws", ".p7s")


@dataclass(frozen=True, slots=True)
class Row:
    """What RECORD says of one member; `size` in bytes where it says any."""

    path: str
    algorithm: str
    digest: bytes
    size: int | None

    def check(self, pieces: Iterable[bytes]) -> None:
        """Refuses content that is another than RECORD says."""
        found = hashlib.new(self.algorithm)
        size = 0
        for piece in pieces:
            found.update(piece)
            size += len(piece)
        if found.digest() != self.digest or self.size not in {None, size}:
            raise UploadRefused(f"{printable(self.path)} is not what RECORD says")


def rows_of(raw: bytes, own_path: str, files: Iterable[str]) -> Mapping[str, Row]:
    """RECORD's rows by path, one for each of the wheel's files but RECORD and its signatures.

    `own_path` is where RECORD lies. Raises UploadRefused, also where files and rows are not the same.
    """
    exempt = {own_path, *(own_path + ending for ending in _SIGNATURES)}
    wanted = set(files) - exempt
    rows: dict[str, Row] = {}
    for path, told, size in _cells(raw):
        if path in exempt or (path.endswith("/") and not told):
            continue  # some tools list folders: nothing is installed for them
        if path not in wanted:
            raise UploadRefused(f"RECORD has {printable(path)}, which the wheel does not")
        if path in rows:
            raise UploadRefused(f"RECORD has {printable(path)} twice")
        rows[path] = _row(path, told, size)
    for path in wanted - rows.keys():
        raise UploadRefused(f"{printable(path)} is not in RECORD")
    return rows


def _cells(raw: bytes) -> Iterator[tuple[str, str, str]]:
    try:
        for row in csv.reader(io.StringIO(raw.decode("utf-8"), newline=""), strict=True):
            if row:
                path, told, size = row + [""] * (_COLUMNS - len(row))
                yield path, told, size
    except (ValueError, csv.Error) as exc:
        # Also UnicodeDecodeError, and a row with more columns.
        raise UploadRefused("RECORD is no table of paths, digests and sizes in UTF-8") from exc


def _row(path: str, told: str, size: str) -> Row:
    algorithm, _, encoded = told.partition("=")
    if algorithm not in _ALGORITHMS:
        raise UploadRefused(f"RECORD gives no digest of {printable(path)} that can be trusted")
    padded = encoded.rstrip("=") + "=" * (-len(encoded.rstrip("=")) % 4)
    try:
        digest = base64.b64decode(padded, altchars=b"-_", validate=True)
    except ValueError as exc:
        raise UploadRefused(f"RECORD gives no digest of {printable(path)} that can be read") from exc
    if size and not (size.isascii() and size.isdigit() and len(size) < 20):  # noqa: PLR2004 - what 64 bits hold
        raise UploadRefused(f"RECORD gives no size of {printable(path)} that can be read")
    return Row(path, algorithm, digest, int(size) if size else None)

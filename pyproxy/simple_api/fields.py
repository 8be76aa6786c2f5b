"""The fields of a file and of a page, as they may be kept: what a remote says, brought to one harmless form."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import cast
from urllib.parse import urlsplit

from pyproxy.model import Hashes, printable

MAX_TEXT = 4096
_MAX_MARKER = 64
_MAX_VERSION = 128
_MAX_URLS = 100

# Digits of the digests that a client may check; a digest of another length could not be right.
_DIGITS = {
    "md5": 32,
    "sha1": 40,
    "sha224": 56,
    "sha256": 64,
    "sha384": 96,
    "sha512": 128,
    "sha3_224": 56,
    "sha3_256": 64,
    "sha3_384": 96,
    "sha3_512": 128,
}

# The one digest that a link has room for is the first of these: pip checks no others.
_BEST_FIRST = ("sha256", "sha512", "sha384", "sha224", "sha1", "md5")
_ALGORITHM = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z", re.ASCII)
_DIGEST = re.compile(r"[0-9a-f]{2,256}\Z", re.ASCII)
_API_VERSION = re.compile(r"([0-9]{1,9})(?:\.[0-9]{1,9})*\Z", re.ASCII)
_HEXADECIMAL = b"0123456789abcdef"

# The algorithms of a URL's fragment (PEP 503: "one of the algorithms supported by Python's hashlib").
IN_LINKS = frozenset({*_DIGITS, "blake2b", "blake2s"})

# Tab and line feed may stand in a reason; other control characters drive terminals, and do not survive HTML.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")

# PEP 700: "yyyy-mm-ddThh:mm:ss.ffffffZ", the fraction optional and of at most six digits.
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d(?:\.\d{1,6})?Z\Z", re.ASCII)
_MAX_INSTANT = 40
_USUAL_INSTANT = b"0000-00-00T00:00:00.000000Z"
_DIGITS_AS_ZERO = bytes.maketrans(b"123456789", b"0" * 9)


class BadField(ValueError):
    """A field that makes its file unfit to be offered; its text is the reason."""


def text(raw: str, limit: int = MAX_TEXT) -> str:
    """Free text without control characters, cut to the limit."""
    if not raw.isprintable():
        raw = _CONTROL.sub("", raw.replace("\r\n", "\n").replace("\r", "\n"))
    return raw[:limit]


# A page says the same few over and over.
@lru_cache(512)
def requires_python(raw: str) -> str | None:
    """Raises BadField where it is too long: without it, or cut, it would admit more than it says."""
    if len(raw) > MAX_TEXT:
        raise BadField("its requires-python is too long")
    return text(raw).strip() or None


def yanked(raw: bool | str | None) -> bool | str:  # noqa: FBT001 - the field's own type
    """PEP 592, 691: false, true, or the reason. "present with a truthy value" means yanked."""
    if not raw or raw is True:
        return bool(raw)
    return text(raw) or True


def is_sha256(digest: str) -> bool:
    # Half the time of a regular expression, for what is asked twice of each file.
    return len(digest) == _DIGITS["sha256"] and digest.isascii() and not digest.encode().translate(None, _HEXADECIMAL)


def are_sha256(digests: Sequence[str]) -> bool:
    """Whether `is_sha256` says so of all of these: one look at all of them together."""
    if not set(map(len, digests)) <= {_DIGITS["sha256"]}:
        return False
    joined = "".join(digests)
    return joined.isascii() and not joined.encode().translate(None, _HEXADECIMAL)


def all_sha256(raws: Iterable[object]) -> bool:
    """Whether `hashes` would leave as they are all of these that are digests."""
    found = cast("list[Mapping[str, str]]", [raw for raw in raws if raw and raw is not True])
    try:
        return sum(map(len, found)) == len(found) and are_sha256([raw["sha256"] for raw in found])
    except (KeyError, TypeError):
        return False  # another algorithm, or null


def hashes(raw: Mapping[str, str | None]) -> Hashes:
    """Digests in lower case. What nobody can check is left out.

    Raises BadField for a digest that its algorithm cannot have made: it promises a check and none could pass.
    """
    sha256 = raw.get("sha256")
    if sha256 is not None and len(raw) == 1 and is_sha256(sha256):
        return raw  # type: ignore[return-value]  # its only value is a digest
    kept: dict[str, str] = {}
    for name, value in raw.items():
        algorithm = name.lower()
        if value is None or not _ALGORITHM.match(algorithm):
            continue
        digest = value.lower()
        if _DIGEST.match(digest) and len(digest) == _DIGITS.get(algorithm, len(digest)):
            kept[algorithm] = digest
        elif algorithm in IN_LINKS:
            raise BadField(f"its {algorithm} is no digest")
    return kept


def as_one(digests: Hashes) -> str:
    """The best of the digests as `algorithm=digest`, as links and attributes have it; empty where there is none."""
    if (usual := digests.get(_BEST_FIRST[0])) is not None:
        return f"{_BEST_FIRST[0]}={usual}"
    for algorithm in (*_BEST_FIRST, *digests):
        if algorithm in digests and algorithm in IN_LINKS:
            return f"{algorithm}={digests[algorithm]}"
    return ""


def core_metadata(raw: bool | Mapping[str, str | None] | None) -> bool | Hashes:  # noqa: FBT001 - the field's own type
    """PEP 714: false, true, or the metadata's digests; true where those are of no use."""
    if raw is None or isinstance(raw, bool):
        return bool(raw)
    try:
        return hashes(raw) or True
    except BadField:
        return True


def instant(raw: str | None) -> str | None:
    """An upload time as PEP 700 has it, in UTC; None for what is none or does not name its zone."""
    if raw is None or len(raw) > _MAX_INSTANT:
        return None
    try:
        moment = datetime.fromisoformat(raw)
        if _INSTANT.match(raw):
            return raw
        if moment.tzinfo is None:
            return None
        return moment.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    except (ValueError, OverflowError):
        return None


def instants(raws: list[str | None]) -> list[str | None]:
    """The same for each: all are looked at together where they are spelt alike."""
    try:
        spelt = "\n".join(cast("list[str]", raws)).encode("ascii").translate(_DIGITS_AS_ZERO)
        if spelt == b"\n".join([_USUAL_INSTANT] * len(raws)):
            for raw in set(raws):
                datetime.fromisoformat(cast("str", raw))
            return raws
    except (TypeError, ValueError):
        pass  # one is absent, in other words, or no moment: each is looked at
    return [instant(raw) for raw in raws]


def marker(raw: str | None) -> str | None:
    """A project status marker (PEP 792), lower case."""
    return text(raw or "", _MAX_MARKER).strip().lower() or None


def versions(raw: Iterable[str] | None) -> tuple[str, ...] | None:
    if raw is None:
        return None
    return tuple(dict.fromkeys(name for name in raw if 0 < len(name) <= _MAX_VERSION and name.isprintable()))


def urls(raw: Iterable[str]) -> tuple[str, ...]:
    """The URLs of PEP 708, each once; what is no plain http or https URL is left out."""
    return tuple(dict.fromkeys(url for url in raw if _is_url(url)))[:_MAX_URLS]


def _is_url(url: str) -> bool:
    if len(url) > MAX_TEXT or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc) and "@" not in parts.netloc


def checked_version(raw: str | None) -> None:
    """Raises BadField for a page of a repository version that is not understood.

    PEP 629: "a client MUST fail for a major version that it does not support, and MAY warn of a newer minor one".
    """
    if raw is None:
        return
    match = _API_VERSION.match(raw.strip())
    if match is None or int(match[1]) != 1:
        raise BadField(f"it is of repository version {printable(raw, 20)}, and only 1.x is understood")

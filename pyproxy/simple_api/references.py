"""References: what a link on a page means (RFC 3986), and which links are taken at all. Asks nobody."""

from __future__ import annotations

import re
import string
from functools import lru_cache
from urllib.parse import quote, unquote, unquote_to_bytes

import msgspec

from pyproxy.model import printable

MAX_URL = 4096
"""Characters of a URL that is taken; signed URLs of object stores are the longest in use, at some 1,500."""

DEFAULT_PORTS = {"http": 80, "https": 443}

# RFC 3986 appendix B, with the scheme as its section 3.1 has it.
_REFERENCE = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/?#]*))?([^?#]*)(\?[^#]*)?(?:#(.*))?\Z", re.ASCII | re.DOTALL
)
AUTHORITY = re.compile(r"([a-z0-9_][a-z0-9._-]{0,252}|\[[0-9a-f:.]{2,45}\])(?::([0-9]{0,5}))?\Z", re.ASCII)
HARMFUL = re.compile(r"[\x00-\x1f\x7f\\]")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")

# What most links are made of: nothing to encode. (Asking bytes.translate what is left without these takes a third of
# the time that a regular expression does.)
PLAIN = (string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/%").encode()
_SAFE_PATH = "/:@!$&'()*+,;=-._~%"
_SAFE_QUERY = _SAFE_PATH + "?"
REMEMBERED = 1024


class BadLink(ValueError):
    """A link that is left out of the page; its text is the reason."""


class Target(msgspec.Struct, frozen=True, gc=False):
    """What a reference leads to. `name` is the path's last segment, percent-decoded; `query` has its "?"."""

    origin: str
    path: str
    query: str
    fragment: str
    name: str

    @property
    def url(self) -> str:
        """Absolute, without the fragment."""
        return self.origin + self.path + self.query


class Base:
    """The URL that a page's references are relative to: its own, or what its `<base>` says.

    Raises BadLink where it is no http or https URL.
    """

    def __init__(self, url: str) -> None:
        # What has been worked out once; written by `_origin` and `_folder` alone.
        self._origins: dict[str, str] = {}
        self._folders: dict[int, str] = {}
        scheme, authority, path, _, _ = _split(url)
        if scheme is None or authority is None:
            raise BadLink("no absolute URL")
        self._scheme = scheme.lower()
        self._own = self._origin(f"{scheme}://{authority}")
        self._path = without_dots(_encoded_path(path) or "/")

    def resolve(self, reference: str) -> Target:
        """Where a reference leads, in normal form: host in lower case, no dot segments, what must be encoded encoded.

        Raises BadLink for what is no http or https URL, names a user, hides control characters, backslashes or dot
        segments, cannot be decoded, or is too long.
        """
        if len(reference) > MAX_URL:
            raise BadLink("too long a URL")
        bare, _, fragment = reference.partition("#")
        if "?" in bare or "/." in bare.lstrip("./") or not _is_plain(bare):
            return self._slowly(reference)
        if bare.startswith(("https://", "http://")):
            at = bare.find("/", 8)
            if at < 0:
                return self._slowly(reference)
            origin = bare[:at]
            path = bare[at:]
            origin = self._origins.get(origin) or self._origin(origin)
        else:
            ups = 0
            while bare.startswith("../", 3 * ups):
                ups += 1
            path = bare[3 * ups :]
            # "a:b" would be a scheme, "//a" a host, "/a" begins at the root; all of them rare.
            if not path or path[0] in "/." or ":" in path:
                return self._slowly(reference)
            origin = self._own
            path = (self._folders.get(ups) or self._folder(ups)) + path
        if "%" in path:
            path = _encoded_path(path)
        name = path[path.rfind("/") + 1 :]
        if "%" in name:
            name = unquote(name)
        return Target(origin, path, "", fragment, name)

    def resolve_plain(self, reference: str) -> Target:
        """As `resolve`, in a third of the time where the origin is known: for one of those that are `all_plain`."""
        at = reference.find("/", 8)
        origin = self._origins.get(reference[:at]) if at > 0 else None
        if origin is None or len(reference) > MAX_URL:
            return self.resolve(reference)
        path = reference[at:]
        return Target(origin, path, "", "", path[path.rfind("/") + 1 :])

    def lead(self, reference: str, target: Target) -> tuple[str, str]:
        """What a reference to this target begins with, up to the slash before a path; and that path's own beginning.

        That is its host, if it names one; else the steps up, whose path is that of the folder where they end.
        """
        if reference.startswith(("https://", "http://")):
            return target.origin, ""
        ups = 0
        while reference.startswith("../", 3 * ups):
            ups += 1
        return (reference[: 3 * ups - 1], self._folder(ups)[:-1]) if ups else ("", "")

    def _slowly(self, reference: str) -> Target:
        """RFC 3986 §5.2.2, with the checks of a reader that trusts nobody."""
        scheme, authority, path, query, fragment = _split(reference)
        if authority is not None:
            origin = self._origin(f"{scheme or self._scheme}://{authority}")
            path = without_dots(_encoded_path(path) or "/")
        else:
            if scheme is not None:
                self._origin(f"{scheme}://")
            origin = self._own
            path = _encoded_path(path)
            if not path:
                path = self._path
            elif not path.startswith("/"):
                path = self._path[: self._path.rfind("/") + 1] + path
            path = without_dots(path)
        name = unquote(path[path.rfind("/") + 1 :])
        return Target(origin, path, _encoded_query(query) if query else "", fragment or "", name)

    def _origin(self, raw: str) -> str:
        if len(self._origins) >= REMEMBERED:
            self._origins.clear()
        scheme, _, authority = raw.partition("://")
        origin = self._origins[raw] = _origin(scheme.lower(), authority)
        return origin

    def _folder(self, ups: int) -> str:
        """The path of the folder so many steps above the page."""
        here = self._path[: self._path.rfind("/") + 1]
        folder = self._folders[ups] = without_dots(here + "../" * ups)
        return folder


def all_plain(references: list[str]) -> bool:
    """Whether there is nothing in them to encode, to decode or to leave out: one look at all of them together."""
    joined = "\n".join(references)
    if not joined.isascii() or "%" in joined or "/." in joined:
        return False
    return joined.encode().translate(None, PLAIN) == b"\n" * (len(references) - 1)


def without_dots(path: str) -> str:
    """RFC 3986 §5.2.4 for a path that begins with a slash."""
    if "/." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            if kept:
                kept.pop()
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)


def _split(reference: str) -> tuple[str | None, str | None, str, str | None, str | None]:
    if len(reference) > MAX_URL:
        raise BadLink("too long a URL")
    # Leading and trailing blanks are none of an attribute's value (HTML, "valid URL potentially surrounded by spaces").
    match = _REFERENCE.match(reference.strip(" \t\n\r\f"))
    if match is None:
        raise BadLink("no URL")
    scheme, authority, path, query, fragment = match.groups()
    if HARMFUL.search(path) or (query and HARMFUL.search(query)):
        raise BadLink("control characters or backslashes in the URL")
    return scheme, authority, path, query, fragment


@lru_cache(REMEMBERED)  # most pages are of one host, and their files of another; what raises is not kept
def _origin(scheme: str, authority: str) -> str:
    if scheme not in DEFAULT_PORTS:
        raise BadLink(f"a link by {printable(scheme, 20)}")
    if "@" in authority:
        raise BadLink("a link with a user name")
    match = AUTHORITY.match(authority.lower())
    if match is None:
        raise BadLink("a link without a valid host")
    host, port = match.groups()
    if not port or int(port) == DEFAULT_PORTS[scheme]:
        return f"{scheme}://{host}"
    if not 0 < int(port) < 65536:  # noqa: PLR2004 - the ports there are
        raise BadLink("a link to an impossible port")
    return f"{scheme}://{host}:{int(port)}"


def _is_plain(text: str) -> bool:
    return text.isascii() and not text.encode().translate(None, PLAIN)


def _encoded_path(path: str) -> str:
    """The path with all encoded that must be; what is encoded already stays as it is."""
    if "%" not in path and _is_plain(path):
        return path
    try:
        decoded = unquote_to_bytes(path.encode()).decode()
    except UnicodeError as exc:
        raise BadLink("a URL that cannot be decoded") from exc
    if decoded != path:
        if HARMFUL.search(decoded):
            raise BadLink("control characters or backslashes in the URL")
        # Some clients read "%2e%2e" as "..": then the link would lead elsewhere than it says.
        if sum(map(_is_dots, decoded.split("/"))) != sum(map(_is_dots, path.split("/"))):
            raise BadLink("dot segments hidden in the URL")
    return _PERCENT.sub("%25", quote(path, safe=_SAFE_PATH))


def _encoded_query(query: str) -> str:
    try:
        return _PERCENT.sub("%25", quote(query, safe=_SAFE_QUERY))
    except UnicodeError as exc:
        raise BadLink("a URL that cannot be decoded") from exc


def _is_dots(segment: str) -> bool:
    return segment in {".", ".."}

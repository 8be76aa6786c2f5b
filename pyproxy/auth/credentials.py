"""What a client says of itself: the Authorization header taken apart. Whether it is true is no question here."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field

CHALLENGE = 'Basic realm="pyproxy", charset="UTF-8"'
"""The WWW-Authenticate of a 401. All clients take Basic, also for tokens; RFC 7617 lets it ask for UTF-8."""

LONGEST = 8192
"""Characters of a header that anybody looks at; what is longer holds no credentials."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """`user` is None for a Bearer token. `secret`, password or token, is UTF-8 and never empty."""

    user: str | None
    secret: bytes = field(repr=False)


def as_credentials(authorization: str) -> Credentials | None:
    """The credentials of Basic (RFC 7617) or Bearer (RFC 6750); None where there are none to check.

    A user without a password has none: pip sends that before it asks its user, and no password is empty.
    """
    # aiohttp hands on bytes beyond ASCII as surrogates, which nothing here could encode again.
    if len(authorization) > LONGEST or not authorization.isascii():
        return None
    scheme, _, value = authorization.strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        return _checked(None, value)
    if scheme.lower() != "basic":
        return None
    try:
        raw = base64.b64decode(value, validate=True)
    except binascii.Error:
        return None
    user, colon, password = _text(raw).partition(":")
    return _checked(user, password) if colon else None


def _text(raw: bytes) -> str:
    """UTF-8, as uv sends it, else Latin-1, as requests does, and with it pip, twine and poetry."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _checked(user: str | None, secret: str) -> Credentials | None:
    # "The user-id and password MUST NOT contain any control characters."
    if not secret or any(char < " " or char == "\x7f" for char in f"{user or ''}{secret}"):
        return None
    return Credentials(user, secret.encode())

"""htpasswd files: users and the bcrypt hashes of their passwords. What is wrong is told by line, never by content."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass

LARGEST_HTPASSWD = 1 << 20
"""Bytes; a line is some 80."""

# Cost, salt (128 bits) and hash (184 bits) in bcrypt's own base 64. The last letter of each has bits to spare, and one
# that sets them fits no password.
_BCRYPT = re.compile(rb"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]\Z")
_LEAST_COST = 4
_MOST_COST = 15
"""Some two seconds of a core for each password that is not known yet."""


@dataclass(frozen=True, slots=True)
class Htpasswd:
    """`users` are the hashes by name, those of mistaken lines too; `wrong` says what is wrong with which line."""

    users: Mapping[str, bytes]
    wrong: tuple[str, ...]


def read_htpasswd(raw: bytes) -> Htpasswd:
    """The users in a file as `htpasswd -B` writes it: NAME:HASH a line, blank ones and those after # left out."""
    users: dict[str, bytes] = {}
    lines: dict[str, int] = {}
    wrong: list[str] = []
    for number, line in enumerate(raw.removeprefix(codecs.BOM_UTF8).splitlines(), 1):
        if not line.strip() or line.lstrip().startswith(b"#"):
            continue
        # What follows a second colon is a comment, as nginx has it.
        name, hashed, *_ = [*line.split(b":"), b""]
        user = _user(name)
        if user is not None and user in users:
            wrong.append(f"line {number} names the user of line {lines[user]} again")
            continue
        why = "holds no user name that could be sent" if user is None else _wrong_hash(hashed.strip())
        if why is not None:
            wrong.append(f"line {number} {why}")
        if user is not None:
            users[user] = hashed.strip()
            lines[user] = number
    return Htpasswd(users, tuple(wrong))


def _user(name: bytes) -> str | None:
    """RFC 7617 lets no control character into a user name."""
    try:
        user = name.decode()
    except UnicodeDecodeError:
        return None
    return user if user and user.isprintable() else None


def _wrong_hash(hashed: bytes) -> str | None:
    match = _BCRYPT.match(hashed)
    if match is None or int(match[1]) < _LEAST_COST:
        return "holds no bcrypt hash ($2a$, $2b$ or $2y$): `htpasswd -B` makes one"
    if int(match[1]) > _MOST_COST:
        return f"holds a hash of a cost beyond {_MOST_COST}: each login would keep a core busy for seconds"
    return None

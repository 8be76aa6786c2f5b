"""The section `guards`: who may read and who may upload, by the names of tokens and of htpasswd users.

Nothing of a token is repeated in a message: who pastes one into the wrong place learns only that it stands there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from pyproxy.config import values
from pyproxy.config.htpasswd import LARGEST_HTPASSWD, Htpasswd, read_htpasswd
from pyproxy.config.reading import Files
from pyproxy.config.remotes import as_name
from pyproxy.config.section import Section, instead_of_name
from pyproxy.config.settings import GuardConfig
from pyproxy.config.values import Wrong

KEYS = ("read", "upload", "tokens", "htpasswd")
_ALSO_CALLED = {"users": "htpasswd", "token": "tokens", "write": "upload", "download": "read"}

_HASH = re.compile(r"sha256:([0-9A-Fa-f]{64})\Z", re.ASCII)
_OF_NOTHING = hashlib.sha256(b"").hexdigest()

# How `pyproxy token` begins every token, and its entry.
_SECRETS = ("pyp_", "sha256:")

# A name that nobody has and that is longer may be a token of another make.
_LONGEST_TOLD = 40

_MOST_LINES = 5
_NO_FILE = Htpasswd({}, ())


@dataclass(frozen=True, slots=True)
class _Holders:
    """Whom a guard knows. `complete` False: the file of users could not be read, so there may be others.

    `tokens` are the keys as they stand there, `told` those names that a message may hold.
    """

    tokens: Collection[str]
    users: Collection[str]
    told: Collection[str]
    complete: bool


def read_guards(guards: Section, files: Files) -> dict[str, GuardConfig]:
    """Every guard, the mistaken ones too, for distributions to name."""
    found: dict[str, GuardConfig] = {}
    for name in guards:
        wrong = as_name(name)
        if wrong:
            guards.wrong(name, wrong)
        found[name] = _guard(name, guards.section(name, KEYS, elsewhere=_ALSO_CALLED), files)
    return found


def _guard(name: str, section: Section, files: Files) -> GuardConfig:
    given = section.section("tokens")
    tokens = _tokens(section, given)
    path = section.value("htpasswd", files.path, None)
    file = _htpasswd(section, files, path) if path is not None else _NO_FILE
    users = file.users if file is not None else {}
    holders = _Holders(tuple(given), users, [*tokens, *users], complete=file is not None)
    for token in tokens:
        if token in users:
            given.wrong(token, f"is also the name of a user in {path}: nobody could tell which of them may")
    return GuardConfig(
        name=name,
        read=_names(section, "read", holders),
        upload=_names(section, "upload", holders) or frozenset(),
        tokens=tokens,
        htpasswd=path,
        users=users,
    )


def as_token_name(name: str) -> str | None:
    """Why this is no name for a token; None where it is one."""
    return "must be NAME: sha256:…, and not the token itself" if name.startswith(_SECRETS) else as_name(name)


def _tokens(section: Section, given: Section) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in given:
        if wrong := as_token_name(name):
            # At the key's line, but without the key: it may be a token.
            section.mistakes.add(section.mistakes.where(given.at(name)), section.at("tokens"), wrong)
            continue
        if not given.has(name):
            given.wrong(name, _expected())
            continue
        digest = given.value(name, _digest, "")
        same = next((other for other, known in found.items() if digest and known == digest), None)
        if same is not None:
            given.wrong(name, f"is the same token as {same}")
        found[name] = digest
    return found


def _digest(raw: object) -> str:
    match = _HASH.match(raw) if isinstance(raw, str) else None
    if match is None:
        raise Wrong(_expected())
    if match[1].lower() == _OF_NOTHING:
        raise Wrong("is the hash of an empty text, and so no token's")
    return match[1].lower()


def _expected() -> str:
    return "must be sha256: and 64 hexadecimal digits, as `pyproxy token NAME` prints it, never the token itself"


def _htpasswd(section: Section, files: Files, path: Path) -> Htpasswd | None:
    """The file's users; None where it cannot be read."""
    try:
        found = read_htpasswd(files.read(path, limit=LARGEST_HTPASSWD))
    except Wrong as exc:
        section.wrong("htpasswd", str(exc))
        return None
    for why in found.wrong[:_MOST_LINES]:
        section.wrong("htpasswd", f"{path}: {why}")
    if len(found.wrong) > _MOST_LINES:
        section.wrong("htpasswd", f"{path}: {len(found.wrong) - _MOST_LINES} more of its lines are wrong")
    return found


def _names(section: Section, key: str, holders: _Holders) -> frozenset[str] | None:
    """The names in the list; None where there is no list."""

    def known(raw: object) -> str:
        name = values.text(raw)
        if name.startswith(_SECRETS):
            raise Wrong("must be the name of a token, and not the token itself")
        if name not in holders.tokens and name not in holders.users and holders.complete:
            called = values.as_key(name) if len(name) <= _LONGEST_TOLD else "so"
            raise Wrong(f"no token or user is called {called}; {instead_of_name(name, holders.told)}")
        return name

    names = section.values(key, known, single=True)
    return None if names is None else frozenset(names)

"""One guard: who is behind an Authorization header, and whether that one may.

A token is checked by one SHA-256, which is right for random text; a password by bcrypt, in a thread. What was found
right is remembered as a keyed hash of the header, so that a warm request costs a look into a dict.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, TypeAlias

from pyproxy.auth.credentials import LONGEST, Credentials, as_credentials
from pyproxy.auth.failures import WINDOW, Failures, network_of
from pyproxy.auth.passwords import Passwords, TooBusy
from pyproxy.singleflight import Flights

log = logging.getLogger(__name__)

Right: TypeAlias = Literal["read", "upload"]

REMEMBERED = 1024
"""Headers found right, kept as keyed hashes; the longest unused is checked again."""

FAILURES = 10
"""So many failures of one user name from one address within `WINDOW`, and it is told to wait. One name's failures say
nothing of the next: behind a reverse proxy all clients may have one address."""

FAILURES_IN_ALL = 100
"""As many from one address, whatever names they are of."""

_TOKEN_USER = "__token__"  # noqa: S105 (a name, which clients give with every token)


class Decision(Enum):
    """What the guard says."""

    ALLOWED = auto()
    UNKNOWN = auto()
    """Nobody we know: 401 and a challenge."""
    FORBIDDEN = auto()
    """Somebody we know who may not: 403."""
    LATER = auto()
    """Too many failures from there, or too many passwords to check at once: 429."""


@dataclass(frozen=True, slots=True)
class Rights:
    """Who may do what, by the names of tokens and users. `read` None: everybody."""

    read: frozenset[str] | None
    upload: frozenset[str]


class Guard:
    """One of `guards`. `tokens`: name to hexadecimal SHA-256; `users`: name to bcrypt hash. Owned by one event loop.

    `elsewhere` tells whether a token with this hexadecimal SHA-256 is another guard's. `key` makes the hashes under
    which it remembers (None: one of its own), and `told` is called with each failure.

    It remembers who has been right, so one that a reload did not change should live on; one that it did change is to
    be replaced, and a token that was taken away opens nothing from that moment.
    """

    def __init__(
        self,
        rights: Rights,
        *,
        tokens: Mapping[str, str],
        users: Mapping[str, bytes],
        passwords: Passwords,
        elsewhere: Callable[[str], bool] = lambda _: False,
        key: bytes | None = None,
        told: Callable[[str, bytes], None] = lambda _network, _user: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rights = rights
        self._tokens = {name: bytes.fromhex(digest) for name, digest in tokens.items()}
        self._users = dict(users)
        self._hashes = tuple(users.values())
        self._passwords = passwords
        self._elsewhere = elsewhere
        self._key = key or os.urandom(32)
        self._told = told
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._checks: Flights[bytes, str | None] = Flights()
        self._failures = Failures(FAILURES, clock=clock)
        self._failures_in_all = Failures(FAILURES_IN_ALL, clock=clock)

    async def decide(self, authorization: str | None, right: Right, address: str) -> Decision:
        """Whether a request with this Authorization header, from this address, has the right."""
        allowed = self.rights.read if right == "read" else self.rights.upload
        if allowed is None:
            return Decision.ALLOWED
        if authorization is None or len(authorization) > LONGEST:
            return Decision.UNKNOWN
        digest = self._digest(authorization)
        name = self._known.get(digest)
        if name is None:
            found = await self._look(authorization, digest, address)
            if isinstance(found, Decision):
                return found
            name = found
        else:
            self._known.move_to_end(digest)
        return Decision.ALLOWED if name in allowed else Decision.FORBIDDEN

    def who(self, authorization: str | None) -> str | None:
        """The token or user behind a header that `decide` found right, for the log; None for any other."""
        if authorization is None or len(authorization) > LONGEST:
            return None
        return self._known.get(self._digest(authorization))

    def heard(self, network: str, user: bytes) -> None:
        """A guard of another process, with the same key, was `told` of a failure: it counts here too."""
        self._failures.add((network, user))
        self._failures_in_all.add(network)

    async def close(self) -> None:
        """Ends the checks that are under way."""
        await self._checks.close()

    async def _look(self, authorization: str, digest: bytes, address: str) -> str | Decision:
        """The name behind a header that is not remembered, or why there is none."""
        credentials = as_credentials(authorization)
        if credentials is None:
            return Decision.UNKNOWN  # nothing was guessed, so nothing is counted
        # Before anything else: whoever fails from the same address cannot shut a token out.
        name = self._token(credentials.secret)
        if name is None:
            if self._elsewhere(hashlib.sha256(credentials.secret).hexdigest()):
                return Decision.FORBIDDEN  # nobody's guess: the right token at the wrong door
            network, user = network_of(address), self._digest(credentials.user or "")
            if self._failures.are_too_many((network, user)) or self._failures_in_all.are_too_many(network):
                return Decision.LATER
            try:
                name = await self._user(credentials, digest)
            except TooBusy:
                return Decision.LATER
            if name is None:
                self._failed(network, user)
                return Decision.UNKNOWN
        self._known[digest] = name
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return name

    def _token(self, secret: bytes) -> str | None:
        digest = hashlib.sha256(secret).digest()
        found: str | None = None
        for name, expected in self._tokens.items():
            # All are compared, whichever fits, so that the time tells nothing.
            if hmac.compare_digest(digest, expected):
                found = name
        return found

    async def _user(self, credentials: Credentials, digest: bytes) -> str | None:
        user = credentials.user
        # A wrong token is not worth a core's time: everybody knows that this is nobody's name.
        if user is None or not self._users or (user == _TOKEN_USER and user not in self._users):
            return None

        async def check() -> str | None:
            hashed = self._users.get(user)
            against = self._stand_in(user) if hashed is None else hashed
            fits = await self._passwords.fit(credentials.secret, against)
            return user if fits and hashed is not None else None

        # A client that begins with fifty requests at once has its password checked once.
        return await self._checks.wait(digest, check)

    def _stand_in(self, user: str) -> bytes:
        """Somebody's hash, always the same one for a name: who is not there takes as long as one who is."""
        return self._hashes[int.from_bytes(self._digest(user)[:8]) % len(self._hashes)]

    def _failed(self, network: str, user: bytes) -> None:
        # Both are counted whatever the first one says. The name is not logged: people type passwords into its field.
        one, all_ = self._failures.add((network, user)), self._failures_in_all.add(network)
        self._told(network, user)
        if one or all_:
            log.warning("too many failed logins from %s: it is told to wait for %.0f s", network or "a socket", WINDOW)

    def _digest(self, text: str) -> bytes:
        # Keyed, so that neither this memory nor the time to look into it tells anything of the text.
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()

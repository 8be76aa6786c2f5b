"""Fresh, ask, serve stale, give up: decided from numbers alone (RFC 9111 §4.2, RFC 5861)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Have(Enum):
    """What the cache knows of a thing."""

    NOTHING = auto()
    COPY = auto()
    MISSING = auto()
    """The remote said that there is none."""


class Verdict(Enum):
    """What to do for the client that asks now."""

    FRESH = auto()
    """Answer from the cache."""
    STALE = auto()
    """Answer from the cache, and say that it is old."""
    ASK = auto()
    """Ask the remote; nothing can be served meanwhile."""
    ASK_BRIEFLY = auto()
    """Ask the remote; where it is slow, the stale copy is served."""
    FAIL = auto()
    """The remote failed and nothing may be served."""
    NOT_CACHED = auto()
    """The remote may not be asked, and nothing is cached."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How long things live. Seconds throughout."""

    ttl: float = 600.0
    negative_ttl: float = 60.0
    stale_if_error: float = 7 * 86400.0
    offline: bool = False


def decide(rules: Rules, have: Have, age: float, *, failed: bool = False) -> Verdict:
    """What to do with a thing that was fetched or confirmed `age` seconds ago.

    `failed`: the remote has just been asked and could not answer. A negative age (the clock was set back)
    is no age at all: the thing is asked for again, but still serves where the remote fails.
    """
    if have is Have.MISSING and 0 <= age < rules.negative_ttl and not failed:
        return Verdict.FRESH
    if have is not Have.COPY:
        return Verdict.NOT_CACHED if rules.offline else Verdict.FAIL if failed else Verdict.ASK
    if 0 <= age < rules.ttl and not failed:
        return Verdict.FRESH
    if rules.offline:
        return Verdict.STALE
    usable = age < rules.ttl + rules.stale_if_error
    if failed:
        return Verdict.STALE if usable else Verdict.FAIL
    return Verdict.ASK_BRIEFLY if usable else Verdict.ASK


def life_left(rules: Rules, age: float) -> float:
    """For how many seconds more a copy of this age is fresh; 0 where it is not."""
    return max(0.0, rules.ttl - age) if age >= 0 else 0.0

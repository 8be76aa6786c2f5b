"""All rules of one remote or distribution together: which files of a page are left, why the others are not, until when.

A rule that raises hides what it was asked about: what cannot be decided is answered with no.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from pyproxy.config import FilterConfig
from pyproxy.filters import age, files, names, versions
from pyproxy.filters.protocol import Hidden, Judge, Rule
from pyproxy.filters.seen import Seen
from pyproxy.filters.versions import KeepLatest
from pyproxy.model import ProjectName
from pyproxy.selection import Sieve

log = logging.getLogger(__name__)

FAMILIES: tuple[Callable[[FilterConfig], Iterator[Rule]], ...] = (names.rules, versions.rules, files.rules, age.rules)
"""In the order they are asked: the first rule that hides a file is the reason given.

Age comes last, so that a file is said to come of age only where nothing else hides it.
"""

UNDECIDED = "could not be decided, so that nothing is offered; the log says more"


class Refused(msgspec.Struct, frozen=True, gc=False):
    """The rule that hides something, by its key, and why."""

    key: str
    why: Hidden

    @property
    def reason(self) -> str:
        return self.why.reason


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What becomes of a page's files, by their position; None: shown. Holds until `until` (seconds, epoch)."""

    of: tuple[Refused | None, ...]
    until: float

    @property
    def hidden(self) -> Iterator[Refused]:
        return (it for it in self.of if it is not None)


@dataclass(frozen=True, slots=True)
class Policy:
    """The rules, in their order. `latest` is counted last, over what they left.

    `sieve` lets those names through that no rule refuses; None: every name.
    """

    rules: tuple[Rule, ...]
    latest: KeepLatest | None = None
    sieve: Sieve | None = None

    @property
    def looks_at_pages(self) -> bool:
        """Whether the verdict on a file needs those on the others of its page."""
        return self.latest is not None

    def refuses(self, project: ProjectName) -> Refused | None:
        """Which rule keeps the whole project back, by its name alone; None where that decides nothing."""
        for rule in self.rules:
            try:
                reason = rule.refuses(project)
            except Exception:
                log.exception("filter %s failed over the name of %s", rule.key, project)
                reason = f"{rule.key} {UNDECIDED}"
            if reason is not None:
                return Refused(rule.key, Hidden(reason))
        return None

    def verdicts(self, project: ProjectName, files: tuple[Seen, ...], now: float) -> Verdicts:
        """What becomes of these files of one project."""
        judges = [_judge(rule, project) for rule in self.rules]
        asked = [(key, judge) for key, judge in judges if judge is not None]
        failures = _Failures(project)
        found: list[Refused | None] = []
        until = math.inf
        for file in files:
            refused = None
            for key, judge in asked:
                try:
                    hidden = judge(file, now)
                except Exception as exc:  # noqa: BLE001 - whatever it is, the file is not shown
                    hidden = failures.hidden(key, file, exc)
                if hidden is not None:
                    refused = Refused(key, hidden)
                    until = min(until, hidden.until)
                    break
            found.append(refused)
        if self.latest is not None:
            _count_last(self.latest, files, found, failures)
        failures.tell()
        return Verdicts(tuple(found), until)


def policy_of(config: FilterConfig) -> Policy:
    """The rules that these keys stand for; none for their defaults."""
    latest = KeepLatest(config.keep_latest_packages) if config.keep_latest_packages else None
    return Policy(tuple(rule for family in FAMILIES for rule in family(config)), latest, names.sieve(config))


def _judge(rule: Rule, project: ProjectName) -> tuple[str, Judge | None]:
    try:
        return rule.key, rule.of(project)
    except Exception as exc:  # noqa: BLE001 - told once, with the files that it hides
        failure = exc

        def fails(file: Seen, now: float) -> Hidden:
            del file, now
            raise failure

        return rule.key, fails


def _count_last(latest: KeepLatest, files: tuple[Seen, ...], found: list[Refused | None], failures: _Failures) -> None:
    left = [position for position, refused in enumerate(found) if refused is None]
    try:
        hidden = latest.hides([files[position] for position in left])
    except Exception as exc:  # noqa: BLE001 - as above
        hidden = {at: failures.hidden(latest.key, files[position], exc) for at, position in enumerate(left)}
    for at, why in hidden.items():
        found[left[at]] = Refused(latest.key, why)


class _Failures:
    """What rules raised over one page: a line in the log for each rule, however many files it failed over."""

    def __init__(self, project: ProjectName) -> None:
        self._project = project
        self._first: dict[str, tuple[str, Exception]] = {}
        self._count: dict[str, int] = {}

    def hidden(self, key: str, file: Seen, exc: Exception) -> Hidden:
        self._first.setdefault(key, (file.file.filename, exc))
        self._count[key] = self._count.get(key, 0) + 1
        return Hidden(f"{key} {UNDECIDED}")

    def tell(self) -> None:
        for key, (filename, exc) in self._first.items():
            log.error(
                "filter %s failed over %d files of %s, which are hidden; the first is %s",
                key,
                self._count[key],
                self._project,
                filename,
                exc_info=exc,
            )

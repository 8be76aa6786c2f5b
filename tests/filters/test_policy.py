from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest

from pyproxy.config import FilterConfig
from pyproxy.filters import Policy, policy_of, seen
from pyproxy.filters.protocol import Judge, Refused
from pyproxy.filters.seen import Seen
from pyproxy.filters.versions import KeepLatest
from pyproxy.model import ProjectName, as_project
from tests.filters.looking import NOW, a_file, left, policy

ALPHA = as_project("alpha")
FILES = ["alpha-1.0.tar.gz", "alpha-2.0.tar.gz"]


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that raises where it is told to."""

    at: str
    key: ClassVar = "broken"

    def refuses(self, project: ProjectName) -> None:
        if self.at == "name":
            raise ValueError(project)

    def of(self, project: ProjectName) -> Sequence[Judge]:
        if self.at == "project":
            raise ValueError(project)
        return (self._judge,)

    def _judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        if any(self.at in page.files[at].filename for at in positions):
            raise ValueError(now)
        return {}


class BrokenLatest(KeepLatest):
    def hides(self, page: Seen, positions: object) -> dict[int, Refused]:
        raise ValueError(page, positions)


def test_no_keys__are_no_rules() -> None:
    assert policy_of(FilterConfig()) == Policy(())


@pytest.mark.parametrize(("at", "expected"), [("name", []), ("project", []), ("2.0", FILES[:1]), ("nowhere", FILES)])
def test_rule__raises__hides_what_it_was_asked_about(at: str, expected: list[str]) -> None:
    assert left(Policy((Broken(at),)), FILES) == expected


def test_rule__raises__is_told_once_a_page(caplog: pytest.LogCaptureFixture) -> None:
    [refused, _] = Policy((Broken("alpha"),)).verdicts(ALPHA, seen_files(), NOW).of

    assert refused is not None
    assert (refused.key, refused.reason[:30]) == ("broken", "broken could not be decided, s")
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage().startswith("filter broken failed over 2 files of alpha, which are hidden; the first is")
    assert record.exc_info is not None


def test_rule__raises_over_several_alone__is_told_and_asked_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    class Overwhelmed(Broken):
        __slots__ = ()

        def _judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
            del now
            [at] = positions
            return {at: Refused(self.key, "says no")} if self.at in page.files[at].filename else {}

    assert left(Policy((Overwhelmed("2.0"),)), FILES) == FILES[:1]
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.WARNING,
        "filter broken failed over alpha, but over none of its files alone",
    )


def test_count_over_what_is_left__raises__hides_all_of_it() -> None:
    rules = Policy((Broken("2.0"),), BrokenLatest(1))

    verdicts = rules.verdicts(ALPHA, seen_files(), NOW)

    assert [refused.key for refused in verdicts.hidden] == ["keep_latest_packages", "broken"]


def test_reason__is_of_the_first_rule_that_hides() -> None:
    rules = policy(excludes=["alpha==1.0"], package_types=("bdist_wheel",), min_age=1.0)

    assert [it.key for it in rules.verdicts(ALPHA, seen_files(), NOW).hidden] == ["excludes", "package_types"]


def seen_files() -> Seen:
    return seen(ALPHA, [a_file(name) for name in FILES])

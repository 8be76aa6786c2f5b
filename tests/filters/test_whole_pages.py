"""A page judged at once is judged as it would be rule by rule and file by file."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyproxy.filters import Policy, seen
from pyproxy.filters.protocol import Judge, Refused
from pyproxy.filters.seen import Seen
from pyproxy.instants import as_uploaded
from pyproxy.model import ProjectName, as_project
from tests.filters.looking import NOW, a_file
from tests.filters.reference import POLICIES, Made, expected, made_of, pages

ALPHA = as_project("alpha")


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(pages(), POLICIES)
def test_page__judged_at_once__is_judged_as_rule_by_rule_and_file_by_file(
    page: list[Made], keys: dict[str, Any]
) -> None:
    rules = made_of(keys)
    if rules.refuses(ALPHA) is not None:
        return  # `includes` that name others alone
    files = [made.file for made in page]

    verdicts = rules.verdicts(ALPHA, seen(ALPHA, files), NOW)

    keys_found = [None if refused is None else refused.key for refused in verdicts.of]
    assert keys_found == expected(page, keys)
    assert verdicts.counts == Counter(key for key in keys_found if key is not None)
    of_age = [made.file.upload_time for made, key in zip(page, keys_found, strict=True) if key == "min_age"]
    ages = [time + keys["min_age"] for text in of_age if (time := as_uploaded(text)) is not None]
    assert verdicts.until == min(ages, default=math.inf)
    for file, refused in zip(files, verdicts.of, strict=True):
        if refused is not None and refused.key != "keep_latest_packages":
            [alone] = rules.verdicts(ALPHA, seen(ALPHA, [file]), NOW).of
            assert alone is not None
            assert alone.reason == refused.reason


# ---------------------------------------------------------------------- rules that raise


@dataclass(frozen=True, slots=True)
class Sometimes:
    """A rule that hides some files, and raises where it is asked about others."""

    key: str
    hides: frozenset[str]
    fails: frozenset[str]
    asked: list[str] = field(default_factory=list)

    def refuses(self, project: ProjectName) -> None:
        del project

    def of(self, project: ProjectName) -> Sequence[Judge]:
        del project
        return (self._judge,)

    def _judge(self, page: Seen, now: float, positions: Sequence[int]) -> Mapping[int, Refused]:
        del now
        names = {at: page.files[at].filename for at in positions}
        self.asked.extend(names.values())
        if self.fails & set(names.values()):
            raise ValueError(self.fails)
        return {at: Refused(self.key, "hides it") for at, name in names.items() if name in self.hides}


NAMES = [f"alpha-{number}.tar.gz" for number in range(6)]
SOME = st.frozensets(st.sampled_from(NAMES))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.builds(Sometimes, st.sampled_from("abc"), SOME, SOME), max_size=3, unique_by=lambda rule: rule.key))
def test_rules_that_raise__hide_the_files_they_raise_over_and_no_others(
    caplog: pytest.LogCaptureFixture, rules: list[Sometimes]
) -> None:
    caplog.clear()
    wanted: list[tuple[str, str] | None] = []
    for name in NAMES:
        said = [
            (rule.key, "could" if name in rule.fails else "hides") for rule in rules if name in rule.fails | rule.hides
        ]
        wanted.append(said[0] if said else None)

    verdicts = Policy(tuple(rules)).verdicts(ALPHA, seen(ALPHA, [a_file(name) for name in NAMES]), NOW)

    assert [it and (it.key, it.words.split()[0]) for it in verdicts.of] == wanted
    failed = {said[0] for said in wanted if said is not None and said[1] == "could"}
    assert len(caplog.records) == len(failed)
    for at, rule in enumerate(rules):
        earlier = frozenset[str]().union(*(it.hides | it.fails for it in rules[:at]))
        assert not earlier & set(rule.asked)

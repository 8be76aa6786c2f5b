from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pyproxy.filters import seen
from pyproxy.instants import show_instant
from pyproxy.model import File, as_project
from tests.filters.looking import NOW, a_file, left, policy, reasons

DAY = 86400.0
ALPHA = as_project("alpha")


def aged(version: str, days: float | None, *, link: str | None = None) -> File:
    """A file uploaded so many days ago; None: nobody tells."""
    said: dict[str, Any] = {} if days is None else {"upload_time": show_instant(NOW - days * DAY)}
    file = a_file(f"alpha-{version}.tar.gz", **said)
    return file if link is None else File(file.filename, "", link, **said)


def versions(files: list[str]) -> list[str]:
    return [name.removeprefix("alpha-").removesuffix(".tar.gz") for name in files]


def test_min_age__hides_what_was_uploaded_less_than_that_ago() -> None:
    page = [aged("1", 8), aged("2", 7), aged("3", 6.9), aged("4", 0), aged("5", -1)]

    assert versions(left(policy(min_age=7 * DAY), page)) == ["1", "2"]
    assert reasons(policy(min_age=7 * DAY), page[3:4]) == {
        "alpha-4.tar.gz": "min_age 7d: it was uploaded at 2026-09-21T14:13:20Z and is offered from 2026-09-28T14:13:20Z"
    }


def test_min_age__holds_until_the_next_file_comes_of_age() -> None:
    files = seen(ALPHA, [aged("1", 8), aged("2", 5), aged("3", 3), aged("4", None)])
    rules = policy(min_age=7 * DAY)

    assert rules.verdicts(ALPHA, files, NOW).until == NOW + 2 * DAY
    assert rules.verdicts(ALPHA, files, NOW + 2 * DAY).until == NOW + 4 * DAY
    assert rules.verdicts(ALPHA, files, NOW + 4 * DAY).until == float("inf")


def test_min_age__file_that_another_rule_hides__ends_nothing() -> None:
    files = seen(ALPHA, [aged("1", 5)])

    assert policy(min_age=7 * DAY, excludes=["alpha==1"]).verdicts(ALPHA, files, NOW).until == float("inf")


def test_exclude_newer__hides_what_was_uploaded_after_it() -> None:
    page = [aged("1", 10), aged("2", 7), aged("3", 6)]

    assert versions(left(policy(exclude_newer=NOW - 7 * DAY), page)) == ["1", "2"]


def test_unknown_age__decides_only_where_ages_are_asked_for() -> None:
    page = [aged("1", 100), aged("2", None), a_file("alpha-3.tar.gz", upload_time="yesterday")]

    assert versions(left(policy(), page)) == ["1", "2", "3"]
    assert versions(left(policy(min_age=DAY), page)) == ["1"]
    assert versions(left(policy(exclude_newer=NOW), page)) == ["1"]
    assert versions(left(policy(min_age=DAY, unknown_age="show"), page)) == ["1", "2", "3"]
    assert reasons(policy(min_age=DAY), page[1:2]) == {
        "alpha-2.tar.gz": "unknown_age hide: nobody tells when it was uploaded, which min_age must know"
    }


def test_exempt__passes_ages_and_nothing_else() -> None:
    page = [aged("1", 0), aged("2", 0), aged("3", None)]
    keys: dict[str, Any] = {"min_age": DAY, "exclude_newer": NOW - 10 * DAY}

    assert versions(left(policy(**keys, exempt=["alpha"]), page)) == ["1", "2", "3"]
    assert versions(left(policy(**keys, exempt=["al*"]), page)) == ["1", "2", "3"]
    assert versions(left(policy(**keys, exempt=["alpha==2"]), page)) == ["2"]
    assert versions(left(policy(**keys, exempt=["beta"]), page)) == []
    assert versions(left(policy(**keys, exempt=["alpha"], excludes=["alpha==1"]), page)) == ["2", "3"]
    assert versions(left(policy(**keys, exempt=["alpha"], package_types=("bdist_wheel",)), page)) == []


def test_exempt__version_that_nobody_can_compare__is_not() -> None:
    assert left(policy(min_age=DAY, exempt=["alpha==2"]), [aged("odd", 0)]) == []


def test_local_files__are_not_held_back_by_a_cool_down_but_by_the_time_machine() -> None:
    page = [aged("1", 0, link="local/alpha/alpha-1.tar.gz")]

    assert versions(left(policy(min_age=DAY), page)) == ["1"]
    assert versions(left(policy(exclude_newer=NOW - DAY), page)) == []


def test_upload_time__at_the_end_of_all_calendars__is_hidden_and_said() -> None:
    page = [a_file("alpha-1.tar.gz", upload_time="9999-12-31T23:59:59Z")]

    assert "is offered from a time that no calendar has" in reasons(policy(min_age=7 * DAY), page)["alpha-1.tar.gz"]


@given(
    ages=st.lists(st.floats(min_value=-10, max_value=30), max_size=8),
    limit=st.floats(min_value=0.001, max_value=20),
    waits=st.lists(st.floats(min_value=0, max_value=10), max_size=5),
)
def test_verdicts__hold_as_long_as_they_say(ages: list[float], limit: float, waits: list[float]) -> None:
    files = seen(ALPHA, [aged(str(number), age) for number, age in enumerate(ages)])
    rules = policy(min_age=limit * DAY)
    verdicts = rules.verdicts(ALPHA, files, NOW)

    for wait in waits:
        now = NOW + wait * DAY
        hidden = [verdict is None for verdict in rules.verdicts(ALPHA, files, now).of]
        assert (hidden == [verdict is None for verdict in verdicts.of]) == (now < verdicts.until)

"""Conditional requests: when it is 304, when 412, and when a Range still counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.handlers.conditions import (
    Conditions,
    Verdict,
    if_match,
    if_modified_since,
    if_none_match,
    if_range,
    verdict,
    wanted_range,
)

ETAG = '"sha256-abc,def"'
CHANGED = "Sun, 06 Nov 1994 08:49:37 GMT"
EARLIER = "Sun, 06 Nov 1994 08:49:36 GMT"
LATER = "Sun, 06 Nov 1994 08:49:38 GMT"


@pytest.mark.parametrize(
    "header",
    [
        ETAG,
        f"W/{ETAG}",
        "*",
        " * ",
        f'"other", {ETAG}',
        f'"other",{ETAG},"third"',
        f'W/"other" , W/{ETAG}',
        f",, {ETAG},",
        f'"", {ETAG}',
    ],
)
def test_if_none_match__ours__is_a_match(header: str) -> None:
    assert if_none_match(header, ETAG)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        ",",
        '"other"',
        '"sha256-abc", "def"',
        "sha256-abc,def",
        '"sha256-abc,def',
        f"w/{ETAG}",
        f"W/ {ETAG}",
        f"junk, {ETAG}",
        f'"other"x{ETAG}',
        '"*"',
        '*, "other"',
        f"{ETAG}x".replace('"', "'"),
        f'"{ETAG}"',
    ],
)
def test_if_none_match__other_or_junk__is_none(header: str | None) -> None:
    assert not if_none_match(header, ETAG)


def test_if_none_match__weak_tag_of_ours__is_compared_weakly() -> None:
    assert if_none_match('"a"', 'W/"a"')
    assert if_none_match('W/"a"', 'W/"a"')


def test_if_none_match__a_hundred_thousand_characters_of_junk__is_quick() -> None:
    assert not if_none_match('W/"' * 33_000, ETAG)
    assert not if_none_match(", " * 50_000, ETAG)


@given(st.text('W/"*, abc', max_size=30) | st.text(max_size=30))
def test_property__any_text__matches_only_where_it_holds_the_tag_or_is_a_star(header: str) -> None:
    if if_none_match(header, '"a"'):
        assert '"a"' in header or header.strip() == "*"


@given(st.lists(st.text("abc,-", max_size=5), max_size=6), st.lists(st.booleans(), min_size=6, max_size=6))
def test_property__any_list__matches_exactly_where_it_names_the_tag(tags: list[str], weak: list[bool]) -> None:
    header = ", ".join(f'{"W/" if w else ""}"{tag}"' for tag, w in zip(tags, weak, strict=False))
    assert if_none_match(header, '"a"') == ("a" in tags)


@pytest.mark.parametrize(
    ("header", "matches"),
    [(ETAG, True), ("*", True), (f'"other", {ETAG}', True), (f"W/{ETAG}", False), ('"other"', False), ("junk", False)],
)
def test_if_match__is_strong(header: str, matches: bool) -> None:  # noqa: FBT001 -- a row of the table
    assert if_match(header, ETAG) is matches


@pytest.mark.parametrize(
    ("header", "fits"),
    [
        (None, True),
        (ETAG, True),
        (f" {ETAG} ", True),
        ('"other"', False),
        (f"W/{ETAG}", False),
        (f'{ETAG}, "other"', False),
        ("*", False),
        (CHANGED, False),
        ("junk", False),
        ("", False),
    ],
)
def test_if_range__is_exact_and_strong(header: str | None, fits: bool) -> None:  # noqa: FBT001 -- a row of the table
    assert if_range(header, ETAG) is fits


def test_if_range__weak_tag_of_ours__never_fits() -> None:
    assert not if_range('W/"a"', 'W/"a"')
    assert not if_range('"a"', 'W/"a"')


def test_if_range__no_tag_while_the_file_arrives__never_fits() -> None:
    assert not if_range(ETAG, None)


def test_if_range__date__fits_only_letter_for_letter() -> None:
    assert if_range(CHANGED, ETAG, CHANGED)
    assert not if_range(LATER, ETAG, CHANGED)
    assert not if_range("Sunday, 06-Nov-94 08:49:37 GMT", ETAG, CHANGED)
    assert not if_range("junk", ETAG, "junk")


@pytest.mark.parametrize(
    "header",
    [CHANGED, LATER, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Fri, 31 Dec 9999 23:59:59 GMT"],
)
def test_if_modified_since__then_or_later__is_not_modified(header: str) -> None:
    assert if_modified_since(header, CHANGED)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        EARLIER,
        "Saturday, 05-Nov-94 08:49:37 GMT",
        "Wednesday, 06-Nov-85 08:49:37 GMT",
        "Sun Nov  5 08:49:37 1994",
        "Mon, 30 Feb 2099 00:00:00 GMT",
        "Mon, 30 Foo 2099 00:00:00 GMT",
        "Mon, 30 Mar 2099 25:00:00 GMT",
        "Mon, 30 Mar 2099 ::::::00 GMT",
        "Mon, 30 Mar 2099 00:00:00 CET",
        "Mon, 30 Mar 2099 00:00:00",
        "Mon, 00 Mar 0000 00:00:00 GMT",
        f"{LATER}, {LATER}",
        "2099-01-01T00:00:00Z",
        "4102444800",
    ],
)
def test_if_modified_since__earlier_or_nonsense__is_modified(header: str | None) -> None:
    assert not if_modified_since(header, CHANGED)


def test_if_modified_since__nothing_to_compare_with__is_modified() -> None:
    assert not if_modified_since(LATER, None)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (Conditions(), Verdict.SEND),
        (Conditions(if_none_match=ETAG), Verdict.NOT_MODIFIED),
        (Conditions(if_none_match='"other"'), Verdict.SEND),
        # §13.2.2: a tag, right or wrong, goes before the date.
        (Conditions(if_none_match='"other"', if_modified_since=LATER), Verdict.SEND),
        (Conditions(if_none_match="junk", if_modified_since=LATER), Verdict.SEND),
        (Conditions(if_none_match=ETAG, if_modified_since=EARLIER), Verdict.NOT_MODIFIED),
        (Conditions(if_modified_since=LATER), Verdict.NOT_MODIFIED),
        (Conditions(if_modified_since=EARLIER), Verdict.SEND),
        (Conditions(if_match=ETAG), Verdict.SEND),
        (Conditions(if_match='"other"'), Verdict.FAILED),
        (Conditions(if_match=ETAG, if_unmodified_since=EARLIER), Verdict.SEND),
        (Conditions(if_match='"other"', if_none_match=ETAG), Verdict.FAILED),
        (Conditions(if_match=ETAG, if_none_match=ETAG), Verdict.NOT_MODIFIED),
        (Conditions(if_unmodified_since=EARLIER), Verdict.FAILED),
        (Conditions(if_unmodified_since=CHANGED), Verdict.SEND),
        (Conditions(if_unmodified_since="junk"), Verdict.SEND),
        (Conditions(if_unmodified_since=EARLIER, if_none_match=ETAG), Verdict.FAILED),
        (Conditions(if_range='"other"', range="bytes=0-"), Verdict.SEND),
    ],
)
def test_verdict__follows_the_order_of_the_rfc(asked: Conditions, expected: Verdict) -> None:
    assert verdict(asked, etag=ETAG, last_modified=CHANGED) is expected


def test_verdict__without_last_modified__no_date_counts() -> None:
    asked = Conditions(if_unmodified_since=EARLIER, if_modified_since=LATER)
    assert verdict(asked, etag=ETAG) is Verdict.SEND


def test_wanted_range__counts_where_if_range_fits() -> None:
    assert wanted_range(Conditions(range="bytes=0-"), etag=ETAG) == "bytes=0-"
    assert wanted_range(Conditions(range="bytes=0-", if_range=ETAG), etag=ETAG) == "bytes=0-"
    assert wanted_range(Conditions(range="bytes=0-", if_range='"other"'), etag=ETAG) is None
    assert wanted_range(Conditions(range="bytes=0-", if_range=CHANGED), etag=ETAG) is None
    assert wanted_range(Conditions(range="bytes=0-", if_range=CHANGED), etag=ETAG, last_modified=CHANGED) == "bytes=0-"
    assert wanted_range(Conditions(if_range=ETAG), etag=ETAG) is None

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.instants import as_instant, as_moments, as_uploaded, shortly_before, show_instant

NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2024-01-01T00:00:00Z", NEW_YEAR),
        ("2024-01-01t00:00:00z", NEW_YEAR),
        ("2024-01-01T02:00:00+02:00", NEW_YEAR),
        ("2023-12-31T19:30:00-04:30", NEW_YEAR),
        ("2024-01-01T00:00:00.25Z", NEW_YEAR + 0.25),
        ("2024-01-01T00:00:00.250000999Z", NEW_YEAR + 0.25),
        ("2024-01-01T00:00:00.2500000000000001Z", NEW_YEAR + 0.25),
        ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC).timestamp()),
    ],
)
def test_instant__as_rfc_3339_writes_it__is_read(text: str, seconds: float) -> None:
    assert as_instant(text) == seconds


def test_date__stands_for_the_end_of_its_day_in_utc() -> None:
    found = as_instant("2023-12-31")

    assert found is not None
    assert NEW_YEAR - 0.001 < found < NEW_YEAR


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2024",
        "2024-02-30",
        "2024-01-01T00:00:00",
        "2024-01-01T25:00:00Z",
        "2024-01-01 00:00:00Z",
        "2024-01-01T00:00Z",
        "2024-01-01T00:00:00.Z",
        "2024-01-01T00:00:00+0200",
        "2024-01-01\n",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        "\u0662\u0660\u0662\u0664-01-01",
    ],
)
def test_instant__of_another_form__is_none(text: str) -> None:
    assert as_instant(text) is None


@given(st.text(max_size=40))
def test_instant__whatever_it_is__raises_nothing(text: str) -> None:
    assert as_instant(text) is None or text[:4].isdigit()


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001 - hypothesis wants naive bounds
def test_instant__shown__is_read_as_the_same_second(moment: datetime) -> None:
    seconds = moment.replace(tzinfo=UTC, microsecond=0).timestamp()

    assert as_instant(show_instant(seconds)) == seconds


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59.999999Z", "9999-12-31", "0001-01-01T00:00:00Z"])
def test_instant__at_an_end_of_time__can_be_shown(text: str) -> None:
    found = as_instant(text)

    assert found is not None
    assert len(show_instant(found)) == len("2024-01-01T00:00:00Z")


@pytest.mark.parametrize("text", [None, "", "yesterday", "2024-99-01T00:00:00Z"])
def test_uploaded__untold_or_wrong__is_none(text: str | None) -> None:
    assert as_uploaded(text) is None


TEXTS = st.one_of(
    st.none(),
    st.text(max_size=30),
    st.datetimes().map(lambda it: f"{it.isoformat()}Z"),
    st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
    st.datetimes().map(datetime.isoformat),
)


@given(st.lists(TEXTS, max_size=4))
def test_moments__of_many__are_those_of_each(texts: list[str | None]) -> None:
    found = as_moments(texts)

    assert [moment and moment.timestamp() for moment in found] == list(map(as_uploaded, texts))
    assert all(moment is None or moment.tzinfo is not None for moment in found)


ZONES = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)


@given(st.one_of(st.floats(-1e18, 1e18), st.floats(-1e11, 3e11)), st.datetimes(timezones=ZONES))
def test_shortly_before__is_after_nothing_that_is_after_the_instant(instant: float, uploaded: datetime) -> None:
    assert uploaded.timestamp() <= instant or uploaded >= shortly_before(instant)


@given(st.floats(-6e10, 2e11))
def test_shortly_before__is_within_a_second(instant: float) -> None:
    assert 0.5 < instant - shortly_before(instant).timestamp() < 1.5

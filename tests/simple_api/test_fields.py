"""Single fields, brought to one harmless form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.model import Hashes
from pyproxy.simple_api import fields

DIGEST = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("raw", "instant"),
    [
        ("2023-05-04T03:02:01.123456Z", "2023-05-04T03:02:01.123456Z"),
        ("2023-05-04T03:02:01.5Z", "2023-05-04T03:02:01.5Z"),
        ("2023-05-04T03:02:01Z", "2023-05-04T03:02:01Z"),
        ("2023-05-04T03:02:01+00:00", "2023-05-04T03:02:01Z"),
        ("2023-05-04T03:02:01.5+02:00", "2023-05-04T01:02:01.500000Z"),
        ("2023-05-04T00:30:00-01:00", "2023-05-04T01:30:00Z"),
        ("2023-12-31T23:59:59-00:01", "2024-01-01T00:00:59Z"),
        ("2023-05-04 03:02:01Z", "2023-05-04T03:02:01Z"),
        ("2023-05-04T03:02:01.123456789Z", "2023-05-04T03:02:01.123456Z"),
        ("2023-05-04T03:02:01", None),  # which zone?
        ("2023-05-04", None),
        ("2023-02-30T00:00:00Z", None),
        ("2023-13-01T00:00:00Z", None),
        ("2023-05-04T25:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", None),
        ("yesterday", None),
        ("", None),
        ("2023-05-04T03:02:01Z\n", None),
        ("٢٠٢٣-05-04T03:02:01Z", None),
        ("2023-05-04T03:02:01" + "0" * 5000 + "Z", None),
        (None, None),
    ],
)
def test_instant__time__is_utc_or_none(raw: str | None, instant: str | None) -> None:
    assert fields.instant(raw) == instant


@given(st.text() | st.datetimes().map(lambda moment: moment.isoformat() + "Z"))
def test_instant__anything__is_in_the_form_of_the_pep(raw: str) -> None:
    found = fields.instant(raw)
    assert found is None or fields._INSTANT.match(found)
    assert found is None or fields.instant(found) == found


@pytest.mark.parametrize(
    ("raw", "hashes"),
    [
        ({"sha256": DIGEST}, {"sha256": DIGEST}),
        ({"SHA256": DIGEST.upper()}, {"sha256": DIGEST}),
        ({"md5": "0" * 32, "sha256": DIGEST}, {"md5": "0" * 32, "sha256": DIGEST}),
        ({"sha256": None}, {}),
        ({"blake2b": "ab" * 32}, {"blake2b": "ab" * 32}),
        ({"blake2b_256": "ab" * 32}, {"blake2b_256": "ab" * 32}),
        ({"crc 32": "00", "sha256": DIGEST}, {"sha256": DIGEST}),
        ({'x"><script>': "00"}, {}),
        ({"blake3": '"><script>'}, {}),
        ({}, {}),
    ],
)
def test_hashes__what_can_be_checked__is_kept_in_lower_case(raw: dict[str, str | None], hashes: Hashes) -> None:
    assert fields.hashes(raw) == hashes


@pytest.mark.parametrize("digest", ["", "0", "z" * 64, DIGEST + "\n", DIGEST[:-1], DIGEST + "0", "é" * 64, " " * 64])
def test_hashes__digest_that_cannot_be_one__is_refused(digest: str) -> None:
    with pytest.raises(fields.BadField, match="sha256 is no digest"):
        fields.hashes({"sha256": digest})


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        ("plain", "plain"),
        ("bad <b>build</b> & it's ünsafe 🐍", "bad <b>build</b> & it's ünsafe 🐍"),
        ("a\tb\nc", "a\tb\nc"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("\x00\x1b[31mred\x07\x7f\x9b", "[31mred"),
        ("\ud800", ""),
        ("x" * 5000, "x" * 4096),
    ],
)
def test_text__control_characters__are_left_out(raw: str, kept: str) -> None:
    assert fields.text(raw) == kept


@pytest.mark.parametrize(
    ("raw", "yanked"),
    [(None, False), (False, False), ("", False), (True, True), ("why", "why"), ("\0", True)],
)
def test_yanked__truthy__means_yanked(raw: bool | str | None, yanked: bool | str) -> None:  # noqa: FBT001 - its type
    assert fields.yanked(raw) == yanked


def test_requires_python__too_long__is_refused_not_cut() -> None:
    assert fields.requires_python(" >=3.8 ") == ">=3.8"
    assert fields.requires_python(" ") is None
    with pytest.raises(fields.BadField):
        fields.requires_python(">=3.8" + "," * 5000)


@pytest.mark.parametrize("version", [None, "1.0", "1", "1.4", "1.99", " 1.0 ", "1.4.1"])
def test_version__major_1__is_understood(version: str | None) -> None:
    fields.checked_version(version)


@pytest.mark.parametrize("version", ["2.0", "2", "0.9", "10.0", "", "one", "1.", "-1.0", "1.x", "\u0661.\u0660"])
def test_version__any_other__is_not(version: str) -> None:
    with pytest.raises(fields.BadField, match=r"only 1\.x"):
        fields.checked_version(version)


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "https://u:p@index.example/",
        "ftp://index.example/",
        "/relative",
        "https://",
        "https://a b/",
        "https://[::1/",
        "https://index.example/\n",
        "https://index.example/" + "x" * 5000,
    ],
)
def test_urls__no_plain_web_address__is_left_out(url: str) -> None:
    good = "https://index.example/simple/x/"
    assert fields.urls([url, good, good]) == (good,)


def test_versions__odd_ones__are_left_out() -> None:
    assert fields.versions(["1.0", "", "1.0", "x" * 200, "1\n", "2004d-final"]) == ("1.0", "2004d-final")
    assert fields.versions(None) is None


@pytest.mark.parametrize(
    ("hashes", "one"),
    [
        ({}, ""),
        ({"md5": "1", "sha256": "2", "sha512": "3"}, "sha256=2"),
        ({"md5": "1", "sha512": "3", "sha1": "4"}, "sha512=3"),
        ({"md5": "1", "blake2b": "3"}, "md5=1"),
        ({"blake3": "1", "blake2b": "3"}, "blake2b=3"),
        ({"blake3": "1"}, ""),
    ],
)
def test_as_one__of_several__is_the_best_that_clients_check(hashes: Hashes, one: str) -> None:
    assert fields.as_one(hashes) == one

"""Pages as JSON: what stands beside the files, and bodies that are no page."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyproxy.errors import PageUnreadable
from pyproxy.model import as_project
from pyproxy.simple_api import parse_json as module
from pyproxy.simple_api import parse_page
from tests.simple_api.pages import (
    DIGEST,
    JSON,
    LINK,
    NAME,
    PAGE,
    PROJECT,
    entry,
    names,
    only,
    parse,
    parse_json,
    wheel,
)


def test_versions__are_the_remotes_own() -> None:
    assert parse_json(versions=["1.0", "2004d-final", "1.0"]).page.versions == ("1.0", "2004d-final")
    assert parse_json().page.versions is None
    assert parse_json(versions=[1, 2]).page.versions is None
    assert parse_json(versions="1.0").page.versions is None


@pytest.mark.parametrize(
    "keys",
    [
        {"project_status": {"status": "archived", "reason": "why"}},
        {"project_status": {"status": "Archived", "reason": "why"}},
        {"project_status": "archived", "project_status_reason": "why"},
        {"meta": {"project-status": {"status": "archived", "reason": "why"}}},
        {"meta": {"project-status": "archived", "project-status-reason": "why"}},
    ],
)
def test_status__wherever_servers_put_it__is_read(keys: dict[str, object]) -> None:
    found = parse_json(**keys).page
    assert (found.status, found.status_reason) == ("archived", "why")


@pytest.mark.parametrize(
    "top",
    [
        {},
        {"versions": ["1.0", "2.0", "1.0", ""]},
        {"versions": []},
        {"project_status": {"status": "Archived", "reason": "why"}},
        {"project_status": {"status": "archived", "reason": 7}},
        {"project_status": {"reason": "why"}},
        {"project_status": "archived"},
        {"project_status": 7},
        {"alternate_locations": ["https://other.example/p/", "javascript:x"]},
        {"alternate_locations": "https://other.example/p/"},
        {"alternate_locations": ""},
        {"meta": {"api-version": "1.4", "_last-serial": 7, "tracks": ["https://index.example/p/"]}},
        {"meta": {"api-version": "1.4", "tracks": "https://index.example/p/"}},
        {"meta": {}},
        {"name": "Proj"},
        {"name": None},
    ],
)
def test_page__read_in_one_go__is_what_it_is_field_by_field(
    top: dict[str, object],
) -> None:
    usual = entry(core_metadata=True)
    at_once = parse_json(usual, **top)

    assert at_once == parse_json(usual, project_status_reason="", **top)  # a field that it does not know


@pytest.mark.parametrize(
    "wrong", [None, 7, [], {}, {"status": None}, {"status": 7, "reason": "x"}, "", {"reason": "x"}]
)
def test_status__that_says_none__is_none(wrong: object) -> None:
    found = parse_json(project_status=wrong).page
    assert (found.status, found.status_reason) == (None, None)


@pytest.mark.parametrize("meta", [True, False])
def test_tracks_and_alternates__in_both_places__are_read(*, meta: bool) -> None:
    urls = ["https://a.example/simple/proj/", "https://b.example/simple/proj/"]
    keys = {"tracks": urls, "alternate-locations": urls[:1]}
    found = (parse_json(meta=keys) if meta else parse_json(**keys)).page
    assert found.tracks == tuple(urls)
    assert found.alternate_locations == (urls[0],)


def test_tracks__one_text_instead_of_a_list__is_read() -> None:
    assert parse_json(meta={"tracks": "https://a.example/"}).page.tracks == ("https://a.example/",)
    assert parse_json(meta={"tracks": ["javascript:x", 7]}).page.tracks == ()


@pytest.mark.parametrize(
    "meta", [None, {}, {"api-version": None}, {"api-version": "1.99"}, {"api-version": 1.0}, 7, []]
)
def test_api_version__absent_or_1__is_read(meta: object) -> None:
    assert names(parse_json(entry(), meta=meta)) == [NAME]


@pytest.mark.parametrize("version", ["2.0", "2", 2, 2.0, "one", "", [], True])
@pytest.mark.parametrize("files", [[entry()], None])
def test_api_version__other_major__is_refused(version: object, files: object) -> None:
    with pytest.raises(PageUnreadable, match=r"only 1\.x is understood"):
        parse(msgspec.json.encode({"meta": {"api-version": version}, "files": files}), JSON)


def test_name__of_another_project__is_refused() -> None:
    with pytest.raises(PageUnreadable, match="'other'"):
        parse_json(entry(), name="other")


@pytest.mark.parametrize("name", ["proj", "PROJ", "Proj", "", None, 7])
def test_name__of_the_project_however_spelled__is_taken(name: object) -> None:
    assert parse_json(entry(), name=name).page.name == "proj"


def test_name__is_the_normalised_one() -> None:
    body = msgspec.json.encode({"name": "Foo.Bar_baz", "files": []})
    assert parse(body, JSON, project=as_project("foo-bar-baz")).page.name == "foo-bar-baz"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"[]",
        b"7",
        b'"files"',
        b"{}",
        b'{"files": null}',
        b'{"files": {}}',
        b'{"files": "x"}',
        b'{"files": 7}',
        b'{"files": []',
        b'{"files": []}}',
        b'{"files": []} x',
        b'{"files": [NaN]}',
        b'{"files": [], "x": Infinity}',
        b"{'files': []}",
        b'{"files": [],}',
        b'{"files": [{"filename": "\xff"]}',
        b'{"name": "\\ud800", "files": [',
        b"\x1f\x8b\x08\x00",
        b"\xff\xfe{\x00}\x00",
        b"<!DOCTYPE html><title>Simple index</title>",
        # From Python 3.14 on the stack is the bound, not a count of calls.
        b"[" * 1_000_000,
        b'{"files":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
        b'{"files":' + b'{"a":' * 1_000_000 + b"1" + b"}" * 1_000_000 + b"}",
        b'{"files":[],"x":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}",
    ],
)
def test_body__that_is_no_page__is_refused_in_one_line(body: bytes) -> None:
    with pytest.raises(PageUnreadable) as caught:
        parse(body, JSON)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("it is no ")


def test_body__cut_anywhere__is_refused() -> None:
    body = msgspec.json.encode({"meta": {"api-version": "1.1"}, "name": "proj", "files": [entry()]})
    for kept in range(len(body)):
        with pytest.raises(PageUnreadable):
            parse(body[:kept], JSON)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b" \r\n\t"])
def test_body__begun_by_a_mark_or_blanks__is_read(mark: bytes) -> None:
    assert names(parse(mark + msgspec.json.encode({"files": [entry()]}), JSON)) == [NAME]


def test_body__keys_twice__last_counts() -> None:
    body = b'{"files": [], "files": [' + msgspec.json.encode(entry()) + b'], "name": "other", "name": "proj"}'
    assert names(parse(body, JSON)) == [NAME]


def test_body__invalid_utf8_in_one_file__loses_that_file() -> None:
    parsed = parse(b'{"files": [{"filename": "\xff.whl", "url": "x"},' + msgspec.json.encode(entry()) + b"]}", JSON)
    assert names(parsed) == [NAME]
    assert parsed.lost == 1


def test_body__lone_surrogate__is_refused() -> None:
    with pytest.raises(PageUnreadable, match="no valid JSON"):
        parse(b'{"files": [{"filename": "\\ud800.whl", "url": "x"}]}', JSON)


def test_body__unknown_keys__are_passed_over() -> None:
    assert only(parse_json(entry(x_custom={"a": [1, 2]}), x=1)).filename == NAME


def test_body__larger_than_any_page__is_refused_unread() -> None:
    begun = time.process_time()
    with pytest.raises(PageUnreadable, match="larger than"):
        parse(bytes(64 * 1024 * 1024 + 1), JSON)
    assert time.process_time() - begun < 1


def test_body__bomb_of_commas__is_refused_before_it_opens() -> None:
    with pytest.raises(PageUnreadable, match="more than any page may"):
        parse(b'{"files":[' + b"1," * 3_000_000 + b"1]}", JSON)


def test_files__more_than_any_page__are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_FILES", 3)
    monkeypatch.setattr(module, "_AT_ONCE", 0)
    assert len(parse_json(*(entry(wheel(str(n))) for n in range(3))).page.files) == 3
    with pytest.raises(PageUnreadable, match="more than 3 files"):
        parse_json(*(entry(wheel(str(n))) for n in range(4)))


def test_large_body__file_by_file__reads_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [entry(wheel(str(n)), size=n, yanked=n % 3 == 0, requires_python=">=3") for n in range(50)]
    entries += [entry(wheel("x"), size="wrong"), {"filename": 7}]
    at_once = parse_json(*entries)
    monkeypatch.setattr(module, "_AT_ONCE", 0)
    assert parse_json(*entries) == at_once
    assert at_once.lost == 1


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([NAME, DIGEST, PAGE, "1.0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "filename",
    "url",
    "hashes",
    "requires-python",
    "yanked",
    "core-metadata",
    "dist-info-metadata",
    "gpg-sig",
    "size",
]
ENTRIES = st.dictionaries(st.sampled_from([*KEYS, "upload-time", "provenance"]), JSON_VALUES)
TOPS = st.dictionaries(
    st.sampled_from(["meta", "name", "versions", "project-status", "tracks", "alternate-locations", "x"]), JSON_VALUES
)


@given(TOPS, st.lists(ENTRIES.map(lambda fields: entry() | fields) | JSON_VALUES, max_size=3))
def test_body__any_json__is_read_or_refused(top: dict[str, object], entries: list[object]) -> None:
    body = json.dumps({**top, "files": entries}).encode()
    try:
        parsed = parse(body, JSON)
    except PageUnreadable:
        return
    assert len(parsed.page.files) + parsed.lost <= len(entries)
    for found in parsed.page.files:
        assert found.filename == NAME
        assert found.link.startswith("up")


@given(st.binary() | st.text().map(str.encode), st.sampled_from([JSON, "text/html", "text/html; charset=utf-16"]))
@example(b'{"files":[{"filename":"proj-1.0.tar.gz","url":"proj-1.0.tar.gz","hashes":{"sha256":null}}]}', JSON)
def test_body__any_bytes__are_read_or_refused(body: bytes, content_type: str) -> None:
    try:
        parse_page(body, content_type, PAGE, PROJECT, linker=LINK)
    except PageUnreadable as exc:
        assert str(exc).isprintable()  # noqa: PT017 - either outcome is right

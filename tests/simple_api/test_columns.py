"""Files of a JSON page read together: nothing may come out otherwise than file by file."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.errors import BadName
from pyproxy.model import File, are_filenames, as_filename
from pyproxy.simple_api import fields
from pyproxy.simple_api.columns import put_together
from pyproxy.simple_api.listed import UsualFile
from pyproxy.simple_api.references import Base
from pyproxy.simple_api.shelf import Shelf
from tests.simple_api.pages import DIGEST, LINK, NAME, OTHER, PAGE, entry, parse_json

HOST = "https://files.example"
ELSEWHERE = entry("proj-9.9.tar.gz", url="https://other.example/proj-9.9.tar.gz")
"""A file that keeps a page from being read by columns: it lies on another host than those before it."""


def listed(name: str = NAME, **more: Any) -> dict[str, Any]:  # Any: JSON of all kinds, wrong ones too
    return entry(name, **{"url": f"{HOST}/a/{name}", "core_metadata": False, **more})


def together(*entries: dict[str, Any]) -> tuple[File, ...] | None:
    """All of them; None where each had to be looked at by itself."""
    try:
        files = msgspec.convert(entries, list[UsualFile])
    except msgspec.ValidationError:
        return None
    return put_together(files, Shelf(Base(PAGE), LINK))


def test_files__of_a_usual_page__are_read_together() -> None:
    files = together(
        listed(
            core_metadata={"sha256": OTHER},
            requires_python=" >=3.9",
            yanked="broken",
            size=1,
            upload_time="2025-03-04T05:06:07.890123Z",
            provenance="https://index.example/integrity/x",
        ),
        listed("proj-1.0.zip", core_metadata=True, upload_time="2025-03-04T05:06:07Z", gpg_sig=True),
    )
    assert files is not None
    wheel, source = files
    assert (wheel.url, wheel.link) == (f"{HOST}/a/{NAME}", f"up~files.example/a/{NAME}")
    assert (wheel.hashes, wheel.core_metadata) == ({"sha256": DIGEST}, {"sha256": OTHER})
    assert (wheel.requires_python, wheel.yanked, wheel.size) == (">=3.9", "broken", 1)
    assert wheel.upload_time == "2025-03-04T05:06:07.890123Z"
    assert wheel.provenance == "https://index.example/integrity/x"
    assert (source.core_metadata, source.gpg_sig, source.upload_time) == (True, True, "2025-03-04T05:06:07Z")


@pytest.mark.parametrize(
    ("lead", "url", "link"),
    [
        ("../../a/", "https://index.example/a/", "up/a/"),
        ("../a/", "https://index.example/simple/a/", "up/simple/a/"),
        ("../../../../a/", "https://index.example/a/", "up/a/"),
        ("/a/", "https://index.example/a/", "up/a/"),
        ("../../a/b-c/d.e/", "https://index.example/a/b-c/d.e/", "up/a/b-c/d.e/"),
        ("../../a:b/", "https://index.example/a:b/", "up/a:b/"),
        ("https://index.example/a/", "https://index.example/a/", "up/a/"),
    ],
)
def test_files__that_lie_where_steps_lead__are_read_together(lead: str, url: str, link: str) -> None:
    entries = [listed(name, url=f"{lead}{name}") for name in (NAME, "proj-1.0.zip")]
    files = together(*entries)
    assert files is not None
    assert [file.url for file in files] == [url + NAME, f"{url}proj-1.0.zip"]
    assert [file.link for file in files] == [link + NAME, f"{link}proj-1.0.zip"]
    assert files == parse_json(*entries, ELSEWHERE).page.files[:-1]


@pytest.mark.parametrize("page", ["https://index.example/a@b/simple/proj/", "https://index.example/a//simple/proj/"])
def test_files__below_a_path_that_no_link_can_hold__are_read_one_by_one(page: str) -> None:
    shelf = Shelf(Base(page), LINK)
    assert put_together(msgspec.convert([listed(url=f"../../a/{NAME}")], list[UsualFile]), shelf) is None


@pytest.mark.parametrize(
    "other", ["/a/", "../a/", "../../../a/", "a/", "https://index.example/a/", "//index.example/a/"]
)
def test_urls__that_begin_in_different_ways__are_read_one_by_one(other: str) -> None:
    usual = [listed(name, url=f"../../a/{name}") for name in ("proj-1.0.zip", "proj-2.0.zip")]
    odd = listed(url=f"{other}{NAME}")
    assert together(*usual) is not None
    assert together(*usual, odd) is None
    assert together(odd, *usual) is None
    assert parse_json(*usual, odd).page.files == parse_json(*usual, odd, ELSEWHERE).page.files[:-1]


@pytest.mark.parametrize(
    "odd",
    [
        {"url": f"https://other.example/a/{NAME}"},
        {"url": f"HTTPS://files.example/a/{NAME}"},
        {"url": f"{HOST}/a/../{NAME}"},
        {"url": f"{HOST}/a%20b/{NAME}"},
        {"url": f"{HOST}/a@b/{NAME}"},
        {"url": f"{HOST}//a/{NAME}"},
        {"url": f"{HOST}/a//{NAME}"},
        {"url": f"{HOST}/a/.b/{NAME}"},
        {"url": f"{HOST}a/{NAME}"},
        {"url": f"{HOST}/a-{NAME}"},
        {"url": f"{HOST}/a/\n/{NAME}"},
        {"url": f"{HOST}/\u00e9/{NAME}"},
        {"url": f"{HOST}/\ud800/{NAME}"},
        {"url": f"{HOST}/{NAME}/"},
        {"url": HOST},
        {"url": f"{HOST}/a/{NAME}#sha256=0"},
        {"url": f"{HOST}/a/other-1.0.tar.gz"},
        {"url": f"{HOST}/{'a' * 5000}/{NAME}"},
        {"filename": "proj-1.0.txt", "url": f"{HOST}/a/proj-1.0.txt"},
        {"filename": ".proj-1.0.zip", "url": f"{HOST}/a/.proj-1.0.zip"},
        {"hashes": {}},
        {"hashes": None},
        {"hashes": {"sha256": None}},
        {"hashes": {"sha256": DIGEST[1:]}},
        {"hashes": {"sha256": DIGEST.upper()}},
        {"hashes": {"md5": "0" * 32}},
        {"hashes": {"sha256": DIGEST, "md5": "0" * 32}},
        {"core_metadata": None},
        {"core_metadata": {}},
        {"core_metadata": {"sha256": "no digest"}},
        {"requires_python": "x" * 5000},
    ],
)
def test_page__with_one_unusual_file__is_read_file_by_file(odd: dict[str, Any]) -> None:
    usual = listed("proj-2.0.tar.gz")
    assert together(usual) is not None
    assert together(usual, listed(**odd)) is None


def test_urls__that_would_be_two_others_with_a_line_feed_between__are_read_one_by_one() -> None:
    assert (
        together(
            listed("proj-1.0.zip", url=f"{HOST}/a/\n/b/proj-1.0.zip"),
            listed("proj-2.0.zip", url=f"{HOST}.example/proj-2.0.zip"),
        )
        is None
    )


def test_page__that_names_a_file_twice__is_read_file_by_file() -> None:
    assert together(listed(), listed()) is None


ENTRIES = st.builds(
    listed,
    st.sampled_from([NAME, "proj-1.0.tar.gz", "proj-2.0.zip", "proj-1.0-py2.7.egg", "Proj-3.tar.gz", "proj-1.0.txt"]),
    requires_python=st.sampled_from([None, "", ">=3.9", " >=3.9\n", "x" * 5000]),
    yanked=st.sampled_from([None, False, True, "", "broken", "a\rb"]),
    core_metadata=st.sampled_from([False, True, {"sha256": OTHER}, {}, {"sha256": "x"}]),
    gpg_sig=st.sampled_from([None, True, False]),
    size=st.sampled_from([None, 0, 12]),
    upload_time=st.sampled_from(
        [None, "", "2025-03-04T05:06:07.890123Z", "2025-03-04T05:06:07Z", "2025-13-04T05:06:07.890123Z", "soon"]
    ),
    provenance=st.sampled_from([None, "", "https://index.example/p", "mailto:somebody"]),
)


@given(st.lists(ENTRIES, max_size=5))
def test_page__read_together__is_as_read_file_by_file(entries: list[dict[str, Any]]) -> None:
    apart = parse_json(*entries, ELSEWHERE)
    assert parse_json(*entries).page.files == apart.page.files[:-1]
    assert parse_json(*entries).dropped == apart.dropped


@given(st.lists(st.one_of(st.text(max_size=4), st.sampled_from(["a", "_", "a" * 255, "a" * 256, "a+!-.b", "é"]))))
def test_filenames__asked_together__are_those_taken_one_by_one(raws: list[str]) -> None:
    def taken(raw: str) -> bool:
        try:
            return as_filename(raw) == raw
        except BadName:
            return False

    assert are_filenames(raws) == all(map(taken, raws))


MOMENTS = st.sampled_from(
    [
        None,
        "2025-03-04T05:06:07.890123Z",
        "2025-03-04T05:06:60.890123Z",
        "2025-03-04T05:06:07.890123+",
        "2025-03-04T05:06:07.89012\u0663Z",
        "2025-03-04T05:06:07+02:00",
    ]
)


@given(st.lists(MOMENTS))
def test_instants__read_together__are_those_read_one_by_one(raws: list[str | None]) -> None:
    assert fields.instants(raws) == [fields.instant(raw) for raw in raws]

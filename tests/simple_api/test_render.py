"""Pages as this proxy serves them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.model import File, ProjectPage
from pyproxy.simple_api import Kind, render_page
from tests.simple_api.pages import DIGEST, NAME, OTHER, Reader, file, page

FILES = "../../files/"


def as_json(rendered: ProjectPage, **options: Any) -> dict[str, Any]:  # Any: JSON, and a provenance callable
    body = render_page(rendered, Kind.JSON, files=FILES, **{"provenance": None, **options})
    decoded = json.loads(body)
    assert isinstance(decoded, dict)
    return decoded


def as_html(rendered: ProjectPage, **options: Any) -> Reader:  # Any: as for JSON
    return Reader(render_page(rendered, Kind.HTML, files=FILES, **{"provenance": None, **options}).decode())


FULL = file(
    hashes={"md5": "0" * 32, "sha256": DIGEST},
    requires_python=">=3.8",
    yanked='bad <b>build</b> & it\'s "unsafe"',
    core_metadata={"sha256": OTHER},
    gpg_sig=True,
    size=123,
    upload_time="2023-05-04T03:02:01Z",
    provenance="https://index.example/provenance",
)
BARE = file("proj-1.0.tar.gz")


def test_json__all_fields__stand_where_the_peps_say() -> None:
    rendered = page(
        FULL,
        versions=("1.0",),
        status="archived",
        status_reason="why",
        tracks=("https://a.example/",),
        alternate_locations=("https://b.example/",),
    )
    assert as_json(rendered, provenance=lambda _: "https://proxy.example/p") == {
        "meta": {"api-version": "1.4", "tracks": ["https://a.example/"]},
        "name": "proj",
        "versions": ["1.0"],
        "project-status": {"status": "archived", "reason": "why"},
        "alternate-locations": ["https://b.example/"],
        "files": [
            {
                "filename": NAME,
                "url": f"../../files/up/f/{NAME}",
                "hashes": {"md5": "0" * 32, "sha256": DIGEST},
                "requires-python": ">=3.8",
                "size": 123,
                "upload-time": "2023-05-04T03:02:01Z",
                "yanked": 'bad <b>build</b> & it\'s "unsafe"',
                "core-metadata": {"sha256": OTHER},
                "gpg-sig": True,
                "provenance": "https://proxy.example/p",
            }
        ],
    }


def test_json__absent_fields__are_left_out_but_the_hashes() -> None:
    assert as_json(page(BARE)) == {
        "meta": {"api-version": "1.0"},
        "name": "proj",
        "versions": ["1.0"],
        "files": [{"filename": "proj-1.0.tar.gz", "url": "../../files/up/f/proj-1.0.tar.gz", "hashes": {}}],
    }


def test_html__all_fields__stand_where_the_peps_say() -> None:
    reader = as_html(page(FULL), provenance=lambda _: "https://proxy.example/p?a=1&b=2")
    assert reader.texts == [NAME]
    assert reader.anchors == [
        {
            "href": f"../../files/up/f/{NAME}#sha256={DIGEST}",
            "data-requires-python": ">=3.8",
            "data-yanked": 'bad <b>build</b> & it\'s "unsafe"',
            "data-dist-info-metadata": f"sha256={OTHER}",
            "data-core-metadata": f"sha256={OTHER}",
            "data-gpg-sig": "true",
            "data-provenance": "https://proxy.example/p?a=1&b=2",
        }
    ]


def test_html__absent_fields__are_left_out() -> None:
    assert as_html(page(BARE)).anchors == [{"href": "../../files/up/f/proj-1.0.tar.gz"}]


def test_html__page_fields__are_metas() -> None:
    rendered = page(
        status="archived",
        status_reason='gone to "rest" <soon>',
        tracks=("https://a.example/?x=1&y=2", "https://b.example/"),
        alternate_locations=("https://c.example/",),
    )
    assert [meta for meta in as_html(rendered).metas if meta[0]] == [
        ("pypi:repository-version", "1.4"),
        ("pypi:project-status", "archived"),
        ("pypi:project-status-reason", 'gone to "rest" <soon>'),
        ("pypi:tracks", "https://a.example/?x=1&y=2"),
        ("pypi:tracks", "https://b.example/"),
        ("pypi:alternate-locations", "https://c.example/"),
    ]


def test_html__is_a_document_that_names_its_charset() -> None:
    body = render_page(page(BARE), Kind.TEXT, files=FILES, provenance=None)
    assert body.startswith(b"<!DOCTYPE html>\n<html")
    assert body.endswith(b"</html>\n")
    assert b'<meta charset="utf-8">' in body[:200]
    assert body == render_page(page(BARE), Kind.HTML, files=FILES, provenance=None)


@pytest.mark.parametrize(
    ("files", "version"),
    [
        ((), "1.4"),
        ((file(size=0),), "1.4"),
        ((file(size=1), file("proj-2.0.tar.gz", size=2)), "1.4"),
        ((file(),), "1.0"),
        ((file(size=1), file("proj-2.0.tar.gz")), "1.0"),
    ],
)
def test_version__is_claimed_only_where_every_file_tells_its_size(files: tuple[File, ...], version: str) -> None:
    rendered = page(*files)
    assert as_json(rendered)["meta"]["api-version"] == version
    assert as_json(rendered)["versions"] is not None
    assert ("pypi:repository-version", version) in as_html(rendered).metas


def test_sizes_and_times__are_told_also_where_some_are_missing() -> None:
    told = as_json(page(file(size=1, upload_time="2023-05-04T03:02:01Z"), BARE))["files"]
    assert (told[0]["size"], told[0]["upload-time"]) == (1, "2023-05-04T03:02:01Z")
    assert "size" not in told[1]


def test_quarantined__project__offers_no_file_and_no_version() -> None:
    rendered = page(FULL, versions=("1.0",), status="quarantined", status_reason="malware")
    told = as_json(rendered)
    assert (told["files"], told["versions"]) == ([], [])
    assert told["project-status"] == {"status": "quarantined", "reason": "malware"}
    assert as_html(rendered).anchors == []


@pytest.mark.parametrize("metadata", [False, True])
def test_metadata__of_every_wheel__is_advertised(*, metadata: bool) -> None:
    rendered = page(file(core_metadata=metadata))
    assert as_json(rendered)["files"][0]["core-metadata"] is True
    assert "dist-info-metadata" not in as_json(rendered)["files"][0]  # pip 22.3 breaks on it
    assert as_html(rendered).anchors[0]["data-core-metadata"] == "true"
    assert as_html(rendered).anchors[0]["data-dist-info-metadata"] == "true"


def test_metadata__of_an_sdist__is_advertised_where_the_remote_does() -> None:
    advertised = file("proj-1.0.tar.gz", core_metadata={"sha256": OTHER})
    assert as_json(page(advertised))["files"][0]["core-metadata"] == {"sha256": OTHER}
    assert "core-metadata" not in as_json(page(BARE))["files"][0]


def test_yanked__without_a_reason__is_true_and_an_empty_attribute() -> None:
    rendered = page(file(yanked=True))
    assert as_json(rendered)["files"][0]["yanked"] is True
    assert as_html(rendered).anchors[0]["data-yanked"] == ""


def test_gpg_sig__false__is_told() -> None:
    assert as_json(page(file(gpg_sig=False)))["files"][0]["gpg-sig"] is False
    assert as_html(page(file(gpg_sig=False))).anchors[0]["data-gpg-sig"] == "false"


def test_provenance__without_a_public_url__is_left_out() -> None:
    rendered = page(FULL)
    assert "provenance" not in as_json(rendered)["files"][0]
    assert "data-provenance" not in as_html(rendered).anchors[0]


def test_provenance__of_a_file_without__is_not_made_up() -> None:
    assert "provenance" not in as_json(page(BARE), provenance=lambda _: "https://x.example/")["files"][0]


def test_hash__in_links__is_the_best_of_them() -> None:
    hashes = {"md5": "0" * 32, "sha512": "1" * 128}
    assert (as_html(page(file(hashes=hashes))).anchors[0]["href"] or "").endswith("#sha512=" + "1" * 128)


def test_link__with_characters_that_mean_something_in_html__is_escaped() -> None:
    odd = File(BARE.filename, BARE.url, "up/a&b'c/proj-1.0.tar.gz")
    assert as_html(page(odd)).anchors[0]["href"] == "../../files/up/a&b'c/proj-1.0.tar.gz"
    assert b"a&b" not in render_page(page(odd), Kind.HTML, files=FILES, provenance=None)


def test_same_page__same_bytes() -> None:
    for kind in Kind:
        first, second = (render_page(page(FULL, BARE), kind, files=FILES, provenance=None) for _ in range(2))
        assert first == second


HOSTILE = st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.lists(
    st.sampled_from(
        [
            "<script>",
            "</title>",
            '"',
            "'",
            ">",
            "<",
            "&",
            "&amp;",
            "&lt",
            "-->",
            "<!--",
            "</a>",
            "\r",
            "\n",
            " ",
            "`",
            "ü",
            "]]>",
        ]
    )
).map("".join)


@given(reason=HOSTILE, requires=HOSTILE, status=HOSTILE, provenance=HOSTILE)
def test_html__hostile_text__stays_inside_its_attribute(
    reason: str, requires: str, status: str, provenance: str
) -> None:
    hostile = file(yanked=reason or True, requires_python=requires or None, provenance="https://x.example/")
    rendered = page(hostile, status=status or None, status_reason=reason or None)
    plain = as_html(page(file(yanked=True, requires_python="x"), status="x", status_reason="x"))
    reader = as_html(rendered, provenance=lambda _: provenance)
    assert set(reader.tags) == set(plain.tags)
    assert reader.texts == [NAME]
    anchor = reader.anchors[0]
    assert set(anchor) <= {*plain.anchors[0], "data-provenance"}
    assert anchor["data-yanked"] == reason
    assert anchor.get("data-requires-python", "") == requires
    assert anchor["data-provenance"] == provenance
    assert dict(reader.metas).get("pypi:project-status", "") == status

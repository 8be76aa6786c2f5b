"""Pages as JSON, from remotes that mean well and from others."""

from __future__ import annotations

import pytest

from pyproxy.model import Hashes
from tests.simple_api.pages import (
    DIGEST,
    NAME,
    OTHER,
    PAGE,
    entry,
    names,
    only,
    parse_json,
    wheel,
)


def test_file__all_fields__are_read() -> None:
    found = only(
        parse_json(
            entry(
                requires_python=">=3.8",
                yanked="broken",
                core_metadata={"sha256": OTHER},
                gpg_sig=True,
                size=123,
                upload_time="2023-05-04T03:02:01.5Z",
                provenance="https://index.example/integrity/proj/1.0/x/provenance",
            )
        )
    )
    assert found.filename == NAME
    assert found.url == f"https://index.example/f/{NAME}"
    assert found.link == f"up/f/{NAME}"
    assert found.hashes == {"sha256": DIGEST}
    assert found.requires_python == ">=3.8"
    assert found.yanked == "broken"
    assert found.core_metadata == {"sha256": OTHER}
    assert found.gpg_sig is True
    assert found.size == 123
    assert found.upload_time == "2023-05-04T03:02:01.5Z"
    assert found.provenance == "https://index.example/integrity/proj/1.0/x/provenance"


def test_file__only_what_must_be__is_enough() -> None:
    found = only(parse_json({"filename": NAME, "url": NAME}))
    assert found.url == f"{PAGE}{NAME}"
    assert (found.hashes, found.yanked, found.core_metadata, found.size) == ({}, False, False, None)


def test_file__every_null__is_as_if_absent() -> None:
    keys = ["hashes", "requires-python", "yanked", "core-metadata", "dist-info-metadata", "gpg-sig", "size"]
    with_nulls = {"filename": NAME, "url": NAME} | dict.fromkeys([*keys, "upload-time", "provenance"])
    assert parse_json(with_nulls) == parse_json({"filename": NAME, "url": NAME})


@pytest.mark.parametrize(
    ("keys", "metadata"),
    [
        ({"core-metadata": True}, True),
        ({"core-metadata": {"sha256": OTHER}, "dist-info-metadata": False}, {"sha256": OTHER}),
        ({"core-metadata": False, "dist-info-metadata": True}, False),
        ({"core-metadata": None, "dist-info-metadata": True}, True),
        ({"dist-info-metadata": {"sha256": OTHER}}, {"sha256": OTHER}),
        ({"data-dist-info-metadata": {"sha256": OTHER}}, {"sha256": OTHER}),
        ({"dist-info-metadata": {"sha256": OTHER}, "data-dist-info-metadata": True}, {"sha256": OTHER}),
        ({"core-metadata": {}}, True),
        ({"core-metadata": {"sha256": "none"}}, True),
        ({"core-metadata": {"SHA256": OTHER.upper()}}, {"sha256": OTHER}),
        ({"core-metadata": "yes", "dist-info-metadata": {"sha256": OTHER}}, {"sha256": OTHER}),
        ({"core-metadata": [1]}, False),
        ({}, False),
    ],
)
def test_core_metadata__newest_key_that_says_something__counts(
    keys: dict[str, object],
    metadata: Hashes | bool,  # noqa: FBT001 - the field's type
) -> None:
    assert only(parse_json(entry() | keys)).core_metadata == metadata


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("requires-python", 3.8),
        ("requires-python", [">=3"]),
        ("core-metadata", 7),
        ("gpg-sig", "yes"),
        ("size", "123"),
        ("size", -1),
        ("size", 2**63),
        ("size", 10**400),
        ("size", True),
        ("size", 1.5),
        ("upload-time", 1683169321),
        ("upload-time", "yesterday"),
        ("provenance", {"url": "x"}),
        ("provenance", "javascript:x"),
        ("provenance", "file:///etc/passwd"),
    ],
)
def test_field__wrong__is_lost_alone(field: str, wrong: object) -> None:
    good = entry(wheel("2.0"), size=5)
    parsed = parse_json(entry() | {field: wrong}, good)
    assert parsed.dropped == ()
    assert parsed.page.files == parse_json(entry(), good).page.files


@pytest.mark.parametrize(
    "wrong",
    [
        entry() | {"url": None},
        entry() | {"url": 7},
        entry() | {"url": f"javascript:{NAME}"},
        entry() | {"url": f"file:///f/{NAME}"},
        entry() | {"url": f"https://u:p@index.example/{NAME}"},
        entry() | {"url": f"..\\..\\{NAME}"},
        entry() | {"url": f"../../f/\n/{NAME}"},
        entry() | {"url": "../../f/proj-2.0-py3-none-any.whl"},  # another file than it says
        entry() | {"url": f"../../f/?{NAME}"},
        entry() | {"filename": None},
        entry() | {"filename": ["x"]},
        entry() | {"hashes": {"sha256": "nonsense"}},
        entry() | {"hashes": {"sha256": 7}},
        entry() | {"hashes": [DIGEST]},
        entry() | {"requires-python": "x" * 5000},
        entry("proj-1.0.txt"),
        entry("index.html"),
        entry("../proj-1.0.tar.gz"),
        entry(".proj-1.0.tar.gz"),
        entry("proj-1.0\u202egz.rat.tar.gz"),
        entry("x" * 5000 + ".whl"),
        {"x": "y" * 100_000},
        {},
        [],
        "a file",
        7,
        None,
    ],
)
def test_file__that_cannot_be_used__is_lost_alone(wrong: object) -> None:
    parsed = parse_json(wrong, entry(wheel("2.0")))
    assert names(parsed) == [wheel("2.0")]
    assert parsed.lost == 1
    assert len(parsed.dropped) == 1
    assert parsed.dropped[0].isascii()
    assert parsed.dropped[0].isprintable()


def test_hostile_names__two_hundred__are_all_lost_and_twenty_are_told() -> None:
    hostile = [f"..{'/' if n % 2 else '%2f'}{n}\0x.whl" for n in range(200)]
    parsed = parse_json(entry(), *({"filename": name, "url": name} for name in hostile))
    assert names(parsed) == [NAME]
    assert parsed.lost == 200
    assert len(parsed.dropped) == 21
    assert parsed.dropped[-1] == "and 180 more"


@pytest.mark.parametrize(
    ("yanked", "found"), [("", False), ("why", "why"), (0, False), (1, True), ([], False), ([0], True), ({}, False)]
)
def test_yanked__of_any_type__is_never_lost(yanked: object, found: object) -> None:
    assert only(parse_json(entry(yanked=yanked))).yanked == found


def test_duplicate__same_hash__is_one_file() -> None:
    again = entry(url=f"https://mirror.example/{NAME}")
    parsed = parse_json(entry(), again)
    assert names(parsed) == [NAME]
    assert parsed.page.files[0].url == f"https://index.example/f/{NAME}"
    assert parsed.dropped == ()


def test_duplicate__other_hash__first_stands_and_the_rest_is_told() -> None:
    parsed = parse_json(entry(), entry(hashes={"sha256": OTHER}), entry(hashes={"md5": "0" * 32}, url=f"/g/{NAME}"))
    assert parsed.page.files[0].hashes == {"sha256": DIGEST}
    assert parsed.lost == 2
    assert "another file of this name" in parsed.dropped[0]


def _usual(number: int) -> dict[str, object]:
    name = f"proj-1.{number}-py3-none-any.whl"
    url = f"https://files.example/{number}/{name}"
    return {"filename": name, "url": url, "hashes": {"sha256": DIGEST}, "core-metadata": {"sha256": OTHER}}


@pytest.mark.parametrize(
    "odd",
    [
        {"url": "../f/{name}"},
        {"url": "https://files.example/a/./b/{name}"},
        {"url": "https://files.example/a/%2e%2e/{name}"},
        {"url": "https://files.example/%61/{name}#sha256=" + DIGEST},
        {"url": "https://files.example/a/{name}?signed=yes"},
        {"url": "https://files.example/a\n/{name}"},
        {"url": "https://files.example/\u00e9/{name}"},
        {"url": "https://files.example/" + "a" * 5000 + "/{name}"},
        {"url": "HTTPS://FILES.example:443/a/{name}"},
        {"url": "https://me@files.example/a/{name}"},
        {"url": "{name}"},
        {"url": ""},
        {"hashes": {"sha256": DIGEST.upper()}},
        {"hashes": {"sha256": DIGEST[:-1] + "g"}},
        {"hashes": {"sha256": DIGEST[:-1]}},
        {"hashes": {"sha256": DIGEST, "md5": "0" * 32}},
        {"hashes": {"sha256": None}},
        {"hashes": {}},
        {"core-metadata": {"sha256": DIGEST.upper()}},
        {"core-metadata": {"sha256": "no"}},
        {"core-metadata": {}},
        {"core-metadata": True},
        {"core-metadata": None, "dist-info-metadata": {"sha256": DIGEST.upper()}},
    ],
)
def test_files__looked_at_together__are_what_each_is_alone(odd: dict[str, object]) -> None:
    name = "proj-2.0-py3-none-any.whl"
    strange = _usual(0) | {"filename": name, "url": f"https://files.example/2/{name}"} | odd
    if isinstance(url := odd.get("url"), str):
        strange["url"] = url.format(name=name)
    entries = [_usual(1), _usual(2), strange, _usual(3)]
    alone = [file for one in entries for file in parse_json(one).page.files]
    assert len(alone) >= len(entries) - 1
    assert list(parse_json(*entries).page.files) == alone

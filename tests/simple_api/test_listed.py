"""Digests as pages list them: what stands for a mapping reads as it, in all that is done with one."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from pyproxy.model import File, ProjectPage, as_filename, as_project
from pyproxy.simple_api.listed import Sha256Alone
from pyproxy.storage.rows import pack_page, unpack_page
from tests.simple_api.pages import DIGEST, NAME, OTHER

ALONE = Sha256Alone(DIGEST)
AS_DICT = {"sha256": DIGEST}


def test_sha256_alone__reads_as_the_mapping_that_it_stands_for() -> None:
    found: object = ALONE
    assert isinstance(found, Mapping)
    assert ALONE["sha256"] == ALONE.get("sha256") == DIGEST
    assert (ALONE.get("md5"), ALONE.get("md5", "none")) == (None, "none")
    assert ("sha256" in ALONE, "md5" in ALONE) == (True, False)
    assert (dict(found), {**found}, list(found), len(found)) == (AS_DICT, AS_DICT, ["sha256"], 1)
    assert (list(found.items()), list(found.values())) == ([("sha256", DIGEST)], [DIGEST])
    assert found.keys() & {"sha256", "md5"} == {"sha256"}
    with pytest.raises(KeyError, match="md5"):
        ALONE["md5"]


def test_sha256_alone__equals_what_says_the_same() -> None:
    alone, as_dict = Sha256Alone(DIGEST), {"sha256": DIGEST}
    assert alone == as_dict
    assert as_dict == alone
    assert alone == Sha256Alone(DIGEST)
    assert hash(alone) == hash(Sha256Alone(DIGEST))
    for other in ({"sha256": OTHER}, {**as_dict, "md5": "0" * 32}, {}, Sha256Alone(OTHER), True, DIGEST):
        assert alone != other


def test_sha256_alone__is_encoded_as_the_mapping() -> None:
    assert msgspec.json.encode(ALONE) == msgspec.json.encode(AS_DICT)
    assert msgspec.msgpack.encode(ALONE) == msgspec.msgpack.encode(AS_DICT)


def test_page__with_digests_as_they_were_listed__is_the_one_that_was_stored() -> None:
    file = File(as_filename(NAME), f"https://files.example/{NAME}", f"up/{NAME}", ALONE, core_metadata=ALONE)  # type: ignore[arg-type]  # a registered mapping
    page = ProjectPage(as_project("proj"), (file,))
    stored = unpack_page(pack_page(page))
    assert stored == page
    assert page == stored
    assert pack_page(stored) == pack_page(page)

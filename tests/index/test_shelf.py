"""A page in memory learns of its wheels' metadata without being made anew."""

from __future__ import annotations

from pyproxy.index.companions import learned_as
from pyproxy.index.shelf import Held
from pyproxy.model import File, Filename, ProjectName, ProjectPage, Sha256
from pyproxy.storage.records import PageHead

HEAD = PageHead(url="http://index.example/simple/", etag=None, last_modified=None, fetched_at=0.0)
A, B = Sha256("a" * 64), Sha256("b" * 64)


def wheel(version: int) -> File:
    name = Filename(f"alpha-{version}-py3-none-any.whl")
    return File(name, f"http://index.example/files/{name}", f"up/files/{name}", {"sha256": f"{version:064x}"})


def a_page() -> Held:
    page = ProjectPage(ProjectName("alpha"), tuple(wheel(version) for version in range(3)))
    return Held(HEAD, page, page, learned=0)


def test_learn__touches_only_the_wheels_that_are_new() -> None:
    held = a_page()
    zero, one, two = (learned_as(file) for file in held.raw.files)
    held.learn(1, {zero: A})
    first = held.page
    held.learn(2, {zero: A, two: B})
    assert [file.core_metadata for file in held.page.files] == [
        {"sha256": A},
        held.raw.files[1].core_metadata,
        {"sha256": B},
    ]
    assert held.page.files[0] is first.files[0]
    assert held.page.files[1] is held.raw.files[1]
    assert held.raw.files[0].core_metadata != {"sha256": A}
    assert (held.learned, one in held._digests) == (2, False)


def test_learn__of_another_wheel_of_the_same_name__leaves_the_page_alone() -> None:
    held = a_page()
    before = held.page
    held.learn(1, {Filename(f"{held.raw.files[0].filename} sha256:{B}"): A})
    assert held.page.files == before.files


def test_learn__again__takes_the_newer_digest() -> None:
    held = a_page()
    name = learned_as(held.raw.files[0])
    held.learn(1, {name: A})
    held.learn(2, {name: B})
    assert held.page.files[0].core_metadata == {"sha256": B}


def test_learn__links_made_before__lead_to_what_was_learned() -> None:
    held = a_page()
    link = held.raw.files[1].link
    assert held.file(link) is held.raw.files[1]
    links = held._links
    held.learn(1, {learned_as(held.raw.files[1]): A})
    assert held._links is links
    assert held.file(link) is held.page.files[1]

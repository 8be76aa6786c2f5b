"""Pages made of others are given again while those are the same, and weigh no more than they may."""

from __future__ import annotations

from pyproxy.index.made_pages import MadePages
from pyproxy.model import File, Filename, ProjectName, ProjectPage


def a_page(name: str = "alpha", files: int = 1) -> ProjectPage:
    names = (f"{name}-{number}.tar.gz" for number in range(files))
    return ProjectPage(
        ProjectName(name), tuple(File(Filename(n), f"http://index.example/{n}", f"up/{n}") for n in names)
    )


def test_made__of_the_same_pages__is_the_same() -> None:
    kept, local, remote, made = MadePages(), a_page(), a_page(), a_page()
    kept.put("me", made, local, remote)

    assert kept.get("me", made.name, local, remote) is made
    assert kept.get("me", made.name, local, a_page()) is None  # equal, and yet another
    assert kept.get("me", made.name, local) is None
    assert kept.get("you", made.name, local, remote) is None


def test_made__anew__takes_the_place_of_the_old() -> None:
    kept, old, new = MadePages(), a_page(), a_page()
    kept.put("me", a_page(), old)
    made = a_page()
    kept.put("me", made, new)

    assert kept.get("me", made.name, old) is None
    assert kept.get("me", made.name, new) is made
    assert kept._files == 2


def test_made__too_much__forgets_what_was_used_longest_ago() -> None:
    kept, one, two, three = MadePages(capacity=25), a_page("one", 9), a_page("two", 9), a_page("three", 9)
    kept.put("me", one, one)
    kept.put("me", two, two)
    kept.get("me", one.name, one)
    kept.put("me", three, three)

    assert [kept.get("me", page.name, page) for page in (one, two, three)] == [one, None, three]


def test_made__larger_than_all_that_may_be_kept__is_kept_alone() -> None:
    kept, small, large = MadePages(capacity=5), a_page("small"), a_page("large", 9)
    kept.put("me", small, small)
    kept.put("me", large, large)

    assert (kept.get("me", small.name, small), kept.get("me", large.name, large)) == (None, large)

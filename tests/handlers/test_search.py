"""The search over lists of names: what it finds, in which order, and that a slice's end hides nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyproxy.handlers import search
from pyproxy.handlers.search import matching
from pyproxy.model import normalised
from pyproxy.selection import Sieve

NAMES = st.from_regex(r"[ab](?:[ab._-]{0,4}[ab])?", fullmatch=True).map(lambda name: name.title())


def listed(path: Path, *names: str) -> Path:
    """The names as a list has them: each project once, sorted by normalised name."""
    unique = {normalised(name): name for name in names}
    path.write_text("".join(f"{unique[name]}\n" for name in sorted(unique)))
    return path


def test_matching__the_name_itself_first_then_what_begins_with_it(tmp_path: Path) -> None:
    names = listed(tmp_path / "names", "a-foo", "Foo", "foo.bar", "FOOLISH", "zfoo", "other")
    assert matching([names], "fOO", 10) == ["Foo", "foo.bar", "FOOLISH", "a-foo", "zfoo"]


def test_matching__several_lists__the_first_ones_spelling(tmp_path: Path) -> None:
    lists = [listed(tmp_path / "1", "Foo.Bar"), listed(tmp_path / "2", "foo_bar", "foo")]
    assert matching(lists, "foo", 10) == ["foo", "Foo.Bar"]


def test_matching__what_no_sieve_lets_through__takes_nobodys_place(tmp_path: Path) -> None:
    names = listed(tmp_path / "names", "foo-a", "foo-b", "foo-c", "foo-d")
    sieves = [(Sieve(("foo*",), ("foo-a", "*-b")),)]
    assert matching([names], "foo", 2, sieves=sieves) == ["foo-c", "foo-d"]


@pytest.mark.parametrize("query", ["a\nb", "é", "\u017f", "(", "a b"])
def test_matching__what_no_name_has__is_not_found(tmp_path: Path, query: str) -> None:
    assert matching([listed(tmp_path / "names", "a", "b", "s")], query, 10) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    names=st.lists(NAMES, max_size=30),
    query=st.text("abAB-_.", min_size=1, max_size=4),
    most=st.integers(1, 8),
    portion=st.integers(1, 40),
)
def test_matching__is_what_comparing_every_name_finds(
    tmp_path: Path, names: list[str], query: str, most: int, portion: int
) -> None:
    path = listed(tmp_path / "names", *names)
    wanted = normalised(query)
    every = {normalised(name): name for name in names if wanted in normalised(name)}
    ranked = sorted(every, key=lambda name: (name != wanted, not name.startswith(wanted), name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "SLICE", portion)
        assert matching([path], query, most) == [every[name] for name in ranked[:most]]

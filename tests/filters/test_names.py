from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from pyproxy.config import BlockEntry
from pyproxy.config.filters import selector
from pyproxy.model import as_project, as_sha256
from pyproxy.selection import Selector, admitting
from tests.filters.looking import a_file, left, policy, reasons

VERSIONS = ["0.9", "1.0rc1", "1.0", "1.0.post1", "1.5", "2.0.dev1", "2.0", "2.0+cpu", "10"]


def sdists(*versions: str, name: str = "alpha") -> list[str]:
    return [f"{name}-{version}.tar.gz" for version in versions]


def versions(names: list[str]) -> list[str]:
    return [name.removeprefix("alpha-").removesuffix(".tar.gz") for name in names]


def of(**keys: object) -> list[str]:
    """The versions of alpha that these keys leave."""
    return versions(left(policy(**keys), sdists(*VERSIONS)))


@pytest.mark.parametrize(
    ("includes", "expected"),
    [
        ([], VERSIONS),
        (["alpha"], VERSIONS),
        (["Alpha"], VERSIONS),
        (["al*"], VERSIONS),
        (["alpha[extra]"], VERSIONS),
        (["alpha; python_version < '3'"], VERSIONS),
        (["beta"], []),
        (["beta>=1"], []),
        (["alpha<1"], ["0.9"]),  # PEP 440: an exclusive upper bound lets no pre-release of it in
        (["alpha<=1.0"], ["0.9", "1.0rc1", "1.0"]),
        (["alpha>=2"], ["2.0", "2.0+cpu", "10"]),
        (["alpha>=2.0.dev0"], ["2.0.dev1", "2.0", "2.0+cpu", "10"]),
        (["alpha<1", "alpha==10"], ["0.9", "10"]),
        (["alpha", "alpha>=10"], ["10"]),
        (["a*", "alpha>=10"], ["10"]),
        (["alp*>=10"], ["10"]),
        (["alpha==2.0"], ["2.0", "2.0+cpu"]),
        (["alpha==2.0+cpu"], ["2.0+cpu"]),
        (["alpha>=1,<2"], ["1.0", "1.0.post1", "1.5"]),
    ],
)
def test_includes__leave(includes: list[str], expected: list[str]) -> None:
    assert of(includes=includes) == expected


@pytest.mark.parametrize(
    ("excludes", "expected"),
    [
        (["alpha"], []),
        (["a*"], []),
        (["beta", "b*"], VERSIONS),
        (["alpha==2.0"], ["0.9", "1.0rc1", "1.0", "1.0.post1", "1.5", "2.0.dev1", "10"]),
        (["alpha<10"], ["10"]),
        (["alpha>1", "alpha==1.0"], ["0.9", "1.0rc1", "1.0.post1"]),  # PEP 440: >1 leaves the post-releases of 1 out
    ],
)
def test_excludes__leave(excludes: list[str], expected: list[str]) -> None:
    assert of(excludes=excludes) == expected


def test_excludes__win_over_includes() -> None:
    assert of(includes=["alpha>=1.5"], excludes=["alpha>=2"]) == ["1.5", "2.0.dev1"]
    assert of(includes=["alpha"], excludes=["alpha"]) == []


def test_ranged_rules__version_that_nobody_can_compare__is_hidden() -> None:
    odd = ["alpha-2004d-final.tar.gz", "alpha-1.0.tar.gz"]

    assert left(policy(includes=["alpha<1999"]), odd) == ["alpha-1.0.tar.gz"]
    assert left(policy(excludes=["alpha>1999"]), odd) == ["alpha-1.0.tar.gz"]
    assert left(policy(includes=["alpha"], excludes=["beta"]), odd) == odd
    assert reasons(policy(excludes=["alpha>1999"]), odd) == {
        odd[0]: "excludes names alpha>1999, and 2004d-final cannot be compared with that"
    }


def test_names__decide_without_a_file() -> None:
    def why(**keys: object) -> str | None:
        refused = policy(**keys).refuses(as_project("alpha"))
        return None if refused is None else refused.reason

    assert why(includes=["beta", "al?"]) == "includes does not name alpha"
    assert why(excludes=["beta", "al*"]) == "excludes names al*"
    assert why(blocked=(BlockEntry(selector=selector("alpha")),)) == "block names alpha"
    assert why(includes=["alpha>=10"], excludes=["alpha>=0"]) is None


_RELEASES = st.lists(
    st.sampled_from(["0.1", "0.9", "1.0a1", "1.0rc1", "1.0", "1.0.post1", "1!0.1", "2.0.dev3", "2.0", "2.1+cu118"]),
    unique=True,
)
_CLAUSES = st.builds(
    "{}{}".format, st.sampled_from([">=", "<=", "<", ">", "==", "!=", "~="]), st.sampled_from(["0.9", "1.0", "2.0"])
)
_RANGES = st.lists(_CLAUSES, min_size=1, max_size=2).map(",".join)


@given(releases=_RELEASES, ranges=st.lists(_RANGES, min_size=1, max_size=3), bare=st.booleans(), others=st.booleans())
def test_includes__several_ranges__are_or_ed(releases: list[str], ranges: list[str], bare: bool, others: bool) -> None:  # noqa: FBT001
    entries = [f"Alpha {it}" for it in ranges] + ["alpha"] * bare + ["beta", "b*<1"] * others

    expected = [
        it for it in releases if any(SpecifierSet(one).contains(Version(it), prereleases=True) for one in ranges)
    ]
    assert versions(left(policy(includes=entries), sdists(*releases))) == expected


@given(releases=_RELEASES, ranges=st.lists(_RANGES, min_size=1, max_size=3))
def test_excludes__leave_what_the_same_includes_hide(releases: list[str], ranges: list[str]) -> None:
    entries = [f"alpha{it}" for it in ranges]
    included = left(policy(includes=entries), sdists(*releases))
    excluded = left(policy(excludes=entries), sdists(*releases))

    assert sorted([*included, *excluded]) == sorted(sdists(*releases))


_ENTRIES = st.lists(
    st.sampled_from(["alpha", "al*", "[ab]*", "beta", "?eta", "alpha>=1", "*-x", "gamma"]), max_size=3, unique=True
)


@given(
    includes=_ENTRIES,
    excludes=_ENTRIES,
    names=st.lists(st.sampled_from(["alpha", "beta", "zeta", "a-x", "gamma"]), max_size=5),
)
def test_sieve__lets_those_names_through_that_no_rule_refuses(
    includes: list[str], excludes: list[str], names: list[str]
) -> None:
    rules = policy(includes=includes, excludes=excludes)
    admits = admitting([] if rules.sieve is None else [rules.sieve])

    for name in map(as_project, names):
        assert admits(name) == (rules.refuses(name) is None)


# ---------------------------------------------------------------------- block

DIGEST = as_sha256("ab" * 32)


def test_block__names_versions_and_digests() -> None:
    rules = policy(
        blocked=(
            BlockEntry(selector=selector("alpha==1.0")),
            BlockEntry(selector=selector("beta")),
            BlockEntry(digest=DIGEST),
        )
    )
    page = [
        a_file("alpha-0.9.tar.gz", hashes={"sha256": "cd" * 32}),
        a_file("alpha-1.0.tar.gz", hashes={"sha256": "ef" * 32}),
        a_file("alpha-1.1.tar.gz", hashes={"sha256": DIGEST}),
    ]

    assert left(rules, page) == ["alpha-0.9.tar.gz"]
    assert left(rules, sdists("1.0", name="beta"), "beta") == []


def test_block__digest__hides_a_file_that_tells_none() -> None:
    rules = policy(blocked=(BlockEntry(digest=DIGEST),))

    assert reasons(rules, [a_file("alpha-1.0.tar.gz", hashes={"md5": "0" * 32})]) == {
        "alpha-1.0.tar.gz": "block names files by sha256, and its page tells none of this one"
    }


def test_block__of_very_many_entries__is_asked_at_once() -> None:
    entries = [BlockEntry(selector=Selector(f"p{number}", f"p{number}")) for number in range(100_000)]
    rules = policy(blocked=(*entries, BlockEntry(selector=selector("alpha==1.0"))))

    begun = time.process_time()
    for _ in range(1000):
        assert rules.refuses(as_project("alpha")) is None
    assert time.process_time() - begun < 1.0
    assert left(rules, sdists("1.0", "2.0")) == sdists("2.0")
    assert rules.refuses(as_project("p99999")) is not None

"""Which versions stay: decided from numbers and times alone."""

from __future__ import annotations

import pytest

from pyproxy.storage.local_rows import RepositoryVersion
from pyproxy.storage.pruning import Keep

NOW = 1000.0


def made_at(*instants: float) -> list[RepositoryVersion]:
    """Versions 1, 2, 3 … made at these seconds."""
    return [RepositoryVersion(number, at, "add", "", 1, 0, 0, number) for number, at in enumerate(instants, 1)]


@pytest.mark.parametrize(
    ("keep", "stay"),
    [
        (Keep(), [4]),
        (Keep(last=3), [2, 3, 4]),
        (Keep(last=9), [1, 2, 3, 4]),
        (Keep(pinned=frozenset({2, 77})), [2, 4]),
        (Keep(within=50), [4]),
        (Keep(within=150), [3, 4]),  # 3 was the latest until 900
        (Keep(within=100), [4]),  # at 900, where the time begins, 4 was it already
        (Keep(within=350, last=1), [2, 3, 4]),
        (Keep(within=10_000), [1, 2, 3, 4]),
        (Keep(within=50, last=2, pinned=frozenset({1})), [1, 3, 4]),
    ],
)
def test_keep__says_which_stay(keep: Keep, stay: list[int]) -> None:
    assert keep.of(made_at(100, 500, 700, 900), NOW) == stay


def test_keep__clock_set_back__still_keeps_the_latest() -> None:
    assert keep_numbers(Keep(within=50), 990, 100, 110) == [3]
    assert keep_numbers(Keep(within=50), 100, 990, 200) == [1, 3]


def keep_numbers(keep: Keep, *instants: float) -> list[int]:
    return keep.of(made_at(*instants), NOW)


def test_keep__no_version__keeps_none() -> None:
    assert Keep(last=5, within=1, pinned=frozenset({1})).of([], NOW) == []

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pyproxy.model import Sha256
from pyproxy.storage.lru import next_tick, victims

blobs = st.lists(st.integers(0, 1000), max_size=20).map(
    lambda sizes: [(Sha256(f"{at:064x}"), size) for at, size in enumerate(sizes)]
)


@given(blobs, st.integers(-100, 5000), st.sets(st.integers(0, 19)))
def test_victims__always__are_the_fewest_from_the_front_that_suffice(
    held: list[tuple[Sha256, int]], excess: int, spared: set[int]
) -> None:
    stay = {Sha256(f"{at:064x}") for at in spared}
    chosen = victims(held, excess, spared=stay)
    candidates = [blob for blob in held if blob[0] not in stay]
    assert chosen == candidates[: len(chosen)]
    if chosen:
        assert sum(size for _, size in chosen[:-1]) < excess
    if len(chosen) < len(candidates):
        assert sum(size for _, size in chosen) >= excess


def test_victims__nothing_to_free__reads_no_more_than_one_blob() -> None:
    source = iter([(Sha256("a" * 64), 1), (Sha256("b" * 64), 1)])
    assert victims(source, 0) == []
    assert len(list(source)) >= 1


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=30))
def test_next_tick__clock_jumping__is_always_later(clock: list[int]) -> None:
    ticks = [0]
    for now in clock:
        ticks.append(next_tick(ticks[-1], now))
        assert ticks[-1] >= now
    assert ticks == sorted(set(ticks))

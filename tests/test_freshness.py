"""What is served of what age: a table, and what holds for every number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy.freshness import Have, Rules, Verdict, decide, life_left

RULES = Rules(ttl=600, negative_ttl=60, stale_if_error=86400)
OFFLINE = Rules(ttl=600, negative_ttl=60, stale_if_error=86400, offline=True)

TABLE = [
    (RULES, Have.NOTHING, 0, False, Verdict.ASK),
    (RULES, Have.NOTHING, 0, True, Verdict.FAIL),
    (OFFLINE, Have.NOTHING, 0, False, Verdict.NOT_CACHED),
    (RULES, Have.COPY, 0, False, Verdict.FRESH),
    (RULES, Have.COPY, 599.9, False, Verdict.FRESH),
    (RULES, Have.COPY, 600, False, Verdict.ASK_BRIEFLY),
    (RULES, Have.COPY, 600 + 86399, False, Verdict.ASK_BRIEFLY),
    (RULES, Have.COPY, 600 + 86400, False, Verdict.ASK),
    (RULES, Have.COPY, 700, True, Verdict.STALE),
    (RULES, Have.COPY, 600 + 86400, True, Verdict.FAIL),
    (OFFLINE, Have.COPY, 10, False, Verdict.FRESH),
    (OFFLINE, Have.COPY, 10**9, False, Verdict.STALE),
    # The clock was set back a day: ask, but do not refuse what is there.
    (RULES, Have.COPY, -86400, False, Verdict.ASK_BRIEFLY),
    (RULES, Have.COPY, -86400, True, Verdict.STALE),
    (RULES, Have.MISSING, 59, False, Verdict.FRESH),
    (RULES, Have.MISSING, 60, False, Verdict.ASK),
    (RULES, Have.MISSING, -1, False, Verdict.ASK),
    (RULES, Have.MISSING, 61, True, Verdict.FAIL),
]


@pytest.mark.parametrize(("rules", "have", "age", "failed", "verdict"), TABLE)
def test_decide__table(rules: Rules, have: Have, age: float, failed: bool, verdict: Verdict) -> None:  # noqa: FBT001 -- a column
    assert decide(rules, have, age, failed=failed) is verdict


AGES = st.floats(-1e9, 1e9, allow_nan=False)
ANY_RULES = st.builds(Rules, st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e7), st.booleans())


@given(ANY_RULES, st.sampled_from(Have), AGES, st.booleans())
def test_decide__offline__never_asks(rules: Rules, have: Have, age: float, failed: bool) -> None:  # noqa: FBT001
    verdict = decide(rules, have, age, failed=failed)

    assert not (rules.offline and verdict in (Verdict.ASK, Verdict.ASK_BRIEFLY, Verdict.FAIL))


@given(ANY_RULES, st.sampled_from(Have), AGES)
def test_decide__after_a_failure__never_asks_again(rules: Rules, have: Have, age: float) -> None:
    assert decide(rules, have, age, failed=True) not in (Verdict.ASK, Verdict.ASK_BRIEFLY)


@given(ANY_RULES, AGES, st.booleans())
def test_decide__without_a_copy__never_serves_one(rules: Rules, age: float, failed: bool) -> None:  # noqa: FBT001
    assert decide(rules, Have.NOTHING, age, failed=failed) not in (Verdict.FRESH, Verdict.STALE, Verdict.ASK_BRIEFLY)


@given(ANY_RULES, AGES)
def test_life_left__is_positive_exactly_while_fresh(rules: Rules, age: float) -> None:
    assert (life_left(rules, age) > 0) == (decide(rules, Have.COPY, age) is Verdict.FRESH)

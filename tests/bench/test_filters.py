"""The benchmark of filters runs, and measures a policy in which every rule hides something."""

from __future__ import annotations

from bench.filters import NOW, every_rule, measured, page
from pyproxy.filters import seen
from pyproxy.model import as_project

EXCLUDED = {"excludes", "exclude_platforms", "includes", "block", "min_age", "keep_latest_packages"}


def test_measured__small__has_a_figure_for_each_step() -> None:
    figures = measured(20, rounds=1)

    assert len(figures) == 4
    assert all(0 <= least <= median for median, least in figures.values())


def test_every_rule__over_the_page_that_is_measured__hides_by_several_keys() -> None:
    big = as_project("big")
    verdicts = every_rule().verdicts(big, seen(big, page("big", 5_000)), NOW)

    assert {refused.key for refused in verdicts.hidden} >= EXCLUDED - {"block"}
    assert any(verdict is None for verdict in verdicts.of)

"""Figures and what is made of them, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.figures import Cell, Row, Tally, Verdict, at_least, at_most, at_most_exactly, ratio
from bench.plot import svg
from bench.report import BEGIN, END, notes, put_into, table

ROW = Row(
    "warm-x",
    "page of x",
    "req/s",
    {"pyproxy": Cell((10.0, 30.0, 20.0), (5.0, 7.0, 6.0)), "nginx static": Cell((20.0, 30.0, 80.0), (4.0, 4.0, 4.0))},
    (Verdict("as fast", 0.5, met=False), Verdict("small", 1.0, met=True)),
)


def test_ratio__is_the_median_of_the_rounds_ratios() -> None:
    assert ratio((10.0, 30.0, 20.0), (20.0, 30.0, 80.0)) == 0.5


def test_ratio__without_figures__is_none() -> None:
    assert ratio((), (1.0,)) is None
    assert ratio((1.0,), (0.0,)) is None


@pytest.mark.parametrize(("figure", "met"), [(0.96, True), (0.94, False), (None, None)])
def test_at_least__takes_five_per_cent_less_as_equal(figure: float | None, met: bool | None) -> None:  # noqa: FBT001 (a column)
    assert at_least("", figure, 1.0).met is met


def test_at_most__takes_five_per_cent_more_as_equal__but_not_for_counts() -> None:
    assert at_most("", 1.04, 1.0).met
    assert not at_most("", 1.06, 1.0).met
    assert not at_most_exactly("", 1.04, 1.0).met


def test_tally__failed_once__has_no_figures_but_the_reason() -> None:
    tally = Tally()
    tally.add("a", 1.0, 2.0)
    tally.fail("a", "wrong")

    assert tally.cells() == {"a": Cell(why="wrong")}


def test_table__gives_medians_costs_and_every_bar() -> None:
    lines = table([ROW]).splitlines()

    assert lines[2] == "| page of x | req/s | 20 | nginx static: 30 | 0.5 | 6 / 4 | as fast: 0.5 | **no** |"
    assert lines[3].endswith("| small: 1 | yes |")


def test_notes__count_the_bars_and_name_who_is_absent() -> None:
    said = notes([ROW], {"proxpi": "cannot be installed"})

    assert "proxpi could not be measured: cannot be installed." in said
    assert "1 bars are met, 1 are not, 0 could not be judged" in said


def test_plot__has_a_bar_for_each_server_with_figures() -> None:
    picture = svg([ROW])

    assert picture.count("<title>") == 2
    assert "pyproxy: 0.667 x nginx static" in picture


def test_put_into__replaces_what_stands_between_the_markers(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")

    put_into(readme, "new")

    assert readme.read_text() == f"above\n{BEGIN}\n\nnew\n\n{END}\nbelow\n"


def test_put_into__without_markers__refuses(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("nothing")

    with pytest.raises(ValueError, match="no place"):
        put_into(readme, "new")

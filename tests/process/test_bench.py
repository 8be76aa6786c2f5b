"""The benchmarks, run once and small: they still run, and every answer of pyproxy's is right. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.forking import ROOT

ROWS = "PYPROXY_BENCH_ROWS"
"""Which rows: "*" for every one, as .ci/run has it; unset, some of each kind."""


@pytest.mark.timeout(240)  # a busy machine takes its time; 25 s on a quiet one
def test_bench__quick_run_of_some_rows__has_a_figure_of_pyproxy_in_each(
    tmp_path: Path, machine_environment: Mapping[str, str]
) -> None:
    figures, picture = tmp_path / "figures.json", tmp_path / "picture.svg"
    some = machine_environment.get(ROWS, "warm-p12-json-gzip cold-p12 start").split()
    command = (sys.executable, "-m", "bench", "--quick", "--only", *some, "--json", str(figures), "--svg", str(picture))

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    rows = json.loads(figures.read_text())["rows"]
    assert len(rows) >= (len(some) if some != ["*"] else 16)
    assert [row["key"] for row in rows if not row["cells"]["pyproxy"]["values"]] == []
    assert all(f"| {row['title']} |" in done.stdout for row in rows)
    assert picture.read_text().startswith("<svg ")

"""The benchmarks, run once and small: they still run, and every answer of pyproxy's is right. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.daemons import ROOT


@pytest.mark.timeout(240)  # a busy machine takes its time; 25 s on a quiet one
def test_bench__quick_run__has_a_figure_of_pyproxy_in_every_row(tmp_path: Path) -> None:
    figures, picture = tmp_path / "figures.json", tmp_path / "picture.svg"
    command = (sys.executable, "-m", "bench", "--quick", "--json", str(figures), "--svg", str(picture))

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    rows = json.loads(figures.read_text())["rows"]
    assert len(rows) > 15
    assert [row["key"] for row in rows if not row["cells"]["pyproxy"]["values"]] == []
    assert all(f"| {row['title']} |" in done.stdout for row in rows)
    assert picture.read_text().startswith("<svg ")

"""With the machine's own index: the one test of the clients that leaves the machine, and only when asked to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.clients.commands import contents, installed, run
from tests.daemon import serving

_DEFAULT = "remotes: {public: {}}\ndistributions: {main: {remote: public}}\n"


@pytest.mark.network
async def test_machine_index__shelf_reader__installs_cold_and_warm(tmp_path: Path) -> None:
    # The machine's settings of pip are for the daemon; the client has the daemon alone.
    nothing = {"PIP_CONFIG_FILE": os.devnull, "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "", "PIP_NO_INDEX": ""}
    async with serving(tmp_path, _DEFAULT) as served:
        flags = ("--no-cache-dir", "--no-compile", "--index-url", f"{served.url}/simple/")
        fetched = []
        for stage in ("cold", "warm"):
            where = ("--target", tmp_path / stage, "shelf-reader")
            ended = await run(sys.executable, "-m", "pip", "install", *flags, *where, cwd=tmp_path, env=nothing)
            assert ended.status == 0, ended.output
            fetched.append(served.metric("pyproxy_upstream_requests_total", kind="file"))

    assert installed(tmp_path / "warm").keys() == {"shelf-reader"}
    assert contents(tmp_path / "warm") == contents(tmp_path / "cold")
    assert fetched[0] >= 1
    assert fetched[1] == fetched[0]

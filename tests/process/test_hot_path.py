"""Answers given from memory, and what other processes do meanwhile."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime
from pathlib import Path
from time import time

from tests.daemon import a_wheel
from tests.process.daemons import daemon, pyproxy

LOCAL = "server: {hot_path: true}\nrepositories: {team: {}}\ndistributions: {main: {repository: team}}\n"


async def test_repo_add__beside_a_daemon_that_is_asked_all_the_time__is_on_its_very_next_page(tmp_path: Path) -> None:
    async with daemon(tmp_path, LOCAL) as served:
        where = ("--config", served.config, "--data", served.data)
        for number in range(3):
            name = f"alpha-{number}.0-py3-none-any.whl"
            (tmp_path / name).write_bytes(a_wheel("alpha", f"{number}.0"))
            adding = asyncio.create_task(pyproxy("repo", "add", "team", tmp_path / name, *where))
            while not adding.done():
                await served.page()
            assert (await adding).code == 0
            assert [file["filename"] for file in (await served.page()).json()["files"]][-1] == name


async def test_date__of_a_page_that_is_asked_for_all_the_time__is_the_time(tmp_path: Path) -> None:
    async with daemon(tmp_path, LOCAL) as served:
        (tmp_path / "alpha-1.0-py3-none-any.whl").write_bytes(a_wheel("alpha", "1.0"))
        where = ("--config", served.config, "--data", served.data)
        await pyproxy("repo", "add", "team", tmp_path / "alpha-1.0-py3-none-any.whl", *where)
        seen: set[float] = set()
        while len(seen) < 3:  # two seconds that end while it is asked
            before = int(time())
            said = parsedate_to_datetime((await served.page()).headers["Date"]).timestamp()
            assert before <= said <= time()
            seen.add(said)

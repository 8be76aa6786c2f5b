"""Versions of a repository under way: pinned and latest side by side, rolled back and forward while clients install."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from tests.daemon import a_wheel
from tests.process.daemons import Process, daemon, pyproxy
from tests.uploading import local, upload

CLIENTS = 50
FLIPS = 6

PINNED = "  pinned: {repository: team, repository_version: 1}\n"


async def repo(served: Process, *arguments: str) -> str:
    done = await pyproxy("repo", *arguments, "--config", served.config, "--data", served.data)
    assert done.code == 0, done
    return done.out


async def give(served: Process, version: str) -> bytes:
    data = a_wheel("alpha", version, payload=version.encode() * 1000)
    assert (await upload(served, f"alpha-{version}-py3-none-any.whl", data)).status == 200
    return data


async def files(served: Process, base: str = "main") -> dict[str, dict[str, Any]]:  # Any: JSON
    page = await served.page("alpha", base)
    assert page.status == 200, page
    return {file["filename"]: file for file in page.json()["files"]}


async def install(served: Process, base: str) -> frozenset[str]:
    """What an installer asks for: the page, then metadata and file of the newest; the names on the page."""
    found = await files(served, base)
    newest = max(found)
    link = urljoin(f"/pypi/{base}/simple/alpha/", found[newest]["url"])
    for path in (f"{link}.metadata", link):
        answer = await served.ask(path)
        assert (answer.status, answer.whole) == (200, True), (answer, newest)
    return frozenset(found)


@pytest.mark.timeout(180)
async def test_rollback__while_fifty_clients_install__fails_nobody_and_mixes_nothing(tmp_path: Path) -> None:
    async with daemon(tmp_path, local(None) + PINNED) as served:
        for version in ("1.0", "2.0", "3.0"):
            await give(served, version)
        await repo(served, "remove", "team", "alpha==1.0")  # version 4: 2.0 and 3.0, and version 1: 1.0 alone
        shown: dict[str, set[frozenset[str]]] = {"main": set(), "pinned": set()}
        over = asyncio.Event()

        async def client(seed: int) -> int:
            dice, count = random.Random(seed), 0
            while not over.is_set():
                base = "pinned" if seed % 5 == 0 else "main"
                shown[base].add(await install(served, base))
                count += 1
                await asyncio.sleep(dice.uniform(0, 0.2))
            return count

        clients = [asyncio.create_task(client(seed)) for seed in range(CLIENTS)]
        try:
            for flip in range(FLIPS):
                await repo(served, "rollback", "team", "1" if flip % 2 == 0 else "4")
        finally:
            over.set()
            counts = await asyncio.gather(*clients)
        versions = (await repo(served, "versions", "team")).splitlines()

    one, two, three = (f"alpha-{n}.0-py3-none-any.whl" for n in (1, 2, 3))
    assert shown == {"main": {frozenset({one}), frozenset({two, three})}, "pinned": {frozenset({one})}}
    assert min(counts) >= 1
    assert len(versions) == 4 + FLIPS


async def test_file__removed__is_gone_at_once_and_a_rolled_back_one_is_not(tmp_path: Path) -> None:
    async with daemon(tmp_path, local(None)) as served:
        for version in ("1.0", "2.0"):
            await give(served, version)
        links = [f"/pypi/main/files/local/alpha/alpha-{version}-py3-none-any.whl" for version in ("1.0", "2.0")]
        await repo(served, "rollback", "team", "1")
        rolled_back = [(await served.ask(link)).status for link in links]
        names = list(await files(served))
        await repo(served, "rollback", "team", "2")
        await repo(served, "remove", "team", "alpha==2.0")
        removed = [(await served.ask(link)).status for link in links]

    assert (rolled_back, names) == ([200, 200], ["alpha-1.0-py3-none-any.whl"])
    assert removed == [200, 404]


async def test_uploads__by_eight_clients_at_once__are_all_there_in_consecutive_versions(tmp_path: Path) -> None:
    async with daemon(tmp_path, local(None)) as served:

        async def client(number: int) -> None:
            for at in range(10):
                name = f"p{number}x{at}"
                answer = await upload(served, f"{name}-1.0-py3-none-any.whl", a_wheel(name, "1.0"))
                assert answer.status == 200

        await asyncio.gather(*map(client, range(8)))
        listed = await served.ask("/pypi/main/simple/", Accept="application/vnd.pypi.simple.v1+json")
        versions = (await repo(served, "versions", "team")).splitlines()

    assert len(listed.json()["projects"]) == 80
    assert [int(line.split()[0]) for line in versions] == list(range(1, 81))


async def test_upload__answered_by_one_worker__is_seen_in_the_same_moment_in_each(tmp_path: Path) -> None:
    async with daemon(tmp_path, "server: {workers: 2}\n" + local(None)) as served:

        async def client(number: int) -> None:
            for at in range(6):
                version = f"{number}.{at}"
                data = await give(served, version)
                # Each on a connection of its own, so that all workers are asked.
                pages = await asyncio.gather(*(served.page(Connection="close") for _ in range(4)))
                name = f"alpha-{version}-py3-none-any.whl"
                links = [{f["filename"]: f["url"] for f in page.json()["files"]}[name] for page in pages]
                link = urljoin("/pypi/main/simple/alpha/", links[0])
                got = await asyncio.gather(*(served.ask(link, Connection="close") for _ in range(2)))
                assert [answer.body == data for answer in got] == [True, True]

        await asyncio.gather(*map(client, range(4)))
        asked = [await served.metric("pyproxy_requests_total", kind=kind) for kind in ("upload", "simple", "file")]
        versions = (await repo(served, "versions", "team")).splitlines()
        assert await served.stop() == 0

    assert asked == [24, 96, 48]
    assert [int(line.split()[0]) for line in versions] == list(range(1, 25))

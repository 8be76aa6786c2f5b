"""SIGKILL at random and at every named point of an upload: what was acknowledged is there, all else whole or absent.

PYPROXY_KILL_CYCLES=300 makes the long run out of the short one.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest

from pyproxy.storage.failpoints import VARIABLE
from pyproxy.storage.repository import open_local
from tests.daemon import a_wheel, noise
from tests.process.daemons import Process, daemon, until
from tests.uploading import local, upload

CYCLES = "PYPROXY_KILL_CYCLES"
CLIENTS = 4
SIZES = (0, 1_000, 40_000, 70_000, 300_000, 2_000_000)


@dataclass(frozen=True, slots=True)
class Sent:
    """A wheel that can be made again: a long run sends gigabytes."""

    version: str
    seed: int
    size: int

    @property
    def data(self) -> bytes:
        return a_wheel("alpha", self.version, payload=noise(self.size, self.seed))


@dataclass(slots=True)
class Journal:
    """What clients know, kept where no daemon can lose it: what was answered with 200, and the others."""

    acknowledged: dict[str, Sent] = field(default_factory=dict)
    unknown: dict[str, Sent] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)

    @property
    def known(self) -> dict[str, Sent]:
        return self.acknowledged | self.unknown


async def clients(served: Process, journal: Journal, seed: int) -> None:
    """Uploads one wheel after another for as long as anybody answers."""
    dice = random.Random(seed)
    for number in range(1_000_000):
        name = f"alpha-{seed}.{number}-py3-none-any.whl"
        journal.unknown[name] = sent = Sent(f"{seed}.{number}", seed, dice.choice(SIZES))
        try:
            answer = await upload(served, name, sent.data)
        except (aiohttp.ClientError, ConnectionError):
            return
        if answer.status != 200:
            journal.wrong.append(f"{name}: {answer}")
            return
        journal.acknowledged[name] = journal.unknown.pop(name)


async def listed(served: Process) -> dict[str, dict[str, Any]]:  # Any: JSON
    """By name, what the page says of each file, its URL made whole."""
    page = await served.page()
    if page.status == 404:
        return {}
    files = page.json()["files"]
    return {file["filename"]: {**file, "url": urljoin("/pypi/main/simple/alpha/", file["url"])} for file in files}


async def check(served: Process, journal: Journal, names: Mapping[str, Sent]) -> None:
    """Each of these names is there as its client knows it; all that is there was sent; each listed one is whole."""
    found = await listed(served)
    assert found.keys() >= journal.acknowledged.keys()
    assert found.keys() <= journal.known.keys()
    for name in names.keys() & found.keys():
        data = names[name].data
        assert found[name]["hashes"] == {"sha256": hashlib.sha256(data).hexdigest()}, name
        answer = await served.ask(found[name]["url"])
        assert (answer.status, answer.whole, answer.body == data) == (200, True, True), name
    # What nobody was told of may be there, and then it is acknowledged to whoever comes again.
    for name in sorted(names.keys() & journal.unknown.keys())[:2]:
        assert (await upload(served, name, journal.unknown[name].data)).status == 200
        journal.acknowledged[name] = journal.unknown.pop(name)


def sound(data: Path) -> list[int]:
    """The numbers of all versions, of a store in which all is in order."""
    repositories = open_local(data, exclusive=False)
    try:
        assert list(repositories.verify(mend=False)) == []
        return [version.number for version in repositories.versions("team")]
    finally:
        repositories.close()


def temps(data: Path) -> list[str]:
    return sorted(path.name for path in (data / "local" / "tmp").iterdir())


@pytest.mark.timeout(3600)
async def test_kill__at_random_during_uploads__loses_nothing_that_was_acknowledged(
    tmp_path: Path, machine_environment: Mapping[str, str]
) -> None:
    cycles = int(machine_environment.get(CYCLES, "4"))
    dice = random.Random(11)
    journal = Journal()
    starts: list[float] = []
    async with daemon(tmp_path, local(None), started=False) as served:
        new: dict[str, Sent] = {}
        for cycle in range(1, cycles + 1):
            began = time.monotonic()
            await served.start()
            starts.append(time.monotonic() - began)
            await check(served, journal, new)
            before = set(journal.known)
            uploading = [asyncio.create_task(clients(served, journal, cycle * 100 + n)) for n in range(CLIENTS)]
            await asyncio.sleep(dice.uniform(0.02, 0.6))
            await served.kill()
            await asyncio.gather(*uploading)
            assert journal.wrong == []
            new = {name: sent for name, sent in journal.known.items() if name not in before}
        await served.start()
        await check(served, journal, journal.known)
        await until(lambda: temps(served.data) == [], "all that crashes left is swept")
        assert await served.stop() == 0
    numbers = sound(served.data)
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(journal.acknowledged) > cycles
    assert "Traceback" not in served.stderr
    starts.sort()
    print(  # noqa: T201 - the figures of the long run, shown by `pytest -s`
        f"{cycles} kills: {len(journal.acknowledged)} acknowledged uploads, all there and right; "
        f"{len(numbers)} versions; start to ready {starts[len(starts) // 2]:.2f} s (median), {starts[-1]:.2f} s (most)"
    )


# ---------------------------------------------------------------------- at named points

FILLING = ("temp-created", "half-written", "all-written", "hash-checked", "temp-synced", "renamed", "dir-synced")
COMMITTING = ("txn-open", "committed")
_PASSAGE = {**dict.fromkeys(FILLING, 3), **dict.fromkeys(COMMITTING, 8)}
"""At which passage a point acts: the indexes are also written to while the daemon starts."""


@pytest.mark.timeout(300)
async def test_kill__at_every_point_of_an_upload__the_client_that_comes_again_is_told_200(tmp_path: Path) -> None:
    journal = Journal()
    async with daemon(tmp_path, local(None), started=False) as served:
        for number, point in enumerate((*FILLING, *COMMITTING), 1):
            served.env[VARIABLE] = f"{point}:kill@{_PASSAGE[point]}"
            await served.start()
            await asyncio.wait_for(clients(served, journal, number), 60)
            assert await served.ended() == -signal.SIGKILL, point
            del served.env[VARIABLE]
            await served.start()
            await check(served, journal, journal.known)
            assert journal.unknown == {}, point
            await until(lambda: temps(served.data) == [], "all that the crash left is swept")
            await served.kill()
    assert journal.wrong == []
    assert len(sound(served.data)) == len(journal.acknowledged)


@pytest.mark.parametrize(("error", "status"), [("ENOSPC", 507), ("EDQUOT", 507), ("EIO", 503)])
async def test_error__at_every_point_of_an_upload__is_told_and_leaves_nothing(
    tmp_path: Path, error: str, status: int
) -> None:
    armed = ",".join(f"{point}:{error}@{2 * at}" for at, point in enumerate(FILLING, 1))
    statuses: list[int] = []
    async with daemon(tmp_path, local(None), env={VARIABLE: armed}) as served:
        for number in range(30):
            name, data = f"alpha-{number}.0-py3-none-any.whl", a_wheel("alpha", f"{number}.0")
            answer = await upload(served, name, data)
            statuses.append(answer.status)
            assert (name in await listed(served)) is (answer.status == 200)
            if answer.status != 200:
                assert temps(served.data) == []
                assert (await upload(served, name, data)).status in {200, status}
        assert await served.stop() == 0
        assert "Traceback" not in served.stderr
    assert set(statuses) == {200, status}
    sound(served.data)


async def test_upload__large__takes_little_memory_and_little_time_from_others(tmp_path: Path) -> None:
    data = a_wheel("alpha", "1.0", payload=noise(100 << 20))
    async with daemon(tmp_path, local(None)) as served:
        assert (await upload(served, "beta-1.0-py3-none-any.whl", a_wheel("beta", "1.0"))).status == 200
        before = served.memory("VmHWM")
        uploading = asyncio.create_task(upload(served, "alpha-1.0-py3-none-any.whl", data))
        took = []
        while not uploading.done():
            began = time.monotonic()
            assert (await served.page("beta")).status == 200
            took.append(time.monotonic() - began)
        assert (await uploading).status == 200
        assert served.memory("VmHWM") - before < 32 << 20
        assert sorted(took)[len(took) // 2] < 0.2  # some ms where nothing else runs

"""SIGKILL at random and at every named point of a store: nothing wrong is ever whole, and each start is in order.

PYPROXY_KILL_CYCLES=200 makes the long run out of the short one.
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

import aiohttp
import pytest

from pyproxy.storage.failpoints import NAMES, VARIABLE
from tests.daemon import Project, noise
from tests.fakes.faults import Drip
from tests.fakes.raw_upstream import RawUpstream
from tests.process.daemons import Process, daemon, in_order, one_remote, temps_of

CYCLES = "PYPROXY_KILL_CYCLES"
CLIENTS = 6

SIZES = (0, 1, 1_000, 20_000, 65_536, 300_000, 300_001, 1_000_000, 1_500_000, 2_500_000, 4_000_000, 4_000_001)
"""Several fit into the cache at once and not all of them, so that fills and evictions never cease."""

LIMIT = 8 << 20


def several(up: RawUpstream) -> dict[str, bytes]:
    """A published project of files of these sizes; each by its name."""
    made = Project("alpha")
    for number, size in enumerate(SIZES):
        made.add(f"alpha-{number}.0.tar.gz", noise(size, number))
    made.publish(up)
    return made.files


@dataclass(slots=True)
class Tally:
    """What the clients of a run came to."""

    whole: int = 0
    broken: int = 0
    wrong: list[str] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)


async def clients(served: Process, files: Mapping[str, bytes], tally: Tally, seed: int) -> None:
    """Fetches one file after another for as long as anybody answers."""
    dice = random.Random(seed)
    while served.alive:
        name = dice.choice(list(files))
        try:
            answer = await served.file(name)
        except (aiohttp.ClientError, ConnectionError):
            tally.broken += 1
            await asyncio.sleep(0)
            continue
        if not answer.whole:
            tally.broken += 1
        elif answer.status != 200 or answer.body != files[name]:
            tally.wrong.append(f"{name}: {answer.status} {answer.reason}, {len(answer.body)} bytes")
        else:
            tally.whole += 1


@pytest.mark.timeout(3600)
async def test_kill__at_random_during_fills__nothing_wrong_and_every_start_in_order(
    tmp_path: Path, machine_environment: Mapping[str, str]
) -> None:
    cycles = int(machine_environment.get(CYCLES, "5"))
    dice = random.Random(7)
    tally = Tally()
    async with RawUpstream() as up:
        files = several(up)
        up.script("*", Drip(step=65_536, pause=0.001), times=None)
        async with daemon(tmp_path, one_remote(f"{up.url}simple/", size=f"{LIMIT}B"), started=False) as served:
            for cycle in range(cycles):
                await served.spawn()
                if cycle % 5 == 4:  # also while it starts
                    await asyncio.sleep(dice.uniform(0, 0.8))
                    await served.kill()
                    await served.spawn()
                began = time.monotonic()
                await served.ready()
                tally.starts.append(time.monotonic() - began)
                await in_order(served.data, limit=LIMIT)
                fetching = [asyncio.create_task(clients(served, files, tally, cycle * 100 + n)) for n in range(CLIENTS)]
                await asyncio.sleep(dice.uniform(0.02, 0.5))
                await served.kill()
                await asyncio.gather(*fetching)
                assert tally.wrong == []
            await served.start()
            await in_order(served.data)
            answers = [await served.file(name) for name in files]
            assert [a.body for a in answers] == list(files.values())
            assert await served.stop() == 0
        assert temps_of(served.data) == ()
        assert tally.whole > cycles
        assert "Traceback" not in served.stderr
    starts = sorted(tally.starts)
    print(  # noqa: T201 - the figures of the long run, shown by `pytest -s`
        f"{cycles} kills: {tally.whole} whole bodies, all right; {tally.broken} broken off; no wrong one; "
        f"start to ready {starts[len(starts) // 2]:.2f} s (median), {starts[-1]:.2f} s (most)"
    )


# ---------------------------------------------------------------------- at named points

FILLING = ("temp-created", "half-written", "all-written", "hash-checked", "temp-synced", "renamed", "dir-synced")
COMMITTING = ("txn-open", "committed")
EVICTING = ("evict-row-deleted", "evict-unlinked")

_PASSAGE = {**dict.fromkeys((*FILLING, *EVICTING), 1), **dict.fromkeys(COMMITTING, 12)}
"""At which passage a point acts: the index is also written to while the daemon starts, several times."""


def test_points__are_all_that_the_store_has() -> None:
    assert {*FILLING, *COMMITTING, *EVICTING} == NAMES


@pytest.mark.timeout(300)
async def test_kill__at_every_point_of_a_store__next_start_is_in_order(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        made = Project("alpha")
        for number in range(12):
            made.add(f"alpha-{number}.0.tar.gz", noise(400_000, number))
        made.publish(up)
        # Two of the files fit, so the third is where the daemon evicts.
        async with daemon(tmp_path, one_remote(f"{up.url}simple/", size="1MiB"), started=False) as served:
            for point in (*FILLING, *COMMITTING, *EVICTING):
                served.env[VARIABLE] = f"{point}:kill@{_PASSAGE[point]}"
                await served.start()
                await in_order(served.data, limit=1 << 20)
                for name, data in made.files.items():
                    if (body := await _until_death(served, name)) is None:
                        break
                    assert body == data, point
                assert await served.ended() == -signal.SIGKILL, point
            del served.env[VARIABLE]
            await served.start()
            await in_order(served.data)
            assert [(await served.file(name)).body for name in made.files] == list(made.files.values())
            assert await served.stop() == 0


async def _until_death(served: Process, name: str) -> bytes | None:
    """The whole body; None where the daemon dies before it is out."""
    try:
        answer = await served.file(name)
    except (aiohttp.ClientError, ConnectionError):
        return None
    return answer.body if answer.whole and answer.status == 200 else None


async def test_error__at_every_point_of_a_fill__client_gets_the_file_and_nothing_half_stays(tmp_path: Path) -> None:
    points = (*FILLING, *COMMITTING)
    errors = ("ENOSPC", "EIO", "EDQUOT")
    armed = ",".join(f"{point}:{errors[n % 3]}@{_PASSAGE[point]}" for n, point in enumerate(points))
    async with RawUpstream() as up:
        made = Project("alpha")
        for number in range(len(points) + 3):
            made.add(f"alpha-{number}.0.tar.gz", noise(200_000, number))
        made.publish(up)
        async with daemon(tmp_path, one_remote(f"{up.url}simple/"), env={VARIABLE: armed}) as served:
            for _ in range(2):
                for name, data in made.files.items():
                    answer = await served.file(name)
                    assert (answer.status, answer.whole) == (200, True), name
                    assert hashlib.sha256(answer.body).digest() == hashlib.sha256(data).digest(), name
            found = await in_order(served.data)
            assert found.blobs == len(made.files)
            assert (await served.page()).status == 200
            assert await served.stop() == 0
            failed = [line for line in served.lines if "not kept" in line]
            assert len(failed) >= len(FILLING)
            assert "Traceback" not in served.stderr


async def test_sync__takes_three_seconds__pages_and_other_files_do_not_wait(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        made = Project("alpha")
        for number in range(3):
            made.add(f"alpha-{number}.0.tar.gz", noise(100_000, number))
        made.publish(up)
        slow = {VARIABLE: "temp-synced:sleep=3@2"}
        async with daemon(tmp_path, one_remote(f"{up.url}simple/"), env=slow) as served:
            await served.file("alpha-0.0.tar.gz")
            await in_order(served.data)
            assert (await served.file("alpha-1.0.tar.gz")).whole  # and its fsync begins
            took: list[float] = []
            while temps_of(served.data):
                began = time.monotonic()
                assert (await served.page()).status == 200
                assert (await served.file("alpha-0.0.tar.gz")).body == made.files["alpha-0.0.tar.gz"]
                took.append(time.monotonic() - began)
            assert len(took) > 2
            assert sorted(took)[len(took) // 2] < 0.75  # some ms where nothing else runs
            assert max(took) < 2.0

"""What is kept: the longest unused goes first, damage is mended by fetching again, and a restart loses nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
from collections import OrderedDict
from pathlib import Path

import pytest

from pyproxy.storage.failpoints import VARIABLE
from tests.daemon import HTML, Project, a_wheel, noise
from tests.fakes.raw_upstream import RawUpstream
from tests.process.daemons import Process, blob_of, blobs_of, daemon, in_order, one_remote, pyproxy, temps_of

COUNT, SIZE, FIT = 10, 60_000, 4


def published(up: RawUpstream, count: int = COUNT, size: int = SIZE) -> Project:
    made = Project("alpha")
    for number in range(count):
        made.add(f"alpha-{number}.0.tar.gz", noise(size, number))
    made.publish(up)
    return made


def names_on_disk(served: Process, made: Project) -> set[str]:
    by_digest = {hashlib.sha256(data).hexdigest(): name for name, data in made.files.items()}
    return {by_digest[path.name] for path in blobs_of(served.data)}


async def test_eviction__random_uses__keeps_exactly_the_last_used(tmp_path: Path) -> None:
    dice = random.Random(11)
    limit = FIT * SIZE + SIZE // 2
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/", size=f"{limit}B")) as served:
        made = published(up)
        model: OrderedDict[str, None] = OrderedDict()
        fetched = 0
        for step in range(120):
            name = dice.choice(list(made.files))
            fetched += name not in model
            model[name] = None
            model.move_to_end(name)
            while len(model) > FIT:
                model.popitem(last=False)

            assert (await served.file(name)).body == made.files[name], step
            assert sum(up.count(f"/files/{each}") for each in made.files) == fetched, step
            if step % 10 == 9:
                found = await in_order(served.data)
                assert found.size <= limit
                assert names_on_disk(served, made) == set(model), step
            if step == 60:  # the order of use survives a restart
                await served.restart()
        assert await served.metric("pyproxy_cache_files") == len(model)
        assert await served.metric("pyproxy_cache_bytes") == len(model) * SIZE


async def test_eviction__file_larger_than_the_cache__is_served_and_evicts_nobody(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/", size="200kB")) as served:
        made = published(up, 3)
        made.add("alpha-9.0.tar.gz", noise(300_000, 9))
        made.publish(up)
        for name, data in made.files.items():
            assert (await served.file(name)).body == data

        assert (await in_order(served.data)).blobs == 3
        assert names_on_disk(served, made) == set(made.files) - {"alpha-9.0.tar.gz"}


# ---------------------------------------------------------------------- damage


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, 1000)


@pytest.mark.parametrize("damage", [flipped, cut, Path.unlink], ids=["flipped", "cut", "gone"])
async def test_blob__damaged_on_disk__is_fetched_again(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        [(name, data)] = published(up, 1, 300_000).files.items()
        await served.file(name)
        await in_order(served.data)
        damage(blob_of(served.data, hashlib.sha256(data).hexdigest()))

        answers = await asyncio.gather(*(served.file(name) for _ in range(10)))
        assert all(a.status == 200 and a.body == data for a in answers)
        assert up.count(f"/files/{name}") == 2
        assert (await in_order(served.data)).blobs == 1


async def test_blob__flipped_under_its_old_time__is_found_by_verify(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        made = published(up, 3)
        for name in made.files:
            await served.file(name)
        await in_order(served.data)
        name, data = "alpha-1.0.tar.gz", made.files["alpha-1.0.tar.gz"]
        path = blob_of(served.data, hashlib.sha256(data).hexdigest())
        before = path.stat()
        flipped(path)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

        kept = await pyproxy("verify", "--keep", "--config", served.config, "--data", served.data)
        assert (kept.code, "1 findings" in kept.out, path.name in kept.out) == (1, True, True), kept
        mended = await pyproxy("verify", "--config", served.config, "--data", served.data)
        assert (mended.code, "(mended)" in mended.out) == (1, True), mended
        again = await pyproxy("verify", "--keep", "--json", "--config", served.config, "--data", served.data)
        assert (again.code, again.out) == (0, ""), again
        assert (await served.file(name)).body == data
        assert up.count(f"/files/{name}") == 2


# ---------------------------------------------------------------------- commands beside the daemon and alone


async def test_commands__beside_the_daemon_and_alone__tell_the_same(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        made = published(up)
        await served.page()
        for name in made.files:
            await served.file(name)
        await in_order(served.data)
        common = ("--config", served.config, "--data", served.data)

        beside = await pyproxy("status", "--json", *common)
        text = await pyproxy("status", *common)
        right = await pyproxy("verify", *common)
        gc = await pyproxy("gc", *common)
        assert await served.stop() == 0
        alone = await pyproxy("status", "--json", *common)
        right_alone = await pyproxy("verify", *common)

        assert [d.code for d in (beside, text, right, gc, alone, right_alone)] == [0] * 6
        told, told_alone = json.loads(beside.out), json.loads(alone.out)
        assert f"running, pid {told['daemon']}" in text.out
        assert (told["bytes"], told["blobs"], told["pages"]) == (COUNT * SIZE, COUNT, {"up": 1})
        assert told_alone["daemon"] is None
        assert {**told_alone, "daemon": 0} == {**told, "daemon": 0}
        assert told["hit_rates"] == {"simple": 0.0, "file": 0.0}
        assert told["answered"]["counts"] == {"simple": {"miss": 1}, "file": {"miss": COUNT}}
        assert f"hit rate   0.0% of {COUNT} files, since" in text.out
        assert "10 files" in right.out
        assert "all right" in right.out
        assert right.out == right_alone.out
        assert "gave back 0 B" in gc.out


async def test_gc__lower_limit_while_the_daemon_runs__evicts_the_longest_unused(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        made = published(up)
        for name in made.files:
            await served.file(name)
        await in_order(served.data)
        narrow = tmp_path / "narrow.yaml"
        narrow.write_text(one_remote(f"{up.url}simple/", size=f"{3 * SIZE}B"))
        gc = await pyproxy("gc", "--config", narrow, "--data", served.data)

        assert gc.code == 0, gc
        assert names_on_disk(served, made) == {f"alpha-{number}.0.tar.gz" for number in (7, 8, 9)}
        assert (await in_order(served.data)).blobs == 3
        assert [(await served.file(name)).body for name in made.files] == list(made.files.values())


# ---------------------------------------------------------------------- a restart


async def test_restart__remote_gone__pages_files_and_metadata_are_as_before(tmp_path: Path) -> None:
    wheel = a_wheel(payload=noise(100_000), requires=("beta>=1",))
    name = "alpha-1.0-py3-none-any.whl"
    paths = ("/pypi/main/simple/alpha/", "/simple/alpha/", f"/pypi/main/files/up/files/{name}")
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/", ttl="0s")) as served:
        made = Project("alpha")
        made.add(name, wheel)
        made.publish(up)
        assert (await served.file(f"{name}.metadata")).status == 200
        assert (await served.file(name)).body == wheel
        await in_order(served.data)
        # Asked once more, as the page now tells the digest of the metadata.
        before = [await served.ask(path, Accept=HTML) for path in (*paths, f"{paths[2]}.metadata")]
        assert await served.stop() == 0
        await up.stop()
        await served.start()

        after = [await served.ask(path, Accept=HTML) for path in (*paths, f"{paths[2]}.metadata")]
        assert [a.status for a in after] == [200] * 4
        assert [a.body for a in after] == [b.body for b in before]
        assert [a.headers["ETag"] for a in after] == [b.headers["ETag"] for b in before]
        assert b"beta>=1" in after[3].body
        unknown = await served.page("never-seen")
        assert (unknown.status, "up" in unknown.reason) == (502, True)
        again = await served.ask(paths[2], If_None_Match=after[2].headers["ETag"])
        assert again.status == 304

        await served.kill()
        await served.start()
        assert [(await served.ask(path, Accept=HTML)).body for path in paths] == [b.body for b in before[:3]]
        assert temps_of(served.data) == ()


async def test_kill__the_moment_that_a_client_has_its_file__loses_none(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        made = published(up)
        for name, data in made.files.items():
            answer = await served.file(name)
            await served.kill()
            assert answer.body == data
            await served.start()
        await up.stop()
        for name, data in made.files.items():
            assert (await served.file(name)).body == data
        assert await served.metric("pyproxy_requests_total", kind="file", result="hit") == COUNT


async def test_eviction__file_used_while_another_is_written_down__is_the_later_used(tmp_path: Path) -> None:
    slow = {VARIABLE: "temp-synced:sleep=1@3"}
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/", size="200kB"), env=slow) as served:
        made = published(up, 4)
        first, second, third, fourth = made.files
        await served.file(first)
        await in_order(served.data)
        await served.file(second)
        await in_order(served.data)
        await served.file(third)  # which is whole here, and takes a second to be kept
        await served.file(first)
        await in_order(served.data)
        await served.file(second)
        await served.file(fourth)

        await in_order(served.data)
        assert names_on_disk(served, made) == {first, second, fourth}

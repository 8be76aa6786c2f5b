"""SIGHUP and a changed file: the new configuration is in force at once or not at all, and no request notices."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import bcrypt

from tests.daemon import Answer, Project, noise, project
from tests.fakes.faults import Gate
from tests.fakes.raw_upstream import RawUpstream
from tests.process.daemons import Process, daemon, in_order, one_remote, pyproxy, until
from tests.uploading import basic

FAILURES = "pyproxy_config_reload_failures_total"


def published(up: RawUpstream) -> dict[str, bytes]:
    made = Project("alpha")
    for number in range(8):
        made.add(f"alpha-{number}.0.tar.gz", noise(50_000, number))
    made.publish(up)
    return made.files


@asynccontextmanager
async def asked_all_along(served: Process, files: dict[str, bytes]) -> AsyncIterator[list[int]]:
    """Clients that ask for pages and files within the block, and fail the test with the first that is not right.

    Yields a list that grows with each right answer.
    """
    right: list[int] = []
    over = asyncio.Event()

    async def client(seed: int) -> None:
        dice = random.Random(seed)
        while not over.is_set():
            name = dice.choice(list(files))
            answer = await (served.page() if dice.random() < 0.5 else served.file(name))
            assert answer.status == 200, answer
            assert answer.whole
            right.append(answer.status)

    clients = [asyncio.create_task(client(seed)) for seed in range(4)]
    try:
        yield right
    finally:
        over.set()
        await asyncio.gather(*clients)


async def test_sighup__valid_invalid_and_many_under_load__no_request_fails(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        files = published(up)
        url = f"{up.url}simple/"
        quiet = {"watch_config": False}
        async with daemon(tmp_path, one_remote(url, server=quiet)) as served, asked_all_along(served, files) as right:
            served.write(one_remote(url, server=quiet, more="other: {remote: up}\n"))
            served.signal(signal.SIGHUP)
            await served.logged("is in force")
            assert (await served.page(base="other")).status == 200

            served.write("remotes: {}\ndistributions:\n  main:\n    remot: up\n")
            served.signal(signal.SIGHUP)
            [wrong, *_] = await served.logged("main.remot:")
            assert f"{served.config}:4: distributions.main.remot" in wrong
            await served.logged("the old one stays in use")
            assert await served.metric(FAILURES) == 1
            assert (await served.page(base="other")).status == 200

            before = len(right)
            for ttl in range(1, 101):  # another remote each time: connections, memory and pages' rules are new
                served.write(one_remote(url, server=quiet, ttl=f"{ttl}m", more=f"d{ttl}: {{remote: up}}\n"))
                served.signal(signal.SIGHUP)
                if ttl % 20 == 0:  # signals that come close upon each other are one reload
                    await until_served(served, f"d{ttl}")
            assert await served.metric(FAILURES) == 1
            assert len(right) > before
        assert "Traceback" not in served.stderr
        assert "unexpected" not in served.stderr


async def until_served(served: Process, base: str) -> Answer:
    """The page of a distribution that a reload brings."""
    async with asyncio.timeout(20):
        while (answer := await served.page(base=base)).status == 404:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
    assert answer.status == 200
    return answer


async def test_sighup__download_of_a_remote_that_goes__is_finished(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with RawUpstream() as up:
        files = published(up)
        name = next(iter(files))
        up.script(f"/files/{name}", Gate(gate, first=30_000))
        async with daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
            asking = asyncio.create_task(served.file(name))
            await up.asked(f"/files/{name}")
            served.write(one_remote(f"{up.url}elsewhere/"))
            served.signal(signal.SIGHUP)
            await served.logged("is in force")
            gate.set()

            answer = await asking
            assert (answer.whole, answer.body) == (True, files[name])


async def test_file_changed__is_noticed_without_a_signal(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        project(up)
        url = f"{up.url}simple/"
        async with daemon(tmp_path, one_remote(url)) as served:
            assert (await served.page(base="other")).status == 404
            served.write(one_remote(url, more="other: {remote: up}\n"))
            await until_served(served, "other")

            served.write("nonsense: 1\n")
            [line] = await served.logged(f"{served.config}:1: nonsense")
            assert "error" in line
            assert (await served.page(base="other")).status == 200


async def test_reload__lower_limit__evicts_down_to_it(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        files = published(up)
        url = f"{up.url}simple/"
        async with daemon(tmp_path, one_remote(url)) as served:
            for name in files:
                await served.file(name)
            while await served.metric("pyproxy_cache_files") < 8:  # noqa: ASYNC110 - the daemon is another process
                await asyncio.sleep(0.02)  # the last one is being recorded
            served.write(one_remote(url, size="170000B"))
            served.signal(signal.SIGHUP)
            await served.logged("is in force")

            await until(lambda: len(list((served.data / "cache" / "blobs").glob("*/*"))) == 3, "three files are left")
            assert (await in_order(served.data)).size == 150_000
            assert await served.metric("pyproxy_cache_bytes") == 150_000
            assert await served.metric("pyproxy_evicted_bytes_total") == 250_000


async def test_start__lower_limit_than_before__evicts_down_to_it(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        files = published(up)
        url = f"{up.url}simple/"
        async with daemon(tmp_path, one_remote(url)) as served:
            for name in files:
                await served.file(name)
            await in_order(served.data)
            assert await served.stop() == 0
            served.write(one_remote(url, size="170000B"))
            await served.start()

            await until(lambda: len(list((served.data / "cache" / "blobs").glob("*/*"))) == 3, "three files are left")
            assert (await in_order(served.data)).size == 150_000


async def test_htpasswd__changed__lets_in_by_the_new_passwords_alone(tmp_path: Path) -> None:
    users = tmp_path / "users"

    def write(*entries: tuple[str, str]) -> None:
        new = users.with_suffix(".new")
        new.write_bytes(
            b"".join(b"%s:%s\n" % (n.encode(), bcrypt.hashpw(p.encode(), bcrypt.gensalt(4))) for n, p in entries)
        )
        new.replace(users)

    write(("alice", "one"), ("bob", "two"))
    text = f"""\
        repositories: {{team: {{}}}}
        guards: {{staff: {{read: [alice, bob], htpasswd: {users}}}}}
        distributions: {{main: {{repository: team, content_guard: staff}}}}
        """

    async def statuses(*credentials: tuple[str, str]) -> list[int]:
        return [(await served.ask("/pypi/main/simple/", Authorization=basic(p, n))).status for n, p in credentials]

    async with daemon(tmp_path, text) as served:
        assert await statuses(("alice", "one"), ("bob", "two"), ("alice", "two")) == [200, 200, 401]
        write(("alice", "three"), ("bob", "two"))
        await served.logged("is in force")
        assert await statuses(("alice", "one"), ("alice", "three"), ("bob", "two")) == [401, 200, 200]
        users.write_text("alice:not a hash\n")
        await served.logged("the old one stays in use")
        assert await statuses(("alice", "three")) == [200]
        assert await served.metric(FAILURES) == 1


async def test_block_file__broken__leaves_the_last_right_one_in_force(tmp_path: Path) -> None:
    wheel = "alpha-1.0-py3-none-any.whl"
    async with RawUpstream() as up:
        project(up)
        blocked = tmp_path / "blocked.txt"
        blocked.write_text("# nothing yet\n")
        text = one_remote(f"{up.url}simple/", block=f"file:{blocked}")
        async with daemon(tmp_path, text) as served:
            assert (await served.file(wheel)).status == 200

            blocked.write_text("alpha==1.0  # taken over on Monday\n")
            await served.logged("is in force", 1)
            assert (await served.file(wheel)).status == 403
            assert (await served.page()).json()["files"] == []

            blocked.write_text("\nalpha=1.0\n")
            await served.logged(f"{blocked}:2: 'alpha=1.0' is no requirement specifier")
            blocked.unlink()
            await served.logged(f"cannot read {blocked}")
            assert (await served.file(wheel)).status == 403
            assert await served.metric(FAILURES) == 2

            blocked.write_text("beta\n")
            await served.logged("is in force", 2)
            assert (await served.file(wheel)).status == 200


async def test_block_file__broken_at_the_start__starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "blocked.txt").write_text("sha256:12\n")
    (tmp_path / "pyproxy.yaml").write_text(one_remote("https://index.example/simple/", block=["file:blocked.txt"]))

    done = await pyproxy("check", "--config", tmp_path / "pyproxy.yaml")

    assert done.code == 2
    assert f"{tmp_path}/blocked.txt:1: must be sha256: and 64 hexadecimal digits" in done.err

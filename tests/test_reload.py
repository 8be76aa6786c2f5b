from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pyproxy import config
from pyproxy.config import Config
from pyproxy.errors import PyproxyError
from pyproxy.reload import ConfigWatch

LONG_AGO = 1_000_000_000


def text(ttl: str = "10m", *, server: str = "{}", storage: str = "{}") -> str:
    return f"server: {server}\nstorage: {storage}\nremotes: {{r: {{url: 'https://index.example/', ttl: {ttl}}}}}\n"


@dataclass
class Daemon:
    """A watch, the file it watches, and what came of it."""

    path: Path
    watch: ConfigWatch
    applied: asyncio.Queue[Config] = field(default_factory=asyncio.Queue)
    failures: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    loads: int = 0

    def write(self, what: str) -> None:
        write(self.path, what)

    async def next_applied(self) -> Config:
        return await asyncio.wait_for(self.applied.get(), 20)

    async def next_failure(self) -> None:
        await asyncio.wait_for(self.failures.get(), 20)


def write(path: Path, what: str) -> None:
    """Replaces the file as an editor does, with a time long past, so that nothing has to settle."""
    new = path.with_suffix(".new")
    new.write_text(what)
    os.utime(new, (LONG_AGO, LONG_AGO))
    new.replace(path)


@asynccontextmanager
async def watching(
    folder: Path,
    what: str,
    *,
    interval: float = 0.02,
    load: Callable[[Path], Config] | None = None,
    apply: Callable[[Config], None] | None = None,
    rest: Callable[[float], None] | None = None,
) -> AsyncIterator[Daemon]:
    path = folder / "pyproxy.yaml"
    write(path, what)

    def load_it() -> Config:
        daemon.loads += 1
        return load(path) if load else config.load(path)

    async def apply_it(found: Config) -> None:
        if apply:
            apply(found)
        daemon.applied.put_nowait(found)

    async def rest_a_while(seconds: float) -> None:
        if rest:
            rest(seconds)

    daemon = Daemon(
        path,
        ConfigWatch(
            config.load(path),
            load_it,
            apply=apply_it,
            failed=lambda: daemon.failures.put_nowait(None),
            interval=interval,
            rest=rest_a_while,
        ),
    )
    task = asyncio.create_task(daemon.watch.run())
    try:
        yield daemon
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def ttl(found: Config) -> float:
    return found.remotes["r"].ttl


async def test_change__of_the_file__is_applied(tmp_path: Path) -> None:
    async with watching(tmp_path, text()) as daemon:
        daemon.write(text("1m"))
        assert ttl(await daemon.next_applied()) == 60
        daemon.write(text("2m"))
        assert ttl(await daemon.next_applied()) == 120
        assert ttl(daemon.watch.current) == 120
        assert not daemon.watch._changed()


async def test_change__of_a_secret_file__is_applied(tmp_path: Path) -> None:
    write(tmp_path / "token", "one")
    what = "remotes: {r: {url: 'https://index.example/', username: file:token}}"
    async with watching(tmp_path, what) as daemon:
        write(tmp_path / "token", "two")
        username = (await daemon.next_applied()).remotes["r"].username
        assert username is not None
        assert username.reveal() == "two"


async def test_unchanged_file__is_never_loaded(tmp_path: Path) -> None:
    async with watching(tmp_path, text(), interval=0) as daemon:
        write(tmp_path / "other", "x")
        for _ in range(20):
            await asyncio.to_thread(daemon.watch._changed)
        assert daemon.loads == 0


async def test_poke__loads_though_nothing_changed_and_nothing_is_watched(tmp_path: Path) -> None:
    async with watching(tmp_path, text(server="{watch_config: false}"), interval=0) as daemon:
        daemon.watch.poke()
        await daemon.next_applied()
        daemon.write(text("1m", server="{watch_config: false}"))
        for _ in range(20):
            assert await asyncio.to_thread(daemon.watch._changed)
        assert daemon.loads == 1
        daemon.watch.poke()
        assert ttl(await daemon.next_applied()) == 60


async def test_watch_config__turned_on_by_a_reload__holds_from_then_on(tmp_path: Path) -> None:
    async with watching(tmp_path, text(server="{watch_config: false}")) as daemon:
        daemon.write(text("1m"))
        daemon.watch.poke()
        await daemon.next_applied()
        daemon.write(text("2m"))
        assert ttl(await daemon.next_applied()) == 120


async def test_poke__during_a_load__makes_one_more(tmp_path: Path) -> None:
    began, go_on = threading.Event(), threading.Event()

    def slow(path: Path) -> Config:
        found = config.load(path)
        began.set()
        assert go_on.wait(20)
        return found

    async with watching(tmp_path, text(server="{watch_config: false}"), load=slow) as daemon:
        daemon.watch.poke()
        assert await asyncio.to_thread(began.wait, 20)
        daemon.write(text("1m", server="{watch_config: false}"))  # the load that goes on has read the old one
        for _ in range(100):
            daemon.watch.poke()
        go_on.set()
        assert ttl(await daemon.next_applied()) == 600
        assert ttl(await daemon.next_applied()) == 60
        assert daemon.loads == 2


async def test_wrong_file__changes_nothing_and_tells_each_mistake_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(tmp_path, text()) as daemon:
        before = daemon.watch.current
        daemon.write("server: {listn: x}\nremotes: {r: {ttl: y}}\nfilters: {}\ndistributions: {d: {remote: r}}\n")
        await daemon.next_failure()
        assert daemon.watch.current is before
        assert not daemon.watch._changed()
        daemon.write(text("1m"))
        assert ttl(await daemon.next_applied()) == 60
        assert daemon.failures.empty()
        assert daemon.loads == 2
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert told[0] == "the new configuration is wrong, the old one stays in use:"
    assert [line.split(": ")[1] for line in told[1:4]] == ["server.listn", "remotes.r.ttl", "filters"]


async def test_missing_secret__that_appears__is_taken_up(tmp_path: Path) -> None:
    async with watching(tmp_path, text()) as daemon:
        daemon.write("remotes: {r: {url: 'https://index.example/', username: file:token}}")
        await daemon.next_failure()
        write(tmp_path / "token", "now")
        assert (await daemon.next_applied()).remotes["r"].username is not None


async def test_half_written_file__is_not_read_before_it_is_whole(tmp_path: Path) -> None:
    rests: list[float] = []

    def finish(seconds: float) -> None:
        rests.append(seconds)
        write(tmp_path / "pyproxy.yaml", text("1m"))

    async with watching(tmp_path, text(), rest=finish) as daemon:
        daemon.path.write_text("")  # in place and just now: the first half of a save
        daemon.watch.poke()
        assert ttl(await daemon.next_applied()) == 60
        assert rests == [0.2]
        assert daemon.failures.empty()


async def test_removed_file__is_given_time_to_come_back(tmp_path: Path) -> None:
    async with watching(tmp_path, text(), rest=lambda _: write(tmp_path / "pyproxy.yaml", text("1m"))) as daemon:
        daemon.path.unlink()
        assert ttl(await daemon.next_applied()) == 60
        assert daemon.failures.empty()


async def test_removed_file__for_good__is_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(tmp_path, text()) as daemon:
        daemon.path.unlink()
        await daemon.next_failure()
        assert ttl(daemon.watch.current) == 600
    assert "No such file or directory" in caplog.text


async def test_file_that_is_written_all_the_time__is_read_at_last(tmp_path: Path) -> None:
    async with watching(tmp_path, text(), rest=lambda _: daemon.path.touch()) as daemon:
        daemon.path.write_text(text("1m"))
        daemon.watch.poke()
        assert ttl(await daemon.next_applied()) == 60


async def test_keys_that_take_a_restart__keep_their_values_and_the_rest_is_applied(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with watching(
        tmp_path, text(server="{listen: '127.0.0.1:1', max_upload_size: 1MiB}", storage="{path: /old}")
    ) as daemon:
        server = "{listen: '127.0.0.1:2', request_timeout: 5s, max_upload_size: 2MiB}"
        daemon.write(text("1m", server=server, storage="{path: /new}"))
        found = await daemon.next_applied()
        assert (str(found.server.listen), str(found.storage.path)) == ("127.0.0.1:1", "/old")
        assert (ttl(found), found.server.request_timeout, found.server.max_upload_size) == (60, 5, 2 << 20)
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == [
        f"{daemon.path}:1: server.listen: takes a restart to become 127.0.0.1:2; it stays 127.0.0.1:1 until then",
        f"{daemon.path}:2: storage.path: takes a restart to become /new; it stays /old until then",
    ]


async def test_remote_at_the_address_that_stays__is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(tmp_path, text(server="{listen: '127.0.0.1:1'}")) as daemon:
        daemon.write("server: {listen: '127.0.0.1:2'}\nremotes: {r: {url: 'http://127.0.0.1:1/'}}\n")
        await daemon.next_failure()
        assert ttl(daemon.watch.current) == 600
    assert f"{daemon.path}:2: remotes.r.url: http://127.0.0.1:1/ is pyproxy's own address" in caplog.text


@pytest.mark.parametrize("error", [PyproxyError("no room"), RuntimeError("a bug")])
async def test_apply__that_fails__leaves_the_old_one_and_the_watch_alive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def refuse(found: Config) -> None:
        if ttl(found) == 60:
            raise error

    async with watching(tmp_path, text(), apply=refuse) as daemon:
        daemon.write(text("1m"))
        await daemon.next_failure()
        assert ttl(daemon.watch.current) == 600
        daemon.write(text("2m"))
        assert ttl(await daemon.next_applied()) == 120
    assert str(error) in caplog.text


async def test_warnings__are_logged_with_each_reload(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with watching(tmp_path, text()) as daemon:
        daemon.write("remotes: {r: {url: 'https://index.example/', tls: {verify: false}}}")
        await daemon.next_applied()
        daemon.watch.poke()
        await daemon.next_applied()
    assert caplog.text.count("can change every file") >= 1

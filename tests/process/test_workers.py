"""Several workers on one port and one store: one fetch, one account, one reload, and one that dies harms no other."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from pyproxy.auth.guard import FAILURES
from pyproxy.storage.failpoints import NAMES, VARIABLE
from tests.daemon import JSON, Answer, Project, a_wheel, noise, project
from tests.fakes.faults import Drip, Flip, Gate, Hang
from tests.fakes.raw_client import connected
from tests.fakes.raw_upstream import RawUpstream
from tests.forking import ROOT
from tests.process.daemons import Process, all_right, daemon, in_order, one_remote, pyproxy, temps_of, until

MIB = 1 << 20
NAME = "alpha-1.0.tar.gz"
PATH = f"/pypi/main/files/up/files/{NAME}"
FOUR = ("--workers", "4")
THREE = ("--workers", "3")
TWO = ("--workers", "2")


def one_file(up: RawUpstream, size: int, **said: object) -> bytes:
    made = Project("alpha")
    data = noise(size)
    made.add(NAME, data, **said)
    made.publish(up)
    return data


def workers_of(served: Process) -> list[int]:
    """The pids of the workers, oldest first."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == served.pid and b"pyproxy.workers" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    return sorted(found)


async def connections_to_all(served: Process, count: int = 24) -> list[Answer]:
    """As many answers at once, each over a connection of its own, so that every worker has some."""
    return list(await asyncio.gather(*(served.ask("/healthz") for _ in range(count))))


async def test_start__four_workers__one_ready_line_and_all_of_them_answer(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/"), *FOUR) as served:
        assert len(workers_of(served)) == 4
        assert {answer.status for answer in await connections_to_all(served, 64)} == {200}
        shares = [connections(pid) for pid in workers_of(served)]
        assert min(shares) > 0, shares
        assert max(shares) <= 32, shares
        assert await served.stop() == 0
        assert len(served.out) == 1
        assert "Traceback" not in served.stderr


def connections(pid: int) -> int:
    """Sockets that a process has open."""
    return sum(str(path.readlink()).startswith("socket:") for path in Path(f"/proc/{pid}/fd").iterdir())


async def test_auto__comes_to_a_number_that_check_tells(tmp_path: Path) -> None:
    (tmp_path / "auto.yaml").write_text(one_remote("http://127.0.0.1:9/simple/", server={"workers": "auto"}))
    checked = await pyproxy("check", "--config", tmp_path / "auto.yaml")

    found = re.search(r"^  workers: (\d+)$", checked.out, re.MULTILINE)
    assert found is not None, checked
    assert 1 <= int(found[1]) <= len(os.sched_getaffinity(0))


async def test_unix_socket__all_workers_serve_it_and_its_file_goes_at_the_end(tmp_path: Path) -> None:
    where = tmp_path / "s.sock"
    async with (
        RawUpstream() as up,
        daemon(tmp_path, one_remote(f"{up.url}simple/", server={"workers": 2}), "--listen", f"unix:{where}") as served,
    ):
        data = one_file(up, MIB)
        answers = await asyncio.gather(*(served.file(NAME) for _ in range(20)))
        assert all_right(answers, [data] * 20)
        assert up.count(f"/files/{NAME}") == 1
        assert where.is_socket()
        assert len(workers_of(served)) == 2
        assert await served.stop() == 0
        assert not where.exists()


# ---------------------------------------------------------------------- one fetch


async def test_herd__200_clients_one_cold_file_4_workers__one_fetch_of_page_and_file(tmp_path: Path) -> None:
    count = 200
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/"), *FOUR) as served:
        data = one_file(up, 2 * MIB)
        answers = await asyncio.gather(*(served.file(NAME) for _ in range(count)))

        assert all_right(answers, [data] * count)
        assert up.count(f"/files/{NAME}") == 1
        assert up.count("/simple/alpha/") == 1
        found = await in_order(served.data)
        assert (found.blobs, found.size) == (1, len(data))
        assert await served.metric("pyproxy_requests_total", kind="file") == count
        assert await served.metric("pyproxy_upstream_requests_total", kind="file") == 1
        assert await served.metric("pyproxy_cache_bytes") == len(data)
        assert await served.metric("pyproxy_cache_files") == 1


async def test_herd__cold_file_held_up__every_worker_sends_what_has_come(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/"), *THREE) as served:
        data = one_file(up, 4 * MIB)
        await served.page()
        up.script(f"/files/{NAME}", Gate(gate, first=MIB))
        begun: list[bytes] = []

        async def client() -> str:
            digest = hashlib.sha256()
            async with served.asking(PATH) as response:
                first = await response.content.readexactly(MIB // 2)
                begun.append(first)
                digest.update(first)
                async for chunk in response.content.iter_any():
                    digest.update(chunk)
            return digest.hexdigest()

        clients = [asyncio.create_task(client()) for _ in range(40)]
        await until(lambda: len(begun) == 40, "all clients have the beginning")
        gate.set()

        assert set(await asyncio.gather(*clients)) == {hashlib.sha256(data).hexdigest()}
        assert up.count(f"/files/{NAME}") == 1


async def test_flipped_byte__no_client_of_any_worker_gets_a_whole_body(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/"), *TWO) as served:
        data = one_file(up, 4 * MIB)
        await served.page()
        up.script(f"/files/{NAME}", Gate(gate, first=MIB), Flip(at=3 * MIB))
        clients = [asyncio.create_task(served.file(NAME)) for _ in range(40)]
        await up.asked(f"/files/{NAME}")
        await coalesced(served, 36)
        gate.set()
        wrong = await asyncio.gather(*clients)

        assert not any(answer.whole and answer.status == 200 and answer.body != data for answer in wrong)
        assert up.count(f"/files/{NAME}") <= 2
        assert temps_of(served.data) == ()


async def coalesced(served: Process, count: int) -> None:
    """Returns once so many requests have joined a fetch under way."""
    async with asyncio.timeout(20):
        while await served.metric("pyproxy_coalesced_requests_total") < count:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.02)


async def test_pages__cold_and_then_expired__one_fetch_each_time_that_all_serve(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/", ttl="1s"), *THREE) as served:
        made = project(up)
        for version in (1, 2):
            answers = await asyncio.gather(*(served.page() for _ in range(40)))  # every worker has it in memory
            assert {a.status for a in answers} == {200}
            assert len({a.body for a in answers}) == 1
            assert f"alpha-{version}.0" in answers[0].text
            assert up.count("/simple/alpha/") == version
            made.add(f"alpha-{version + 1}.0.tar.gz", b"")
            made.publish(up, etag=f'"{version + 1}"')
            await asyncio.sleep(1.1)  # its ttl, in another process
        assert "alpha-3.0" in (await served.page()).text  # one worker refreshes it
        answers = await asyncio.gather(*(served.page() for _ in range(40)))
        assert all("alpha-3.0" in a.text for a in answers)
        assert up.count("/simple/alpha/") == 3


async def test_metadata_and_list__cold__are_fetched_once(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/"), *TWO) as served:
        project(up, payload=noise(300_000))
        index = {"meta": {"api-version": "1.0"}, "projects": [{"name": f"p{n}"} for n in range(50)]}
        up.serve("/simple/", json.dumps(index).encode(), content_type=JSON)
        wheel = "/files/alpha-1.0-py3-none-any.whl"
        await served.page()
        found = await asyncio.gather(*(served.ask(f"/pypi/main/files/up{wheel}.metadata") for _ in range(40)))
        asked = up.count(wheel)
        lists = await asyncio.gather(*(served.ask("/pypi/main/simple/", Accept=JSON) for _ in range(20)))

        assert {a.status for a in (*found, *lists)} == {200}
        assert len({a.body for a in found}) == 1
        assert asked <= 3  # ranges of the wheel's end
        assert up.count("/simple/") == 1


# ---------------------------------------------------------------------- what is local


async def test_repo_add__beside_the_daemon__is_served_by_all_workers_at_once(tmp_path: Path) -> None:
    text = "repositories: {team: {}}\ndistributions:\n  main: {repository: team, default: true}\n"
    async with daemon(tmp_path, text, *TWO) as served:
        assert {a.status for a in await asyncio.gather(*(served.page() for _ in range(40)))} == {404}
        wheel = tmp_path / "alpha-1.0-py3-none-any.whl"
        wheel.write_bytes(a_wheel())
        done = await pyproxy("repo", "add", "team", wheel, "--config", served.config, "--data", served.data)
        assert done.code == 0, done
        answers = await asyncio.gather(*(served.page() for _ in range(40)))

        assert {a.status for a in answers} == {200}
        assert all("alpha-1.0" in a.text for a in answers)


# ---------------------------------------------------------------------- metrics


async def test_metrics__any_worker_gives_the_sum__and_one_that_dies_takes_nothing_away(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/"), *TWO) as served:
        project(up)
        await asyncio.gather(*(served.page() for _ in range(100)))
        for _ in range(8):  # whichever worker answers
            assert await served.metric("pyproxy_requests_total", kind="simple") == 100
            assert await served.metric("pyproxy_request_seconds_count", kind="simple") == 100
            assert await served.metric("pyproxy_build_info") == 1
        os.kill(workers_of(served)[0], signal.SIGKILL)
        await served.logged("has ended, killed by SIGKILL")
        await until(lambda: len(workers_of(served)) == 2, "the worker is replaced")

        assert await served.metric("pyproxy_requests_total", kind="simple") == 100
        assert await served.metric("pyproxy_upstream_requests_total", kind="page") == 1


# ---------------------------------------------------------------------- reloading


async def test_reload__right_and_wrong__all_workers_together_and_counted_once(tmp_path: Path) -> None:
    failures = "pyproxy_config_reload_failures_total"
    async with RawUpstream() as up:
        url = f"{up.url}simple/"
        quiet = {"watch_config": False}
        async with daemon(tmp_path, one_remote(url, server=quiet), *TWO) as served:
            project(up)
            served.write(one_remote(url, server=quiet, more="other: {remote: up}\n"))
            served.signal(signal.SIGHUP)
            await served.logged("is in force", times=2)
            answers = await asyncio.gather(*(served.page(base="other") for _ in range(40)))
            assert {a.status for a in answers} == {200}

            served.write("remotes: {}\ndistributions:\n  main:\n    remot: up\n")
            served.signal(signal.SIGHUP)
            assert len(await served.logged("the old one stays in use")) == 1
            assert await served.metric(failures) == 1
            answers = await asyncio.gather(*(served.page(base="other") for _ in range(40)))
            assert {a.status for a in answers} == {200}

            os.kill(workers_of(served)[0], signal.SIGKILL)  # its successor serves what is in force
            await until(lambda: len(workers_of(served)) == 2, "the worker is replaced")
            answers = await asyncio.gather(*(served.page(base="other") for _ in range(40)))
            assert {a.status for a in answers} == {200}
            assert await served.stop() == 0
            assert "Traceback" not in served.stderr


# ---------------------------------------------------------------------- stopping


async def test_sigterm__downloads_in_flight_on_all_workers__are_finished(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/"), *TWO) as served:
        data = one_file(up, 4 * MIB)
        await served.page()
        up.script(f"/files/{NAME}", Gate(gate, first=MIB), times=1)
        clients = [asyncio.create_task(served.file(NAME)) for _ in range(20)]
        await coalesced(served, 19)
        served.signal(signal.SIGTERM)
        await served.logged("stopping")
        gate.set()

        assert all_right(await asyncio.gather(*clients), [data] * 20)
        assert await served.ended(within=15) == 0
        assert temps_of(served.data) == ()
        assert "Traceback" not in served.stderr


async def test_sigterm__a_second_one__cuts_what_is_in_flight(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/"), *TWO) as served:
        one_file(up, 4 * MIB)
        await served.page()
        up.script(f"/files/{NAME}", Hang(at=MIB), times=None)
        clients = [asyncio.create_task(served.file(NAME)) for _ in range(8)]
        await coalesced(served, 7)
        served.signal(signal.SIGTERM)
        await served.logged("stopping")
        began = time.monotonic()
        served.signal(signal.SIGTERM)

        assert await served.ended(within=10) == 0
        assert time.monotonic() - began < 6
        answers = await asyncio.gather(*clients, return_exceptions=True)
        assert not any(isinstance(a, Answer) and a.whole for a in answers)
        assert temps_of(served.data) == ()


async def test_supervisor__killed__takes_its_workers_along_and_the_next_start_is_in_order(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/"), *TWO) as served:
        data = one_file(up, MIB)
        await served.file(NAME)
        pids = workers_of(served)
        await served.kill()
        await until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the workers are gone")
        await served.start()

        assert (await served.file(NAME)).body == data
        assert up.count(f"/files/{NAME}") == 1
        await in_order(served.data)


async def test_start__address_taken_or_store_in_use__ends_with_a_reason(tmp_path: Path) -> None:
    text = one_remote("http://127.0.0.1:9/simple/")
    async with daemon(tmp_path, text, *TWO) as served:
        common = ("serve", "--config", served.config, *TWO)
        again = await pyproxy(*common, "--data", served.data, "--listen", "127.0.0.1:0")
        assert again.code == 1
        assert "holds the lock" in again.err
        host = served.url.split("/")[2]
        other = await pyproxy(*common, "--data", tmp_path / "b", "--listen", host)
        assert other.code == 1
        assert f"cannot listen on {host}" in other.err


async def test_worker__that_never_starts__ends_the_daemon_with_its_reason(tmp_path: Path) -> None:
    text = one_remote("http://127.0.0.1:9/simple/")
    async with daemon(tmp_path, text, *TWO, started=False) as served:
        (tmp_path / "sitecustomize.py").write_text(
            "import sys\nif '-m' in sys.orig_argv and 'pyproxy.workers' in sys.orig_argv: sys.exit('no worker today')\n"
        )
        served.env["PYTHONPATH"] = f"{tmp_path}{os.pathsep}{ROOT}"
        await served.spawn()
        assert await served.ended(within=20) == 1
        assert re.search(r"pyproxy: worker \d ended 5 times in a row before it was ready", served.stderr)


# ---------------------------------------------------------------------- one that dies

CYCLES = "PYPROXY_KILL_CYCLES"
LIMIT = 8 * MIB


async def test_owner_of_a_download__killed__others_go_on_where_it_was(tmp_path: Path) -> None:
    gate = asyncio.Event()
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/", retries=3), *THREE) as served:
        data = one_file(up, 4 * MIB)
        await served.page()
        up.script(f"/files/{NAME}", Gate(gate, first=2 * MIB), times=1)
        clients = [asyncio.create_task(served.file(NAME)) for _ in range(40)]
        await coalesced(served, 39)
        [temp] = temps_of(served.data)
        path = served.data / "cache" / "tmp" / temp
        await until(lambda: path.stat().st_size >= MIB, "half of what the remote has sent is in the file")
        owner = int(temp.partition(".")[0])
        os.kill(owner, signal.SIGKILL)
        answers = await asyncio.gather(*clients, return_exceptions=True)
        gate.set()

        whole = [a for a in answers if isinstance(a, Answer) and a.whole]
        assert len(whole) >= 20  # those of the other workers
        assert all(a.body == data for a in whole)
        assert up.count(f"/files/{NAME}") == 2
        again = [request for request in up.requests if request.path == f"/files/{NAME}"][1]
        assert again.headers["range"].startswith("bytes="), again
        found = await in_order(served.data)
        assert (found.blobs, found.temps) == (1, ())


def owner_of(port: int, pids: list[int]) -> int:
    """The worker that has the connection from this port of a client."""
    peer = f":{port:04X}"
    [inode] = [
        fields[9]
        for fields in map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        if fields[2].endswith(peer) and fields[3] == "01"  # as the daemon has it: established, its peer is the client
    ]
    [pid] = [
        pid for pid in pids for fd in Path(f"/proc/{pid}/fd").iterdir() if str(fd.readlink()) == f"socket:[{inode}]"
    ]
    return pid


async def test_worker__killed__connections_of_others_never_notice(tmp_path: Path) -> None:
    ask = b"GET /pypi/main/simple/alpha/ HTTP/1.1\r\nHost: x\r\n\r\n"
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/"), *THREE) as served:
        project(up)
        pids = workers_of(served)
        host, _, port = served.url.split("/")[2].partition(":")
        async with contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(connected((host, int(port)))) for _ in range(18)]
            assert all([(await client.ask(ask)).status == 200 for client in clients])
            owners = [owner_of(client._sock.getsockname()[1], pids) for client in clients]
            assert set(owners) == set(pids)  # everybody has some
            os.kill(pids[1], signal.SIGKILL)
            for client, owner in zip(clients, owners, strict=True):
                if owner == pids[1]:
                    assert await client.ends()
                else:
                    for _ in range(10):
                        assert (await client.ask(ask)).status == 200


class Clients:
    """They fetch one file after another, and note what was whole and wrong."""

    def __init__(self, served: Process, files: Mapping[str, bytes]) -> None:
        self.served = served
        self.files = files
        self.wrong: list[str] = []
        self.whole = 0
        self._over = asyncio.Event()
        self._tasks = [asyncio.create_task(self._one(seed)) for seed in range(8)]

    async def _one(self, seed: int) -> None:
        dice = random.Random(seed)
        while not self._over.is_set():
            name = dice.choice(list(self.files))
            try:
                answer = await self.served.file(name)
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(0)
                continue
            if answer.whole and (answer.status != 200 or answer.body != self.files[name]):
                self.wrong.append(f"{name}: {answer.status} {answer.reason}, {len(answer.body)} bytes")
            self.whole += answer.whole

    async def stop(self) -> None:
        self._over.set()
        await asyncio.gather(*self._tasks)


def several(up: RawUpstream, dice: random.Random) -> Mapping[str, bytes]:
    """Files of which some fit into the cache at once and not all, so that fills and evictions never cease."""
    made = Project("alpha")
    for number in range(12):
        made.add(f"alpha-{number}.0.tar.gz", noise(dice.choice((1, 20_000, 300_000, 1_500_000, 4_000_000)), number))
    made.publish(up)
    up.script("*", Drip(step=65_536, pause=0.001), times=None)
    return made.files


@pytest.mark.timeout(3600)
async def test_kill__any_worker_at_any_moment__others_serve_and_the_account_is_right(
    tmp_path: Path, machine_environment: Mapping[str, str]
) -> None:
    cycles = int(machine_environment.get(CYCLES, "3"))
    dice = random.Random(11)
    async with RawUpstream() as up:
        files = several(up, dice)
        async with daemon(tmp_path, one_remote(f"{up.url}simple/", size=f"{LIMIT}B"), *THREE) as served:
            killed: set[int] = set()
            clients = Clients(served, files)
            try:
                for cycle in range(cycles):
                    victim = dice.choice(workers_of(served))
                    killed.add(victim)
                    os.kill(victim, signal.SIGKILL)
                    if cycle % 4:  # also while one starts, but not again and again
                        await served.logged("is ready", times=3 + len(killed) - (cycle + 3) // 4)
                    else:
                        await until(lambda: len(set(workers_of(served)) - killed) == 3, "the worker is replaced")
                    await asyncio.sleep(dice.uniform(0.05, 0.4))
            finally:
                await clients.stop()
            assert clients.wrong == []
            await in_order(served.data, limit=LIMIT)
            assert await served.stop() == 0
            assert "Traceback" not in served.stderr
        assert temps_of(served.data) == ()
        assert clients.whole > cycles


_ARMING = """
import os, random, sys
if "pyproxy.workers" in sys.orig_argv:
    dice = random.Random(os.getpid())
    point = dice.choice({points!r})
    passage = dice.randint(20, 40) if point in ("txn-open", "committed") else dice.randint(1, 3)
    os.environ[{variable!r}] = f"{{point}}:kill@{{passage}}"
"""


@pytest.mark.timeout(3600)
async def test_kill__workers_at_points_of_the_store__others_serve_and_the_account_is_right(
    tmp_path: Path, machine_environment: Mapping[str, str]
) -> None:
    cycles = int(machine_environment.get(CYCLES, "3"))
    (tmp_path / "sitecustomize.py").write_text(_ARMING.format(points=sorted(NAMES), variable=VARIABLE))
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    async with RawUpstream() as up:
        files = several(up, random.Random(12))
        text = one_remote(f"{up.url}simple/", size=f"{LIMIT}B")
        async with daemon(tmp_path, text, *THREE, started=False, env=env) as served:
            await served.start()
            clients = Clients(served, files)
            try:
                for death in range(cycles):
                    await served.logged("has ended, killed by SIGKILL", times=death + 1)
            finally:
                await clients.stop()
            assert clients.wrong == []
            await in_order(served.data, limit=LIMIT)
            assert await served.stop() == 0
            assert "Traceback" not in served.stderr
        assert temps_of(served.data) == ()


async def test_worker__that_stands_still__is_killed_and_replaced(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'serve' in sys.orig_argv:\n"
        "    from pyproxy.workers import supervisor\n    supervisor.HUNG = 3.0\n"
    )
    env = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    async with RawUpstream() as up:
        project(up)
        async with daemon(tmp_path, one_remote(f"{up.url}simple/"), *TWO, env=env, fresh=True) as served:
            hung = workers_of(served)[0]
            os.kill(hung, signal.SIGSTOP)
            answers = [await served.page(Connection="close") for _ in range(10)]  # the other takes them all
            assert {a.status for a in answers} == {200}
            await served.logged("has not moved for 3 s")
            await served.logged("is ready", times=3)
            assert hung not in workers_of(served)
            assert len(workers_of(served)) == 2


async def test_logins__that_fail_at_any_worker__count_at_all(tmp_path: Path) -> None:
    hashed = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    (tmp_path / "users").write_text(f"bob:{hashed}\n")
    text = f"""
        guards: {{staff: {{read: [bob], htpasswd: {tmp_path / "users"}}}}}
        remotes: {{up: {{url: "http://127.0.0.1:9/simple/"}}}}
        distributions: {{main: {{remote: up, content_guard: staff, default: true}}}}
    """
    async with daemon(tmp_path, text, *TWO) as served:

        async def guess(number: int) -> int:
            token = base64.b64encode(f"bob:guess {number}".encode()).decode()
            answer = await served.ask("/pypi/main/simple/", Authorization=f"Basic {token}", Connection="close")
            return answer.status

        found = [await guess(number) for number in range(3 * FAILURES)]
        # Each by itself would have let as many pass. A worker tells the others at once, but they may be asked before.
        assert FAILURES <= found.count(401) < 2 * FAILURES
        assert found[-FAILURES:] == [429] * FAILURES

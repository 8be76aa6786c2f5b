"""`pyproxy warm` as it is typed: beside the daemon whatever it listens on, what it prints, and its exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import sys
from pathlib import Path

from tests.daemon import project
from tests.fakes.faults import Status
from tests.fakes.raw_upstream import RawUpstream
from tests.forking import ROOT
from tests.process.daemons import daemon, one_remote, pyproxy

WHEEL = "alpha-1.0-py3-none-any.whl"
GUARD = "guards: {staff: {read: [ci], tokens: {ci: 'sha256:" + "0" * 64 + "'}}}\n"


async def test_warm__beside_a_daemon_that_is_guarded_on_a_socket__is_there_for_it(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        made = project(up)
        text = one_remote(f"{up.url}simple/")
        guarded = GUARD + text.replace("default: true", "default: true, content_guard: staff")
        async with daemon(tmp_path, guarded, "--listen", f"unix:{tmp_path / 's'}") as served:
            done = await pyproxy("warm", "main", "alpha", "--config", served.config, "--data", served.data)
            assert (done.code, done.err) == (0, "")
            assert done.out == f"fetched 1 files, {len(made.files[WHEEL]) / 1024:.1f} KiB; 0 were there\n"
            await up.stop()
            served.write(text)
            await served.restart()
            assert (await served.page()).status == 200
            assert (await served.file(WHEEL)).body == made.files[WHEEL]


async def test_warm__while_the_daemon_runs__is_served_from_the_cache(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/")) as served:
        made = project(up)
        done = await pyproxy("warm", "main", "alpha", "--config", served.config, "--data", served.data)
        assert done.code == 0, done
        before = len(up.requests)
        assert (await served.page()).status == 200
        assert (await served.file(WHEEL)).body == made.files[WHEEL]
        assert b"Name: alpha" in (await served.file(f"{WHEEL}.metadata")).body
        assert len(up.requests) == before
        assert await served.metric("pyproxy_requests_total", result="hit") == 3


async def test_warm__what_fails__is_a_line_each_and_exit_1(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        project(up)
        project(up, "beta")
        up.script(f"/files/{WHEEL}", Status(500), times=None)
        config = tmp_path / "pyproxy.yaml"
        config.write_text(one_remote(f"{up.url}simple/"))
        common = ("--config", config, "--data", tmp_path / "data", "--log-level", "error")
        wanted = tmp_path / "wanted.txt"
        wanted.write_text("--index-url https://index.example/simple/\nalpha\nbeta\nnever-seen>=1\n")

        done = await pyproxy("warm", "main", "-r", wanted, *common)
        assert done.code == 1
        assert done.err.splitlines() == [
            f"note: {wanted}: --index-url is ignored: the distribution says what there is",
            "failed: alpha: what it depends on is not known: remote up: answered 500 Internal Server Error",
            f"failed: {WHEEL}: remote up: answered 500 Internal Server Error",
            "failed: never-seen>=1: remote up has no project never-seen (wanted by " + f"{wanted}:4)",
        ]
        assert done.out.startswith("fetched 1 files, ")
        assert done.out.endswith("; 0 were there; 3 failed\n")

        told = await pyproxy("warm", "main", "-r", wanted, "--json", *common)
        assert (told.code, told.err) == (1, "")
        outcome = json.loads(told.out)
        assert set(outcome) == {"distribution", "fetched", "nbytes", "already", "failed", "notes"}
        assert (outcome["fetched"], outcome["already"], len(outcome["failed"])) == (0, 1, 3)


async def test_warm__used_wrongly__is_exit_2(tmp_path: Path) -> None:
    config = tmp_path / "pyproxy.yaml"
    config.write_text(one_remote("https://index.example/simple/"))
    bad = tmp_path / "bad.txt"
    bad.write_text("a\n!\n")
    common = ("--config", config, "--data", tmp_path / "data")
    for arguments, why in (
        (("main",), "name requirements, or a file with -r"),
        ((), "Missing argument 'DIST'"),
        (("other", "alpha"), "no distribution is called other; there are: main"),
        (("main", "-r", tmp_path / "gone.txt"), "does not exist"),
        (("main", "-r", bad), f"{bad}:2: not a requirement: '!'"),
        (("main", "a b"), "not a requirement: 'a b'"),
        (("main", "a", "--python", "3"), "not a version of Python, such as 3.12: 3"),
    ):
        done = await pyproxy("warm", *arguments, *common)
        assert (done.code, why in done.err) == (2, True), done
    assert not (tmp_path / "data").exists()


async def test_warm__on_a_terminal__draws_a_bar_and_takes_it_away(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        project(up)
        config = tmp_path / "pyproxy.yaml"
        config.write_text(one_remote(f"{up.url}simple/"))
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                "-m",
                "pyproxy",
                "warm",
                "main",
                "alpha",
                "--config",
                config,
                "--data",
                tmp_path / "data",
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        os.close(theirs)
        out, _ = await process.communicate()
        shown = os.read(ours, 65536).decode()
        os.close(ours)
        assert process.returncode == 0
        assert out.startswith(b"fetched 1 files")
        assert "/1 files" in shown or "/0 files" in shown
        assert shown.endswith("\r\x1b[K")

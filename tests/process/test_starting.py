"""From the command line to the line that says where the index is; and every way in which that cannot be."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import project
from tests.fakes.raw_upstream import RawUpstream
from tests.process.daemons import daemon, one_remote, pyproxy, until

COMMANDS = ("serve", "check", "status", "verify", "gc")


# ---------------------------------------------------------------------- what is right


async def test_serve__ready_line__names_an_index_that_answers(tmp_path: Path) -> None:
    async with RawUpstream() as up, daemon(tmp_path, one_remote(f"{up.url}simple/"), fresh=True) as served:
        project(up)

        assert served.out == [f"pyproxy serves {served.url}\n"]
        assert served.url.endswith("/simple/")
        assert (await served.ask(f"{served.url}alpha/")).status == 200
        assert await served.stop() == 0


async def test_serve__without_configuration__serves_the_index_of_the_machine(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        made = project(up)
        wheel = made.files["alpha-1.0-py3-none-any.whl"]
        env = {"PIP_INDEX_URL": f"{up.url}simple/"}
        async with daemon(tmp_path, None, cwd=tmp_path, env=env, fresh=True) as served:
            assert (await served.ask("/simple/alpha/")).status == 200
            assert (await served.ask("/pypi/main/files/machine/files/alpha-1.0-py3-none-any.whl")).status in {200, 404}
            page = await served.page()
            [link] = [file["url"] for file in page.json()["files"]]
            assert (await served.ask(f"/pypi/main/simple/alpha/{link}")).body == wheel


async def test_serve__upstream_flag__stands_in_for_the_index_of_the_machine(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        project(up)
        nowhere = "http://127.0.0.1:9/simple/"
        upstream = f"{up.url}simple/"
        async with daemon(
            tmp_path, None, "--upstream", upstream, cwd=tmp_path, env={"PIP_INDEX_URL": nowhere}
        ) as served:
            assert (await served.page()).status == 200


async def test_serve__unix_socket__is_served_and_taken_away_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with (
        RawUpstream() as up,
        daemon(tmp_path, one_remote(f"{up.url}simple/"), "--listen", f"unix:{path}") as served,
    ):
        project(up)

        assert served.socket == path
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert (await served.page()).status == 200
        assert await served.stop() == 0
        assert not path.exists()


async def test_serve__unix_socket_of_a_dead_daemon__is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with daemon(tmp_path, one_remote("http://127.0.0.1:9/simple/"), "--listen", f"unix:{path}") as served:
        await served.kill()
        assert path.exists()
        await served.start()

        assert (await served.ask("/healthz")).status == 200


async def test_serve__sighup_while_it_starts__is_no_end(tmp_path: Path) -> None:
    async with (
        RawUpstream() as up,
        daemon(tmp_path, one_remote(f"{up.url}simple/"), started=False, fresh=True) as served,
    ):
        # A slow disk: the index is checked, as after a crash, while the signals come.
        await served.start()
        await served.kill()
        await served.spawn()
        await until(lambda: _handles(served.pid, signal.SIGHUP), "it handles the signal")
        served.signal(signal.SIGHUP)
        await served.ready()

        await served.logged("is in force")
        assert (await served.ask("/healthz")).status == 200


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether the process is a daemon by now (and no longer ours, forked) that has a handler for this signal."""
    if b"serve" not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
        return False
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigCgt"], 16) >> (number - 1) & 1)


# ---------------------------------------------------------------------- what stands in the way


async def test_serve__store_in_use__ends_within_two_seconds_naming_the_lock(tmp_path: Path) -> None:
    text = one_remote("http://127.0.0.1:9/simple/")
    async with daemon(tmp_path, text) as served:
        began = time.monotonic()
        second = await pyproxy("serve", "--config", served.config, "--data", served.data, "--listen", "127.0.0.1:0")
        took = time.monotonic() - began

        assert (second.code, second.out) == (1, "")
        [line] = second.err.splitlines()
        assert str(served.data / "lock") in line
        assert f"pid {served.pid}" in line
        assert took < 10  # two seconds of patience, and a start on a busy machine
        assert (await served.ask("/healthz")).status == 200


async def test_serve__port_taken__ends_with_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = await pyproxy("serve", "--upstream", "http://127.0.0.1:9/", "--data", tmp_path / "d", "--listen", where)

    assert (done.code, done.out) == (1, "")
    said = [line for line in done.err.splitlines() if " info " not in line]
    assert said == [f"pyproxy: cannot listen on {where}: Address already in use"]


async def test_serve__five_mistakes__five_lines_with_their_numbers(tmp_path: Path) -> None:
    config = tmp_path / "wrong.yaml"
    config.write_text(
        """\
server:
  listen: 127.0.0.1:99999
  request_timeout: soon
storage:
  max_cach_size: 1GiB
remotes:
  up: {url: "ftp://index.example/simple/"}
distributions:
  main: {remote: down}
"""
    )
    for command in ("serve", "check"):
        done = await pyproxy(command, "--config", config, "--data", tmp_path / "d")

        assert (done.code, done.out) == (2, "")
        assert [line.split(": ")[0] for line in done.err.splitlines()] == [
            f"{config}:{number}" for number in (2, 3, 5, 7, 9)
        ]
        assert "max_cache_size" in done.err.splitlines()[2]
    assert not (tmp_path / "d").exists()


async def test_serve__remote_is_the_daemon_itself__is_refused(tmp_path: Path) -> None:
    config = tmp_path / "loop.yaml"
    config.write_text(one_remote("http://127.0.0.1:7974/simple/", server={"listen": "127.0.0.1:7974"}))
    done = await pyproxy("serve", "--config", config, "--data", tmp_path / "d")
    machine = await pyproxy(
        "serve", "--data", tmp_path / "d", cwd=tmp_path, env={"PIP_INDEX_URL": "http://127.0.0.1:7974/simple/"}
    )

    assert done.code == machine.code == 2
    assert all("own address" in d.err and len(d.err.splitlines()) == 1 for d in (done, machine)), (done, machine)


@pytest.mark.parametrize(
    "arguments", [("serve", "--nonsense"), ("nonsense",), ("serve", "surplus"), ("verify", "--log-level", "loud")]
)
async def test_command__wrong_usage__is_2(arguments: tuple[str, ...]) -> None:
    done = await pyproxy(*arguments, fresh=arguments == ("nonsense",))

    assert (done.code, done.out) == (2, "")
    assert "Traceback" not in done.err


async def test_command__help__everywhere() -> None:
    done = await asyncio.gather(pyproxy("--help", fresh=True), *(pyproxy(name, "--help") for name in COMMANDS))

    assert [d.code for d in done] == [0] * len(done)
    assert all(name in done[0].out for name in COMMANDS)
    assert all(option in d.out for d in done[1:] for option in ("--config", "--data", "--upstream", "--log-format"))


async def test_check__secrets__are_not_shown(tmp_path: Path) -> None:
    config = tmp_path / "pyproxy.yaml"
    (tmp_path / "token").write_text("s3cret-in-a-file\n")
    keys: dict[str, Any] = {
        "username": "env:NAME",
        "password": f"file:{tmp_path}/token",
        "headers": {"X-Key": "env:KEY"},
    }
    config.write_text(one_remote("https://who:s3cret-in-the-url@index.example/simple/", **keys))
    env = {"NAME": "s3cret-name", "KEY": "s3cret-key"}
    done = await pyproxy("check", "--config", config, "--data", tmp_path / "d", env=env)
    if done.code != 0:  # credentials both in the URL and in keys may be refused; in no words that show them
        assert "s3cret" not in done.out + done.err
        config.write_text(one_remote("https://index.example/simple/", **keys))
        done = await pyproxy("check", "--config", config, "--data", tmp_path / "d", env=env)

    assert done.code == 0, done.err
    assert "https://index.example/simple/" in done.out
    assert "s3cret" not in done.out + done.err


async def test_serve__folder_cannot_be_written__ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    done = await pyproxy(
        "serve", "--upstream", "http://127.0.0.1:9/", "--data", tmp_path / "data", "--listen", "127.0.0.1:0"
    )

    assert (done.code, done.out) == (1, "")
    [line] = done.err.splitlines()
    assert line.startswith("pyproxy: ")


async def test_open_files__fewer_than_the_system_allows__are_as_many_as_it_does(tmp_path: Path) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = one_remote("http://127.0.0.1:9/simple/")
    async with daemon(tmp_path, text, before="ulimit -S -n 200") as served:
        allowed, _ = resource.prlimit(served.pid, resource.RLIMIT_NOFILE)
        assert allowed >= min(hard, 10_000)


# ---------------------------------------------------------------------- for machines


async def test_json_logs__warnings_mistakes_and_failures__are_events_too(tmp_path: Path) -> None:
    config = tmp_path / "pyproxy.yaml"
    url = "https://index.example/simple/"
    several = f"remotes: {{a: {{url: '{url}'}}}}\ndistributions: {{x: {{remote: a}}, y: {{remote: a}}}}\n"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        for text, code, levels in (
            ("servers: {}\nremote: {}\n", 2, ["error", "error"]),
            (several, 1, ["warning", "error"]),
        ):
            config.write_text(text)
            common = ("--config", config, "--data", tmp_path / "data", "--log-format", "json")
            done = await pyproxy("serve", *common, "--listen", listen)
            events = [json.loads(line) for line in done.err.splitlines()]
            assert (done.code, [event["level"] for event in events]) == (code, levels), done


@pytest.mark.parametrize("name", ["ci", "2024", "yes", "null", "1e3", "-", "0x1F", "2024-01-01"])
async def test_token__any_name_that_one_may_have__can_be_pasted(tmp_path: Path, name: str) -> None:
    done = await pyproxy("token", name)
    token, entry = (line.partition(": ")[2] for line in done.out.splitlines())
    text = f"remotes: {{up: {{url: 'http://127.0.0.1:9/simple/'}}}}\nguards:\n  staff:\n    tokens:\n      {entry}\n"
    config = tmp_path / "pyproxy.yaml"
    config.write_text(text)
    checked = await pyproxy("check", "--config", config)

    assert token not in entry
    assert (done.code, checked.code) == (0, 0), checked.err


@pytest.mark.parametrize("name", ["a b", "a: b", "#", "", "pyp_x", "sha256:x", ".."])
async def test_token__a_name_that_none_may_have__is_wrong_usage(name: str) -> None:
    done = await pyproxy("token", name)

    assert (done.code, done.out) == (2, "")
    assert "Invalid value for NAME" in done.err


async def test_every_command__takes_config_and_data() -> None:
    for command in (*COMMANDS, "warm", "token", "repo add", "repo list"):
        told = (await pyproxy(*command.split(), "--help")).out
        assert ("--config" in told, "--data" in told, "--upstream" in told) == (True, True, True), command

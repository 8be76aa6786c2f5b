from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.commands import CLIENTS, Client, contents, install, try_to_install
from tests.clients.world import lay
from tests.daemon import one_remote, serving
from tests.fakes.faults import Hang
from tests.fakes.raw_upstream import RawUpstream


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("way", ["refuses", "hangs"])
async def test_remote_gone__what_was_installed_before__installs_within_seconds(
    tmp_path: Path, client: Client, way: str
) -> None:
    async with RawUpstream() as up:
        lay(up, "json")
        text = one_remote(up, ttl="0s", stale_after="200ms")  # no page is fresh: each time the remote is asked
        async with serving(tmp_path, text) as served:
            await install(client, f"{served.url}/simple/", "shop", into=tmp_path / "before")
        if way == "refuses":
            await up.stop()
        else:
            up.script("*", Hang(), times=None)
        async with serving(tmp_path, text) as served:
            after = await install(client, f"{served.url}/simple/", "shop", into=tmp_path / "after")
            stale = served.metric("pyproxy_requests_total", kind="simple", result="stale")

    assert contents(tmp_path / "after") == contents(tmp_path / "before")
    assert after.seconds < 15
    assert stale >= 5


@pytest.mark.parametrize("client", CLIENTS)
async def test_remote_gone__project_never_seen__is_a_502_that_is_never_taken_for_not_there(
    tmp_path: Path, client: Client
) -> None:
    async with RawUpstream() as up:
        lay(up, "json")
        async with serving(tmp_path, one_remote(up)) as served:
            await up.stop()
            answer = await served.page("scale")
            ended = await try_to_install(client, f"{served.url}/simple/", "-vv", "scale", into=tmp_path / "site")

    assert (answer.status, answer.headers["Cache-Control"]) == (502, "no-store")
    assert answer.text == "remote up: connection refused\n"
    assert answer.reason == "remote up: connection refused"
    assert ended.status != 0
    assert "502" in ended.output
    assert client == "pip" or answer.reason in ended.output  # of a 502 the newest pip tells the number alone


@pytest.mark.parametrize("client", CLIENTS)
async def test_remote_gone__file_never_seen_of_a_known_page__is_a_502_too(tmp_path: Path, client: Client) -> None:
    async with RawUpstream() as up:
        lay(up, "json")
        async with serving(tmp_path, one_remote(up)) as served:
            link = (await served.links("scale"))["scale-1.0-py3-none-any.whl"]
            await up.stop()
            answer = await served.ask(link)
            ended = await try_to_install(client, f"{served.url}/simple/", "scale", into=tmp_path / "site")

    assert (answer.status, answer.text) == (502, "remote up: connection refused\n")
    assert ended.status != 0
    assert "502" in ended.output

"""A pyproxy before a pyproxy before a pyproxy: the same bytes and pages, and one failure is one failure."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import HTML, JSON, Project, Served, a_wheel, configured, noise, project, remotes, serving
from tests.fakes.faults import Delay, Flip, Gate, Hang, Status
from tests.fakes.raw_upstream import RawUpstream

WHEEL = "alpha-1.0-py3-none-any.whl"
FILE = f"/files/{WHEEL}"
PAGE = "/simple/alpha/"


@asynccontextmanager
async def chain(up: RawUpstream, folder: Path, length: int = 3, **keys: Any) -> AsyncIterator[list[Served]]:
    """Daemons, each before the one after it, the last before `up`; the first is what a client asks."""
    async with AsyncExitStack() as stack:
        url = f"{up.url}simple/"
        made: list[Served] = []
        for number in range(length):
            own = folder / str(number)
            own.mkdir(exist_ok=True)
            text = remotes(up={"url": url, **keys})
            made.append(await stack.enter_async_context(serving(own, text)))
            # Pages name provenance by an absolute URL, and the port is known only now.
            await made[-1].daemon.apply(configured(own, f"{text}server:\n  public_url: {made[-1].url}\n"))
            url = f"{made[-1].url}/pypi/main/simple/"
        yield made[::-1]


def rich(up: RawUpstream) -> Project:
    """A project whose page has every field there is."""
    made = Project("alpha")
    made.add(
        WHEEL,
        a_wheel(payload=noise(1 << 20)),
        yanked="broken: <b>&\"'",
        provenance=f"{up.url}integrity/alpha",
        **{
            "requires-python": ">=3.8,<4",
            "upload-time": "2024-05-06T07:08:09.123456Z",
            "gpg-sig": True,
            "core-metadata": {"sha256": hashlib.sha256(b"Name: alpha\n").hexdigest()},
        },
    )
    made.add("alpha-1.0.tar.gz", noise(1000), yanked=True, **{"upload-time": "2024-05-06T07:08:09Z"})
    made.add("alpha-1.0+local-1-cp312-cp312-linux_x86_64.whl", noise(1001), hashes={"md5": "0" * 32}, size=None)
    made.page = {
        "meta": {"api-version": "1.4", "tracks": ["https://index.example/alpha/"]},
        "versions": ["1.0", "1.0+local"],
        "project-status": {"status": "archived", "reason": "no more"},
        "alternate-locations": ["https://index.example/other/alpha/"],
    }
    made.publish(up)
    up.serve(f"{FILE}.metadata", b"Name: alpha\n")
    up.serve(f"{FILE}.asc", b"signature\n")
    up.serve("/integrity/alpha", b'{"version": 1}', content_type="application/vnd.pypi.integrity.v1+json")
    return made


def neutral(page: Any) -> Any:  # Any: JSON
    """The page less what names the proxy that serves it."""
    for file in page["files"]:
        file["url"] = file["url"].rpartition("/")[2]
        if "provenance" in file:
            file["provenance"] = file["provenance"].partition("/integrity/")[2]
    return page


async def test_chain__every_field_of_a_page_comes_through(up: RawUpstream, tmp_path: Path) -> None:
    made = rich(up)
    async with chain(up, tmp_path) as proxies:
        pages = [neutral((await proxy.page()).json()) for proxy in proxies]
        assert pages[0] == pages[1] == pages[2]
        [wheel, sdist, local] = pages[0]["files"]
        told = json.loads(made.as_json())
        for found, said in zip((wheel, sdist), told["files"], strict=False):
            for key in set(said) - {"url", "provenance"}:
                assert found[key] == said[key], key
        assert local["hashes"] == {"md5": "0" * 32}
        assert pages[0]["project-status"] == told["project-status"]
        assert pages[0]["meta"]["tracks"] == told["meta"]["tracks"]
        assert pages[0]["alternate-locations"] == told["alternate-locations"]
        assert wheel["provenance"] == f"alpha/1.0/{WHEEL}/provenance"
        assert [(await proxy.page(accept=HTML)).text.count("<a ") for proxy in proxies] == [3, 3, 3]
    assert up.count(PAGE) == 1


async def test_chain__files_and_what_lies_beside_them__are_the_same_bytes(up: RawUpstream, tmp_path: Path) -> None:
    made = rich(up)
    async with chain(up, tmp_path) as proxies:
        first = proxies[0]
        links = await first.links()
        for name in (WHEEL, "alpha-1.0.tar.gz"):
            answer = await first.ask(links[name])
            assert answer.body == made.files[name]
            assert answer.etag == f'"{hashlib.sha256(answer.body).hexdigest()}"'
        assert (await first.ask(f"{links[WHEEL]}.metadata")).body == b"Name: alpha\n"
        assert (await first.ask(f"{links[WHEEL]}.asc")).body == b"signature\n"
        provenance = f"/pypi/main/integrity/alpha/1.0/{WHEEL}/provenance"
        assert (await first.ask(provenance)).json() == {"version": 1}
        for proxy in proxies:
            await proxy.settled()
        await up.stop()
        for proxy in proxies:
            assert (await proxy.ask(provenance)).json() == {"version": 1}
            for link in (await proxy.links()).values():
                if "local" not in link:
                    assert (await proxy.ask(link)).status == 200
    assert up.count(FILE) == 1


async def test_chain__metadata_that_nobody_told__is_read_once_and_learned_by_all(
    up: RawUpstream, tmp_path: Path
) -> None:
    project(up, payload=noise(1 << 20))
    async with chain(up, tmp_path, ttl="0s") as proxies:
        link = await proxies[0].link()
        body = (await proxies[0].ask(f"{link}.metadata")).body
        assert b"Name: alpha" in body
        for proxy in proxies:
            [file] = (await proxy.page()).json()["files"]
            assert file["core-metadata"] == {"sha256": hashlib.sha256(body).hexdigest()}
    assert up.sent[FILE] < 200_000


async def test_chain__first_byte_passes_through_all_before_the_last_is_there(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up, payload=noise(4 << 20))
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=2 << 20))
    async with chain(up, tmp_path) as proxies:
        async with proxies[0].asking(await proxies[0].link()) as response:
            got = await response.content.readexactly(1 << 20)
            rest.set()
            got += await response.content.read()
        assert got == made.files[WHEEL]


async def test_chain__asked_at_each_link_at_once__one_fetch(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up, payload=noise(1 << 20))
    async with chain(up, tmp_path) as proxies:
        links = [await proxy.link() for proxy in proxies]
        answers = await asyncio.gather(
            *(proxy.ask(link) for proxy, link in zip(proxies, links, strict=True) for _ in range(5))
        )
        assert {a.body for a in answers} == {made.files[WHEEL]}
    assert (up.count(PAGE), up.count(FILE)) == (1, 1)


@pytest.mark.parametrize("path", [PAGE, FILE])
async def test_chain__remote_fails__502_comes_through_and_nobody_asks_again(
    up: RawUpstream, tmp_path: Path, path: str
) -> None:
    project(up)
    async with chain(up, tmp_path, retries=3) as proxies:
        link = await proxies[0].link() if path == FILE else PAGE
        for proxy in proxies:
            proxy.later(601)
        up.script(path, Status(403), times=None)
        asked = up.count(path)
        answer = await (proxies[0].ask(link) if path == FILE else proxies[0].page("beta"))
        if path == FILE:
            assert answer.status == 502
            assert answer.line.startswith("remote up: answered 502")
            assert up.count(path) == asked + 1
    async with chain(up, tmp_path / "0", retries=3) as proxies:
        up.heal()
        up.script("/simple/gamma/", Status(403), times=None)
        answer = await proxies[0].page("gamma")
        assert (answer.status, answer.line) == (502, "remote up: answered 502 Bad Gateway: its own remote failed")
        assert up.count("/simple/gamma/") == 1
        for proxy in proxies[1:]:
            assert proxy.metric("pyproxy_requests_total", kind="simple", result="error") == 1


async def test_chain__project_unknown__404_comes_through(up: RawUpstream, tmp_path: Path) -> None:
    async with chain(up, tmp_path) as proxies:
        answer = await proxies[0].page("nobody")
        assert (answer.status, answer.line) == (404, "remote up has no project nobody")
    assert up.count() == 1


async def test_chain__remote_hangs__502_within_one_wait(
    up: RawUpstream, tmp_path: Path, patience: Callable[[float], None]
) -> None:
    patience(0.4)
    up.script(PAGE, Hang(), times=None)
    async with chain(up, tmp_path, retries=3) as proxies:
        began = asyncio.get_running_loop().time()
        assert (await proxies[0].page()).status == 502
        assert asyncio.get_running_loop().time() - began < 1.5
    assert up.count(PAGE) <= 2


async def test_chain__remote_down__every_link_serves_its_stale_page(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with chain(up, tmp_path) as proxies:
        good = await proxies[0].page()
        await up.stop()
        for proxy in proxies:
            proxy.later(601)
        stale = await proxies[0].page()
        assert stale.body == good.body


async def test_chain__wrong_bytes__are_stopped_by_the_first_that_sees_them(up: RawUpstream, tmp_path: Path) -> None:
    project(up, payload=noise(1 << 20))
    up.script(FILE, Flip(), times=None)
    async with chain(up, tmp_path, retries=0) as proxies:
        link = await proxies[0].link()
        answer = await proxies[0].ask(link)
        assert answer.status == 502 or not answer.whole
        for proxy in proxies:
            await proxy.settled()
            assert (proxy.cached, proxy.temps) == (0, [])
        assert [proxy.metric("pyproxy_wrong_content_total") for proxy in proxies[:2]] == [0, 0]


async def test_chain__quarantine__comes_through(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    made.page = {"meta": {"api-version": "1.4"}, "project-status": {"status": "quarantined"}}
    made.publish(up)
    async with chain(up, tmp_path) as proxies:
        for depth, proxy in enumerate(proxies[::-1], 1):
            assert (await proxy.ask("/pypi/main/files/up" * depth + FILE)).status == 403


async def test_chain__list_of_projects__comes_through(up: RawUpstream, tmp_path: Path) -> None:
    body = {"meta": {"api-version": "1.0"}, "projects": [{"name": "Alpha"}, {"name": "beta"}]}
    up.serve("/simple/", json.dumps(body).encode(), content_type=JSON)
    async with chain(up, tmp_path, length=2) as proxies:
        answer = await proxies[0].ask("/simple/", Accept=JSON)
        assert [found["name"] for found in answer.json()["projects"]] == ["Alpha", "beta"]


async def test_chain__slow_but_alive__is_waited_for(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    up.script(PAGE, Delay(0.3))
    async with chain(up, tmp_path) as proxies:
        assert (await proxies[0].page()).status == 200

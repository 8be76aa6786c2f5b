from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clients.commands import CLIENTS, Client, contents, install, installed
from tests.clients.world import SHOP, WORLD, lay, made
from tests.daemon import JSON, Answer, Served, one_remote, serving
from tests.fakes.raw_upstream import RawUpstream

DEPTH = 3


@asynccontextmanager
async def _chain(folder: Path, up: RawUpstream) -> AsyncIterator[list[Served]]:
    """Daemons, the first before the remote, each other before the one ahead of it."""
    async with AsyncExitStack() as stack:
        chain: list[Served] = []
        for number in range(DEPTH):
            own = folder / f"daemon{number}"
            own.mkdir(exist_ok=True)
            text = one_remote(up) if not chain else _before(chain[-1])
            chain.append(await stack.enter_async_context(serving(own, text)))
        yield chain


def _before(served: Served) -> str:
    return f"remotes: {{next: {{url: {served.url}/simple/}}}}\ndistributions: {{main: {{remote: next}}}}\n"


@pytest.mark.parametrize("client", CLIENTS)
async def test_chain__installs_as_one_does_with_hashes_required(tmp_path: Path, client: Client) -> None:
    chosen = ["shop-1.0-py3-none-any.whl", "basket-1.1-py3-none-any.whl", "price_tag-1.2.post1-py3-none-any.whl", "till-1.0.tar.gz", "coin-1!1.0-py3-none-any.whl"]  # fmt: skip # noqa: E501
    wanted = tmp_path / "wanted.txt"
    wanted.write_text(
        "".join(
            f"{name}=={version} --hash=sha256:{made(filename).sha256}\n"
            for (name, version), filename in zip(SHOP.items(), chosen, strict=True)
        )
    )
    async with RawUpstream() as up:
        lay(up, "negotiated")
        async with _chain(tmp_path, up) as chain:
            folders = [tmp_path / f"site{number}" for number in range(DEPTH)]
            for served, into in reversed(
                list(zip(chain, folders, strict=True))
            ):  # the last one is cold all the way down
                await install(client, f"{served.url}/simple/", "--require-hashes", "-r", wanted, into=into)
        fetched = {filename: up.count(f"/files/{filename.replace('!', '%21')}") for filename in chosen}

    assert installed(folders[0]) == SHOP
    assert [contents(folder) for folder in folders] == [contents(folders[0])] * DEPTH
    assert fetched == {**dict.fromkeys(chosen, 1), chosen[-1]: fetched[chosen[-1]]}
    assert 1 <= fetched[chosen[-1]] <= 4  # and, for its core metadata, a few ranges


async def test_chain__every_page_and_file__is_the_same_at_each_depth(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        lay(up, "html")
        async with _chain(tmp_path, up) as chain:
            for served in reversed(chain):
                for name, files in WORLD.items():
                    links = await served.links(name)
                    for file in files:
                        answer = await served.ask(links[file.filename])
                        assert (answer.status, answer.whole, answer.body == file.data) == (200, True, True), (
                            file.filename
                        )
                        if file.metadata is not None:
                            assert (await served.ask(links[file.filename] + ".metadata")).body == file.metadata
            seen = [{name: _less_links(await served.page(name)) for name in WORLD} for served in chain]

    assert seen == [seen[0]] * DEPTH
    assert [file["filename"] for file in seen[0]["coin"]["files"]] == [file.filename for file in WORLD["coin"]]


def _less_links(page: Answer) -> Any:  # Any: JSON
    """What the page says, but for where its files lie: that differs from depth to depth."""
    said = page.json()
    for file in said["files"]:
        del file["url"]
    return said


async def test_chain__remote_gone__one_502_that_names_it_and_one_attempt(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        lay(up, "json")
        async with _chain(tmp_path, up) as chain:
            await up.stop()
            outermost = await chain[-1].page("shop", accept=JSON)
            asked = [served.metric("pyproxy_requests_total", kind="simple") for served in chain]

    assert outermost.status == 502
    assert outermost.text.startswith("remote next: ")
    assert asked == [1, 1, 1]  # nobody asks again one that says the fault lies further up

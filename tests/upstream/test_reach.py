from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest
from aiohttp.abc import ResolveResult

from pyproxy.errors import RemoteFailed
from pyproxy.model import as_project
from pyproxy.upstream import Validators
from pyproxy.upstream.addresses import is_public
from pyproxy.upstream.reach import Reach, SystemLookup
from pyproxy.upstream.trouble import LeadsInside, Trouble
from pyproxy.upstream.urls import target
from tests.fakes.faults import Redirect
from tests.fakes.raw_upstream import RawUpstream
from tests.upstream.conftest import Remotes

OWN = target("https://index.example/simple/").origin
PUBLIC, PRIVATE = "93.184.216.34", "10.0.0.7"
A = as_project("a")


class Names:
    """A resolver with a table: each name's answers in turn, the last one for ever."""

    def __init__(self, **answers: list[list[str]]) -> None:
        self.answers = {name.replace("_", "."): list(answer) for name, answer in answers.items()}
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        self.asked.append(host)
        answers = self.answers.get(host.rstrip(".").lower())
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in addresses
        ]


async def resolved(reach: Reach, host: str) -> list[str]:
    return [found["host"] for found in await reach.resolve(host, 443)]


async def test_resolve__public_remote__its_private_addresses_are_left_out() -> None:
    reach = Reach(OWN, proxied=False, lookup=Names(index_example=[[PRIVATE, PUBLIC]]))

    assert await resolved(reach, "index.example") == [PUBLIC]


async def test_resolve__public_remote__other_name_leads_inside__is_refused() -> None:
    reach = Reach(OWN, proxied=False, lookup=Names(index_example=[[PUBLIC]], files_example=[[PRIVATE]]))
    await reach.resolve("index.example")

    with pytest.raises(LeadsInside):
        await reach.resolve("files.example")


async def test_resolve__other_name_first__the_remote_is_looked_up_to_judge() -> None:
    names = Names(index_example=[[PUBLIC]], files_example=[["127.0.0.1"]])

    with pytest.raises(LeadsInside):
        await Reach(OWN, proxied=False, lookup=names).resolve("files.example")

    assert names.asked == ["files.example", "index.example"]


async def test_resolve__remote_itself_not_resolved__other_name_leads_inside__is_refused() -> None:
    reach = Reach(OWN, proxied=False, lookup=Names(files_example=[[PRIVATE]]))

    with pytest.raises(LeadsInside):
        await reach.resolve("files.example")


async def test_resolve__private_remote__leads_anywhere() -> None:
    reach = Reach(
        OWN,
        proxied=False,
        lookup=Names(index_example=[[PRIVATE]], files_example=[["127.0.0.1"]], cdn_example=[[PUBLIC]]),
    )

    assert await resolved(reach, "index.example") == [PRIVATE]
    assert await resolved(reach, "files.example") == ["127.0.0.1"]
    assert await resolved(reach, "cdn.example") == [PUBLIC]


async def test_resolve__rebinding__public_first_and_then_private__is_refused() -> None:
    reach = Reach(OWN, proxied=False, lookup=Names(index_example=[[PUBLIC], [PRIVATE]]))
    await reach.resolve("index.example")

    with pytest.raises(LeadsInside):
        await reach.resolve("Index.Example.")


async def test_resolve__rebinding__private_first_and_then_public__leads_inside_no_more() -> None:
    reach = Reach(OWN, proxied=False, lookup=Names(index_example=[[PRIVATE], [PUBLIC]], files_example=[[PRIVATE]]))
    assert await resolved(reach, "index.example") == [PRIVATE]
    assert await resolved(reach, "index.example") == [PUBLIC]

    with pytest.raises(LeadsInside):
        await reach.resolve("files.example")


async def test_resolve__remote_given_by_its_public_address__is_public() -> None:
    reach = Reach(target(f"http://{PUBLIC}/").origin, proxied=False, lookup=Names(files_example=[[PRIVATE]]))

    with pytest.raises(LeadsInside):
        await reach.resolve("files.example")


async def test_resolve__behind_a_proxy__the_proxy_may_be_inside() -> None:
    reach = Reach(OWN, proxied=True, lookup=Names(proxy_example=[[PRIVATE]]))

    assert await resolved(reach, "proxy.example") == [PRIVATE]


async def test_resolve__unknown_name__is_what_the_system_says() -> None:
    with pytest.raises(socket.gaierror):
        await Reach(OWN, proxied=False, lookup=Names()).resolve("nowhere.example")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://169.254.169.254/latest/",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://localhost/",
        "http://x.localhost./",
    ],
)
@pytest.mark.parametrize("proxied", [False, True])
async def test_check__public_remote__address_inside__is_refused(url: str, *, proxied: bool) -> None:
    reach = Reach(OWN, proxied=proxied, lookup=Names(index_example=[[PUBLIC]]))

    with pytest.raises(Trouble, match="inside this network"):
        await reach.check(target(url).origin)


@pytest.mark.parametrize("url", [f"http://{PUBLIC}/", "http://files.example/", "http://[2606:4700::1111]/"])
async def test_check__public_remote__address_outside_or_name__passes(url: str) -> None:
    names = Names(index_example=[[PUBLIC]])

    await Reach(OWN, proxied=False, lookup=names).check(target(url).origin)

    assert names.asked == []


async def test_check__remote_on_this_machine__leads_anywhere() -> None:
    for own in ("http://127.0.0.1:8080/", "http://localhost:8080/", "http://[::1]/", "http://10.1.2.3/"):
        await Reach(target(own).origin, proxied=False, lookup=Names()).check(target("http://127.0.0.2/").origin)


async def test_system_lookup__gives_addresses() -> None:
    found = await SystemLookup()("localhost", 80, socket.AF_UNSPEC)

    assert {result["host"] for result in found} <= {"127.0.0.1", "::1"}
    assert found


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".example", ".invalid"])
async def test_system_lookup__no_such_name__is_an_os_error(host: str) -> None:
    with pytest.raises(socket.gaierror):
        await SystemLookup()(host, 80, socket.AF_UNSPEC)


@pytest.fixture
def up_is_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 passes for an address of the internet; 127.0.0.2, where the canaries sit, stays what it is."""
    monkeypatch.setattr(
        "pyproxy.upstream.reach.is_public", lambda address: str(address) == "127.0.0.1" or is_public(address)
    )


@pytest.mark.usefixtures("up_is_public")
@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.2:{port}/",
        "http://[::ffff:127.0.0.2]:{port}/",
        "http://2130706434:{port}/",
        "http://127.2:{port}/",
        "http://0x7f.2:{port}/",
        "http://localhost:{port}/",
        "http://canary.example:{port}/",
        "file:///etc/passwd",
        "ftp://127.0.0.2:{port}/",
    ],
)
async def test_remote__public__redirected_inside__never_reaches_a_canary(
    to: str, up: RawUpstream, remotes: Remotes, soon: Callable[[], float]
) -> None:
    async with RawUpstream("127.0.0.2") as canary:
        up.script("/simple/a/", Redirect(to.format(port=canary.port)), times=None)
        remote = remotes(lookup=Names(canary_example=[["127.0.0.2"]]))

        with pytest.raises(RemoteFailed):
            await remote.page(A, Validators(), deadline=soon())

        assert up.count() == 1
        assert canary.connections == 0


@pytest.mark.usefixtures("up_is_public")
async def test_remote__public__its_links_lead_inside__never_reach_a_canary(remotes: Remotes) -> None:
    async with RawUpstream("127.0.0.2") as canary:
        remote = remotes(lookup=Names(canary_example=[["127.0.0.2"]]))

        for url in (f"{canary.url}a.whl", f"http://canary.example:{canary.port}/a.whl"):
            with pytest.raises(RemoteFailed, match="inside this network"):
                await remote.head(url)

        assert canary.connections == 0


@pytest.mark.usefixtures("up_is_public")
async def test_remote__rebinding__never_reaches_a_canary(
    up: RawUpstream, remotes: Remotes, soon: Callable[[], float]
) -> None:
    async with RawUpstream("127.0.0.2") as canary:
        up.script("/simple/a/", Redirect(f"http://index.example:{canary.port}/"))
        names = Names(index_example=[["127.0.0.1"], ["127.0.0.2"]])
        remote = remotes(f"http://index.example:{up.port}/simple/", lookup=names)

        with pytest.raises(RemoteFailed, match="inside this network"):
            await remote.page(A, Validators(), deadline=soon())

        assert (up.count(), canary.connections) == (1, 0)


async def test_remote__public_by_now__its_open_connections_lead_inside_no_more(
    up: RawUpstream, remotes: Remotes, soon: Callable[[], float]
) -> None:
    up.serve("/simple/a/", b"<html></html>")
    up.serve("/x", b"x")
    remote = remotes(f"http://index.example:{up.port}/simple/", lookup=Names(index_example=[["127.0.0.1"], [PUBLIC]]))
    await remote.page(A, Validators(), deadline=soon())
    await remote.small(f"{up.url}x", kind="json", limit=9, deadline=soon())
    await remote._exchange._reach.resolve("index.example")

    with pytest.raises(RemoteFailed, match="inside this network"):
        await remote.small(f"{up.url}x", kind="json", limit=9, deadline=soon())

    assert up.count("/x") == 1


async def test_remote__private__may_redirect_to_another_machine_and_port(
    up: RawUpstream, remotes: Remotes, soon: Callable[[], float]
) -> None:
    async with RawUpstream("127.0.0.2") as other:
        other.serve("/elsewhere/", b"<html></html>", content_type="text/html")
        up.script("/simple/a/", Redirect(f"{other.url}elsewhere/"))

        found = await remotes().page(A, Validators(), deadline=soon())

        assert other.count() == 1
        assert getattr(found, "url", None) == f"{other.url}elsewhere/"


async def test_system_lookup__cancelled__leaves_no_error_behind() -> None:
    lookup = asyncio.ensure_future(SystemLookup()("localhost", 80, socket.AF_UNSPEC))
    await asyncio.sleep(0)
    lookup.cancel()

    with pytest.raises(asyncio.CancelledError):
        await lookup

from __future__ import annotations

import gzip
import socket
from collections.abc import Callable

import pytest
from aiohttp.abc import ResolveResult

from pyproxy import __version__
from pyproxy.errors import RemoteBusy, RemoteFailed
from pyproxy.model import as_project
from pyproxy.upstream import ACCEPT_PAGE, PageFound, PageMissing, PageUnchanged, Validators
from tests.fakes.faults import Body, Headers, Status
from tests.fakes.raw_upstream import RawUpstream
from tests.upstream.conftest import Counted, Remotes

A = as_project("a")
PATH = "/simple/a/"
JSON = "application/vnd.pypi.simple.v1+json"
PAGE = b'{"meta":{"api-version":"1.0"},"name":"a","files":[]}'
DATE = "Sat, 01 Jan 2022 00:00:00 GMT"
NONE = Validators()
Soon = Callable[[], float]


async def loopback(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]


async def test_page__is_asked_for_as_json_before_html(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE, content_type=JSON)

    await remotes().page(A, NONE, deadline=soon())

    headers = up.requests[0].headers
    assert headers["accept"] == ACCEPT_PAGE
    assert headers["accept-encoding"] == "gzip"
    assert headers["user-agent"] == f"pyproxy/{__version__}"
    assert not {"if-none-match", "if-modified-since", "authorization", "cookie"} & set(headers)


async def test_page__found__is_told_with_its_type_url_and_validators(
    up: RawUpstream, remotes: Remotes, counted: Counted, soon: Soon
) -> None:
    up.serve(PATH, PAGE, content_type=f"{JSON}; charset=utf-8", etag='"1"', last_modified=DATE)

    found = await remotes().page(A, NONE, deadline=soon())

    assert found == PageFound(PAGE, f"{JSON}; charset=utf-8", f"{up.url}simple/a/", Validators('"1"', DATE))
    assert counted.asked_for == [("public", "page", "200")]


async def test_page__gzip__is_decoded(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE * 10_000, gzip=True)

    found = await remotes().page(A, NONE, deadline=soon())

    assert isinstance(found, PageFound)
    assert found.body == PAGE * 10_000
    assert up.sent[PATH] < 10_000


async def test_page__type__is_passed_on_as_sent(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    """Row 23: a login page is told by its type and content, which is not for this layer to judge."""
    for sent in ("text/html", "application/json", "", "nonsense"):
        up.script(PATH, Status(200, b"<html>please log in</html>", {"Content-Type": sent}))

        found = await remotes().page(A, NONE, deadline=soon())

        assert isinstance(found, PageFound)
        assert found.content_type == sent


async def test_page__without_a_type__has_none(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    up.script(PATH, Headers({"Content-Type": None}))

    found = await remotes().page(A, NONE, deadline=soon())

    assert isinstance(found, PageFound)
    assert found.content_type == ""


@pytest.mark.parametrize(
    "known", [Validators('"1"', DATE), Validators('"1"'), Validators(None, DATE), Validators('W/"1"')]
)
async def test_page__304__keeps_the_body(
    known: Validators, up: RawUpstream, remotes: Remotes, counted: Counted, soon: Soon
) -> None:
    up.serve(PATH, PAGE, etag='"1"', last_modified=DATE)

    found = await remotes().page(A, known, deadline=soon())

    assert found == PageUnchanged(Validators('"1"', DATE))
    assert counted.statuses == ["304"]
    assert up.sent[PATH] == 0


async def test_page__304_without_validators__keeps_those_that_were_sent(
    up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    up.script(PATH, Status(304))

    assert await remotes().page(A, Validators('"1"', DATE), deadline=soon()) == PageUnchanged(Validators('"1"', DATE))


async def test_page__304_with_another_date__tells_the_new_one(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    later = "Sun, 02 Jan 2022 00:00:00 GMT"
    up.script(PATH, Status(304, headers={"Last-Modified": later}))

    assert await remotes().page(A, Validators('"1"', DATE), deadline=soon()) == PageUnchanged(Validators('"1"', later))


async def test_page__304_unasked__is_refetched_once(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    """Row 33."""
    up.serve(PATH, PAGE, etag='"1"')
    up.script(PATH, Status(304))

    found = await remotes().page(A, NONE, deadline=soon())

    assert isinstance(found, PageFound)
    assert up.count(PATH) == 2


async def test_page__304_for_another_etag__is_refetched_without_conditions(
    up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    up.serve(PATH, PAGE, etag='"2"')
    up.script(PATH, Status(304, headers={"ETag": '"2"'}))

    found = await remotes().page(A, Validators('"1"', DATE), deadline=soon())

    assert isinstance(found, PageFound)
    assert found.validators.etag == '"2"'
    assert not {"if-none-match", "if-modified-since"} & set(up.requests[1].headers)


async def test_page__304_and_nothing_else__fails(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.script(PATH, Status(304), times=None)

    with pytest.raises(RemoteFailed, match="answered 304"):
        await remotes().page(A, NONE, deadline=soon())

    assert up.count(PATH) == 2


@pytest.mark.parametrize("etag", ['"a\x01b"', '"\xff"', "x" * 2000])
async def test_page__validator_that_cannot_be_sent_back__is_dropped(
    etag: str, up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    up.serve(PATH, PAGE, etag=etag, last_modified="Fri, 31 Dec 2199 23:59:59 GMT")

    found = await remotes().page(A, NONE, deadline=soon())

    assert isinstance(found, PageFound)
    assert found.validators == Validators(None, "Fri, 31 Dec 2199 23:59:59 GMT")


@pytest.mark.parametrize("status", [404, 410])
async def test_page__missing(status: int, up: RawUpstream, remotes: Remotes, counted: Counted, soon: Soon) -> None:
    """Row 1: asked once."""
    up.script(PATH, Status(status), times=None)

    assert await remotes(retries=3).page(A, NONE, deadline=soon()) == PageMissing(status)
    assert counted.statuses == [str(status)]


@pytest.mark.parametrize("status", [204, 206, 300, 401, 402, 403, 406, 418, 451, 500, 502, 504, 599])
async def test_page__other_status__fails_and_says_so(
    status: int, up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    """Rows 3 and 5."""
    up.script(PATH, Status(status), times=None)

    with pytest.raises(RemoteFailed, match=f"^remote public: answered {status}"):
        await remotes().page(A, NONE, deadline=soon())


async def test_page__missing_status__is_what_the_remote_answers_for_missing(
    up: RawUpstream, remotes: Remotes, soon: Soon
) -> None:
    remote = remotes(missing_status=frozenset({403}))
    up.script(PATH, Status(403))
    up.script(PATH, Status(404))

    assert await remote.page(A, NONE, deadline=soon()) == PageMissing(403)
    with pytest.raises(RemoteFailed, match="answered 404"):
        await remote.page(A, NONE, deadline=soon())


async def test_page__busy__tells_for_how_long(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    """Row 4: and nobody asks again within that time."""
    remote = remotes(retries=3)
    up.script(PATH, Status(503, headers={"Retry-After": "600"}), times=None)
    for _ in range(3):
        with pytest.raises(RemoteBusy, match="answered 503 Service Unavailable") as caught:
            await remote.page(A, NONE, deadline=soon())
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 50

    assert up.count(PATH) == 1


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "gzip, gzip"])
async def test_page__coding_not_asked_for__fails(coding: str, up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    """Row 26."""
    up.serve(PATH, PAGE)
    up.script(PATH, Headers({"Content-Encoding": coding}))

    with pytest.raises(RemoteFailed, match="content coding"):
        await remotes().page(A, NONE, deadline=soon())


async def test_page__double_gzip__is_opened_once(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, gzip.compress(PAGE), gzip=True)

    found = await remotes().page(A, NONE, deadline=soon())

    assert isinstance(found, PageFound)
    assert found.body == gzip.compress(PAGE)


async def test_page__cookies__are_not_kept(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE, headers={"Set-Cookie": "session=1; Path=/"})
    remote = remotes(f"http://index.localhost:{up.port}/simple/", lookup=loopback)  # cookies are for names alone

    for _ in range(2):
        await remote.page(A, NONE, deadline=soon())

    assert all("cookie" not in request.headers for request in up.requests)


async def test_page__connection__is_used_again(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    remote = remotes()

    for _ in range(5):
        await remote.page(A, NONE, deadline=soon())

    assert up.connections == 1


async def test_page__environment__sets_no_proxy(
    up: RawUpstream, remotes: Remotes, soon: Soon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.2:1/")
    monkeypatch.setenv("http_proxy", "http://127.0.0.2:1/")
    up.serve(PATH, PAGE)

    assert isinstance(await remotes().page(A, NONE, deadline=soon()), PageFound)


async def test_page__credentials_and_headers__are_sent(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    remote = remotes(username="me", password="pä:ss", headers={"X-Team": "one", "user-agent": "ours"})

    await remote.page(A, NONE, deadline=soon())

    headers = up.requests[0].headers
    assert headers["authorization"] == "Basic bWU6cMOkOnNz"
    assert headers["x-team"] == "one"
    assert headers["user-agent"] == "ours"
    assert headers["accept"] == ACCEPT_PAGE


async def test_page__wrong_page__is_told_by_its_body_alone(up: RawUpstream, remotes: Remotes, soon: Soon) -> None:
    up.serve(PATH, PAGE)
    up.script(PATH, Body(b"<not a page"))

    found = await remotes().page(A, NONE, deadline=soon())

    assert isinstance(found, PageFound)
    assert found.body == b"<not a page"


async def test_settings__show_no_secret(remotes: Remotes) -> None:
    remote = remotes(username="me", password="secret", headers={"X": "secret"}, proxy="http://u:secret@127.0.0.1:1/")

    assert "secret" not in repr(remote.settings)


async def test_url_that_cannot_be_asked__is_refused_at_once(remotes: Remotes) -> None:
    with pytest.raises(ValueError, match="remote public: its url"):
        remotes("ftp://index.example/")

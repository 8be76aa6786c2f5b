"""Remotes that fail in every way there is: stale pages, then a clear 502 that names them; never 404, never for ever."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pyproxy.index import patience
from pyproxy.model import as_project
from tests.daemon import HTML, JSON, a_remote, one_remote, project, remotes, serving
from tests.fakes.dead_ends import black_hole, closed_port
from tests.fakes.faults import (
    Body,
    Bomb,
    Chunked,
    Cut,
    Drip,
    Endless,
    Fault,
    Flip,
    Gate,
    Gzip,
    Hang,
    Headers,
    Interims,
    Lie,
    ManyHeaders,
    Raw,
    Redirect,
    Reset,
    Status,
    Surplus,
    UntilClose,
)
from tests.fakes.raw_upstream import RawUpstream

PAGE = "/simple/alpha/"
PROXY_STATUS = "pyproxy; error=destination_unavailable"


ALPHA = as_project("alpha")


def as_html(body: bytes) -> tuple[Fault, ...]:
    return Headers({"Content-Type": "text/html"}), Body(body)


def as_json(body: object) -> tuple[Fault, ...]:
    return (Body(body if isinstance(body, bytes) else json.dumps(body).encode()),)


def a_page(**changed: object) -> object:
    return {"meta": {"api-version": "1.0"}, "name": "alpha", "files": [], **changed}


FAULTS: dict[str, tuple[Fault, ...]] = {
    "401": (Status(401),),
    "402": (Status(402),),
    "403": (Status(403),),
    "429": (Status(429),),
    "429, retry after long": (Status(429, headers={"Retry-After": "600"}),),
    "500": (Status(500),),
    "502": (Status(502),),
    "503": (Status(503),),
    "503, retry after long": (Status(503, headers={"Retry-After": "600"}),),
    "504": (Status(504),),
    "599": (Status(599),),
    "204": (Status(204),),
    "206": (Status(206),),
    "300": (Status(300),),
    "reset before the head": (Reset(),),
    "reset in the body": (Reset(at=0.4),),
    "closed before the head": (Cut(at=None),),
    "closed in the body": (Cut(at=0.5),),
    "content-length too long": (Lie(by=10),),
    "content-length too short": (Lie(by=-10),),
    "no last chunk": (Chunked(last=False),),
    "close-delimited and cut": (UntilClose(at=0.6),),
    "gzip cut under a right length": (Gzip(at=0.6),),
    "gzip damaged": (Gzip(), Flip(at=-12)),
    "gzip twice": (Gzip(), Gzip()),
    "gzip that is none": (Headers({"Content-Encoding": "gzip"}),),
    "a coding not asked for": (Headers({"Content-Encoding": "br"}),),
    "gzip bomb": (Bomb(size=80 << 20),),
    "500 header fields": (ManyHeaders(),),
    "no HTTP": (Raw(b"SSH-2.0-OpenSSH_9.9\r\n"),),
    "no head's end": (Raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"),),
    "two lengths": (Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),),
    "redirected nowhere": (Redirect(None),),
    "redirected to nothing": (Redirect(""),),
    "a media type that is no page": (Headers({"Content-Type": "image/png"}),),
    "no media type": (Headers({"Content-Type": None}),),
    "no JSON": as_json(b"{"),
    "JSON of another shape": as_json([1]),
    "JSON, files no list": as_json(a_page(files=3)),
    "JSON, no files": as_json({"meta": {"api-version": "1.0"}, "name": "alpha"}),
    "JSON nested deep": as_json(b"[" * 100_000),
    "JSON of version 2": as_json(a_page(meta={"api-version": "2.0"})),
    "JSON of another project": as_json(a_page(name="beta")),
    "HTML of version 2": as_html(
        b'<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="2.0"></head><body></body></html>'
    ),
    "a page of nothing": (Body(b""),),
}

TIMED: dict[str, tuple[Fault, ...]] = {
    "no answer": (Hang(),),
    "no end of the body": (Hang(at=0.5),),
    "drip": (Drip(step=1, pause=0.05),),
    "1xx for ever": (Interims(None),),
    "endless": (Endless(pause=0.01),),
}


@pytest.mark.parametrize("faults", [*FAULTS.values()], ids=[*FAULTS])
async def test_page__remote_fails__502_that_names_it_and_stale_where_there_is_a_copy(
    up: RawUpstream, tmp_path: Path, faults: tuple[Fault, ...]
) -> None:
    project(up).publish(up, etag=None)
    up.script(PAGE, *faults, times=None)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        answer = await served.page()
        assert answer.status == 502, answer
        assert answer.line.startswith("remote up: ")
        assert answer.headers["Proxy-Status"] == PROXY_STATUS
        assert answer.headers["Cache-Control"] == "no-store"
        assert len(answer.line) < 200
        assert served.daemon.machinery.store.records.page_head("up", ALPHA) is None
        up.heal()
        if answer.line.endswith(("Too Many Requests", "Service Unavailable")) and faults != FAULTS["429"]:
            served.forget_failures()  # who asks to be left alone for long, is
        # I12: as soon as the remote is well the page is there.
        good = await served.page()
        assert good.status == 200
        served.later(601)
        up.script(PAGE, *faults, times=None)
        stale = await served.page()
        assert (stale.status, stale.body) == (200, good.body)
        assert stale.headers["Cache-Control"] == "no-store"
        up.heal()
        served.forget_failures()
        again = await served.page()
        assert again.body == good.body
        assert again.headers["Cache-Control"] != "no-store"


@pytest.mark.parametrize("faults", [*TIMED.values()], ids=[*TIMED])
async def test_page__remote_takes_for_ever__502_in_time(
    up: RawUpstream, tmp_path: Path, patience: Callable[[float], None], faults: tuple[Fault, ...]
) -> None:
    patience(0.3)
    project(up)
    up.script(PAGE, *faults)
    async with serving(tmp_path, one_remote(up)) as served:
        async with asyncio.timeout(3.0):
            answer = await served.page()
        assert answer.status == 502
        assert answer.line.startswith("remote up: ")
        patience(5.0)  # a busy machine may take its time over the page that is there now
        assert (await served.page()).status == 200


def test_patience__leaves_room_within_ten_seconds() -> None:
    assert patience.PATIENCE <= 9.5


async def test_remote__refuses_connections__502_within_a_second(tmp_path: Path) -> None:
    async with closed_port() as url, serving(tmp_path, remotes(up={"url": url})) as served:
        async with asyncio.timeout(3.0):
            answer = await served.page()
        assert (answer.status, answer.line) == (502, "remote up: connection refused")


async def test_remote__swallows_connections__502_after_connect_timeout(tmp_path: Path) -> None:
    async with (
        black_hole() as url,
        serving(tmp_path, remotes(up={"url": url, "connect_timeout": "100ms", "retries": 0})) as served,
    ):
        answer = await served.page()
        assert answer.status == 502
        assert answer.line.startswith("remote up: no connection within 0.1")


async def test_remote__name_not_resolved__502(tmp_path: Path) -> None:
    async with serving(tmp_path, remotes(up={"url": "http://nowhere.invalid/simple/"})) as served:
        answer = await served.page()
        assert (answer.status, answer.line) == (502, "remote up: name not resolved")


async def test_remote__down_then_up__serves_again_without_a_restart(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    await up.stop()
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.page()).status == 502
        await up.start()
        assert (await served.page()).status == 200


@pytest.mark.parametrize(("status", "expected"), [(403, 404), (401, 404), (404, 404), (410, 502)])
async def test_missing_status__decides_what_means_missing(
    up: RawUpstream, tmp_path: Path, status: int, expected: int
) -> None:
    up.script(PAGE, Status(status), times=None)
    async with serving(tmp_path, one_remote(up, missing_status=[404, 403, 401])) as served:
        assert (await served.page()).status == expected


async def test_remote__fails_once__is_asked_again_within_the_request(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    up.script(PAGE, Status(503))
    up.script(PAGE, Reset(at=0.5))
    async with serving(tmp_path, one_remote(up, retries=2)) as served:
        assert (await served.page()).status == 200
    assert up.count(PAGE) == 3


async def test_remote__is_a_pyproxy_whose_remote_failed__is_not_asked_again(up: RawUpstream, tmp_path: Path) -> None:
    up.script(PAGE, Status(502, headers={"Proxy-Status": PROXY_STATUS}), times=None)
    async with serving(tmp_path, one_remote(up, retries=3)) as served:
        answer = await served.page()
        assert answer.status == 502
    assert up.count(PAGE) == 1


async def test_remote__busy__is_left_alone_for_as_long_as_it_says(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    up.script(PAGE, Status(429, headers={"Retry-After": "600"}), times=None)
    async with serving(tmp_path, one_remote(up, retries=3)) as served:
        for _ in range(5):
            assert (await served.page()).status == 502
    assert up.count(PAGE) == 1


async def test_remote__fails_again_and_again__is_not_hammered(up: RawUpstream, tmp_path: Path) -> None:
    up.script(PAGE, Status(500), times=None)
    async with serving(tmp_path, one_remote(up)) as served:
        for _ in range(30):
            assert (await served.page()).status == 502
    assert up.count(PAGE) <= 4


async def test_herd__remote_fails__all_get_the_502_of_one_ask(up: RawUpstream, tmp_path: Path) -> None:
    let_go = asyncio.Event()
    up.serve(PAGE, b"not a page", content_type=JSON)
    up.script(PAGE, Gate(let_go, first=0))
    async with serving(tmp_path, one_remote(up)) as served:
        asking = [asyncio.create_task(served.page()) for _ in range(50)]
        await up.asked(PAGE)
        await served.coalesced(49)
        let_go.set()
        answers = await asyncio.gather(*asking)
        assert {a.status for a in answers} == {502}
    assert up.count(PAGE) == 1


async def test_file__remote_down__502_and_other_files_are_served(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    made.add("alpha-2.0-py3-none-any.whl", b"2" * 100)
    made.publish(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        one, two = (await served.links()).values()
        whole = await served.ask(one)
        await served.settled()
        await up.stop()
        served.later(601)
        assert (await served.ask(one)).body == whole.body
        answer = await served.ask(two)
        assert (answer.status, answer.headers["Proxy-Status"]) == (502, PROXY_STATUS)
        assert answer.line.startswith("remote up: ")
        page = await served.page()
        assert page.status == 200


async def test_remote__sends_a_second_answer_behind_the_first__nobody_gets_it(up: RawUpstream, tmp_path: Path) -> None:
    """Row 11: the surplus would be the answer to whatever is asked next on that connection."""
    project(up)
    project(up, "beta")
    evil = json.dumps({"meta": {"api-version": "1.0"}, "name": "beta", "files": []}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nContent-Length: {len(evil)}\r\n\r\n".encode()
    up.script(PAGE, Surplus(head + evil))
    async with serving(tmp_path, one_remote(up, max_connections=1)) as served:
        assert len((await served.page()).json()["files"]) == 1
        assert len((await served.page("beta")).json()["files"]) == 1
    assert up.connections == 2


async def test_html_page__cut_without_a_length__is_not_taken_for_whole(up: RawUpstream, tmp_path: Path) -> None:
    links = b"<a href='/files/alpha-1.0.tar.gz'>alpha-1.0.tar.gz</a>" * 3
    page = b"<!DOCTYPE html><html><body>%s</body></html>" % links
    up.serve(PAGE, page, content_type="text/html")
    up.script(PAGE, UntilClose(at=0.8))
    up.script(PAGE, UntilClose())
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.page()).status == 502
        assert len((await served.page()).json()["files"]) == 1


async def test_page__html_of_a_captive_portal__is_not_a_project_without_files(up: RawUpstream, tmp_path: Path) -> None:
    """Row 23: a login page where a project's page should be would hide every file for ten minutes."""
    project(up)
    login = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form><input></form></body></html>"
    up.script(PAGE, *as_html(login))
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.page()).status == 502


async def test_page__json_type_with_parameters__is_json(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="0s")) as served:
        for content_type in (f"{JSON}; charset=utf-8", f"{JSON};charset=UTF-8 ; x=y", JSON.upper()):
            up.serve(PAGE, made.as_json(), content_type=content_type)
            answer = await served.page(accept=HTML)
            assert answer.text.count("<a ") == 1


async def test_metrics__count_what_remotes_answered_and_how_they_failed(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    up.script(PAGE, Status(500))
    up.script(PAGE, Cut(at=0.5))
    up.script(PAGE, Hang())
    async with serving(tmp_path, one_remote(up, read_timeout="100ms", stale_after="5s")) as served:
        with served.counting("pyproxy_upstream_requests_total", "remote", "kind", "status") as asked:
            assert (await served.page()).status == 502
        assert asked == {("up", "page", "500"): 1}
        with served.counting("pyproxy_requests_total", "distribution", "kind", "result") as results:
            assert (await served.page("unknown")).status == 404
            served.forget_failures()
            assert (await served.page()).status == 502
            served.forget_failures()
            assert (await served.page()).status == 502
            served.forget_failures()
            assert (await served.page()).status == 200
        assert results == {("main", "simple", "miss"): 2, ("main", "simple", "error"): 2}
        for status, count in (("404", 1), ("500", 1), ("error", 1), ("timeout", 1), ("200", 1)):
            assert served.metric("pyproxy_upstream_requests_total", remote="up", kind="page", status=status) == count
        assert served.metric("pyproxy_upstream_seconds_count", remote="up", kind="page") == 5
        served.later(601)
        assert (await served.page()).status == 200
        assert served.metric("pyproxy_upstream_requests_total", status="304") == 1


async def test_two_distributions__one_remote_each__do_not_share_failures(tmp_path: Path) -> None:
    async with RawUpstream() as bad, RawUpstream() as good:
        project(good)
        bad.script("*", Hang(), times=None)
        text = remotes(bad=a_remote(bad), good=a_remote(good)).replace('["bad", "good"]', "bad")
        text += "  good:\n    remote: good\n"
        async with serving(tmp_path, text) as served:
            waiting = asyncio.create_task(served.page())
            await bad.asked(PAGE)
            async with asyncio.timeout(5.0):
                assert (await served.page(base="good")).status == 200
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def test_page__of_a_later_minor_version__is_served(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    made.page = {"meta": {"api-version": "1.99"}, "something-new": {"x": 1}}
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        page = (await served.page()).json()
        assert len(page["files"]) == 1
        assert page["meta"]["api-version"] != "1.99"  # what that says is not known here


@pytest.mark.parametrize("last_modified", ["Sat, 01 Jan 2999 00:00:00 GMT", "yesterday", ""])
async def test_page__odd_last_modified__is_no_trouble(up: RawUpstream, tmp_path: Path, last_modified: str) -> None:
    project(up).publish(up, etag=None, last_modified=last_modified)
    async with serving(tmp_path, one_remote(up, ttl="0s")) as served:
        assert {(await served.page()).status for _ in range(3)} == {200}


async def test_page__etag_that_changes_with_every_answer__is_the_page_all_the_same(
    up: RawUpstream, tmp_path: Path
) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="0s")) as served:
        seen = set()
        for number in range(4):
            made.publish(up, etag=f'{"W/" if number % 2 else ""}"{number}"')
            seen.add((await served.page()).etag)
        assert len(seen) == 1

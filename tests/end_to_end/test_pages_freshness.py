"""How long a page lives: fresh, revalidated, stale while the remote is slow, forgotten; over real HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from pyproxy.simple_api import render_page
from tests.daemon import HTML, JSON, TEXT, Project, a_wheel, one_remote, project, serving
from tests.fakes.faults import Delay, Gate, Gzip, Hang, Headers, Status
from tests.fakes.raw_upstream import RawUpstream

PAGE = "/simple/alpha/"
HOUR = 3600.0
DAY = 24 * HOUR

RESULTS = ("pyproxy_requests_total", "result")


def max_age(answer_headers: str) -> int:
    name, _, seconds = answer_headers.partition("=")
    assert name == "max-age"
    return int(seconds)


async def test_page__fresh__is_not_asked_for_again(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        with served.counting(*RESULTS) as results:
            first = await served.page()
            served.later(599)
            again = await served.page()
        assert first.status == again.status == 200
        assert first.body == again.body
        assert results == {("miss",): 1, ("hit",): 1}
    assert up.count(PAGE) == 1


async def test_page__past_its_ttl__is_asked_for_with_its_etag(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        first = await served.page()
        served.later(601)
        with served.counting(*RESULTS) as results:
            again = await served.page()
        assert up.requests[-1].headers["if-none-match"] == '"1"'
        assert results == {("revalidated",): 1}
        assert again.body == first.body
        assert again.etag == first.etag
        # Row 33: the 304 extends the page's life.
        assert max_age(again.headers["Cache-Control"]) > 590
        served.later(300)
        await served.page()
    assert up.count(PAGE) == 2


async def test_page__past_its_ttl__is_asked_for_with_its_last_modified(up: RawUpstream, tmp_path: Path) -> None:
    since = "Sat, 01 Jan 2022 00:00:00 GMT"
    project(up).publish(up, etag=None, last_modified=since)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        await served.page()
        served.later(601)
        with served.counting(*RESULTS) as results:
            again = await served.page()
        assert up.requests[-1].headers["if-modified-since"] == since
        assert results == {("revalidated",): 1}
        assert again.status == 200


async def test_page__validators_of_a_304__are_asked_with_next_time(up: RawUpstream, tmp_path: Path) -> None:
    project(up).publish(up, etag='W/"1"')
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        await served.page()
        up.script(PAGE, Headers({"ETag": '"1"'}))
        for _ in range(2):
            served.later(601)
            await served.page()
    assert [r.headers.get("if-none-match") for r in up.requests] == [None, 'W/"1"', '"1"']


async def test_page__304_that_names_another_state__is_asked_for_once_more_without_condition(
    up: RawUpstream, tmp_path: Path
) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        first = await served.page()
        served.later(601)
        up.script(PAGE, Headers({"ETag": '"other"'}))
        again = await served.page()
        assert again.body == first.body
    assert [r.headers.get("if-none-match") for r in up.requests] == [None, '"1"', None]


async def test_page__unasked_304__is_no_page(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    up.script(PAGE, Status(304), times=2)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.page()
        assert (answer.status, answer.line) == (
            502,
            "remote up: answered 304 Not Modified where nothing was to compare with",
        )
        assert (await served.page()).status == 200


async def test_page__changed__is_another_page_with_another_etag(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        first = await served.page()
        made.add("alpha-2.0-py3-none-any.whl", a_wheel(version="2.0"))
        made.publish(up, etag='"2"')
        served.later(601)
        second = await served.page()
        assert [f["filename"] for f in second.json()["files"]] == [
            "alpha-1.0-py3-none-any.whl",
            "alpha-2.0-py3-none-any.whl",
        ]
        assert second.etag != first.etag
        # Row 36: a remote that was rolled back gives the smaller page again.
        del made.files["alpha-2.0-py3-none-any.whl"]
        made.publish(up, etag='"3"')
        served.later(601)
        third = await served.page()
        assert (third.body, third.etag) == (first.body, first.etag)


async def test_page__other_bytes_of_the_same_content__keep_the_etag(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        first = await served.page()
        up.serve(PAGE, made.as_json().replace(b", ", b" ,\n"), content_type=JSON, etag='"2"')
        served.later(601)
        again = await served.page(If_None_Match=first.etag)
        assert again.status == 304
    assert up.count(PAGE) == 2


async def test_page__emptied__is_a_page_without_files(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        link = await served.link()
        whole = await served.ask(link)
        await served.settled()
        made.files.clear()
        made.publish(up, etag='"2"')
        served.later(601)
        assert (await served.page()).json()["files"] == []
        assert (await served.ask(link)).body == whole.body  # no blob is deleted for it


# ------------------------------------------------------------------ stale


async def test_page__remote_slow__is_served_stale_at_once_and_refreshed_behind(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m", stale_after="20ms")) as served:
        first = await served.page()
        made.add("alpha-2.0-py3-none-any.whl", a_wheel(version="2.0"))
        made.publish(up, etag='"2"')
        let_go = asyncio.Event()
        up.script(PAGE, Gate(let_go, first=0))
        served.later(601)
        with served.counting(*RESULTS) as results:
            stale = await served.page()
        assert results == {("stale",): 1}
        assert stale.body == first.body
        assert stale.headers["Cache-Control"] == "no-store"
        assert served.metric("pyproxy_stale_answers_total", remote="up", why="slow") == 1
        # Whoever asks meanwhile joins: the remote is asked once.
        assert (await served.page()).body == first.body
        assert up.count(PAGE) == 2
        (flight,) = served.daemon.current.site.sources["up"].index._keeper._flights._flights.values()
        let_go.set()
        await asyncio.wait([flight.task])
        with served.counting(*RESULTS) as results:
            refreshed = await served.page()
        assert len(refreshed.json()["files"]) == 2
        assert results == {("hit",): 1}
    assert up.count(PAGE) == 2


async def test_page__remote_failing__is_served_stale_and_says_so(
    up: RawUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m", stale_if_error="7d")) as served:
        first = await served.page()
        served.later(7 * DAY)
        up.script(PAGE, Status(503), times=None)
        with served.counting(*RESULTS) as results:
            stale = await served.page()
        assert (stale.status, stale.body) == (200, first.body)
        assert stale.headers["Cache-Control"] == "no-store"
        assert stale.etag == first.etag
        assert results == {("stale",): 1}
        assert served.metric("pyproxy_stale_answers_total", remote="up", why="failing") == 1
        assert "the page of alpha is served stale" in caplog.text
        assert "answered 503" in caplog.text
        # And a conditional ask gets its 304.
        assert (await served.page(If_None_Match=first.etag)).status == 304


async def test_page__past_stale_if_error__is_a_502_that_names_the_remote(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m", stale_if_error="7d")) as served:
        await served.page()
        served.later(7 * DAY + 601)
        up.script(PAGE, Status(500))
        answer = await served.page()
        assert (answer.status, answer.line) == (502, "remote up: answered 500 Internal Server Error")
        # I12: the next ask after the fault clears succeeds, and the page was not forgotten for it.
        served.later(-7 * DAY)
        up.script(PAGE, Status(500))
        assert (await served.page()).status == 200


async def test_page__clock_set_back__is_asked_for_again_and_still_serves_when_the_remote_fails(
    up: RawUpstream, tmp_path: Path
) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        first = await served.page()
        served.later(-DAY)
        with served.counting(*RESULTS) as results:
            assert (await served.page()).status == 200
        assert results == {("revalidated",): 1}
        served.later(-DAY)
        up.script(PAGE, Status(500), times=None)
        assert (await served.page()).body == first.body


async def test_page__offline_policy__serves_what_is_stored_and_asks_nobody(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    project(up, "beta")
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        first = await served.page()
    asked = up.count()
    async with serving(tmp_path, one_remote(up, ttl="10m", policy="offline")) as served:
        fresh = await served.page()
        served.later(30 * DAY)
        stale = await served.page()
        assert fresh.body == stale.body == first.body
        assert stale.headers["Cache-Control"] == "no-store"
        answer = await served.page("beta")
        assert answer.status == 503
        assert answer.line == "the page of beta is not cached, and remote up is offline by configuration"
    assert up.count() == asked


# ------------------------------------------------------------------ missing


async def test_project__missing__is_remembered_for_negative_ttl(up: RawUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, one_remote(up, negative_ttl="1m")) as served:
        for _ in range(3):
            answer = await served.page("nobody")
            assert (answer.status, answer.line) == (404, "remote up has no project nobody")
            assert answer.headers["Cache-Control"] == "no-store"
        assert up.count() == 1
        project(up, "nobody")
        served.later(61)
        assert (await served.page("nobody")).status == 200


async def test_project__gone__is_404_and_its_page_does_not_come_back(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        await served.page()
        up.script(PAGE, Status(410), times=None)
        served.later(601)
        assert (await served.page()).status == 404
        up.heal()
        up.script(PAGE, Status(500), times=None)
        served.later(61)
        assert (await served.page()).status == 502
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        assert (await served.page()).status == 502


async def test_project__many_unknown_names__neither_index_nor_memory_grows(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyproxy.index.cached.MISSING_REMEMBERED", 50)
    async with serving(tmp_path, one_remote(up)) as served:
        index = served.daemon.current.site.sources["up"].index
        before = (served.data / "cache" / "index" / "data.mdb").stat().st_blocks
        for number in range(200):
            assert (await served.page(f"unknown-{number}")).status == 404
        assert len(index._missing) == 50
        assert len(index._shelf._held) == 0
        assert (served.data / "cache" / "index" / "data.mdb").stat().st_blocks == before
        asked = up.count()
        await served.page("unknown-199")
        assert up.count() == asked
        await served.page("unknown-0")
        assert up.count() == asked + 1


# ------------------------------------------------------------------ what clients may keep


async def test_cache_control__says_what_is_left_of_the_page(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        assert max_age((await served.page()).headers["Cache-Control"]) in {599, 600}
        served.later(400)
        assert max_age((await served.page()).headers["Cache-Control"]) in {198, 199, 200}
        unchanged = await served.page(If_None_Match=(await served.page()).etag)
        assert unchanged.status == 304
        assert max_age(unchanged.headers["Cache-Control"]) in {198, 199, 200}


async def test_etag__is_the_same_after_a_restart_and_on_the_304(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    seen = {}
    async with serving(tmp_path, one_remote(up)) as served:
        for accept in (JSON, HTML, TEXT):
            for coding in ("identity", "gzip", "zstd"):
                answer = await served.page(accept=accept, Accept_Encoding=coding)
                assert answer.headers["Vary"] == "Accept, Accept-Encoding"
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                seen[accept, coding] = answer.etag
    assert len(set(seen.values())) == 9
    assert all(etag.startswith('"') for etag in seen.values())
    await up.stop()
    async with serving(tmp_path, one_remote(up)) as served:
        for (accept, coding), etag in seen.items():
            answer = await served.page(accept=accept, Accept_Encoding=coding, If_None_Match=f'"junk", W/{etag}')
            assert (answer.status, answer.etag, answer.body) == (304, etag, b"")
            assert answer.headers["Vary"] == "Accept, Accept-Encoding"
            whole = await served.page(accept=accept, Accept_Encoding=coding)
            assert (whole.status, whole.etag) == (200, etag)


@pytest.mark.parametrize(
    ("condition", "status"),
    [("*", 304), ('"other"', 200), ("junk", 200), ('W/"', 200), ("", 200)],
)
async def test_page__if_none_match(up: RawUpstream, tmp_path: Path, condition: str, status: int) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.page(If_None_Match=condition)).status == status


async def test_page__stays_over_a_restart__without_a_question(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        first = await served.page()
    await up.stop()
    async with serving(tmp_path, one_remote(up)) as served:
        with served.counting(*RESULTS) as results:
            assert (await served.page()).body == first.body
        assert results == {("hit",): 1}


async def test_page__of_the_remote_at_another_url__is_not_served(tmp_path: Path) -> None:
    async with RawUpstream() as one, RawUpstream() as other:
        project(one)
        async with serving(tmp_path, one_remote(one)) as served:
            assert (await served.page()).status == 200
        async with serving(tmp_path, one_remote(other)) as served:
            assert (await served.page()).status == 404


# ------------------------------------------------------------------ forms


@pytest.mark.parametrize("coding", ["gzip", "zstd", "identity"])
async def test_page__every_coding__has_the_same_content(up: RawUpstream, tmp_path: Path, coding: str) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        plain = await served.page()
        answer = await served.page(Accept_Encoding=coding)
        assert answer.headers.get("Content-Encoding", "identity") == coding
        assert answer.plain == plain.body
        # Rendered and packed once: the same bytes under the same tag.
        assert (await served.page(Accept_Encoding=coding)).body == answer.body


@pytest.mark.parametrize(
    ("query", "status", "content_type"),
    [
        (f"?format={JSON}", 200, JSON),
        (f"?format={JSON.replace('+', '%2B')}", 200, JSON),
        (f"?format={HTML}", 200, HTML),
        ("?format=application/vnd.pypi.simple.latest+json", 200, JSON),
        ("?format=text/html", 200, "text/html; charset=utf-8"),
        ("?format=json", 406, "text/plain; charset=utf-8"),
        ("?format=application/vnd.pypi.simple.v2+json", 406, "text/plain; charset=utf-8"),
        ("?format=", 406, "text/plain; charset=utf-8"),
    ],
)
async def test_page__format_parameter(
    up: RawUpstream, tmp_path: Path, query: str, status: int, content_type: str
) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(f"/simple/alpha/{query}", Accept="text/html")
        assert (answer.status, answer.headers["Content-Type"]) == (status, content_type)
        # What cannot be served in any form is not fetched for it.
        assert up.count() == (1 if status == 200 else 0)


async def test_page__nothing_acceptable__is_406(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.page(accept="image/png")
        assert answer.status == 406
        assert JSON in answer.line


@pytest.mark.parametrize("accept", [JSON, HTML, TEXT])
async def test_page__head__has_the_head_of_get(up: RawUpstream, tmp_path: Path, accept: str) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        path = "/pypi/main/simple/alpha/"
        whole = await served.ask(path, Accept=accept)
        head = await served.ask(path, "HEAD", Accept=accept)
        assert (head.status, head.body) == (200, b"")
        assert int(head.headers["Content-Length"]) == len(whole.body)
        changing = {"Date", "Cache-Control"}
        assert {k: v for k, v in head.headers.items() if k not in changing} == {
            k: v for k, v in whole.headers.items() if k not in changing
        }


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/simple/Alpha.Beta/", "../alpha-beta/"),
        ("/simple/Alpha.Beta", "alpha-beta/"),
        ("/simple/alpha-beta", "alpha-beta/"),
        ("/pypi/main/simple/alpha__beta/", "../alpha-beta/"),
        ("/pypi/main/simple", "simple/"),
        ("/pypi/main", "./main/"),  # the name of a moment holds colons, which a scheme would end with
    ],
)
async def test_redirect__is_relative_and_keeps_the_query(
    up: RawUpstream, tmp_path: Path, path: str, location: str
) -> None:
    async with serving(tmp_path, one_remote(up)) as served:
        query = f"format={JSON}&x=%0d%0aX-Evil:%201&y=a%26b"
        for asked, leads_to in ((path, location), (f"{path}?{query}", f"{location}?{query}")):
            answer = await served.ask(asked)
            assert (answer.status, answer.headers["Location"]) == (301, leads_to)
            assert "X-Evil" not in answer.headers
    assert up.count() == 0


async def test_page__default_distribution__is_at_simple_too_with_links_that_lead_to_its_files(
    up: RawUpstream, tmp_path: Path
) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        short = await served.ask("/simple/alpha/", Accept=JSON)
        long = await served.page()
        assert short.etag != long.etag
        [one], [other] = short.json()["files"], long.json()["files"]
        assert one["url"] == f"../../pypi/main/files/up/files/{one['filename']}"
        assert other["url"] == f"../../files/up/files/{one['filename']}"
        for prefix, url in (("/simple/alpha/", one["url"]), ("/pypi/main/simple/alpha/", other["url"])):
            whole = await served.ask(str(Path(prefix) / url).replace("/simple/alpha/../..", ""))
            assert hashlib.sha256(whole.body).hexdigest() == one["hashes"]["sha256"]


async def test_page__url_is_never_built_from_the_host_header(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        usual = await served.page(accept=HTML)
        evil = {"Host": "evil.example", "X_Forwarded_Host": "evil.example", "Forwarded": "host=evil.example"}
        odd = await served.page(accept=HTML, **evil)
        assert (odd.body, odd.etag) == (usual.body, usual.etag)
        redirected = await served.ask("/simple/Alpha/", Host="evil.example")
        assert "evil" not in str(redirected.headers)


# ------------------------------------------------------------------ herds, and pages of a size


async def test_page__hundred_ask_at_once__the_remote_is_asked_once(up: RawUpstream, tmp_path: Path) -> None:
    made = Project("alpha")
    for minor in range(400):
        made.add(f"alpha-1.{minor}-py3-none-any.whl", b"%d" % minor)
    made.publish(up)
    let_go = asyncio.Event()
    up.script(PAGE, Gate(let_go, first=0), Gzip())
    async with serving(tmp_path, one_remote(up)) as served:
        asking = [asyncio.create_task(served.page(Accept_Encoding="gzip")) for _ in range(100)]
        await up.asked(PAGE)
        await served.coalesced(99)
        with mock.patch("pyproxy.renderings.render_page", side_effect=render_page) as rendering:
            let_go.set()
            answers = await asyncio.gather(*asking)
        assert rendering.call_count == 1
        assert {a.status for a in answers} == {200}
        assert len({a.body for a in answers}) == 1
        assert len(answers[0].json()["files"]) == 400
    assert up.count(PAGE) == 1


async def test_page__herd_while_the_remote_hangs__all_get_502_within_one_wait(
    up: RawUpstream, tmp_path: Path, patience: Callable[[float], None]
) -> None:
    patience(0.3)
    project(up)
    up.script(PAGE, Hang(), times=None)
    async with serving(tmp_path, one_remote(up)) as served:
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(served.page() for _ in range(50)))
        assert asyncio.get_running_loop().time() - began < 2.0
        assert {a.status for a in answers} == {502}
    assert up.count(PAGE) == 1


async def test_page__remote_hangs_on_one_project__nothing_else_is_slower(
    up: RawUpstream, tmp_path: Path, patience: Callable[[float], None]
) -> None:
    patience(5.0)
    project(up, "alpha")
    project(up, "beta")
    up.script(PAGE, Hang(), times=None)
    async with serving(tmp_path, one_remote(up)) as served:
        waiting = [asyncio.create_task(served.page("alpha")) for _ in range(60)]
        await up.asked(PAGE)
        async with asyncio.timeout(2.0):
            assert (await served.page("beta")).status == 200
            assert (await served.ask(await served.link("beta"))).status == 200
            assert (await served.page("gamma")).status == 404
        assert not any(task.done() for task in waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def test_page__slow_answer_within_patience__is_waited_for(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    up.script(PAGE, Delay(0.1))
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.page()).status == 200


async def test_page__of_four_thousand_files__is_whole_in_every_form(up: RawUpstream, tmp_path: Path) -> None:
    made = Project("alpha")
    for minor in range(4000):
        made.add(f"alpha-1.{minor}-py3-none-any.whl", b"%d" % minor)
    made.publish(up, gzip=True)
    async with serving(tmp_path, one_remote(up)) as served:
        as_json = await served.page(Accept_Encoding="zstd")
        assert len(as_json.json()["files"]) == 4000
        as_html = await served.page(accept=HTML, Accept_Encoding="gzip")
        assert as_html.text.count("<a ") == 4000
    await up.stop()
    async with serving(tmp_path, one_remote(up)) as served:
        assert json.loads((await served.page()).body) == as_json.json()

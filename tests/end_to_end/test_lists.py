"""The list of projects: a remote's, cached on disk, in every form; and the other lists, which tell no secrets."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from pyproxy.handlers import people, search
from pyproxy.listing import render_list
from tests.daemon import (
    HTML,
    JSON,
    TEXT,
    Answer,
    Served,
    a_remote,
    a_wheel,
    configured,
    one_remote,
    project,
    remotes,
    serving,
)
from tests.fakes.faults import Cut, Delay, Gate, Gzip, Hang, Headers, Status
from tests.fakes.raw_upstream import RawUpstream
from tests.uploading import READ, UPLOAD, basic, local, upload

LIST = "/simple/"
SHOWN = "/pypi/main/simple/"


def listed(up: RawUpstream, *names: str, etag: str | None = '"1"') -> None:
    body = {"meta": {"api-version": "1.0"}, "projects": [{"name": name} for name in names]}
    up.serve(LIST, json.dumps(body).encode(), content_type=JSON, etag=etag)


def names(answer: Answer) -> list[str]:
    assert answer.status == 200, answer
    return [project["name"] for project in answer.json()["projects"]]


async def test_list__in_every_form_and_coding(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, "Zebra.Kit", "alpha", "Beta_x")
    async with serving(tmp_path, one_remote(up)) as served:
        etags = set()
        for coding in ("identity", "gzip", "zstd"):
            answer = await served.ask(SHOWN, Accept=JSON, Accept_Encoding=coding)
            assert answer.headers.get("Content-Encoding", "identity") == coding
            assert names(answer) == ["alpha", "Beta_x", "Zebra.Kit"]
            etags.add(answer.etag)
            for accept in (HTML, TEXT):
                answer = await served.ask(SHOWN, Accept=accept, Accept_Encoding=coding)
                assert answer.headers["Content-Type"].startswith(accept)
                assert '<a href="zebra-kit/">Zebra.Kit</a>' in answer.text
                assert answer.headers["Vary"] == "Accept, Accept-Encoding"
                etags.add(answer.etag)
        assert len(etags) == 9
        assert (await served.ask("/simple/", Accept=JSON)).json() == (await served.ask(SHOWN, Accept=JSON)).json()
    assert up.count(LIST) == 1


async def test_list__of_an_html_remote(up: RawUpstream, tmp_path: Path) -> None:
    links = '<a href="/simple/alpha/">Alpha</a><a href="b/">b</a>'
    page = f"<!DOCTYPE html><html><head><title>Simple index</title></head><body>{links}</body></html>"
    up.serve(LIST, page.encode(), content_type="text/html", gzip=True)
    async with serving(tmp_path, one_remote(up)) as served:
        assert names(await served.ask(SHOWN, Accept=JSON)) == ["Alpha", "b"]


async def test_list__names_that_no_project_can_have__are_left_out(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, "alpha", "../x", "<script>", "", "a b", "x" * 300, "ALPHA", "é", "b\0", "beta")
    async with serving(tmp_path, one_remote(up)) as served:
        assert names(await served.ask(SHOWN, Accept=JSON)) == ["alpha", "beta"]
        assert "<script" not in (await served.ask(SHOWN, Accept=HTML)).text


async def test_list__is_cached_revalidated_and_kept_over_a_restart(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, "alpha")
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        with served.counting("pyproxy_requests_total", "kind", "result") as results:
            first = await served.ask(SHOWN, Accept=JSON)
            await served.ask(SHOWN, Accept=HTML)
            served.later(601)
            again = await served.ask(SHOWN, Accept=JSON)
            assert (await served.ask(SHOWN, Accept=JSON, If_None_Match=first.etag)).status == 304
        assert results == {("simple", "miss"): 1, ("simple", "hit"): 2, ("simple", "revalidated"): 1}
        assert (again.body, again.etag) == (first.body, first.etag)
        assert up.requests[-1].headers["if-none-match"] == '"1"'
        assert served.metric("pyproxy_upstream_requests_total", kind="list") == 2
    await up.stop()
    async with serving(tmp_path, one_remote(up)) as served:
        after = await served.ask(SHOWN, Accept=JSON)
        assert (after.body, after.etag) == (first.body, first.etag)


async def test_list__changed__is_another_and_the_old_one_is_swept(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, "alpha")
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        first = await served.ask(SHOWN, Accept=JSON)
        listed(up, "alpha", "beta", etag='"2"')
        served.later(601)
        second = await served.ask(SHOWN, Accept=JSON)
        assert names(second) == ["alpha", "beta"]
        assert first.etag != second.etag
        assert len([*(served.data / "cache" / "lists").glob("*.names")]) == 1


async def test_list__remote_fails_or_is_slow__is_served_stale(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, "alpha")
    async with serving(tmp_path, one_remote(up, ttl="10m", stale_after="50ms", stale_if_error="1h")) as served:
        first = await served.ask(SHOWN, Accept=JSON)
        served.later(601)
        for fault in (Status(500), Cut(at=0.5), Headers({"Content-Type": "image/png"}), Delay(1.0)):
            listed(up, "beta", etag='"2"')
            up.script(LIST, fault)
            stale = await served.ask(SHOWN, Accept=JSON)
            assert (stale.body, stale.headers["Cache-Control"]) == (first.body, "no-store")
            served.forget_failures()
        served.later(3601)
        up.heal()
        up.script(LIST, Status(500), times=None)
    async with serving(tmp_path, one_remote(up, ttl="10m", stale_if_error="1h")) as served:
        served.later(601 + 3601)
        answer = await served.ask(SHOWN, Accept=JSON)
        assert (answer.status, answer.line) == (502, "remote up: answered 500 Internal Server Error")


async def test_list__gone__does_not_come_back_stale(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, "alpha")
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        await served.ask(SHOWN, Accept=JSON)
        served.later(601)
        up.script(LIST, Status(404))
        assert (await served.ask(SHOWN, Accept=JSON)).status == 404
        up.script(LIST, Status(500), times=None)
        assert (await served.ask(SHOWN, Accept=JSON)).status == 502


async def test_list__fetched_before_and_after_a_reload_at_once__both_are_whole(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, "alpha")
    rest = asyncio.Event()
    up.script(LIST, Gate(rest, first=10))
    async with serving(tmp_path, one_remote(up)) as served:
        early = asyncio.create_task(served.ask(SHOWN, Accept=JSON))
        await up.asked(LIST)
        await served.daemon.apply(configured(tmp_path, one_remote(up, ttl="1h")))
        assert names(await served.ask(SHOWN, Accept=JSON)) == ["alpha"]
        rest.set()
        assert names(await early) == ["alpha"]
    assert up.count(LIST) == 2


async def test_list__remote_without__404_and_its_projects_are_served(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(SHOWN, Accept=JSON)
        assert (answer.status, answer.line) == (404, "remote up gives no list of its projects")
        assert (await served.page()).status == 200


async def test_list__remote_takes_for_ever__502_in_time_and_the_pages_are_served(
    up: RawUpstream, tmp_path: Path, patience: Callable[[float], None]
) -> None:
    patience(0.2)
    project(up)
    listed(up, "alpha")
    up.script(LIST, Hang(), times=None)
    async with serving(tmp_path, one_remote(up)) as served:
        asking = asyncio.create_task(served.ask(SHOWN, Accept=JSON))
        await up.asked(LIST)
        assert (await served.page()).status == 200
        async with asyncio.timeout(3.0):
            assert (await asking).status == 502


async def test_list__larger_than_fits_into_one_wait__is_there_for_the_next_who_asks(
    up: RawUpstream, tmp_path: Path, patience: Callable[[float], None]
) -> None:
    patience(0.2)
    listed(up, "alpha")
    rest = asyncio.Event()
    up.script(LIST, Gate(rest, first=10))
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(SHOWN, Accept=JSON)).status == 502
        rest.set()
        patience(9.0)
        assert names(await served.ask(SHOWN, Accept=JSON)) == ["alpha"]
    assert up.count(LIST) == 1


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"meta":{"api-version":"2.0"},"projects":[]}', b"\x1f\x8b", b"[" * 100_000]
)
async def test_list__that_cannot_be_read__502(up: RawUpstream, tmp_path: Path, body: bytes) -> None:
    up.serve(LIST, body, content_type=JSON)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(SHOWN, Accept=JSON)
        assert answer.status == 502
        assert answer.line.startswith("remote up: ")
        assert [*(served.data / "cache" / "lists").iterdir()] == []


async def test_list__over_the_bound__502_and_nothing_is_left(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyproxy.upstream.client.LIST_LIMIT", 10_000)
    listed(up, *(f"project-{number}" for number in range(5000)))
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(SHOWN, Accept=JSON)).status == 502
        up.script(LIST, Gzip())
        assert (await served.ask(SHOWN, Accept=JSON)).status == 502
        assert [*(served.data / "cache" / "lists").iterdir()] == []


async def test_list__asked_for_by_many__is_fetched_and_rendered_once(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, *(f"project-{number}" for number in range(20_000)))
    async with serving(tmp_path, one_remote(up)) as served:
        with mock.patch("pyproxy.list_renderings.render_list", side_effect=render_list) as rendering:
            answers = await asyncio.gather(*(served.ask(SHOWN, Accept=JSON, Accept_Encoding="gzip") for _ in range(20)))
        assert len({a.body for a in answers}) == 1
        assert len(names(answers[0])) == 20_000
        assert rendering.call_count == 1
    assert up.count(LIST) == 1


async def test_list__while_it_is_read__pages_are_served_at_once(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    listed(up, *(f"project-{number}" for number in range(20_000)))
    async with serving(tmp_path, one_remote(up)) as served:
        await served.page()
        asking = asyncio.create_task(served.ask(SHOWN, Accept=JSON))
        loop = asyncio.get_running_loop()
        slowest, asked = 0.0, 0
        while not asking.done():
            began = loop.time()
            assert (await served.page()).status == 200
            slowest, asked = max(slowest, loop.time() - began), asked + 1
            await asyncio.sleep(0.005)  # the machine has other things to do: the list, for one
        assert len(names(await asking)) == 20_000
        assert asked > 10
        assert slowest < 1.0


async def test_list__taking_longer_to_render_than_anybody_waits__503_to_come_back(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(up, "alpha")
    go = asyncio.Event()

    async def slowly(*files: Any, **sieves: Any) -> object:
        await go.wait()
        return await render_list(*files, **sieves)

    monkeypatch.setattr("pyproxy.list_renderings.render_list", slowly)
    monkeypatch.setattr("pyproxy.handlers.pages.PATIENCE", 0.1)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(SHOWN, Accept=JSON)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
        go.set()
        monkeypatch.setattr("pyproxy.handlers.pages.PATIENCE", 9.0)
        assert names(await served.ask(SHOWN, Accept=JSON)) == ["alpha"]


async def test_list__head_format_and_406(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, "alpha")
    async with serving(tmp_path, one_remote(up)) as served:
        whole = await served.ask(f"{SHOWN}?format={JSON}")
        head = await served.ask(f"{SHOWN}?format={JSON}", "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert head.headers["Content-Length"] == str(len(whole.body))
        assert (await served.ask(f"{SHOWN}?format=nothing")).status == 406
        assert (await served.ask(SHOWN, Accept="image/png")).status == 406


async def test_list__of_several_remotes__is_their_union_and_needs_all_of_them(tmp_path: Path) -> None:
    async with RawUpstream() as one, RawUpstream() as other, RawUpstream() as third:
        listed(one, "Alpha", "beta")
        listed(other, "alpha", "gamma")
        text = remotes({"one": a_remote(one), "one.b": a_remote(other), "third": a_remote(third)})
        async with serving(tmp_path, text) as served:
            assert names(await served.ask(SHOWN, Accept=JSON)) == ["Alpha", "beta", "gamma"]  # third has no list
            for _ in range(2):
                served.later(601)
                assert names(await served.ask(SHOWN, Accept=JSON)) == ["Alpha", "beta", "gamma"]
            assert len([*(served.data / "cache" / "lists").glob("*.names")]) == 2
        # A list changes, and its neighbour of a similar name stays where it is.
        await other.stop()
        listed(one, "Alpha", etag='"2"')
        async with serving(tmp_path, text) as served:
            served.later(3 * 601)
            assert names(await served.ask(SHOWN, Accept=JSON)) == ["Alpha", "gamma"]
    async with RawUpstream() as one, RawUpstream() as down:
        listed(one, "alpha")
        await down.stop()
        async with serving(tmp_path / "data", remotes(one=a_remote(one), down=a_remote(down))) as served:
            answer = await served.ask(SHOWN, Accept=JSON)
            assert (answer.status, answer.line) == (502, "remote down: connection refused")


async def test_search__finds_what_is_listed(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, "alpha", "Alpha-Tools", "beta", "my-alpha")
    async with serving(tmp_path, one_remote(up)) as served:
        page = (await served.ask("/pypi/main/?q=ALPHA")).text
        assert "3 projects found." in page
        assert 'href="project/alpha-tools/"' in page
        assert "beta" not in page.partition("Search for")[2].partition("All projects")[0]
        hostile = (await served.ask("/pypi/main/?q=%3Cscript%3E%00%0d%0a")).text
        assert "<script>" not in hostile


async def test_search__many_at_once__are_made_one_by_one(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed(up, "alpha")
    running, most = 0, 0
    real = search.matching

    def counted(*args: Any, **more: Any) -> list[str]:  # Any: as they came
        nonlocal running, most
        running += 1
        most = max(most, running)
        time.sleep(0.01)
        try:
            return real(*args, **more)
        finally:
            running -= 1

    monkeypatch.setattr(people, "matching", counted)
    async with serving(tmp_path, one_remote(up)) as served:
        answers = await asyncio.gather(*(served.ask("/pypi/main/?q=alp") for _ in range(5)))
        assert all("1 project found." in answer.text for answer in answers)
    assert most == 1


async def test_start__after_a_kill__lists_half_made_are_gone(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, "alpha")
    async with serving(tmp_path, one_remote(up)) as served:
        await served.ask(SHOWN, Accept=JSON)
        folder = served.data / "cache" / "lists"
        before = sorted(folder.iterdir())
    for name in ("up.1.raw", "up.1.parsed", "up.1.parsed.part-2"):
        (folder / name).write_text("x")
    async with serving(tmp_path, one_remote(up)):
        assert sorted(folder.iterdir()) == before


# ------------------------------------------------------------------ distributions

SEVERAL = """
    shown:
      remote: up
      base_path: team/shown
      labels: {tier: gold}
    secret:
      remote: up
      hidden: true
"""


async def distributions(served: Served) -> dict[str, dict[str, object]]:
    answer = await served.ask("/distributions")
    assert answer.headers["Content-Type"] == "application/json"
    return {found["name"]: found for found in answer.json()}


async def test_distributions__tells_what_is_served_and_hides_what_is_hidden(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up) + SEVERAL.replace("\n    ", "\n  ")) as served:
        found = await distributions(served)
        assert set(found) == {"main", "shown"}
        assert found["shown"] == {
            "name": "shown",
            "base_path": "team/shown",
            "base_url": "/pypi/team/shown/",
            "remote": "up",
            "repository": None,
            "repository_version": None,
            "allow_uploads": False,
            "content_guard": None,
            "hidden": False,
            "labels": {"tier": "gold"},
            "merge": "ahead",
            "last_updated": None,
        }
        for path in ("/", "/pypi/main/", "/distributions"):
            assert "secret" not in (await served.ask(path)).text
        # Served it is, and counted.
        assert (await served.page(base="secret")).status == 200
        assert served.metric("pyproxy_requests_total", distribution="secret", kind="simple") == 1
        # With several and no default nothing is at /simple/.
        answer = await served.ask("/simple/alpha/")
        assert (answer.status, answer.line) == (404, "no distribution is the default, so nothing is served at /simple/")


async def test_distributions__with_public_url__base_url_is_absolute(up: RawUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, one_remote(up) + "server:\n  public_url: https://here.example/pkg/\n") as served:
        assert (await distributions(served))["main"]["base_url"] == "https://here.example/pkg/pypi/main/"


async def test_guarded__is_listed_for_who_may_read_it_alone(tmp_path: Path) -> None:
    text = local(None, content_guard="staff", labels="{tier: gold}")
    async with serving(tmp_path, text) as served:
        assert (
            await upload(served, "a-1.0-py3-none-any.whl", a_wheel("a", "1.0"), Authorization=basic(UPLOAD))
        ).status == 200
        for path in ("/", "/distributions"):
            for denied in ({}, {"Authorization": basic("wrong")}, {"Authorization": basic(UPLOAD)}):
                assert "gold" not in (await served.ask(path, **denied)).text
            assert "gold" in (await served.ask(path, Authorization=basic(READ))).text
        [found] = (await served.ask("/distributions", Authorization=basic(READ))).json()

    assert (found["content_guard"], found["repository"], found["allow_uploads"]) == ("staff", "team", True)
    assert (found["remote"], found["repository_version"]) == (None, None)
    assert datetime.fromisoformat(found["last_updated"]).tzinfo is UTC


async def test_base_path__its_slash_encoded__is_another_and_not_there(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up) + "    base_path: domain/team\n") as served:
        assert (await served.page(base="domain/team")).status == 200
        for base in ("domain%2Fteam", "domain%2Fteam~2024-01-01", "domain%2fteam/x"):
            assert (await served.page(base=base)).status == 404


@pytest.mark.parametrize("repository", [True, False], ids=["with a repository", "without one"])
async def test_list__leaves_out_private_names_of_a_remote(up: RawUpstream, tmp_path: Path, *, repository: bool) -> None:
    listed(up, "Acme.Kit", "acmeless", "other", "secret")
    kept = {"private": '["acme-*", secret]'}
    text = local(up, **kept) if repository else local(up, **kept, repository="null", allow_uploads="false")
    async with serving(tmp_path, text) as served:
        if repository:
            assert (await upload(served, "acme_ours-1.0-py3-none-any.whl", a_wheel("acme_ours"))).status == 200
        assert (
            names(await served.ask(SHOWN, Accept=JSON)) == ["acme_ours", "acmeless", "other"]
            if repository
            else ["acmeless", "other"]
        )
        found = await served.ask("/pypi/main/?q=acme")
        assert "project/acmeless/" in found.text
        assert "project/acme-kit/" not in found.text


async def test_list__leaves_out_what_filters_do_not_admit(up: RawUpstream, tmp_path: Path) -> None:
    listed(up, "alpha", "Beta", "beta-two", "gamma", "omega")
    filters = {"excludes": ["beta*", "gamma>=1"], "block": ["omega", "alpha==1.0"]}
    text = f"""
        remotes: {json.dumps({"up": a_remote(up, includes=["alpha>=2", "b*", "gamma"])})}
        distributions:
          main: {{remote: up, filters: {json.dumps(filters)}}}
          all: {{remote: up}}
    """
    async with serving(tmp_path, text) as served:
        assert names(await served.ask(SHOWN, Accept=JSON)) == ["alpha", "gamma"]
        assert names(await served.ask("/pypi/all/simple/", Accept=JSON)) == ["alpha", "Beta", "beta-two", "gamma"]
        found = await served.ask("/pypi/main/?q=a")
        assert "project/alpha/" in found.text
        assert "project/beta/" not in found.text

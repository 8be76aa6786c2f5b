"""What operators see and do: metrics, health, log lines, reloads, a stop that lets what is under way finish."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import threading
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pyproxy.app import serve
from pyproxy.binding import CannotListen
from pyproxy.errors import PyproxyError, StoreTrouble
from pyproxy.storage.temps import Temp
from tests.daemon import (
    HTML,
    JSON,
    Project,
    Served,
    configured,
    logged,
    noise,
    one_remote,
    project,
    serving,
)
from tests.fakes.faults import Flip, Gate, Hang, Status
from tests.fakes.raw_client import connected
from tests.fakes.raw_upstream import RawUpstream

WHEEL = "alpha-1.0-py3-none-any.whl"
FILE = f"/files/{WHEEL}"
PAGE = "/simple/alpha/"

PROMISED = {
    "pyproxy_requests_total": {"distribution", "kind", "result"},
    "pyproxy_request_seconds_bucket": {"kind", "le"},
    "pyproxy_response_bytes_total": {"kind"},
    "pyproxy_upstream_requests_total": {"remote", "kind", "status"},
    "pyproxy_upstream_seconds_bucket": {"remote", "kind", "le"},
    "pyproxy_cache_bytes": set(),
    "pyproxy_cache_files": set(),
    "pyproxy_evicted_bytes_total": set(),
    "pyproxy_coalesced_requests_total": set(),
    "pyproxy_config_reload_failures_total": set(),
    "pyproxy_build_info": {"version", "python"},
}
"""The names and labels of CONTRACT §4 that a pull-through proxy has a value for."""

KINDS = {"simple", "file", "metadata", "upload", "json", "other"}
RESULTS = {"hit", "miss", "stale", "revalidated", "error", "denied"}
UPSTREAM_KINDS = {"page", "list", "file", "metadata", "json", "provenance"}


async def test_metrics__have_the_promised_names_and_labels_and_no_project_in_them(
    up: RawUpstream, tmp_path: Path
) -> None:
    project(up, core_metadata=True)
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        for path in (link, f"{link}.metadata", "/simple/", "/simple/secret-project/", "/nowhere", "/"):
            await served.ask(path)
        await served.ask("/simple/alpha/", "PUT")
        answer = await served.ask("/metrics")
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"
        assert "alpha" not in answer.text
        assert "secret" not in answer.text
        samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]
        found = {sample.name: set(sample.labels) for sample in samples}
        assert {name: found.get(name) for name in PROMISED} == PROMISED
        values: dict[str, set[str]] = {}
        for sample in samples:
            for label, value in sample.labels.items():
                values.setdefault(f"{sample.name} {label}", set()).add(value)
        assert values["pyproxy_requests_total kind"] <= KINDS
        assert values["pyproxy_requests_total result"] <= RESULTS
        assert values["pyproxy_requests_total distribution"] == {"main", ""}
        assert values["pyproxy_upstream_requests_total kind"] <= UPSTREAM_KINDS
        assert values["pyproxy_upstream_requests_total status"] == {"200", "404"}
        assert all(f"# HELP {name}" in answer.text for name in ("pyproxy_requests_total", "pyproxy_cache_bytes"))


async def test_metrics__every_request_is_counted_once_whatever_becomes_of_it(up: RawUpstream, tmp_path: Path) -> None:
    project(up, payload=noise(1 << 20))
    up.script(FILE, Flip())
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        counted = ("pyproxy_requests_total", "distribution", "kind", "result")
        with served.counting(*counted) as results:
            link = await served.link()
            await served.page()
            served.later(601)
            await served.page()
            await served.page("nobody")
            await served.ask(link)  # breaks
            await served.ask(link)
            await served.settled()
            await served.ask(link)
            await served.ask("/healthz")
            await served.ask("/nowhere")
            await served.ask("/pypi/main/legacy/", "POST")
        assert results == {
            ("main", "simple", "miss"): 2,
            ("main", "simple", "hit"): 1,
            ("main", "simple", "revalidated"): 1,
            ("main", "file", "error"): 1,
            ("main", "file", "miss"): 1,
            ("main", "file", "hit"): 1,
            ("", "other", "hit"): 1,
            ("", "other", "miss"): 1,
            ("main", "upload", "denied"): 1,
        }
        assert served.metric("pyproxy_request_seconds_count") == sum(results.values())


async def test_metrics__a_hundred_scrapes__make_no_new_labels(up: RawUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, one_remote(up)) as served:

        async def series() -> int:
            return sum(not line.startswith("#") for line in (await served.ask("/metrics")).text.splitlines())

        await served.page("nobody")
        await served.ask("/nowhere")
        before = await series()
        for number in range(50):
            await served.page(f"nobody-{number}")
            await served.ask(f"/nowhere-{number}?x={number}")
            await served.ask(f"/pypi/none-{number}/simple/x/")
        assert await series() <= before + 2


async def test_metrics__index_that_cannot_be_read__costs_two_numbers_and_not_the_scrape(
    up: RawUpstream, tmp_path: Path
) -> None:
    async with serving(tmp_path, one_remote(up)) as served:
        cache = type(served.daemon.machinery.store.cache)
        with mock.patch.object(cache, "total", side_effect=StoreTrouble("the index cannot be read")):
            answer = await served.ask("/metrics")
    assert answer.status == 200
    assert {"pyproxy_cache_bytes NaN", "pyproxy_cache_files NaN"} <= set(answer.text.splitlines())


async def test_metrics__are_written_off_the_loop(up: RawUpstream, tmp_path: Path) -> None:
    threads = []
    async with serving(tmp_path, one_remote(up)) as served:
        metrics = served.daemon.machinery.metrics
        real = metrics.exposition

        def noted() -> bytes:
            threads.append(threading.current_thread())
            return real()

        with mock.patch.object(metrics, "exposition", noted):
            assert (await served.ask("/metrics")).status == 200
    assert threading.main_thread() not in threads
    assert len(threads) == 1


async def test_health_and_readiness(up: RawUpstream, tmp_path: Path) -> None:
    await up.stop()  # the remotes' health is not ours
    async with serving(tmp_path, one_remote(up)) as served:
        for path, body in (("/healthz", b"ok\n"), ("/readyz", b"ready\n")):
            answer = await served.ask(path)
            assert (answer.status, answer.body, answer.headers["Cache-Control"]) == (200, body, "no-store")
            head = await served.ask(path, "HEAD")
            assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(body)))


async def test_readiness__store_in_trouble__503(up: RawUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, one_remote(up)) as served:
        with mock.patch.object(type(served.daemon.machinery.store), "trouble", "the index cannot be written"):
            answer = await served.ask("/readyz")
            assert (answer.status, answer.line) == (503, "the index cannot be written")
            assert answer.headers["Retry-After"] == "2"
            assert (await served.ask("/healthz")).status == 200


async def test_server__is_not_told_in_detail(up: RawUpstream, tmp_path: Path) -> None:
    project(up, payload=noise(1 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.page()).headers["Server"] == "pyproxy"
        assert (await served.ask(await served.link())).headers["Server"] == "pyproxy"


# ------------------------------------------------------------------ log lines


async def test_log__one_line_a_request_without_query_or_secret(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    secrets = {"username": "me", "password": "env:PASSWORD"}
    with logged(tmp_path / "log") as lines:
        async with serving(tmp_path, one_remote(up, **secrets), env={"PASSWORD": "hunter2"}) as served:
            link = await served.link()
            await served.ask(f"{link}?token=hunter3", Authorization="Bearer hunter4hunter4")
            await served.ask("/simple/alpha?format=x&password=hunter5")
            await served.ask("/simple/%0d%0aevil%1b[31m/?x=hunter6")
            async with connected(served.where) as client:
                await client.ask(b"GET /simple/\x1b[31mred/?q=hunter7 HTTP/1.1\r\nHost: x\r\n\r\n")
    access = [line for line in lines if line["logger"] == "access"]
    assert [(line["method"], line["status"], line["kind"], line["result"]) for line in access[:4]] == [
        ("GET", 200, "simple", "miss"),
        ("GET", 200, "file", "miss"),
        ("GET", 301, "simple", "hit"),
        ("GET", 404, "simple", "miss"),
    ]
    assert access[1]["path"] == link
    assert access[1]["bytes"] == len(project(up).files[WHEEL])
    assert access[1]["client"] == "127.0.0.1"
    text = (tmp_path / "log").read_text()
    assert "hunter" not in text
    assert "\x1b" not in text
    assert "\r" not in text


async def test_log__a_client_that_goes_away__is_a_line_too(up: RawUpstream, tmp_path: Path) -> None:
    project(up, payload=noise(8 << 20))
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=1 << 20))
    with logged(tmp_path / "log") as lines:
        async with serving(tmp_path, one_remote(up)) as served:
            link = await served.link()
            async with served.asking(link) as response:
                await response.content.readexactly(1000)
            rest.set()
            await served.settled()
    [line] = [line for line in lines if line["logger"] == "access" and line["kind"] == "file"]
    assert line["result"] == "miss"
    assert not [line for line in lines if "trace" in line]


async def test_log__hostile_requests__leave_no_stack_trace(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    with logged(tmp_path / "log") as lines:
        async with serving(tmp_path, one_remote(up)) as served:
            for path in ("/simple/%ff/", "/pypi/main/files/up/%00", "/%", "/pypi/%2e%2e/simple/", "/readyz?x=%ff"):
                await served.ask(path)
            for junk in (b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"GET\r\n\r\n", b"\0" * 100):
                async with connected(served.where) as client:
                    await client.send(junk)
                    client.half_close()
                    await client.ends()
    assert not [line for line in lines if "trace" in line]
    assert not [line for line in lines if line["level"] == "error"]


# ------------------------------------------------------------------ pages for people


async def test_people__pages_are_linked_from_the_root_down_to_a_file(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        for path, expected in (
            ("/", 'href="pypi/main/"'),
            ("/pypi/main/", "pip install --index-url"),
            ("/pypi/main/project/alpha/", f'href="../../files/up{FILE}"'),
        ):
            answer = await served.ask(path)
            assert answer.status == 200
            assert expected in answer.text
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
            head = await served.ask(path, "HEAD")
            assert (head.status, head.body) == (200, b"")
        assert (await served.ask(f"/pypi/main/project/alpha/../../files/up{FILE}")).body == made.files[WHEEL]
        assert (await served.ask("/pypi/main/project/Alpha?x=1")).headers["Location"] == "alpha/?x=1"
        assert (await served.ask("/pypi/main/project/nobody/")).status == 404
        assert served.metric("pyproxy_requests_total", kind="other", result="error") == 0


# ------------------------------------------------------------------ reload


async def apply(served: Served, folder: Path, text: str) -> None:
    """What a change of the file comes to."""
    await served.daemon.apply(configured(folder, text))


async def test_reload__unchanged_remote__keeps_its_pages_and_connections(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        first = await served.page()
        before = served.daemon.current.site.sources["up"]
        await apply(served, tmp_path, one_remote(up) + "  other:\n    remote: up\n")
        assert served.daemon.current.site.sources["up"] is before
        assert (await served.page(base="other")).status == 200
        assert (await served.page()).body == first.body
    assert (up.count(PAGE), up.connections) == (1, 1)


async def test_reload__changed_remote__is_another_with_what_was_stored(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        first = await served.page()
        await served.settled()  # a page is written down once its answer is out
        before = served.daemon.current.site.sources["up"]
        await apply(served, tmp_path, one_remote(up, ttl="1h"))
        assert served.daemon.current.site.sources["up"] is not before
        again = await served.page()
        assert again.body == first.body
        assert int(again.headers["Cache-Control"].removeprefix("max-age=")) > 3000
    assert up.count(PAGE) == 1


async def test_reload__public_url__is_on_the_next_page(up: RawUpstream, tmp_path: Path) -> None:
    project(up, provenance="https://index.example/provenance")
    async with serving(tmp_path, one_remote(up)) as served:
        first = await served.page()
        assert "provenance" not in first.text
        await apply(served, tmp_path, one_remote(up) + "server:\n  public_url: https://here.example\n")
        second = await served.page(If_None_Match=first.etag)
        assert second.status == 200
        assert "https://here.example/pypi/main/integrity/" in second.text


async def test_reload__while_requests_are_under_way__none_is_dropped(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up, payload=noise(3 << 20))
    project(up, "beta")
    file, page = asyncio.Event(), asyncio.Event()
    up.script(FILE, Gate(file, first=1 << 20))
    up.script("/simple/beta/", Gate(page, first=0))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        getting = asyncio.create_task(served.ask(link))
        asking = asyncio.create_task(served.page("beta"))
        await up.asked(FILE)
        await up.asked("/simple/beta/")
        # The remote is another, the distribution has another name, and then they are as before.
        await apply(served, tmp_path, one_remote(up, ttl="1h"))
        await apply(served, tmp_path, one_remote(up, ttl="1h").replace("  main:", "  renamed:"))
        assert (await served.page()).status == 404
        assert (await served.page(base="renamed")).status == 200
        await apply(served, tmp_path, one_remote(up))
        file.set()
        page.set()
        answer = await getting
        assert (answer.whole, answer.body) == (True, made.files[WHEEL])
        assert (await asking).status == 200
    assert up.count(FILE) == 1


async def test_reload__twice_during_a_request__leaves_it_the_remote_that_it_began_with(
    up: RawUpstream, tmp_path: Path
) -> None:
    project(up)
    rest = asyncio.Event()
    up.script(PAGE, Gate(rest, first=0))
    async with serving(tmp_path, one_remote(up)) as served:
        machinery = served.daemon.machinery
        asking = asyncio.create_task(served.page())
        await up.asked(PAGE)
        source = served.daemon.current.site.sources["up"]
        await apply(served, tmp_path, one_remote(up) + "  other:\n    remote: up\n")
        await apply(served, tmp_path, one_remote(up, ttl="1h"))
        assert served.daemon.current.site.sources["up"] is not source
        assert machinery._in_use(source)
        rest.set()
        assert (await asking).status == 200
        while served.daemon.listener.requests_in_flight:  # noqa: ASYNC110 - nobody is told of a request's end
            await asyncio.sleep(0)
        assert not machinery._in_use(source)


async def test_reload__downloads_of_the_successor__do_not_keep_the_old_remote_open(
    up: RawUpstream, tmp_path: Path
) -> None:
    made = project(up, payload=noise(3 << 20))
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=1 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        machinery = served.daemon.machinery
        link = await served.link()
        old = served.daemon.current.site.sources["up"]
        await apply(served, tmp_path, one_remote(up, ttl="1h"))
        new = served.daemon.current.site.sources["up"]
        getting = asyncio.create_task(served.ask(link))
        await up.asked(FILE)
        assert not machinery._in_use(old)
        await apply(served, tmp_path, one_remote(up, ttl="2h"))
        assert machinery._in_use(new)
        rest.set()
        assert (await getting).body == made.files[WHEEL]


async def test_listener__that_accepts_nobody_any_more__ends_the_daemon(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    def call(url: str) -> None:
        callers.append(socket.create_connection(("127.0.0.1", urlsplit(url).port)))

    callers: list[socket.socket] = []
    monkeypatch.setattr("pyproxy.wire.entrance._taken", fail)
    config = configured(tmp_path, one_remote(up))
    with pytest.raises(CannotListen, match="any longer"):
        async with asyncio.timeout(5.0):
            await serve(config, load=lambda: config, ready=call)
    callers[0].close()


async def test_watch__that_ends__is_told_of(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("a bug")

    monkeypatch.setattr("pyproxy.reload.ConfigWatch.run", fail)
    config = configured(tmp_path, one_remote(up))
    async with asyncio.timeout(5.0):
        await serve(config, load=lambda: config, ready=lambda _: None)
    assert "the configuration is no longer watched" in caplog.text


async def test_reload__a_hundred_times_under_load__no_request_fails(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up, payload=noise(200_000))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        stop = asyncio.Event()

        async def ask() -> int:
            asked = 0
            while not stop.is_set():
                assert (await served.page()).status == 200
                assert (await served.ask(link)).body == made.files[WHEEL]
                asked += 1
            return asked

        asking = [asyncio.create_task(ask()) for _ in range(4)]
        for number in range(100):
            await apply(served, tmp_path, one_remote(up, ttl=f"{number + 1}h"))
            await asyncio.sleep(0)
        stop.set()
        assert min(await asyncio.gather(*asking)) > 0
        # What went out of use is closed; that is looked at once a second.
        async with asyncio.timeout(5.0):
            await asyncio.gather(*served.daemon.machinery._retiring)


async def test_reload__wrong_file__changes_nothing(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        site = served.daemon.current.site
        with pytest.raises(PyproxyError, match="nonsense"):
            await apply(served, tmp_path, one_remote(up) + "nonsense: 1\n")
        assert served.daemon.current.site is site
        assert (await served.page()).status == 200


async def test_reload__prepared_and_thrown_away__changes_nothing(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.page()).status == 200
        daemon = served.daemon
        site, watched = daemon.current.site, dict(daemon.machinery.collisions.names())
        other = configured(tmp_path, one_remote(up, ttl="1h").replace("main", "other"))
        prepared = daemon.prepared(other)
        upstream = prepared.sources["up"].upstream
        with mock.patch.object(upstream, "close", wraps=upstream.close) as closed:
            await daemon.discard(prepared)

        assert closed.call_count == 1
        assert (daemon.current.site, daemon.machinery.collisions.names()) == (site, watched)
        assert (await served.page()).status == 200
        assert (await served.page(base="other")).status == 404


async def test_reload__smaller_cache__is_reached(up: RawUpstream, tmp_path: Path) -> None:
    made = Project("alpha")
    for number in range(4):
        made.add(f"alpha-{number}.tar.gz", noise(400_000, seed=number))
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        for link in (await served.links()).values():
            await served.ask(link)
            await served.settled()
        assert served.cached == 4
        await apply(served, tmp_path, one_remote(up) + "storage:\n  max_cache_size: 1MiB\n")
        assert served.cached == 2
        assert served.metric("pyproxy_evicted_bytes_total") == 800_000


# ------------------------------------------------------------------ stop


async def test_stop__lets_what_is_under_way_finish_and_takes_no_more(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up, payload=noise(3 << 20))
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=1 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        async with served.asking(link) as response:
            got = await response.content.readexactly(1000)
            draining = asyncio.create_task(served.daemon.listener.drain(10.0))
            while served.daemon.listener._socket is not None:  # noqa: ASYNC110 - nobody is told when it stops to listen
                await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                async with connected(served.where):
                    pass
            assert not draining.done()
            rest.set()
            got += await response.content.read()
        assert got == made.files[WHEEL]
        await draining
    async with serving(tmp_path, one_remote(up)) as served:
        assert served.cached == 1


async def test_stop__with_everything_under_way__leaves_no_task_behind(up: RawUpstream, tmp_path: Path) -> None:
    project(up, payload=noise(1 << 20))
    up.serve("/simple/", b"x", content_type=JSON)
    for path in ("/simple/beta/", "/simple/"):
        up.script(path, Hang(), times=None)
    before = asyncio.all_tasks()
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        up.script(FILE, Hang(at=0.5), times=None)
        waiting = [
            asyncio.create_task(served.ask(path))
            for path in ("/simple/beta/", "/simple/", link, f"{link}.metadata", "/pypi/main/?q=x")
        ]
        for path in (FILE, "/simple/", "/simple/beta/"):
            await up.asked(path)
        while served.daemon.current.site.users < len(waiting):  # noqa: ASYNC110 - nobody is told of them
            await asyncio.sleep(0)
    await asyncio.gather(*waiting, return_exceptions=True)
    own = {t for t in asyncio.all_tasks() - before if "RawUpstream" not in repr(t) and not t.done()}
    assert not own, own


async def test_store__in_trouble__stored_files_and_pages_are_served_and_others_pass_through(
    up: RawUpstream, tmp_path: Path
) -> None:
    """Row 96: the index takes no more writes."""
    made = project(up)
    beta = project(up, "beta", payload=noise(300_000))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        await served.ask(link)
        await served.settled()

        async def write(*_: object) -> None:
            raise StoreTrouble("the index takes no more")

        async def keep(temp: Temp, *_: object) -> None:
            temp.discard()
            raise StoreTrouble("the index takes no more")

        store = served.daemon.machinery.store
        with mock.patch.object(store.records.writer, "write", write), mock.patch.object(store.cache, "keep", keep):
            assert (await served.ask(link)).body == made.files[WHEEL]
            assert (await served.page("beta")).status == 200
            other = await served.link("beta")
            assert (await served.ask(other)).body == beta.files["beta-1.0-py3-none-any.whl"]
            assert (await served.ask(f"{other}.metadata")).status == 200
            assert (await served.ask(f"{link}.metadata")).status == 200
            await served.settled()
            assert served.temps == []
        assert (await served.ask(other)).status == 200
        await served.settled()
        assert served.cached >= 2


async def test_requests__of_one_connection_after_an_error__are_answered_right(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    up.script("/simple/beta/", Status(500), times=None)
    async with serving(tmp_path, one_remote(up)) as served, connected(served.where) as client:
        for path, status in (
            ("/simple/beta/", 502),
            ("/simple/alpha/", 200),
            ("/nowhere", 404),
            ("/simple/Alpha/", 301),
            (f"/pypi/main/files/up{FILE}", 200),
            ("/simple/alpha/?format=x", 406),
            ("/healthz", 200),
        ):
            answer = await client.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert answer.status == status
            assert not answer.closes
        assert re.fullmatch(r"HTTP/1\.1", answer.version)


async def test_accepts__of_real_clients__get_what_they_ask_for(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    pip = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"
    uv = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
    async with serving(tmp_path, one_remote(up)) as served:
        for accept, expected in ((pip, JSON), (uv, JSON), ("text/html", "text/html; charset=utf-8"), (HTML, HTML)):
            assert (await served.page(accept=accept)).headers["Content-Type"] == expected
        assert (await served.ask("/simple/alpha/")).headers["Content-Type"] == "text/html; charset=utf-8"

"""What the daemon lets nobody make it do: remotes with hostile pages and redirects, clients with hostile requests."""

from __future__ import annotations

import asyncio
import html
import json
import re
from pathlib import Path

import pytest

from tests.daemon import HTML, JSON, TEXT, Project, a_wheel, noise, one_remote, project, serving
from tests.fakes.faults import Headers, Redirect, Status
from tests.fakes.raw_client import connected
from tests.fakes.raw_upstream import RawUpstream

WHEEL = "alpha-1.0-py3-none-any.whl"
FILE = f"/files/{WHEEL}"
PAGE = "/simple/alpha/"

HOSTILE_NAMES = [
    "../alpha-1.0.tar.gz",
    "a/b-1.0.tar.gz",
    "..%2falpha-1.0.tar.gz",
    "C:\\alpha-1.0.tar.gz",
    "alpha-1.0.tar.gz\0.whl",
    "alpha-1.0\n.tar.gz",
    "alpha-1.0\r\nX-Evil: 1.tar.gz",
    "alpha\u202egz.rat-1.0.tar.gz",
    "alpha-1.0-" + "x" * 5000 + ".tar.gz",
    ".",
    "..",
    ".hidden-1.0.tar.gz",
    "-1.0.tar.gz",
    "",
    "<script>-1.0.tar.gz",
    "alpha-1.0.tar.gz ",
    "álpha-1.0.tar.gz",
]

HOSTILE_URLS = [
    "javascript:alert(1)",
    "file:///etc/passwd",
    "data:text/plain,x",
    "ftp://index.example/alpha-2.0.tar.gz",
    "http://user:hunter2@127.0.0.1/alpha-2.0.tar.gz",
    "http://[::1/alpha-2.0.tar.gz",
    "http://index.example:99999/alpha-2.0.tar.gz",
    "http:///alpha-2.0.tar.gz",
    "/files/%2e%2e/%2e%2e/alpha-2.0.tar.gz",
    "/files/a\\b/alpha-2.0.tar.gz",
    "/files/a\nb/alpha-2.0.tar.gz",
    "/files/%00/alpha-2.0.tar.gz",
    "/files/%0d%0aX-Evil:1/alpha-2.0.tar.gz",
    "gopher://index.example/alpha-2.0.tar.gz",
    "http://" + "a" * 5000 + ".example/alpha-2.0.tar.gz",
    "",
]


def laid(up: RawUpstream, *records: dict[str, object]) -> None:
    page = {"meta": {"api-version": "1.0"}, "name": "alpha", "files": records}
    up.serve(PAGE, json.dumps(page).encode(), content_type=JSON)


def record(filename: str, url: str) -> dict[str, object]:
    return {"filename": filename, "url": url, "hashes": {}}


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_page__hostile_file_name__loses_that_link_alone(up: RawUpstream, tmp_path: Path, name: str) -> None:
    laid(up, record(name, "/files/evil"), record("alpha-1.0.zip", "/files/alpha-1.0.zip"))
    async with serving(tmp_path, one_remote(up)) as served:
        for accept in (JSON, HTML, TEXT):
            answer = await served.page(accept=accept)
            assert answer.status == 200
            assert "evil" not in answer.text.lower()
        assert [f["filename"] for f in (await served.page()).json()["files"]] == ["alpha-1.0.zip"]
        assert served.metric("pyproxy_dropped_links_total", remote="up") == 1


@pytest.mark.parametrize("url", HOSTILE_URLS)
async def test_page__hostile_link__loses_that_link_alone(up: RawUpstream, tmp_path: Path, url: str) -> None:
    laid(up, record("alpha-2.0.tar.gz", url), record("alpha-1.0.zip", "/files/alpha-1.0.zip"))
    async with serving(tmp_path, one_remote(up)) as served:
        assert [f["filename"] for f in (await served.page()).json()["files"]] == ["alpha-1.0.zip"]
        assert "hunter2" not in (await served.page(accept=HTML)).text


@pytest.mark.parametrize("url", HOSTILE_URLS)
async def test_html_page__hostile_link__loses_that_link_alone(up: RawUpstream, tmp_path: Path, url: str) -> None:
    links = "".join(
        f'<a href="{html.escape(href)}">{name}</a>'
        for name, href in (("alpha-2.0.tar.gz", url), ("alpha-1.0.zip", "/files/alpha-1.0.zip"))
    )
    up.serve(PAGE, f"<!DOCTYPE html><html><body>{links}</body></html>".encode(), content_type="text/html")
    async with serving(tmp_path, one_remote(up)) as served:
        assert [f["filename"] for f in (await served.page()).json()["files"]] == ["alpha-1.0.zip"]


@pytest.mark.parametrize("base", ["javascript:alert(1)", "file:///", "//evil.example/", "http://user:pw@evil.example/"])
async def test_html_page__base_that_leads_astray__no_link_of_it_is_relative_to_nothing(
    up: RawUpstream, tmp_path: Path, base: str
) -> None:
    head, link = f'<head><base href="{base}"></head>', '<a href="x/alpha-1.0.zip">alpha-1.0.zip</a>'
    page = f"<!DOCTYPE html><html>{head}<body>{link}</body></html>"
    up.serve(PAGE, page.encode(), content_type="text/html")
    async with serving(tmp_path, one_remote(up, file_hosts=[])) as served:
        answer = await served.page()
        if answer.status == 200:
            assert all(f["url"].startswith("../../files/up/") for f in answer.json()["files"])
        else:
            assert answer.status == 502


async def test_page__markup_and_line_ends_in_its_fields__come_out_harmless(up: RawUpstream, tmp_path: Path) -> None:
    evil = "\"'><script>alert(1)</script>\r\nX-Evil: 1"
    made = Project("alpha")
    made.add("alpha-1.0.zip", noise(10), yanked=evil, requires_python=evil, upload_time=evil, core_metadata=evil)
    made.page = {"versions": [evil], "project-status": {"status": "archived", "reason": evil}, "tracks": [evil]}
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        for accept in (HTML, TEXT):
            answer = await served.page(accept=accept)
            assert answer.status == 200
            assert "<script" not in answer.text
            assert "X-Evil" not in answer.headers
        assert (await served.page()).status == 200
        people = await served.ask("/pypi/main/project/alpha/")
        assert people.status == 200
        assert "<script" not in people.text
        assert "default-src 'none'" in people.headers["Content-Security-Policy"]


# ------------------------------------------------------------------ redirects and other hosts


@pytest.mark.parametrize("path", [PAGE, FILE])
async def test_redirect__in_a_circle__502_after_a_few(up: RawUpstream, tmp_path: Path, path: str) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        link = f"/pypi/main/files/up{FILE}" if path == FILE else "/pypi/main/simple/alpha/"
        up.script(path, Redirect(path), times=None)
        answer = await served.ask(link)
        assert (answer.status, answer.line) == (502, "remote up: redirected more than 5 times")
    assert up.count(path) == 6


@pytest.mark.parametrize(
    "to",
    ["file:///etc/passwd", "ftp://127.0.0.2/", "http://user:hunter2@127.0.0.1/", "http://127.0.0.1:0/", "gopher://x/"],
)
@pytest.mark.parametrize("path", [PAGE, FILE])
async def test_redirect__to_where_nobody_goes__502(up: RawUpstream, tmp_path: Path, path: str, to: str) -> None:
    project(up)
    up.script(path, Redirect(to))
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(f"/pypi/main/files/up{FILE}" if path == FILE else "/pypi/main/simple/alpha/")
        assert answer.status == 502
        assert "hunter2" not in answer.line


async def test_file_hosts__links_and_redirects_to_others_are_never_followed(up: RawUpstream, tmp_path: Path) -> None:
    async with RawUpstream("127.0.0.2") as canary, RawUpstream("127.0.0.3") as allowed:
        made = project(up)
        made.add("alpha-2.0.tar.gz", noise(10), url=f"{canary.url}alpha-2.0.tar.gz")
        made.add("alpha-3.0.tar.gz", noise(11), url=f"{allowed.url}alpha-3.0.tar.gz")
        made.publish(up)
        allowed.serve("/alpha-3.0.tar.gz", noise(11))
        async with serving(tmp_path, one_remote(up, file_hosts=["127.0.0.3"])) as served:
            links = await served.links()
            assert set(links) == {WHEEL, "alpha-3.0.tar.gz"}
            assert (await served.ask(links["alpha-3.0.tar.gz"])).status == 200
            left_out = f"/pypi/main/files/up~127.0.0.2:{canary.port}/alpha-2.0.tar.gz"
            assert (await served.ask(left_out)).status == 404
            for path in (FILE, "/simple/beta/"):
                up.script(path, Redirect(f"{canary.url}x"))
            answer = await served.ask(links[WHEEL])
            assert (answer.status, answer.line) == (502, "remote up: led to a host that file_hosts does not name")
            assert (await served.page("beta")).status == 502
        assert canary.connections == 0


async def test_page__redirected_to_another_folder__its_links_start_there(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    laid(up, record("alpha-1.0.zip", "alpha-1.0.zip"))
    up.serve("/elsewhere/alpha/", up._resources[PAGE].body, content_type=JSON)  # type: ignore[union-attr] # no function
    up.serve("/elsewhere/alpha/alpha-1.0.zip", b"zip")
    up.script(PAGE, Redirect("/elsewhere/alpha/", status=301), times=None)
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        assert link == "/pypi/main/files/up/elsewhere/alpha/alpha-1.0.zip"
        assert (await served.ask(link)).body == b"zip"


# ------------------------------------------------------------------ secrets


async def test_credentials__go_to_the_remotes_own_origin_alone(up: RawUpstream, tmp_path: Path) -> None:
    async with RawUpstream("127.0.0.2") as other:
        secrets = {"username": "me", "password": "env:SECRET", "headers": {"X-Token": "env:SECRET"}}
        made = project(up)
        made.add("alpha-2.0.tar.gz", noise(10), url=f"{other.url}alpha-2.0.tar.gz")
        made.publish(up)
        other.serve("/alpha-2.0.tar.gz", noise(10))
        other.serve("/elsewhere", made.files[WHEEL])
        up.script(FILE, Redirect(f"{other.url}elsewhere"))
        env = {"SECRET": "hunter2"}
        async with serving(tmp_path, one_remote(up, **secrets), env=env) as served:
            for link in (await served.links()).values():
                assert (await served.ask(link)).status == 200
        assert {r.headers["authorization"] for r in up.requests} == {"Basic bWU6aHVudGVyMg=="}
        assert {r.headers["x-token"] for r in up.requests} == {"hunter2"}
        assert other.count() == 2
        for request in other.requests:
            assert "authorization" not in request.headers
            assert "x-token" not in request.headers


async def test_secrets__are_in_no_answer_and_no_log(
    up: RawUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    secrets = {
        "username": "me",
        "password": "env:PASSWORD",
        "headers": {"X-Token": "env:TOKEN"},
    }
    project(up)
    async with serving(tmp_path, one_remote(up, **secrets), env={"PASSWORD": "hunter2", "TOKEN": "hunter3"}) as served:
        answers = [await served.page("nobody")]
        up.script(PAGE, Status(401))
        answers.append(await served.page())
        up.script(PAGE, Redirect("/simple/alpha/?token=hunter4"), times=None)
        answers.append(await served.page())
        up.heal()
        await up.stop()
        answers += [await served.page("beta"), await served.ask("/distributions"), await served.ask("/metrics")]
        answers.append(await served.ask("/simple/gamma/?password=hunter5", Authorization="Basic aHVudGVyNg=="))
        answers += [await served.ask("/"), await served.ask("/pypi/main/")]
    shown = caplog.text + "".join(f"{a.reason} {a.headers} {a.text}" for a in answers)
    assert re.findall(r"hunter\d|aHVudGVyNg|bWU6aHVud", shown) == []


async def test_request__headers_of_clients_stay_here_and_those_of_remotes_there(
    up: RawUpstream, tmp_path: Path
) -> None:
    project(up)
    for path in (PAGE, FILE):
        told = {"Set-Cookie": "a=b", "X-Powered-By": "evil", "Server": "evil", "Link": "<x>; rel=y"}
        up.script(path, Headers(told), times=None)
    async with serving(tmp_path, one_remote(up)) as served:
        asked = {"Authorization": "Basic abc", "Cookie": "c=d", "X_Api_Key": "k", "Referer": "r", "User_Agent": "pip"}
        for path in ("/simple/alpha/", f"/pypi/main/files/up{FILE}"):
            answer = await served.ask(path, **asked)
            assert answer.status == 200
            assert not {"Set-Cookie", "X-Powered-By", "Link"} & set(answer.headers)
            assert "evil" not in str(answer.headers)
    for request in up.requests:
        assert not {"authorization", "cookie", "x-api-key", "referer"} & set(request.headers)
        assert request.headers["user-agent"].startswith("pyproxy/")


# ------------------------------------------------------------------ hostile requests


async def test_link__with_a_host_of_the_clients_choice__reaches_nobody(up: RawUpstream, tmp_path: Path) -> None:
    async with RawUpstream("127.0.0.2") as canary:
        canary.serve(FILE, a_wheel())
        project(up)
        async with serving(tmp_path, one_remote(up)) as served:
            host = f"127.0.0.2:{canary.port}"
            users = (f"up~user@{host}", f"up~127.0.0.1@{host}")
            for source in (f"up~{host}", *users, f"http:~{host}", host, f"up~{host}%2f"):
                assert (await served.ask(f"/pypi/main/files/{source}{FILE}")).status == 404
            assert (await served.ask(f"/simple/alpha/?url={canary.url}")).status == 200
            async with connected(served.where) as client:
                answer = await client.ask(f"GET {canary.url}simple/alpha/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                assert answer.status in {400, 404}
        assert canary.connections == 0


NO_PROJECTS = ["..", ".", "%00", "%2e%2e", "a%2Fb", "a%5cb", "%0d%0aX:1", "-", "_", "a-", "%C3%A9", "x" * 300]
NO_PROJECTS += ["a b", "a;b", "*", "@a"]


@pytest.mark.parametrize("name", NO_PROJECTS)
@pytest.mark.parametrize("where", ["/simple/{}/", "/pypi/main/simple/{}/", "/simple/{}", "/pypi/main/project/{}/"])
async def test_name__that_no_project_can_have__404_without_a_question(
    up: RawUpstream, tmp_path: Path, name: str, where: str
) -> None:
    async with serving(tmp_path, one_remote(up)) as served:
        async with connected(served.where) as client:  # as it stands: other clients take dots out
            path = where.format(name.replace(" ", "%20"))
            answer = await client.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert (answer.status, answer.body.isascii()) == (404, True)
        assert answer.body == f"{answer.reason}\n".encode()
    assert up.count() == 0


HOSTILE_PATHS = [
    "//simple/alpha/",
    "//evil.example/simple/",
    "/simple//alpha/",
    "/simple/../simple/alpha/",
    "/./simple/alpha/",
    "/pypi/../../etc/passwd",
    "/pypi/main/files/../../../../etc/passwd",
    "/pypi/main/files/up/../../../etc/passwd",
    "/pypi/main/files/up/%2e%2e/%2e%2e/etc/passwd",
    "/pypi/main/files/up/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "/pypi/main/files/up/..%5c..%5cetc%5cpasswd",
    "/pypi/main/files/up/x%00.whl",
    "/pypi/main/files/up/%252e%252e/alpha-1.0.tar.gz",
    "/pypi/main/files/up/%zz/alpha-1.0.tar.gz",
    "/pypi/main/files/up/%ff%fe/alpha-1.0.tar.gz",
    "/pypi/main/files/up/" + "a/" * 2000 + "alpha-1.0.tar.gz",
    "/pypi/main/files/%00/alpha-1.0.tar.gz",
    "/pypi/main/files//alpha-1.0.tar.gz",
    "/pypi/main/files/local/alpha/alpha-1.0.tar.gz",
    "/pypi/%2e%2e/simple/alpha/",
    "/pypi/main%2fsimple/alpha/",
    "/pypi//simple/alpha/",
    "/pypi/",
    "/pypi",
    "/pypi/other/simple/alpha/",
    "/pypi/MAIN/simple/alpha/",
    "/simple/alpha/extra/",
    "/favicon.ico",
    "/.git/config",
    "/metrics/",
    "/%6detrics",
    "/pypi/main/integrity/alpha/1.0/%2e%2e/provenance",
]


@pytest.mark.parametrize("path", HOSTILE_PATHS)
async def test_path__hostile__4xx_and_nothing_is_fetched_but_pages(up: RawUpstream, tmp_path: Path, path: str) -> None:
    async with serving(tmp_path, one_remote(up)) as served, connected(served.where) as client:
        answer = await client.ask(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert answer.status in {400, 404}, answer
        assert b"root:" not in answer.body
        assert answer.body.count(b"\n") == 1
        assert (await client.ask(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")).status == 200
    assert {r.path for r in up.requests} <= {PAGE}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
@pytest.mark.parametrize(
    "path", ["/simple/alpha/", f"/pypi/main/files/up{FILE}", "/metrics", "/", "/pypi/main/project/alpha/"]
)
async def test_method__other_than_get_and_head__405_with_allow(
    up: RawUpstream, tmp_path: Path, method: str, path: str
) -> None:
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(path, method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert answer.line == f"'{method}' is not allowed here"
    assert up.count() == 0


@pytest.mark.parametrize("path", ["legacy/", "legacy", "simple/", "simple", "", None])
async def test_upload__is_refused_by_reason__and_its_body_is_not_read(
    up: RawUpstream, tmp_path: Path, path: str | None
) -> None:
    where = "/pypi/main" if path is None else f"/pypi/main/{path}"
    async with serving(tmp_path, one_remote(up)) as served, connected(served.where) as client:
        head = f"POST {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\nExpect: 100-continue\r\n\r\n"
        answer = await client.ask(head.encode())
        assert answer.status == 403
        assert answer.reason == "distribution main takes no uploads"
        assert answer.body == b"distribution main takes no uploads\n"
        assert answer.closes
    assert up.count() == 0


async def test_request__a_hundred_clients_that_go_away__leave_nothing(up: RawUpstream, tmp_path: Path) -> None:
    project(up, payload=noise(1 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        for _ in range(50):
            async with connected(served.where) as client:
                await client.send(f"GET {link} HTTP/1.1\r\nHost: x\r\n\r\nGET {link} HTTP/1.1\r\nHost: x\r\n".encode())
                client.reset()
        await served.settled()
        async with asyncio.timeout(5.0):
            while served.daemon.current.site.users or served.daemon.listener.open_connections > 1:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await served.ask(link)).whole
        assert served.temps == []

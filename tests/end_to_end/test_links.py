"""Files by their links: reversible, answered also where no page was asked for before, whatever a URL may look like."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import pytest

from tests.daemon import HTML, JSON, Project, Served, a_wheel, noise, one_remote, project, serving
from tests.fakes.faults import Delay, Gate, Status
from tests.fakes.raw_upstream import RawUpstream
from tests.uploading import local, upload

WHEEL = "alpha-1.0-py3-none-any.whl"
FILE = f"/files/{WHEEL}"
PAGE = "/simple/alpha/"
LINK = f"/pypi/main/files/up{FILE}"


async def test_link__no_page_was_asked_for__the_page_is_fetched_to_learn_of_it(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(LINK)
        assert answer.body == made.files[WHEEL]
        assert answer.etag == f'"{hashlib.sha256(answer.body).hexdigest()}"'
        assert b"Name: alpha" in (await served.ask(f"{LINK}.metadata")).body
    assert (up.count(PAGE), up.count(FILE)) == (1, 1)


async def test_link__no_page_was_asked_for__head_and_condition(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(LINK, "HEAD")).headers["Content-Length"] == str(len(made.files[WHEEL]))
    async with serving(tmp_path / "data", one_remote(up)) as served:
        etag = f'"{hashlib.sha256(made.files[WHEEL]).hexdigest()}"'
        assert (await served.ask(LINK, If_None_Match=etag)).status == 304
    assert up.count(FILE) == 0


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("up/files/alpha-9.0-py3-none-any.whl", "remote up has no page that links 'alpha-9.0-py3-none-any.whl' there"),
        (f"up/elsewhere/{WHEEL}", f"remote up has no page that links '{WHEEL}' there"),
        (f"up/{WHEEL}", f"remote up has no page that links '{WHEEL}' there"),
        ("up/files/nobody-1.0.tar.gz", "remote up has no page that links 'nobody-1.0.tar.gz' there"),
        (f"up~127.0.0.9:1/files/{WHEEL}", f"remote up has no page that links '{WHEEL}' there"),
        (f"other/files/{WHEEL}", "no remote 'other' is served here"),
        (f"other~host/files/{WHEEL}", "no remote 'other~host' is served here"),
        ("up/files/", "not a file name: ''"),
        ("up/files/.hidden", "not a file name: '.hidden'"),
        ("up", "nothing is served at this path"),
    ],
)
async def test_link__that_no_page_names__404(up: RawUpstream, tmp_path: Path, path: str, line: str) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        for _ in range(2):
            answer = await served.ask(f"/pypi/main/files/{path}")
            assert (answer.status, answer.line) == (404, line)
            assert answer.headers["Cache-Control"] == "no-store"
    assert up.count(FILE) == 0


async def test_link__remote_down_and_page_not_known__502_and_not_404(up: RawUpstream, tmp_path: Path) -> None:
    await up.stop()
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(LINK)
        assert (answer.status, answer.line) == (502, "remote up: connection refused")


async def test_link__of_a_file_newer_than_the_page__is_looked_for_again(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    newer = "/pypi/main/files/up/files/alpha-2.0-py3-none-any.whl"
    async with serving(tmp_path, one_remote(up, ttl="10m", negative_ttl="1m")) as served:
        await served.page()
        made.add("alpha-2.0-py3-none-any.whl", a_wheel(version="2.0"))
        made.publish(up, etag='"2"')
        assert (await served.ask(newer)).status == 404
        assert up.count(PAGE) == 1
        served.later(61)
        assert (await served.ask(newer)).status == 200
        assert up.count(PAGE) == 2


@pytest.mark.parametrize("age", [61, 601], ids=["fresh page", "stale page"])
async def test_link__that_the_page_does_not_name__remote_failing__502_and_not_404(
    up: RawUpstream, tmp_path: Path, age: int
) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m", negative_ttl="1m")) as served:
        await served.page()
        served.later(age)
        up.script(PAGE, Status(500))
        answer = await served.ask(LINK.replace("1.0", "3.0"))
        assert (answer.status, answer.line) == (502, "remote up: answered 500 Internal Server Error")
        # Nothing was served stale, and nothing is counted as if it had been.
        assert served.metric("pyproxy_stale_answers_total") == 0


async def test_link__that_the_page_does_not_name__remote_slow__is_waited_for(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m", stale_after="10ms")) as served:
        await served.page()
        made.add("alpha-2.0-py3-none-any.whl", a_wheel(version="2.0"))
        made.publish(up, etag='"2"')
        served.later(601)
        up.script(PAGE, Delay(0.3))
        assert (await served.ask(LINK.replace("1.0", "2.0"))).status == 200


ODD = [
    ("alpha-1.0+local.1-py3-none-any.whl", "files/{}"),
    ("alpha-1!2.0-py3-none-any.whl", "files/{}"),
    ("alpha-1.0.tar.gz", "files/with%20space/{}"),
    ("alpha-1.0.tar.gz", "files/caf%C3%A9/{}"),
    ("alpha-1.0.tar.gz", "files/café/{}"),
    ("alpha-1.0.tar.gz", "files/at@sign/{}"),
    ("alpha-1.0.tar.gz", "files/~user/(1),;=&$'*/{}"),
    ("alpha-1.0.tar.gz", "files/100%25/{}"),
    ("alpha-1.0.tar.gz", "files/a%2Fb/{}"),
    ("alpha-1.0.tar.gz", "files//double//{}"),  # pip's urljoin makes one slash of two
    ("alpha-1.0.tar.gz", "files/x/{}?signature=a%2Fb&expires=1#fragment"),
    ("alpha-1.0.tar.gz", "{}?no=path"),
    ("Alpha-1.0.zip", "files/{}"),
    ("alpha-2004d-final.tar.gz", "files/{}"),
    ("alpha-1.0-py2.7.egg", "files/{}"),
    ("alpha-1.0.win32-py2.7.exe", "files/{}"),
]


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "encoded"])
@pytest.mark.parametrize(("filename", "where"), ODD)
async def test_link__of_an_odd_url__leads_there_and_back(
    up: RawUpstream, tmp_path: Path, filename: str, where: str, *, encoded: bool
) -> None:
    body = noise(1000)
    url = where.format(quote(filename, safe="") if encoded else filename)
    said = {"filename": filename, "url": f"/{url}", "hashes": {"sha256": hashlib.sha256(body).hexdigest()}}
    page = {"meta": {"api-version": "1.0"}, "name": "alpha", "files": [said]}
    up.serve(PAGE, json.dumps(page).encode(), content_type=JSON)
    target = quote(f"/{url.partition('#')[0]}", safe="/%?=&~(),;$'*@+!:")
    up.serve(target.partition("?")[0], body)
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        assert "@" not in link
        assert "?" not in link
        assert (await served.ask(link)).body == body
        assert up.requests[-1].target == target
        await served.settled()
        # However a client spells it.
        others = (link.replace("+", "%2B"), link.replace("%2B", "+"), link.replace("!", "%21"))
        for spelt in (quote(link, safe="/%"), *others):
            assert (await served.ask(spelt)).body == body
        assert (await served.page(accept=HTML)).text.count(f"{link.rpartition('/')[2]}") >= 1
    assert up.count(target.partition("?")[0]) == 1


async def test_link__of_a_project_with_dashes_in_odd_files(up: RawUpstream, tmp_path: Path) -> None:
    made = Project("my-little-pkg")
    for name in ("my-little-pkg-1.0.tar.gz", "my_little_pkg-1.0-py3-none-any.whl", "my.little-pkg-2.zip"):
        made.add(name, noise(100, seed=len(name)))
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        for name in made.files:
            answer = await served.ask(f"/pypi/main/files/up/files/{name}")
            assert answer.body == made.files[name], name
        for name, link in (await served.links("my-little-pkg")).items():
            assert (await served.ask(link)).body == made.files[name]


@pytest.mark.parametrize("ending", [".win32.exe", ".msi", ".noarch.rpm", ".linux-x86_64.dmg"])
async def test_link__of_an_installer_of_a_project_with_dashes(up: RawUpstream, tmp_path: Path, ending: str) -> None:
    made = Project("my-pkg")
    made.add(f"my-pkg-1.0{ending}", noise(100))
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(await served.link("my-pkg"))).status == 200


async def test_link__on_another_host__names_it(up: RawUpstream, tmp_path: Path) -> None:
    async with RawUpstream("127.0.0.2") as other:
        body = a_wheel()
        other.serve("/there/" + WHEEL, body)
        made = Project("alpha")
        made.add(WHEEL, body, url=f"{other.url}there/{WHEEL}")
        made.publish(up)
        async with serving(tmp_path, one_remote(up)) as served:
            link = await served.link()
            assert link == f"/pypi/main/files/up~127.0.0.2:{other.port}/there/{WHEEL}"
            assert (await served.ask(link)).body == body
            await served.settled()
            assert (await served.ask(link.replace(":", "%3A").replace("~", "%7e"))).body == body
        assert other.count() == 1
        # Without its page too: another daemon.
        async with serving(tmp_path / "data", one_remote(up)) as served:
            assert (await served.ask(link)).body == body


async def test_link__html_with_base_and_relative_links(up: RawUpstream, tmp_path: Path) -> None:
    body = a_wheel()
    page = f"""<!DOCTYPE html><html><head><base href="/else/where/"></head><body>
      <a href="../{WHEEL}#md5={hashlib.md5(body, usedforsecurity=False).hexdigest()}">{WHEEL}</a></body></html>"""
    up.serve(PAGE, page.encode(), content_type="text/html")
    up.serve(f"/else/{WHEEL}", body)
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        assert link == f"/pypi/main/files/up/else/{WHEEL}"
        assert (await served.ask(link)).body == body


async def test_link__below_a_base_path_of_several_segments(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    text = one_remote(up).replace("  main:\n", "  main:\n    base_path: team/stable.1\n")
    async with serving(tmp_path, text) as served:
        for page in ("/pypi/team/stable.1/simple/alpha/", "/simple/alpha/"):
            [file] = (await served.ask(page, Accept=JSON)).json()["files"]
            link = urljoin(page, file["url"])
            assert link == f"/pypi/team/stable.1/files/up{FILE}"
            assert (await served.ask(link)).body == made.files[WHEEL]
        assert (await served.ask("/pypi/team/simple/alpha/")).status == 404


# ------------------------------------------------------------------ files that move, change, or go


async def test_file__moved_with_the_same_digest__is_not_fetched_again(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        old = await served.link()
        await served.ask(old)
        await served.settled()
        made.said[WHEEL] = {"url": f"/moved/{WHEEL}"}
        made.publish(up, etag='"2"')
        served.later(601)
        new = await served.link()
        assert new != old
        with served.counting("pyproxy_requests_total", "kind", "result") as results:
            assert (await served.ask(new)).body == made.files[WHEEL]
            assert (await served.ask(old)).body == made.files[WHEEL]
        assert results == {("file", "hit"): 2}
        assert served.cached == 1
    assert up.count(f"/moved/{WHEEL}") == 0


async def test_file__same_name_other_bytes__each_link_serves_its_own(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    first = made.files[WHEEL]
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        old = await served.link()
        await served.ask(old)
        await served.settled()
        second = a_wheel(requires=("beta",))
        up.serve(f"/new/{WHEEL}", second)
        made.add(WHEEL, second, url=f"/new/{WHEEL}")
        made.publish(up, etag='"2"')
        served.later(601)
        new = await served.link()
        assert (await served.ask(new)).body == second
        assert (await served.ask(old)).body == first


async def test_file__replaced_in_place__the_new_bytes_are_fetched(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        link = await served.link()
        await served.ask(link)
        await served.settled()
        second = a_wheel(requires=("beta",))
        made.add(WHEEL, second)
        made.publish(up, etag='"2"')
        served.later(601)
        await served.page()
        assert (await served.ask(link)).body == second
        assert b"Requires-Dist: beta" in (await served.ask(f"{link}.metadata")).body


async def test_file__replaced_while_it_arrives__who_asks_then_gets_the_new_bytes(
    up: RawUpstream, tmp_path: Path
) -> None:
    made = Project("alpha")
    first, second = a_wheel(payload=noise(300_000, 1)), a_wheel(payload=noise(300_000, 2))
    made.add(WHEEL, first)
    made.publish(up)
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=1000))
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        link = await served.link()
        early = asyncio.create_task(served.ask(link))
        await up.asked(FILE)
        made.add(WHEEL, second)
        made.publish(up, etag='"2"')
        served.later(601)
        await served.page()
        late = asyncio.create_task(served.ask(link))
        async with asyncio.timeout(5.0):
            await up.asked(FILE, times=2)
        rest.set()
        assert (await late).body == second
        assert (await early).body == first
        await served.settled()
        assert (await served.ask(link)).body == second


async def test_file__without_digest_off_its_page__is_still_no_file_for_ever(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up, hashes={})
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        link = await served.link()
        whole = await served.ask(link)
        await served.settled()
        made.files.clear()
        made.publish(up, etag='"2"')
        served.later(601)
        await served.page()
        again = await served.ask(link)
        assert again.body == whole.body
        assert "immutable" not in again.headers["Cache-Control"]
    assert up.count(FILE) == 1


async def test_file__off_its_page__is_served_from_the_cache_and_else_404(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    made.add("alpha-2.0-py3-none-any.whl", a_wheel(version="2.0"))
    made.publish(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        one, two = (await served.links()).values()
        whole = await served.ask(one)
        await served.settled()
        made.files.clear()
        made.publish(up, etag='"2"')
        served.later(601)
        await served.page()
        again = await served.ask(one)
        assert (again.body, again.etag) == (whole.body, whole.etag)
        assert (await served.ask(one, Range="bytes=0-3")).body == whole.body[:4]
        assert (await served.ask(one, "HEAD")).status == 200
        assert b"Name: alpha" in (await served.ask(f"{one}.metadata")).body
        assert (await served.ask(two)).status == 404


async def test_project__gone__its_stored_files_are_served(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        link = await served.link()
        await served.ask(link)
        await served.settled()
        up.remove(PAGE)
        served.later(601)
        assert (await served.page()).status == 404
        assert (await served.ask(link)).body == made.files[WHEEL]


async def test_page__one_name_twice__one_entry(up: RawUpstream, tmp_path: Path) -> None:
    body = a_wheel()
    digest = hashlib.sha256(body).hexdigest()
    records = [
        {"filename": WHEEL, "url": f"/one/{WHEEL}", "hashes": {"sha256": digest}},
        {"filename": WHEEL, "url": f"/two/{WHEEL}", "hashes": {"sha256": "0" * 64}},
    ]
    page = {"meta": {"api-version": "1.0"}, "name": "alpha", "files": records}
    up.serve(PAGE, json.dumps(page).encode(), content_type=JSON)
    up.serve(f"/one/{WHEEL}", body)
    async with serving(tmp_path, one_remote(up)) as served:
        [file] = (await served.page()).json()["files"]
        assert file["hashes"] == {"sha256": digest}
        assert (await served.ask(await served.link())).body == body


@pytest.mark.parametrize("said", ["upper", "padded"])
async def test_file__digest_spelt_in_upper_case__is_the_same(up: RawUpstream, tmp_path: Path, said: str) -> None:
    body = a_wheel()
    digest = hashlib.sha256(body).hexdigest().upper()
    made = Project("alpha")
    made.add(WHEEL, body, hashes={"SHA256" if said == "padded" else "sha256": digest})
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        assert (await served.ask(link)).body == body
        await served.settled()
        assert (await served.ask(link)).body == body
    assert up.count(FILE) == 1


@pytest.mark.parametrize(
    "hashes",
    [
        {"sha256": "zz"},
        {"sha256": ""},
        {"sha256": "ab" * 500},
        {"md5": "xyz"},
        {"blake2b": "ab" * 100},
        {"blake2b": ""},
        {"sha256": "0" * 64 + "\n"},
        {"sha512": "é" * 128},
    ],
)
async def test_file__digest_that_is_none__costs_no_more_than_this_file(
    up: RawUpstream, tmp_path: Path, hashes: dict[str, str]
) -> None:
    made = project(up)
    made.add("alpha-2.0-py3-none-any.whl", a_wheel(version="2.0"), hashes=hashes)
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        links = await served.links()
        assert (await served.ask(links.pop(WHEEL))).status == 200
        for link in links.values():  # where it was not left out
            assert (await served.ask(link)).status in {200, 502}
            assert (await served.ask(link, "HEAD")).status == 200
            assert (await served.ask(f"{link}.metadata")).status in {200, 502}


# ------------------------------------------------------------------ quarantine (PEP 792)


def quarantine(made: Project, up: RawUpstream, etag: str) -> None:
    made.page = {
        "meta": {"api-version": "1.4"},
        "project-status": {"status": "quarantined", "reason": "under review"},
    }
    made.publish(up, etag=etag)


@pytest.mark.parametrize("filename", [WHEEL, "alpha-1.0.tar.gz"], ids=["wheel", "sdist"])
@pytest.mark.parametrize("listed", [True, False], ids=["files listed", "files not listed"])
@pytest.mark.parametrize("stored", [True, False], ids=["stored", "cold"])
async def test_project__quarantined__its_files_are_refused_by_url(
    up: RawUpstream, tmp_path: Path, filename: str, *, listed: bool, stored: bool
) -> None:
    made = Project("alpha")
    made.add(filename, a_wheel())
    made.publish(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        link = await served.link()
        if stored:
            await served.ask(link)
            await served.settled()
        asked = up.count(f"/files/{filename}")
        files = dict(made.files)
        if not listed:
            made.files.clear()
        quarantine(made, up, '"2"')
        served.later(601)
        assert (await served.page()).json()["project-status"]["status"] == "quarantined"
        for path, method in ((link, "GET"), (link, "HEAD"), (f"{link}.metadata", "GET")):
            answer = await served.ask(path, method)
            assert answer.status == 403
            assert method == "HEAD" or answer.line == "alpha is quarantined on remote up: under review"
        assert served.metric("pyproxy_requests_total", result="denied") == 3
        assert up.count(f"/files/{filename}") == asked
        # Lifted again, and nobody asks for the page: the file's own request notices.
        made.files, made.page = files, {}
        made.publish(up, etag='"3"')
        served.later(601)
        assert (await served.ask(link)).status == 200


async def test_project__quarantined_and_never_seen__403(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    quarantine(made, up, '"1"')
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(LINK)).status == 403


@pytest.mark.parametrize("listed", [True, False], ids=["files listed", "files not listed"])
async def test_project__with_dashes_quarantined__its_sdists_are_refused_too(
    up: RawUpstream, tmp_path: Path, *, listed: bool
) -> None:
    """The name of an old sdist leaves open where the project's ends."""
    made = Project("my-pkg")
    made.add("my-pkg-1.0.tar.gz", noise(1000))
    made.publish(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        link = await served.link("my-pkg")
        await served.ask(link)
        await served.settled()
        if not listed:
            made.files.clear()
        quarantine(made, up, '"2"')
        served.later(601)
        await served.page("my-pkg")
        assert (await served.ask(link)).status == 403


@pytest.mark.parametrize("status", ["archived", "deprecated", "active", "something-new"])
async def test_project__any_other_status__its_files_are_served(up: RawUpstream, tmp_path: Path, status: str) -> None:
    made = project(up)
    made.page = {"meta": {"api-version": "1.4"}, "project-status": {"status": status}}
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(await served.link())).status == 200


# ------------------------------------------------------------------ what lies beside a file


async def signed(served: Served, up: RawUpstream) -> str:
    made = Project("alpha")
    made.add(WHEEL, a_wheel(), gpg_sig=True)
    made.publish(up)
    up.serve(f"{FILE}.asc", b"-----BEGIN PGP SIGNATURE-----\n", content_type="text/plain")
    return f"{await served.link()}.asc"


async def test_signature__where_there_is_one__is_passed_on_and_kept(up: RawUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, one_remote(up)) as served:
        link = await signed(served, up)
        for _ in range(2):
            answer = await served.ask(link)
            assert answer.body == b"-----BEGIN PGP SIGNATURE-----\n"
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert "immutable" not in answer.headers["Cache-Control"]
    assert up.count(f"{FILE}.asc") == 1
    assert up.count(FILE) == 0


async def test_signature__promised_and_missing__404(up: RawUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, one_remote(up)) as served:
        link = await signed(served, up)
        up.remove(f"{FILE}.asc")
        answer = await served.ask(link)
        assert (answer.status, answer.line) == (404, f"remote up does not have the signature of {WHEEL}")


@pytest.mark.parametrize("said", [{}, {"gpg-sig": False}], ids=["not told", "told that there is none"])
async def test_signature__not_promised__404_without_a_question(
    up: RawUpstream, tmp_path: Path, said: dict[str, Any]
) -> None:
    project(up, **said)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(f"{await served.link()}.asc")
        assert (answer.status, answer.line) == (404, f"{WHEEL} has no signature")
    assert up.count(f"{FILE}.asc") == 0


ATTESTED = {"version": 1, "attestation_bundles": []}
PROVENANCE = f"/pypi/main/integrity/alpha/1.0/{WHEEL}/provenance"


def attested(up: RawUpstream, content_type: str = "application/vnd.pypi.integrity.v1+json") -> Project:
    made = project(up, provenance=f"{up.url}integrity/alpha")
    up.serve("/integrity/alpha", json.dumps(ATTESTED).encode(), content_type=content_type, etag='"p"')
    return made


async def test_provenance__is_served_under_this_host_and_cached(up: RawUpstream, tmp_path: Path) -> None:
    attested(up)
    text = one_remote(up, ttl="10m") + "server:\n  public_url: https://here.example/x\n"
    async with serving(tmp_path, text) as served:
        [file] = (await served.page()).json()["files"]
        assert file["provenance"] == f"https://here.example/x{PROVENANCE}"
        assert f'data-provenance="https://here.example/x{PROVENANCE}"' in (await served.page(accept=HTML)).text
        with served.counting("pyproxy_requests_total", "kind", "result") as results:
            for _ in range(2):
                answer = await served.ask(PROVENANCE)
                assert answer.json() == ATTESTED
                assert answer.headers["Content-Type"] == "application/vnd.pypi.integrity.v1+json"
            assert (await served.ask(PROVENANCE, If_None_Match=answer.etag)).status == 304
            head = await served.ask(PROVENANCE, "HEAD")
            assert (head.status, head.body) == (200, b"")
        assert results == {("json", "miss"): 1, ("json", "hit"): 3}
        served.later(601)
        assert (await served.ask(PROVENANCE)).json() == ATTESTED
    assert up.requests[-1].headers["if-none-match"] == '"p"'


async def test_provenance__of_a_file_whose_name_tells_no_version__is_not_linked(
    up: RawUpstream, tmp_path: Path
) -> None:
    made = Project("alpha")
    made.add("alpha.zip", b"x", provenance=f"{up.url}integrity/alpha")
    made.publish(up)
    async with serving(tmp_path, one_remote(up) + "server:\n  public_url: https://here.example\n") as served:
        for accept in (JSON, HTML):
            page = await served.page(accept=accept)
            assert "alpha.zip" in page.text
            assert "provenance" not in page.text


async def test_provenance__without_public_url__is_left_out_of_pages_and_served(up: RawUpstream, tmp_path: Path) -> None:
    attested(up)
    async with serving(tmp_path, one_remote(up)) as served:
        assert "provenance" not in (await served.page()).text
        assert "provenance" not in (await served.page(accept=HTML)).text
        assert (await served.ask(PROVENANCE)).json() == ATTESTED


@pytest.mark.parametrize(
    "path",
    [
        PROVENANCE.replace("1.0/", "2.0/"),
        PROVENANCE.replace("/alpha/", "/beta/"),
        PROVENANCE.replace(WHEEL, "alpha-1.0.tar.gz"),
        PROVENANCE.replace("provenance", "other"),
    ],
)
async def test_provenance__of_what_is_not_there__404(up: RawUpstream, tmp_path: Path, path: str) -> None:
    attested(up)
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(path)).status == 404
    assert up.count("/integrity/alpha") == 0


async def test_provenance__of_a_file_without__404(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(PROVENANCE)
        assert (answer.status, answer.line) == (404, f"alpha '1.0' has no provenance of {WHEEL}")


async def test_provenance__that_is_a_page_of_html__is_not_passed_on(up: RawUpstream, tmp_path: Path) -> None:
    attested(up)
    up.serve("/integrity/alpha", b"<script>alert(1)</script>", content_type="text/html")
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(PROVENANCE)
        assert (answer.status, answer.line) == (502, f"remote up: the provenance of {WHEEL} is no JSON")
        served.forget_failures()
        attested(up, content_type="text/html; charset=utf-8")
        assert (await served.ask(PROVENANCE)).headers["Content-Type"] == "application/json"


async def test_provenance__remote_fails__stale_and_then_502(up: RawUpstream, tmp_path: Path) -> None:
    attested(up)
    async with serving(tmp_path, one_remote(up, ttl="10m", stale_if_error="1h")) as served:
        up.script("/integrity/alpha", Status(500))
        assert (await served.ask(PROVENANCE)).status == 502
        assert (await served.ask(PROVENANCE)).status == 200
        served.later(1200)
        up.script("/integrity/alpha", Status(500), times=None)
        stale = await served.ask(PROVENANCE)
        assert (stale.json(), stale.headers["Cache-Control"]) == (ATTESTED, "no-store")
        served.later(3600)
        served.forget_failures()
        assert (await served.ask(PROVENANCE)).status == 502


async def test_provenance__gone__does_not_come_back_stale(up: RawUpstream, tmp_path: Path) -> None:
    attested(up)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        assert (await served.ask(PROVENANCE)).status == 200
        served.later(601)
        up.script("/integrity/alpha", Status(404))
        assert (await served.ask(PROVENANCE)).status == 404
        up.script("/integrity/alpha", Status(500), times=None)
        assert (await served.ask(PROVENANCE)).status == 502


async def test_provenance__version_spelled_otherwise__is_the_same(up: RawUpstream, tmp_path: Path) -> None:
    attested(up)
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(PROVENANCE.replace("1.0/", "1.0.0/"))).json() == ATTESTED
        assert (await served.ask(PROVENANCE.replace("/alpha/", "/Alpha/"))).json() == ATTESTED


async def test_provenance__of_a_quarantined_project__403(up: RawUpstream, tmp_path: Path) -> None:
    made = attested(up)
    made.page = {"project-status": {"status": "quarantined"}}
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(PROVENANCE)
    assert (answer.status, answer.line) == (403, "alpha is quarantined on remote up")
    assert up.count("/integrity/alpha") == 0


async def test_provenance__of_a_remotes_file_that_a_local_one_hides__404(up: RawUpstream, tmp_path: Path) -> None:
    attested(up)
    async with serving(tmp_path, local(up)) as served:
        assert (await served.ask(PROVENANCE)).json() == ATTESTED
        assert (await upload(served, WHEEL, a_wheel("alpha", "1.0", payload=b"ours"))).status == 200
        assert (await served.ask(PROVENANCE)).status == 404
    assert up.count("/integrity/alpha") == 1

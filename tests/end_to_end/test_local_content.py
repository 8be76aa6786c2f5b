"""Uploads over real HTTP, and how what was uploaded stands beside the remotes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from unittest.mock import Mock

import pytest
from aiohttp.test_utils import make_mocked_request

from pyproxy.handlers.access import is_local
from tests.daemon import JSON, a_wheel, project, serving
from tests.fakes.raw_upstream import RawUpstream
from tests.upload.test_attestations import subject
from tests.uploading import READ, UPLOAD, basic, form, local, send, upload

WHEEL = "alpha-9.0-py3-none-any.whl"


@pytest.mark.parametrize("path", ["legacy/", "legacy", "simple/", "simple", "", "legacy/?x=1"])
async def test_upload__answered__is_on_the_page_with_all_its_fields(tmp_path: Path, path: str) -> None:
    data = a_wheel("alpha", "9.0")
    async with serving(tmp_path, local(None)) as served:
        assert (await upload(served, WHEEL, data, path=path)).status == 200
        page = await served.page()
        (file,) = page.json()["files"]
        link = (await served.links())[WHEEL]
        got = await served.ask(link)
        metadata = await served.ask(f"{link}.metadata")

    assert file["hashes"] == {"sha256": hashlib.sha256(data).hexdigest()}
    assert (file["size"], file["upload-time"][-1]) == (len(data), "Z")
    assert page.headers["Cache-Control"] == "no-cache"
    assert got.body == data
    assert file["core-metadata"] == {"sha256": hashlib.sha256(metadata.body).hexdigest()}


def attested(filename: str, data: bytes) -> str:
    """The form's field: one attestation of a file with these bytes."""
    return json.dumps([subject(filename, hashlib.sha256(data).hexdigest())])


async def test_upload__attested__gives_its_provenance_as_it_came(tmp_path: Path) -> None:
    data = a_wheel("alpha", "9.0")
    text = "server: {public_url: 'https://packages.example'}\n" + local(None)
    async with serving(tmp_path, text) as served:
        assert (await send(served, form(WHEEL, data, attestations=attested(WHEEL, data)))).status == 200
        (file,) = (await served.page()).json()["files"]
        answer = await served.ask(file["provenance"].removeprefix("https://packages.example"))

    assert answer.headers["Content-Type"] == "application/vnd.pypi.integrity.v1+json"
    (bundle,) = answer.json()["attestation_bundles"]
    assert bundle["attestations"] == json.loads(attested(WHEEL, data))


async def test_upload__attested_for_another_file__is_refused_and_again_adds_none(tmp_path: Path) -> None:
    data = a_wheel("alpha", "9.0")
    others = [attested("alpha-9.1-py3-none-any.whl", data), attested(WHEEL, b"other bytes")]
    async with serving(tmp_path, local(None)) as served:
        refused = [await send(served, form(WHEEL, data, attestations=other)) for other in others]
        assert (await served.page()).status == 404
        await upload(served, WHEEL, data)
        later = await send(served, form(WHEEL, data, attestations=attested(WHEEL, data)))
        (file,) = (await served.page()).json()["files"]

    assert [answer.status for answer in refused] == [400, 400]
    assert "an attestation is about 'alpha-9.1-py3-none-any.whl'" in refused[0].line
    assert "an attestation is about other bytes" in refused[1].line
    assert (later.status, "provenance" in file) == (200, False)  # what is there is left as it is


async def test_upload__same_again__is_200_and_other_bytes_are_409(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        assert (await upload(served, WHEEL, a_wheel("alpha", "9.0"))).status == 200
        assert (await upload(served, WHEEL, a_wheel("alpha", "9.0"))).status == 200
        refused = await upload(served, WHEEL, a_wheel("alpha", "9.0", payload=b"other"))

    assert refused.status == 409
    assert "File already exists" in refused.reason
    assert "File already exists" in refused.text


async def test_upload__acknowledged__is_there_after_a_restart(tmp_path: Path) -> None:
    data = a_wheel("alpha", "9.0")
    async with serving(tmp_path, local(None)) as served:
        await upload(served, WHEEL, data)
    async with serving(tmp_path, local(None)) as served:
        assert (await served.ask((await served.links())[WHEEL])).body == data


@pytest.mark.parametrize("header", ["Forwarded", "X_Forwarded_For", "Via", "Origin"])
async def test_upload__without_a_guard_and_from_elsewhere__is_refused(tmp_path: Path, header: str) -> None:
    async with serving(tmp_path, local(None)) as served:
        answer = await upload(served, WHEEL, a_wheel("alpha", "9.0"), **{header: "http://other.example"})
        assert (answer.status, (await served.page()).status) == (403, 404)


@pytest.mark.parametrize(("keys", "status"), [({"allow_uploads": "false"}, 403), ({"repository_version": "1"}, 403)])
async def test_upload__where_none_is_taken__is_refused(tmp_path: Path, keys: dict[str, str], status: int) -> None:
    async with serving(tmp_path, local(None, **keys)) as served:
        assert (await upload(served, WHEEL, a_wheel("alpha", "9.0"))).status == status


async def test_upload__refused__says_why_in_json_where_that_is_asked_for(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        answer = await upload(served, WHEEL, b"no archive", Accept="application/json;q=0.9, text/plain;q=0.8")

    assert answer.status == 400
    assert set(answer.json()) == {"message", "code", "title"}


async def test_upload__refused__says_why_in_text_where_that_is_wanted_more(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        for accept in ("text/plain, application/json;q=0.1", "application/json;q=0", "*/*"):
            answer = await upload(served, WHEEL, b"no archive", Accept=accept)
            assert (answer.status, answer.text) == (400, f"{answer.line}\n")
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


async def test_ahead__local_files_come_first_then_the_remotes(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, local(up)) as served:
        await upload(served, WHEEL, a_wheel("alpha", "9.0"))
        names = [file["filename"] for file in (await served.page()).json()["files"]]
        collisions = served.metric("pyproxy_name_collisions", distribution="main")

    assert names == [WHEEL, "alpha-1.0-py3-none-any.whl"]
    assert collisions == 1


async def test_ahead__remote_down__local_files_are_still_served(up: RawUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, local(up)) as served:
        await upload(served, WHEEL, a_wheel("alpha", "9.0"))
        await up.stop()
        page = await served.page()

    assert [file["filename"] for file in page.json()["files"]] == [WHEEL]
    assert page.headers["Cache-Control"] == "no-store"


async def test_shadow__project_with_a_local_file__is_answered_from_it_alone(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, local(up, merge="shadow")) as served:
        await upload(served, WHEEL, a_wheel("alpha", "9.0"))
        names = [file["filename"] for file in (await served.page()).json()["files"]]
        remote = await served.ask("/pypi/main/files/up/files/alpha-1.0-py3-none-any.whl")

    assert names == [WHEEL]
    assert (remote.status, up.count()) == (404, 0)


SURFACES = (
    "simple/{name}/",
    "simple/{name}",
    "project/{name}/",
    "pypi/{name}/json",
    "pypi/{name}/1.0/json",
    "integrity/{name}/1.0/{file}/provenance",
    "files/up/files/{file}",
    "files/up/files/{file}.metadata",
    "files/up~elsewhere.example/files/{file}",
    "?q={name}",
)


@pytest.mark.parametrize("merge", ["ahead", "shadow"])
@pytest.mark.parametrize("mine", [True, False])
async def test_private__names__never_leave_on_any_surface(
    up: RawUpstream, tmp_path: Path, merge: str, *, mine: bool
) -> None:
    project(up, "acme-tool")
    file = "acme_tool-1.0-py3-none-any.whl"
    async with serving(tmp_path, local(up, private='["acme-*"]', merge=merge)) as served:
        if mine:
            assert (await upload(served, "acme_tool-2.0-py3-none-any.whl", a_wheel("acme_tool", "2.0"))).status == 200
        for surface in SURFACES:
            for name in ("acme-tool", "Acme_Tool", "ACME.tool"):
                answer = await served.ask(f"/pypi/main/{surface.format(name=name, file=file)}", Accept=JSON)
                assert answer.status in {200, 301, 404}, (surface, answer)
        page = await served.page("acme-tool")

    shown = [record["filename"] for record in page.json()["files"]] if mine else [page.status]
    assert shown == (["acme_tool-2.0-py3-none-any.whl"] if mine else [404])
    assert [request.path for request in up.requests if "acme" in request.path.lower()] == []


async def test_page__pinned_and_unknown_to_the_remote__is_kept_no_longer_than_the_remote_is_believed(
    up: RawUpstream, tmp_path: Path
) -> None:
    text = (
        f"remotes: {{up: {{url: '{up.url}simple/', negative_ttl: 30s}}}}\nrepositories: {{team: {{}}}}\n"
        "distributions:\n  main: {repository: team, allow_uploads: true}\n"
        "  pinned: {repository: team, repository_version: 1, remote: up}\n"
    )
    async with serving(tmp_path, text) as served:
        assert (await upload(served, "acme-1.0-py3-none-any.whl", a_wheel("acme"))).status == 200
        answer = await served.page("acme", base="pinned")

    directive, _, seconds = answer.headers["Cache-Control"].partition("=")
    assert (answer.status, directive) == (200, "max-age")
    assert int(seconds) <= 30


async def test_page__pinned_to_a_version_that_is_not_there_yet__is_503_to_be_tried_again(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None, repository_version="1", allow_uploads="false")) as served:
        answer = await served.page()

    assert (answer.status, answer.headers["Retry-After"]) == (503, "2")
    assert answer.line == "repository team has no version 1: the latest is 0"


async def test_guard__stands_before_everything(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    paths = ["simple/", "simple/alpha/", "", "project/alpha/", "files/up/files/alpha-1.0-py3-none-any.whl"]
    paths += ["files/up/files/alpha-1.0-py3-none-any.whl.metadata", "integrity/alpha/1.0/alpha-1.0.tar.gz/provenance"]
    async with serving(tmp_path, local(up, content_guard="staff")) as served:
        for path in paths:
            answer = await served.ask(f"/pypi/main/{path}")
            assert (answer.status, answer.headers["WWW-Authenticate"][:5]) == (401, "Basic"), path
        shown = (await served.ask("/distributions")).json()

    assert (up.count(), shown) == (0, [])


async def test_guard__who_is_not_let_in__is_counted_by_what_was_asked_for(up: RawUpstream, tmp_path: Path) -> None:
    file = "files/up/files/alpha-1.0-py3-none-any.whl"
    async with serving(tmp_path, local(up, content_guard="staff")) as served:
        with served.counting("pyproxy_requests_total", "kind", "result") as results:
            for path in ("simple/", "simple/alpha/", file, f"{file}.metadata", "pypi/alpha/json", "project/alpha/"):
                assert (await served.ask(f"/pypi/main/{path}")).status == 401
        assert results == {
            ("simple", "denied"): 2,
            ("file", "denied"): 1,
            ("metadata", "denied"): 1,
            ("json", "denied"): 1,
            ("other", "denied"): 1,
        }


async def test_guard__right_token__is_let_in_and_only_its_own_cache_keeps(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, local(up, content_guard="staff")) as served:
        page = await served.ask("/pypi/main/simple/alpha/", Accept=JSON, Authorization=basic(READ))
        other = await served.ask("/pypi/main/simple/alpha/", Accept=JSON, Authorization=basic(UPLOAD))
        file = await served.ask("/pypi/main/files/up/files/alpha-1.0-py3-none-any.whl", Authorization=basic(READ))

    assert (page.status, other.status, file.status) == (200, 403, 200)
    assert page.headers["Cache-Control"] == "private, no-cache"
    assert file.headers["Cache-Control"].startswith("private, max-age=")


async def test_guard__uploads__want_the_right_for_it(tmp_path: Path) -> None:
    data = a_wheel("alpha", "9.0")
    async with serving(tmp_path, local(None, content_guard="staff")) as served:
        statuses = [
            (await upload(served, WHEEL, data)).status,
            (await upload(served, WHEEL, data, Authorization=basic(READ))).status,
            (await upload(served, WHEEL, data, Authorization=basic(UPLOAD))).status,
        ]

    assert statuses == [401, 403, 200]


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        *((peer, True) for peer in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "")),
        *((peer, False) for peer in ("::1234", "::1:2", "10.0.0.1", "fe80::1%eth0", "::ffff:10.0.0.1")),
    ],
)
def test_is_local__goes_by_the_whole_address(peer: str, *, local: bool) -> None:
    transport = Mock(**{"get_extra_info.return_value": (peer, 1) if peer else ""})

    assert is_local(make_mocked_request("POST", "/", transport=transport)) is local

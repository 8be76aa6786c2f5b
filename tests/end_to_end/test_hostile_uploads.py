"""Uploads that are not to be taken, over real connections: each is told why in one line, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.daemon import Answer, Served, a_wheel, noise, project, serving
from tests.fakes import raw_client
from tests.fakes.raw_client import connected
from tests.fakes.raw_upstream import RawUpstream
from tests.upload import test_tars, test_zips
from tests.upload.building import INFO, METADATA, SDIST, STEM, forged_wheel, member, sdist, wheel, wheel_files, zipped
from tests.upload.building import WHEEL as FOO
from tests.uploading import (
    BOUNDARY,
    READ,
    UPLOAD,
    basic,
    fields_of,
    form,
    local,
    multipart,
    send,
    upload,
)

WHEEL = "alpha-9.0-py3-none-any.whl"
DATA = a_wheel("alpha", "9.0")
JSON = "application/json;q=0.9, text/plain;q=0.8, text/html;q=0.7"


@asynccontextmanager
async def untouched(folder: Path, text: str) -> AsyncIterator[Served]:
    """A daemon that has taken nothing by the end of the block: no project, no version, no blob, no temporary file."""
    async with serving(folder, text) as served:
        yield served
        await nothing_left(served)


async def nothing_left(served: Served) -> None:
    """Waits for what requests under way leave, which must be nothing."""
    local_folder = served.data / "local"
    async with asyncio.timeout(raw_client.PATIENCE):
        while any((local_folder / "tmp").iterdir()):  # noqa: ASYNC110 - a folder tells nobody
            await asyncio.sleep(0.01)
    assert served.daemon.machinery.repositories.repositories() == {}
    assert [path for path in (local_folder / "blobs").rglob("*") if path.is_file()] == []


def head(body: bytes | int, *fields: str, path: str = "main/legacy/") -> bytes:
    """The head of an upload; `body` or its length."""
    length = body if isinstance(body, int) else len(body)
    lines = [
        f"POST /pypi/{path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        *([f"Content-Length: {length}"] if length >= 0 else []),
        *fields,
    ]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


async def before_the_body(served: Served, *fields: str, length: int = 1 << 20) -> raw_client.Answer:
    """What is said to a client that waits with its body; the connection is over then."""
    async with connected(served.where) as client:
        answer = await client.ask(head(length, "Expect: 100-continue", *fields))
        assert answer.closes
        assert await client.ends()
        return answer


def undated(answer: raw_client.Answer) -> raw_client.Answer:
    return replace(answer, fields=tuple(field for field in answer.fields if field[0] != "date"))


# ---------------------------------------------------------------------- refused before a byte of the body is read


OFF = {
    "uploads off": (local(None, allow_uploads="false"), 403, "takes no uploads"),
    "no repository": (
        "remotes: {up: {url: 'http://127.0.0.1:9/'}}\ndistributions: {main: {remote: up}}\n",
        403,
        "takes no",
    ),
    "pinned": (local(None, repository_version="7"), 403, "is pinned to version 7"),
}


@pytest.mark.parametrize(("text", "status", "why"), OFF.values(), ids=OFF)
async def test_upload__where_none_is_taken__is_refused_unread(tmp_path: Path, text: str, status: int, why: str) -> None:
    async with untouched(tmp_path, text) as served:
        answer = await before_the_body(served)

    assert (answer.status, why in answer.reason) == (status, True)


GUARDED = local(None, content_guard="staff")


async def test_upload__without_credentials__is_challenged_unread(tmp_path: Path) -> None:
    async with untouched(tmp_path, GUARDED) as served:
        answer = await before_the_body(served)

    assert (answer.status, answer.field("www-authenticate")) == (401, 'Basic realm="pyproxy", charset="UTF-8"')
    assert answer.field("cache-control") == "no-store"


async def test_upload__with_the_wrong_token__is_told_no_more_than_without_and_then_to_wait(tmp_path: Path) -> None:
    async with untouched(tmp_path, GUARDED) as served:
        none = await before_the_body(served)
        wrong = [await before_the_body(served, f"Authorization: {basic(f'wrong {n}')}") for n in range(12)]
        right = await before_the_body(served, f"Authorization: {basic(READ)}")
        shown = await served.ask("/pypi/main/simple/", Authorization=basic(READ))

    assert [undated(answer) for answer in wrong if answer.status == 401] == [undated(none)] * 10
    assert {(answer.status, answer.field("retry-after")) for answer in wrong[10:]} == {(429, "60")}
    assert (right.status, shown.status) == (403, 200)  # a right token is never shut out


async def test_upload__with_the_token_of_another_distribution__is_forbidden_unread(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"the-other-token").hexdigest()
    other = f"  other: {{upload: [o], tokens: {{o: 'sha256:{digest}'}}}}\n"
    text = GUARDED.replace("guards: {", "guards:\n  ").replace("}}}\ndistributions", "}}\n" + other + "distributions")
    text += "  second: {repository: team, allow_uploads: true, content_guard: other}\n"
    async with untouched(tmp_path, text) as served:
        elsewhere = await before_the_body(served, f"Authorization: {basic('the-other-token')}")
        reader = await before_the_body(served, f"Authorization: Bearer {READ}")
        at_home = await send(
            served, form(WHEEL, b"no archive"), path="second/legacy/", Authorization=basic("the-other-token")
        )

    assert (elsewhere.status, reader.status, at_home.status) == (403, 403, 400)
    assert elsewhere.reason == reader.reason
    assert "these credentials may not upload in distribution main" in reader.reason


@pytest.mark.parametrize(
    "field",
    [
        *("Forwarded: for=1.2.3.4", "X-Forwarded-For: 127.0.0.1", "Via: 1.1 proxy", "Origin: http://127.0.0.1:7974"),
        *("Origin: null", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site"),
    ],
)
async def test_upload__without_a_guard_and_from_elsewhere__is_forbidden_unread(tmp_path: Path, field: str) -> None:
    async with untouched(tmp_path, local(None)) as served:
        assert (await before_the_body(served, field)).status == 403


async def test_upload__of_a_browser_with_its_users_password__is_forbidden_from_another_site(tmp_path: Path) -> None:
    async with untouched(tmp_path, GUARDED) as served:
        answer = await before_the_body(served, "Sec-Fetch-Site: cross-site", f"Authorization: {basic(UPLOAD)}")

    assert answer.status == 403


async def test_upload__too_large_by_its_length__is_refused_unread(tmp_path: Path) -> None:
    async with untouched(tmp_path, "server: {max_upload_size: 1000B}\n" + local(None)) as served:
        answer = await before_the_body(served, length=1001)
        told = await before_the_body(served, f"Accept: {JSON}", length=1 << 39)

    assert (answer.status, answer.reason) == (413, "the upload is larger than 1000 bytes")
    assert json.loads(told.body)["code"] == "413 the upload is larger than 1000 bytes"


async def test_upload__too_large_without_saying_so__is_refused_when_it_is(tmp_path: Path) -> None:
    body = form(WHEEL, noise(300_000))
    text = "server: {max_upload_size: 100000B}\n" + local(None)
    async with untouched(tmp_path, text) as served, connected(served.where) as client:
        await client.send(head(-1, "Transfer-Encoding: chunked"))
        await client.send(b"%x\r\n%s\r\n" % (len(body), body))
        answer = await client.answer()

    assert answer.status == 413


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        (["Content-Encoding: gzip"], 415),
        (["Content-Encoding: deflate, gzip"], 415),
    ],
)
async def test_upload__encoded__is_refused_unread(tmp_path: Path, fields: list[str], status: int) -> None:
    async with untouched(tmp_path, local(None)) as served:
        assert (await before_the_body(served, *fields)).status == status


@pytest.mark.parametrize("kind", ["application/json", "application/octet-stream", "multipart/mixed; boundary=x"])
async def test_upload__that_is_no_form__is_415(tmp_path: Path, kind: str) -> None:
    async with untouched(tmp_path, local(None)) as served:
        assert (await send(served, b"{}", Content_Type=kind)).status == 415


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_other_methods__are_405_and_name_those_that_are_taken(tmp_path: Path, method: str) -> None:
    async with untouched(tmp_path, local(None)) as served:
        uploads = await served.ask("/pypi/main/legacy/", method)
        both = [await served.ask(f"/pypi/main{path}", method) for path in ("", "/", "/simple", "/simple/")]
        page = await served.ask("/pypi/main/simple/alpha/", "POST")

    assert {answer.status for answer in (uploads, *both, page)} == {405}
    assert uploads.headers["Allow"] == "POST"
    assert {answer.headers["Allow"] for answer in both} == {"GET, HEAD, POST"}
    assert page.headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/pypi/main/legacy", "/pypi/main/legacy/"])
async def test_where_only_uploads_go__a_look_is_405(tmp_path: Path, path: str) -> None:
    async with untouched(tmp_path, local(None)) as served:
        answer = await served.ask(path)

    assert (answer.status, answer.headers["Allow"], answer.line) == (405, "POST", "'GET' is not allowed here")


@pytest.mark.parametrize(
    "fields", [[], [f"Authorization: {basic('wrong')}"], [f"Authorization: {basic(READ)}"], ["Content-Encoding: gzip"]]
)
async def test_refusal__is_json_where_that_is_asked_for(tmp_path: Path, fields: list[str]) -> None:
    async with untouched(tmp_path, GUARDED) as served:
        plain = await before_the_body(served, *fields)
        told = await before_the_body(served, *fields, f"Accept: {JSON}")

    line = plain.body.decode().removesuffix("\n")
    assert json.loads(told.body) == {"message": line, "code": f"{plain.status} {line}", "title": plain.reason}
    assert (told.status, told.reason, told.field("content-type")) == (plain.status, line, "application/json")
    assert told.field("www-authenticate") == plain.field("www-authenticate")


async def test_refusal__reaches_a_client_that_sends_its_body_all_the_same(tmp_path: Path) -> None:
    body = form(WHEEL, noise(8 << 20))
    async with untouched(tmp_path, GUARDED) as served, connected(served.where) as client:
        sending = asyncio.create_task(client.send(head(body) + body))
        answer = await client.answer()
        await asyncio.gather(sending, return_exceptions=True)

    assert answer.status == 401


# ---------------------------------------------------------------------- forms


BAD_FIELDS: dict[str, tuple[dict[str, str | None], str]] = {
    "sha256 of others": ({"sha256_digest": "0" * 64}, "not the form's sha256_digest"),
    "blake2 of others": ({"blake2_256_digest": "0" * 64}, "not the form's blake2_256_digest"),
    "md5 of others": ({"md5_digest": "0" * 32}, "not the form's md5_digest"),
    "sha256 cut": ({"sha256_digest": hashlib.sha256(DATA).hexdigest()[:-1]}, "not the form's sha256_digest"),
    "no digest": ({"sha256_digest": None}, "no digest of the file"),
    "empty digest": ({"sha256_digest": ""}, "no digest of the file"),
    "no action": ({":action": None}, ":action is"),
    "another action": ({":action": "doc_upload"}, ":action is 'doc_upload'"),
    "another protocol": ({"protocol_version": "2"}, "protocol_version is not 1"),
    "another metadata version": ({"metadata_version": "9"}, "metadata_version is unknown"),
    "another name": ({"name": "beta"}, "the form's name is 'beta', the file is alpha"),
    "another version": ({"version": "9.1"}, "the form's version is '9.1'"),
    "no name": ({"name": None}, "no name"),
    "no version": ({"version": None}, "no name, or no version"),
    "another kind": ({"filetype": "sdist"}, "the form's filetype is 'sdist'"),
    "a kind that is none": ({"filetype": "bdist_egg"}, "the form's filetype is 'bdist_egg'"),
    "attestations that are none": ({"attestations": "{}"}, "the attestations are no list"),
    "attestations of another file": (
        {"attestations": json.dumps([{"version": 1, "verification_material": {}, "envelope": {}}])},
        "an attestation has no certificate",
    ),
}


@pytest.mark.parametrize(("fields", "why"), BAD_FIELDS.values(), ids=BAD_FIELDS)
async def test_form__that_does_not_fit_its_file__is_400(
    tmp_path: Path, fields: dict[str, str | None], why: str
) -> None:
    async with untouched(tmp_path, local(None)) as served:
        answer = await send(served, form(WHEEL, DATA, **fields))

    assert (answer.status, why in answer.line) == (400, True), answer


@pytest.mark.parametrize(
    "filename",
    [
        *("../alpha-9.0-py3-none-any.whl", "/alpha-9.0-py3-none-any.whl", "a/alpha-9.0-py3-none-any.whl"),
        *("..\\alpha-9.0-py3-none-any.whl", ".alpha-9.0-py3-none-any.whl", "alpha-9.0-py3-none-any.whl "),
        *("alpha-9.0-py3-none-any.whl\t", "alpha-9.0-py3-none-any.whl%00", "\u0430lpha-9.0-py3-none-any.whl"),
        *("alpha-9.0-py3-none-any.exe", "alpha-9.0-py3-none-any.whl.asc", "alpha-9.0.tar.bz2", "alpha-9.0.egg"),
        *("alpha-9.0-py3-none.whl", "alpha--9.0-py3-none-any.whl", "alpha-9.0-x-py3-none-any.whl", "alpha.whl"),
        *("beta-9.0-py3-none-any.whl", "alpha-9.1-py3-none-any.whl", "alph\u212a-9.0-py3-none-any.whl"),
        *("alpha-9.0-py3-none-any.WHL", "alpha-9.0-py3-none-any.whl;x=", "x" * 250 + "-9.0-py3-none-any.whl"),
        *("foo-2-2.tar.gz", "alpha-9.0-py3-none-any.whl.metadata", "con-9.0-py3-none-any.whl\u202e"),
    ],
)
async def test_filename__harmful_or_of_another_file__is_400(tmp_path: Path, filename: str) -> None:
    async with untouched(tmp_path, local(None)) as served:
        answer = await send(served, multipart(fields_of(WHEEL, DATA), filename, DATA))

    assert answer.status == 400
    assert answer.line.isprintable()


def parts(*pieces: bytes) -> bytes:
    return (
        b"".join(b"--%s\r\n%s\r\n" % (BOUNDARY.encode(), piece) for piece in pieces) + b"--%s--\r\n" % BOUNDARY.encode()
    )


def part(name: str, value: bytes = b"x", more: str = "", **parameters: str) -> bytes:
    told = "".join(f'; {key}="{given}"' for key, given in parameters.items())
    return f'Content-Disposition: form-data; name="{name}"{told}\r\n{more}\r\n'.encode() + value


FILE = part("content", DATA, filename=WHEEL)
FIELDS = [part(name, value.encode()) for name, value in fields_of(WHEEL, DATA).items()]

BAD_FORMS = {
    "nothing": b"",
    "no file": parts(*FIELDS),
    "two files": parts(*FIELDS, FILE, FILE),
    "a field twice": parts(*FIELDS, part("name", b"beta"), FILE),
    "content that is no file": parts(*FIELDS, part("content", DATA)),
    "a file under another name": parts(*FIELDS, part("upload", DATA, filename=WHEEL)),
    "fifteen thousand parts": parts(*[part(f"a{n}") for n in range(15_000)], FILE),
    "two hundred headers": parts(part("name", more="".join(f"X-{n}: y\r\n" for n in range(200))), FILE),
    "a long header": parts(part("name", more=f"X: {'y' * 9000}\r\n"), FILE),
    "a form in the form": parts(
        part("a", b"--B--", more="Content-Type: multipart/mixed; boundary=B\r\n"), *FIELDS, FILE
    ),
    "encoded content": parts(
        *FIELDS, part("content", DATA, more="Content-Transfer-Encoding: base64\r\n", filename=WHEEL)
    ),
    "a character set of its own": parts(part("_charset_", b"utf-7"), *FIELDS, FILE),
    "no name": parts(b"Content-Disposition: form-data\r\n\r\nx", FILE),
    "another boundary": multipart(fields_of(WHEEL, DATA), WHEEL, DATA).replace(BOUNDARY.encode(), b"other"),
    "something behind the end": parts(*FIELDS, FILE) + b"--more",
    "a field of two MiB": parts(part("summary", b"x" * (2 << 20)), *FIELDS, FILE),
}


@pytest.mark.parametrize("body", BAD_FORMS.values(), ids=BAD_FORMS)
async def test_form__confused__is_refused_soon(tmp_path: Path, body: bytes) -> None:
    async with untouched(tmp_path, local(None)) as served:
        begun = time.monotonic()
        answer = await send(served, body)
        took = time.monotonic() - begun

    assert answer.status in {400, 413}
    assert took < 3.0  # some ms on an idle machine


async def test_form__file_first__is_taken(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        assert (await send(served, parts(FILE, *FIELDS))).status == 200


async def test_form__cut_anywhere__leaves_nothing(tmp_path: Path) -> None:
    body = form(WHEEL, DATA)
    edges = [
        at + nudge for at in range(len(body)) if body.startswith(b"--" + BOUNDARY.encode(), at) for nudge in (0, 2)
    ]
    cuts = sorted({*(len(body) * tenth // 10 for tenth in range(10)), *edges, len(body) - 1})
    async with untouched(tmp_path, local(None)) as served:
        with served.counting("pyproxy_requests_total", "kind", "result") as results:
            for cut in cuts:
                async with connected(served.where) as client:
                    await client.send(head(body) + body[:cut])
                    if cut % 2:
                        client.reset()
                    else:
                        client.half_close()
                        await client.ends()
            await nothing_left(served)
        assert set(results) == {("upload", "error")}
        assert (await served.ask("/healthz")).status == 200


async def test_form__shorter_than_its_length_says__is_taken_only_once_it_is_whole(tmp_path: Path) -> None:
    body = form(WHEEL, DATA)
    async with serving(tmp_path, local(None)) as served, connected(served.where) as client:
        await client.send(head(body) + body[:-3])
        assert (await served.page()).status == 404
        await client.send(body[-3:])
        assert (await client.answer()).status == 200
        assert (await served.page()).status == 200


async def test_form__chunked__is_taken(tmp_path: Path) -> None:
    body = form(WHEEL, DATA)
    async with serving(tmp_path, local(None)) as served, connected(served.where) as client:
        await client.send(head(-1, "Transfer-Encoding: chunked"))
        for at in range(0, len(body), 100):
            await client.send(b"%x\r\n%s\r\n" % (len(body[at : at + 100]), body[at : at + 100]))
        await client.send(b"0\r\n\r\n")
        assert (await client.answer()).status == 200


async def test_form__of_a_client_that_waits_to_be_asked__is_asked_for(tmp_path: Path) -> None:
    body = form(WHEEL, DATA)
    async with serving(tmp_path, local(None)) as served, connected(served.where) as client:
        assert (await client.ask(head(body, "Expect: 100-continue"))).status == 100
        assert (await client.ask(body)).status == 200


# ---------------------------------------------------------------------- archives


def named(table: dict[str, tuple[bytes, str]], what: str) -> dict[str, bytes]:
    return {f"{what}: {name}": data for name, (data, _) in table.items()}


ARCHIVES: dict[str, tuple[str, bytes]] = {
    **{name: (FOO, data) for name, data in named(test_zips.REFUSED, "zip").items()},
    **{name: (SDIST, data) for name, data in named(test_tars.REFUSED, "tar").items()},
    "empty": (FOO, b""),
    "a web page": (FOO, b"<!DOCTYPE html><title>Sign in</title>"),
    "an sdist as a wheel": (FOO, sdist()),
    "a wheel as an sdist": (SDIST, wheel()),
    "gzip and no tar": (SDIST, b"\x1f\x8b" + bytes(100)),
    "no METADATA": (FOO, zipped(wheel_files(metadata=None))),
    "no WHEEL": (FOO, zipped(wheel_files(tags=None))),
    "no RECORD": (FOO, zipped(wheel_files())),
    "RECORD of other bytes": (FOO, wheel(rows={"__init__.py": "foo_bar/__init__.py,sha256=AAAA,6"})),
    "RECORD of what is not there": (FOO, wheel(rows={"WHEEL": f"{INFO}/OTHER,sha256=AAAA,6"})),
    "another's metadata": (FOO, wheel(metadata=METADATA.replace(b"Foo.Bar", b"Other"))),
    "metadata of another version": (FOO, wheel(metadata=METADATA.replace(b"1.0", b"2.0"))),
    "two names": (FOO, wheel(metadata=b"Name: other\n" + METADATA)),
    "metadata that is not UTF-8": (FOO, wheel(metadata=METADATA + b"\xff")),
    "metadata with a NUL": (FOO, wheel(metadata=METADATA.replace(b"3.9", b"3.9\0"))),
    "huge metadata": (FOO, wheel(metadata=METADATA + b"x" * (5 << 20))),
    "a bomb": (FOO, wheel(("foo_bar/data", bytes(200 << 20)))),
    "a tar bomb": (SDIST, sdist(member(f"{STEM}/data", bytes(200 << 20)))),
    "a second dist-info": (FOO, wheel(("evil-1.0.dist-info/METADATA", METADATA))),
    "case twins": (FOO, wheel(("foo_bar/X.py", b"1"), ("foo_bar/x.py", b"2"))),
    "twins of composition": (FOO, wheel(("foo_bar/\u00e9.py", b"1"), ("foo_bar/e\u0301.py", b"2"))),
}


async def test_archive__hostile__is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    took: dict[str, float] = {}
    async with untouched(tmp_path, local(None)) as served:
        for name, (filename, data) in ARCHIVES.items():
            begun = time.monotonic()
            answer = await upload(served, filename, data)
            took[name] = time.monotonic() - begun
            assert answer.status in {400, 413}, (name, answer)
            assert answer.line.isprintable(), name
        assert (await served.ask("/healthz")).status == 200

    assert len(ARCHIVES) > 100
    assert {name: seconds for name, seconds in took.items() if seconds > 3.0} == {}  # row 73: the bombs too


async def test_archive__metadata__is_served_byte_for_byte(tmp_path: Path) -> None:
    odd = METADATA + "Ünïcödé,   blanks at the end  \n\n\n".encode()
    async with serving(tmp_path, local(None)) as served:
        assert (await upload(served, FOO, wheel(metadata=odd))).status == 200
        link = await served.link("foo-bar")
        metadata = await served.ask(f"{link}.metadata")

    assert metadata.body == odd


# ---------------------------------------------------------------------- several at once, and the same again


async def all_at_once(served: Served, *files: tuple[str, bytes]) -> list[Answer]:
    return await asyncio.gather(*(upload(served, name, data) for name, data in files))


async def test_upload__same_bytes_twenty_times_at_once__are_all_200_and_one_version(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        answers = await all_at_once(served, *[(WHEEL, DATA)] * 20)
        versions = served.daemon.machinery.repositories.versions("team")

    assert [answer.status for answer in answers] == [200] * 20
    assert len(versions) == 1


async def test_upload__other_bytes_twenty_times_at_once__is_one_200_and_the_rest_409(tmp_path: Path) -> None:
    files = [(WHEEL, a_wheel("alpha", "9.0", payload=b"%d" % n)) for n in range(20)]
    async with serving(tmp_path, local(None)) as served:
        answers = await all_at_once(served, *files)
        got = (await served.ask(await served.link())).body

    statuses = [answer.status for answer in answers]
    assert sorted(statuses) == [200, *[409] * 19]
    assert got == files[statuses.index(200)][1]


async def test_upload__twenty_projects_at_once__are_all_listed(tmp_path: Path) -> None:
    files = [(f"p{n}-1.0-py3-none-any.whl", a_wheel(f"p{n}", "1.0")) for n in range(20)]
    async with serving(tmp_path, local(None)) as served:
        answers = await all_at_once(served, *files)
        listed = (await served.ask("/pypi/main/simple/", Accept="application/vnd.pypi.simple.v1+json")).json()

    assert [answer.status for answer in answers] == [200] * 20
    assert {entry["name"] for entry in listed["projects"]} == {f"p{n}" for n in range(20)}


async def test_upload__same_again__keeps_its_time_and_its_version(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        await upload(served, WHEEL, DATA)
        first = (await served.page()).body
        assert (await upload(served, WHEEL, DATA)).status == 200
        assert (await served.page()).body == first


@pytest.mark.parametrize(
    "twin", ["Alpha-9.0-py3-none-any.whl", "alpha-9.0.0-py3-none-any.whl", "ALPHA-9-py3-none-any.whl"]
)
async def test_upload__second_spelling_of_a_file__is_409_with_any_bytes(tmp_path: Path, twin: str) -> None:
    stem = twin.removesuffix("-py3-none-any.whl")
    name, version = stem.split("-")
    async with serving(tmp_path, local(None)) as served:
        await upload(served, WHEEL, DATA)
        answer = await upload(served, twin, a_wheel(name, version, payload=b"evil"))
        names = list(await served.links())

    assert (answer.status, answer.line.startswith(f"File already exists: {twin} is {WHEEL}")) == (409, True)
    assert names == [WHEEL]


async def test_upload__of_a_name_that_a_remote_has__is_taken(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    evil = "alpha-1.0-py3-none-any.whl"
    async with serving(tmp_path, local(up)) as served:
        remote = (await served.links())[evil]
        assert (await upload(served, evil, a_wheel("alpha", payload=b"ours"))).status == 200
        shown = await served.links()
        withheld = await served.ask(remote)
        got = await served.ask(shown[evil])

    assert got.body == a_wheel("alpha", payload=b"ours")
    assert withheld.status == 404  # of two files with one name the local one is shown, and the other is not to be had


# ---------------------------------------------------------------------- old clients


async def test_old_client__registers_first__is_told_that_it_is_done(tmp_path: Path) -> None:
    told = {":action": "submit", "name": "alpha", "version": "9.0", "metadata_version": "1.0", "summary": "x"}
    async with untouched(tmp_path, local(None)) as served:
        answers = [await send(served, multipart(told, None), path=f"main/{path}") for path in ("legacy/", "legacy", "")]

    assert [(answer.status, answer.reason) for answer in answers] == [(200, "OK")] * 3


async def test_old_client__md5_alone_and_a_signature__is_taken(tmp_path: Path) -> None:
    told = {**fields_of(WHEEL, DATA), "md5_digest": hashlib.md5(DATA, usedforsecurity=False).hexdigest()}
    del told["sha256_digest"]
    signature = part("gpg_signature", b"-----BEGIN PGP SIGNATURE-----", filename=f"{WHEEL}.asc")
    fields = [part(name, value.encode()) for name, value in told.items()]
    async with serving(tmp_path, local(None)) as served:
        assert (await send(served, parts(*fields, FILE, signature), path="main/legacy")).status == 200
        assert WHEEL in await served.links()


def test_hostile_archives__are_not_all_of_one_kind() -> None:
    assert {filename for filename, _ in ARCHIVES.values()} == {FOO, SDIST}
    assert forged_wheel() not in {data for _, data in ARCHIVES.values()}

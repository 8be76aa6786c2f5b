"""Upload forms: read as each client sends them, hashed on the way, and refused before they cost anything."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest
from aiohttp import web
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st

from pyproxy.errors import StoreFull
from pyproxy.handlers.form import read_form
from pyproxy.upload import Form, FormBounds, UploadRefused
from pyproxy.wire import Listener
from tests.fakes.raw_client import connected
from tests.upload.building import in_one_line, why_refused
from tests.wire.serving import get, post, serving, until

TYPE = "multipart/form-data; boundary=B"
CONTENT = b"PK\3\4 some bytes\r\n--not the boundary\xff\0"


@dataclass(slots=True)
class Memory:
    """A sink that keeps what it is given, and knows from which threads."""

    pieces: list[bytes] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def write(self, data: bytes, /) -> None:
        self.pieces.append(bytes(data))
        self.threads.add(threading.get_ident())

    @property
    def content(self) -> bytes:
        return b"".join(self.pieces)


class Stream:
    """A body that comes in these pieces; counts how many were asked for."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = list(pieces)
        self.asked = 0

    async def readany(self) -> bytes:
        self.asked += 1
        await asyncio.sleep(0)
        return self._pieces.pop(0) if self._pieces else b""


def request(*pieces: bytes, headers: dict[str, str] | None = None) -> tuple[web.BaseRequest, Stream]:
    stream = Stream([piece for piece in pieces if piece])
    told = {"Content-Type": TYPE, **(headers or {})}
    payload = cast("StreamReader", stream)  # the one method of it that is used
    return make_mocked_request("POST", "/", headers=told, payload=payload), stream


async def read(
    *pieces: bytes,
    sink: Memory | None = None,
    limit: int = 1 << 30,
    bounds: FormBounds | None = None,
    headers: dict[str, str] | None = None,
) -> Form:
    made, _ = request(*pieces, headers=headers)
    return await read_form(made, sink or Memory(), limit=limit, bounds=bounds)


async def refusal(*pieces: bytes, bounds: FormBounds | None = None, limit: int = 1 << 30) -> UploadRefused:
    with pytest.raises(UploadRefused) as refused:
        await read(*pieces, bounds=bounds, limit=limit)
    assert refused.value.reason.isprintable()
    return refused.value


def part(name: str, body: bytes | str, *, filename: str | None = None, more: str = "") -> bytes:
    told = f'; filename="{filename}"' if filename is not None else ""
    content = body.encode() if isinstance(body, str) else body
    return f'--B\r\nContent-Disposition: form-data; name="{name}"{told}\r\n{more}\r\n'.encode() + content + b"\r\n"


def content(body: bytes = CONTENT, filename: str = "foo-1.0.tar.gz") -> bytes:
    return part("content", body, filename=filename, more="Content-Type: application/octet-stream\r\n")


END = b"--B--\r\n"


# -- what is read


async def test_form__read__has_fields_and_the_file_and_its_digests() -> None:
    sink = Memory()
    body = (
        part("name", "foo")
        + part("classifiers", "A")
        + content()
        + part("classifiers", "B ü")
        + part("empty", "")
        + END
    )
    form = await read(body, sink=sink)
    assert form.fields == {"name": ("foo",), "classifiers": ("A", "B ü"), "empty": ("",)}
    assert (form.filename, form.size, sink.content) == ("foo-1.0.tar.gz", len(CONTENT), CONTENT)
    assert form.digests.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert form.digests.md5 == hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    assert form.digests.blake2_256 == hashlib.blake2b(CONTENT, digest_size=32).hexdigest()
    assert form.gpg_signature is None


async def test_form__one_value__is_told_without_blanks() -> None:
    form = await read(part("name", " foo \n") + part("empty", " ") + part("many", "a") + part("many", "b") + END)
    assert (form.one("name"), form.one("empty"), form.one("missing")) == ("foo", None, None)
    with pytest.raises(UploadRefused, match="the field 'many' 2 times"):
        form.one("many")


@pytest.mark.parametrize("order", [0, 1, 2])
async def test_form__file_anywhere__is_the_file(order: int) -> None:
    parts = [part("name", "foo"), part("version", "1.0")]
    parts.insert(order, content())
    sink = Memory()
    form = await read(b"".join(parts) + END, sink=sink)
    assert (form.fields, sink.content) == ({"name": ("foo",), "version": ("1.0",)}, CONTENT)


async def test_form__in_pieces_of_any_size__is_the_same() -> None:
    body = part("name", "foo") + content() + part("version", "1.0") + END
    whole = await read(body)
    for size in (1, 2, 3, 7, 50):
        sink = Memory()
        assert await read(*(body[at : at + size] for at in range(0, len(body), size)), sink=sink) == whole
        assert sink.content == CONTENT


async def test_form__large_file__is_hashed_and_written_off_the_loop() -> None:
    sink = Memory()
    big = bytes(range(256)) * 4096 * 3
    form = await read(*(content(big) + END,), sink=sink)
    assert sink.content == big
    assert threading.get_ident() not in sink.threads
    assert form.digests.sha256 == hashlib.sha256(big).hexdigest()


async def test_form__large_file_in_small_pieces__is_written_in_large_ones() -> None:
    sink = Memory()
    big = bytes(3 << 20)
    body = content(big) + END
    await read(*(body[at : at + 65536] for at in range(0, len(body), 65536)), sink=sink)
    assert sink.content == big
    assert len(sink.pieces) <= 4


async def test_form__without_a_file__has_an_empty_name() -> None:
    """As old clients register a release: `:action` is submit."""
    form = await read(part(":action", "submit") + part("name", "foo") + END)
    assert (form.filename, form.size, form.fields[":action"]) == ("", 0, ("submit",))


async def test_form__empty_file__is_a_file_of_no_bytes() -> None:
    sink = Memory()
    form = await read(content(b"") + END, sink=sink)
    assert (form.filename, form.size, sink.content) == ("foo-1.0.tar.gz", 0, b"")
    assert form.digests.sha256 == hashlib.sha256().hexdigest()


async def test_form__without_anything__is_empty() -> None:
    assert (await read(END)).fields == {}


async def test_form__signature__is_kept_apart() -> None:
    form = await read(content() + part("gpg_signature", b"\x88\xff", filename="foo-1.0.tar.gz.asc") + END)
    assert (form.gpg_signature, form.fields) == (b"\x88\xff", {})


@pytest.mark.parametrize("charset", ["ISO-8859-1", "latin1", "iso-8859-1 "])
@pytest.mark.parametrize("last", [False, True])
async def test_form__charset_of_all__holds_wherever_it_stands(charset: str, *, last: bool) -> None:
    parts = [part("_charset_", charset), part("author", b"\xfc")]
    form = await read(b"".join(reversed(parts) if last else parts) + END)
    assert form.fields == {"author": ("ü",)}


async def test_form__charset_of_a_part__is_its_own() -> None:
    own = part("a", b"\xfc", more="Content-Type: text/plain; charset=iso-8859-1\r\n")
    assert (await read(part("_charset_", "utf-8") + own + part("b", "ü") + END)).fields == {"a": ("ü",), "b": ("ü",)}


# -- as each client sends it

TOOLBELT = (  # twine: requests-toolbelt
    b'--B\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n'
    b'--B\r\nContent-Disposition: form-data; name="name"\r\n\r\nfoo\r\n'
    b'--B\r\nContent-Disposition: form-data; name="content"; filename="foo-1!1.0+cpu.tar.gz"\r\n'
    b"Content-Type: application/octet-stream\r\n\r\n" + CONTENT + b"\r\n--B--\r\n"
)
REQWEST = (  # uv
    b'--B\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload\r\n'
    b'--B\r\nContent-Disposition: form-data; name="name"\r\n\r\nfoo\r\n'
    b'--B\r\nContent-Disposition: form-data; name="content"; filename="foo-1!1.0+cpu.tar.gz"\r\n\r\n'
    + CONTENT
    + b"\r\n--B--\r\n"
)
DISTUTILS = (  # setup.py upload: a line break in front, none behind the end in some versions
    b'\r\n--B\r\nContent-Disposition: form-data; name=":action"\r\n\r\nfile_upload'
    b'\r\n--B\r\nContent-Disposition: form-data; name="name"\r\n\r\nfoo'
    b'\r\n--B\r\nContent-Disposition: form-data; name="content";filename="foo-1!1.0+cpu.tar.gz"\r\n\r\n'
    + CONTENT
    + b"\r\n--B--"
)
CURL = TOOLBELT.replace(b"Content-Type: application/octet-stream", b"Content-Type: application/gzip")
BROWSER = TOOLBELT.replace(b"form-data;", b"form-data ;")
URLLIB3 = TOOLBELT.replace(b'filename="foo-1!1.0+cpu.tar.gz"', b"filename*=utf-8''foo-1%211.0%2Bcpu.tar.gz")


@pytest.mark.parametrize("body", [TOOLBELT, REQWEST, DISTUTILS, CURL, BROWSER, URLLIB3])
@pytest.mark.parametrize(
    "content_type", [TYPE, 'multipart/form-data; boundary="B"', "Multipart/Form-Data; charset=utf-8; boundary=B"]
)
async def test_form__of_each_client__is_read_alike(body: bytes, content_type: str) -> None:
    sink = Memory()
    form = await read(body, sink=sink, headers={"Content-Type": content_type})
    assert form.fields == {":action": ("file_upload",), "name": ("foo",)}
    assert (form.filename, sink.content) == ("foo-1!1.0+cpu.tar.gz", CONTENT)


# -- what is refused by its head alone


@pytest.mark.parametrize(
    ("headers", "status", "why"),
    [
        ({"Content-Type": "application/octet-stream"}, 415, "multipart/form-data"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415, "multipart/form-data"),
        ({"Content-Type": "multipart/mixed; boundary=B"}, 415, "multipart/form-data"),
        ({"Content-Type": ""}, 415, "multipart/form-data"),
        ({"Content-Type": "multipart/form-data"}, 400, "boundary is missing"),
        ({"Content-Type": "multipart/form-data; boundary="}, 400, "boundary is missing"),
        ({"Content-Type": 'multipart/form-data; boundary="'}, 400, "malformed"),
        ({"Content-Type": "multipart/form-data; boundary=B; boundary=C"}, 400, "twice"),
        ({"Content-Type": "multipart/form-data; boundary=" + "B" * 71}, 400, "boundary is missing or malformed"),
        ({"Content-Encoding": "gzip"}, 415, "Content-Encoding"),
        ({"Content-Encoding": "identity, br"}, 415, "Content-Encoding"),
        ({"Content-Length": "1001"}, 413, "larger than 1000 bytes"),
    ],
)
async def test_form__refused_by_its_head__is_not_read(headers: dict[str, str], status: int, why: str) -> None:
    made, stream = request(END, headers=headers)
    with pytest.raises(UploadRefused) as refused:
        await read_form(made, Memory(), limit=1000)
    assert (refused.value.status, why in refused.value.reason) == (status, True), refused.value.reason
    assert stream.asked == 0


@pytest.mark.parametrize("coding", ["identity", "Identity", ""])
async def test_form__encoded_as_it_is__is_read(coding: str) -> None:
    assert (await read(part("a", "b") + END, headers={"Content-Encoding": coding})).fields == {"a": ("b",)}


async def test_form__of_just_the_limit__is_read() -> None:
    body = content() + END
    assert (await read(body, limit=len(body), headers={"Content-Length": str(len(body))})).size == len(CONTENT)


async def test_form__over_the_limit_without_saying_so__is_413_at_once() -> None:
    body = content() + END
    made, stream = request(*(body[at : at + 10] for at in range(0, len(body), 10)))
    with pytest.raises(UploadRefused) as refused:
        await read_form(made, Memory(), limit=35)
    assert (refused.value.status, stream.asked) == (413, 4)


async def test_form__that_trickles_in__is_408(monkeypatch: pytest.MonkeyPatch) -> None:
    body = content() + END
    pieces = [body[at : at + 10] for at in range(0, len(body), 10)]
    assert (await read(*pieces)).size == len(CONTENT)
    monkeypatch.setattr("pyproxy.handlers.form._GRACE", 0.0)
    monkeypatch.setattr("pyproxy.handlers.form._PACE", 1 << 50)
    with pytest.raises(UploadRefused, match="bytes a second") as refused:
        await read(*pieces)
    assert refused.value.status == 408


# -- what is refused by its content


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "the form is cut"),
        (part("a", "b"), "the form is cut"),
        (content() + END[:4], "the form is cut"),
        (content() + content() + END, "two files"),
        (part("content", "x") + END, "content has no filename"),
        (part("content", "x", filename="") + END, "content has no filename"),
        (part("name", "x", filename="x") + END, "field 'name' is a file"),
        (part("gpg_signature", "x") * 2 + END, "two signatures"),
        (part("a", "x", more="Content-Type: multipart/mixed; boundary=C\r\n") + END, "another form in it"),
        (part("a", b"\xff") + END, "field 'a' is not utf-8"),
        (part("_charset_", "ascii") + part("a", "ü") + END, "field 'a' is not ascii"),
        (part("_charset_", "utf-7") + part("a", "b") + END, "character set that is not taken"),
        (part("_charset_", "zip") + part("a", "b") + END, "character set that is not taken"),
        (
            part("a", "b", more="Content-Type: text/plain; charset=punycode\r\n") + END,
            "character set that is not taken",
        ),
        (part("a", "b") + END + b"more", "something behind its end"),
        (b"name=foo&version=1.0" * 100, "does not begin with its boundary"),
    ],
)
async def test_form__malformed__is_400(body: bytes, why: str) -> None:
    error = await refusal(body)
    assert (error.status, why in error.reason) == (400, True), error.reason


async def test_form__cut_anywhere__is_400() -> None:
    body = part("name", "foo") + content() + part("version", "1.0") + END
    for end in {*range(0, len(body) - 2, 5), len(body) - 3}:
        assert (await refusal(body[:end])).reason == "the form is cut"


BOUNDS = FormBounds(parts=5, field=10, description=20, fields=60, signature=15)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (part("a", "b") * 5, None),
        (part("a", "b") * 6, "more than 5 parts"),
        (part("a", "b" * 10), None),
        (part("a", "b" * 11), "field 'a' is too large"),
        (part("description", "b" * 20), None),
        (part("description", "b" * 21), "field 'description' is too large"),
        (part("gpg_signature", "b" * 15, filename="x"), None),
        (part("gpg_signature", "b" * 16, filename="x"), "field 'gpg_signature' is too large"),
        (part("a", "b" * 10) * 5, None),
        (part("abc", "b" * 10) * 5, "fields are too large"),
        (part("a" * 61, ""), "fields are too large"),
        (content(bytes(1000)), None),
    ],
)
@pytest.mark.parametrize("size", [1, 1 << 20])
async def test_form__over_a_bound__is_413(body: bytes, why: str | None, size: int) -> None:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    if why is None:
        await read(*pieces, END, bounds=BOUNDS)
        return
    error = await refusal(*pieces, END, bounds=BOUNDS)
    assert (error.status, why in error.reason) == (413, True), error.reason


async def test_form__of_a_release_with_very_many_requirements__is_read() -> None:
    body = b"".join(part("requires_dist", f"dependency-{number} (>=1.0) ; extra == 'x'") for number in range(2000))
    assert len((await read(body + END)).fields["requires_dist"]) == 2000


async def test_form__of_fifteen_thousand_parts__is_413_soon() -> None:
    body = part("a", "b") * 15_000
    begun = time.process_time()
    assert (await refusal(*(body[at : at + 65536] for at in range(0, len(body), 65536)))).status == 413
    assert time.process_time() - begun < 1


async def test_form__sink_that_is_full__is_not_hidden() -> None:
    class Full(Memory):
        def write(self, _data: bytes, /) -> None:
            raise StoreFull("no room")

    for size in (10, 3 << 20):
        with pytest.raises(StoreFull, match="no room"):
            await read(content(bytes(size)) + END, sink=Full())


@settings(max_examples=60)
@given(
    st.lists(
        st.sampled_from(
            [part("a", "b"), content(), END, b"--B", b"\r\n", part("_charset_", "utf-8"), b"\xff", part("c", b"\xff")]
        )
        | st.binary(max_size=20),
        max_size=8,
    )
)
def test_form__any_bytes__are_read_or_refused(pieces: list[bytes]) -> None:
    refused = why_refused(lambda: asyncio.run(read(*pieces, bounds=BOUNDS)))
    assert in_one_line(refused)
    assert refused is None or refused.status in {400, 413}


# -- over a connection


@contextlib.asynccontextmanager
async def uploading(*, limit: int = 1 << 20) -> AsyncIterator[tuple[Listener, list[str]]]:
    """A server that tells what it read, and a list of how each upload went."""
    outcomes: list[str] = []

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        try:
            form = await read_form(request, Memory(), limit=limit)
        except UploadRefused as exc:
            outcomes.append(f"{exc.status} {exc.reason}")
            return web.Response(status=exc.status, text=exc.reason, headers={"Connection": "close"})
        except BaseException as exc:
            outcomes.append(type(exc).__name__)
            raise
        outcomes.append("read")
        return web.Response(text=f"{form.filename} {form.size} {form.digests.sha256}")

    async with serving(handle) as listener:
        yield listener, outcomes


HEAD = f"Content-Type: {TYPE}"


async def test_upload__over_a_connection__is_read() -> None:
    async with uploading() as (listener, _), connected(listener.address) as client:
        big = bytes(range(256)) * 3000
        await client.send(post(content(big) + END, HEAD))
        answer = await client.answer()
        assert answer.body.decode() == f"foo-1.0.tar.gz {len(big)} {hashlib.sha256(big).hexdigest()}"


async def test_upload__chunked__is_counted() -> None:
    async with uploading(limit=100_000) as (listener, outcomes):
        for size, status in ((50_000, 200), (150_000, 413)):
            async with connected(listener.address) as client:
                body = content(bytes(size)) + END
                chunks = b"".join(
                    b"%x\r\n%b\r\n" % (len(body[at : at + 9999]), body[at : at + 9999])
                    for at in range(0, len(body), 9999)
                )
                await client.send(get("/", HEAD, "Transfer-Encoding: chunked", method="POST") + chunks + b"0\r\n\r\n")
                assert (await client.answer()).status == status
        assert outcomes == ["read", "413 the upload is larger than 100000 bytes"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([HEAD, "Content-Encoding: gzip"], 415),
        (["Content-Type: application/json"], 415),
        (["Content-Type: multipart/form-data"], 400),
        ([HEAD, "Content-Length: 2000000"], 413),
    ],
)
async def test_upload__refused_by_its_head__is_never_asked_for(fields: list[str], status: int) -> None:
    async with uploading() as (listener, _), connected(listener.address) as client:
        length = [] if "Content-Length" in fields[-1] else ["Content-Length: 1000"]
        await client.send(get("/", *fields, *length, "Expect: 100-continue", method="POST"))
        assert (await client.answer()).status == status  # not 100


async def test_upload__asked_for__is_told_to_go_on() -> None:
    async with uploading() as (listener, _), connected(listener.address) as client:
        body = content() + END
        await client.send(get("/", HEAD, f"Content-Length: {len(body)}", "Expect: 100-continue", method="POST"))
        assert (await client.answer()).status == 100
        await client.send(body)
        assert (await client.answer()).status == 200


@pytest.mark.parametrize("sent", [0.0001, 0.5, 0.9999])
async def test_upload__whose_client_goes_away__ends(sent: float) -> None:
    async with uploading() as (listener, outcomes), connected(listener.address) as client:
        body = content(bytes(100_000)) + END
        await client.send(get("/", HEAD, f"Content-Length: {len(body)}", method="POST") + body[: int(len(body) * sent)])
        await until(lambda: listener.requests_in_flight == 1)
        client.close()
        await until(lambda: bool(outcomes))
        assert outcomes != ["read"]


async def test_upload__cut_but_for_its_length__is_400() -> None:
    async with uploading() as (listener, outcomes), connected(listener.address) as client:
        await client.send(post(content(), HEAD))
        answer = await client.answer()
        assert (answer.status, answer.body, outcomes) == (400, b"the form is cut", ["400 the form is cut"])


async def test_upload__with_broken_chunks__is_refused() -> None:
    async with uploading() as (listener, outcomes), connected(listener.address) as client:
        await client.send(get("/", HEAD, "Transfer-Encoding: chunked", method="POST") + b"5\r\n--B\r\n\r\nzz\r\n")
        assert (await client.answer()).status == 400
        assert "read" not in outcomes

"""Core metadata of every wheel: the remote's own where it is right, else out of the wheel, by few bytes."""

from __future__ import annotations

import asyncio
import hashlib
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from pyproxy.storage.environment import Txn
from pyproxy.storage.store import verify
from tests.daemon import HTML, Project, Served, a_wheel, noise, one_remote, project, serving
from tests.fakes.faults import Cut, Flip, Gate, Hang, Headers, Status
from tests.fakes.raw_upstream import RawUpstream

WHEEL = "alpha-1.0-py3-none-any.whl"
FILE = f"/files/{WHEEL}"
BESIDE = f"{FILE}.metadata"
LARGE = noise(2 << 20)
ASKED = ("pyproxy_upstream_requests_total", "kind", "status")


def metadata_of(wheel: bytes) -> bytes:
    with zipfile.ZipFile(BytesIO(wheel)) as archive:
        return archive.read("alpha-1.0.dist-info/METADATA")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def told(up: RawUpstream, metadata: bytes, *, digest: str | bool | None = None, payload: bytes = LARGE) -> bytes:
    """Publishes a wheel whose page promises this metadata; the wheel's bytes."""
    said = {"sha256": sha256(metadata) if digest is None else digest} if not isinstance(digest, bool) else digest
    made = project(up, payload=payload, core_metadata=said)
    up.serve(BESIDE, metadata, content_type="application/octet-stream")
    return made.files[WHEEL]


async def advertised(served: Served) -> object:
    """What the page says of the core metadata of its one file."""
    [file] = (await served.page()).json()["files"]
    return file["core-metadata"]


async def test_metadata__of_the_remote__is_passed_on_and_kept(up: RawUpstream, tmp_path: Path) -> None:
    metadata = b"Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n"
    told(up, metadata)
    async with serving(tmp_path, one_remote(up)) as served:
        assert await advertised(served) == {"sha256": sha256(metadata)}
        link = f"{await served.link()}.metadata"
        with served.counting("pyproxy_requests_total", "kind", "result") as results:
            first = await served.ask(link)
            again = await served.ask(link)
        assert results == {("metadata", "miss"): 1, ("metadata", "hit"): 1}
        for answer in (first, again):
            assert answer.body == metadata
            assert answer.etag == f'"{sha256(metadata)}"'
            assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
            assert answer.headers["Cache-Control"].endswith("immutable")
        assert (await served.ask(link, If_None_Match=first.etag)).status == 304
        assert (await served.ask(link, Range="bytes=0-3")).body == metadata[:4]
        head = await served.ask(link, "HEAD")
        assert (head.status, head.headers["Content-Length"], head.body) == (200, str(len(metadata)), b"")
        assert served.metric(ASKED[0], kind="metadata", status="200") == 1
    await up.stop()
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(link)).body == metadata
    assert (up.count(BESIDE), up.count(FILE)) == (1, 0)


async def test_metadata__found__is_given_before_it_is_stored_and_asked_for_once(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = b"Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n"
    told(up, metadata)
    async with serving(tmp_path, one_remote(up)) as served:
        link = f"{await served.link()}.metadata"
        records = served.daemon.machinery.store.records
        disk, put = asyncio.Event(), records.put_docs

        async def slow(*args: Any) -> None:  # Any: it stands in for the method
            await disk.wait()
            await put(*args)

        monkeypatch.setattr(records, "put_docs", slow)
        with served.counting("pyproxy_requests_total", "kind", "result") as results:
            assert (await served.ask(link)).body == metadata
            assert (await served.ask(link)).body == metadata
        assert results == {("metadata", "miss"): 1, ("metadata", "hit"): 1}
        assert (await served.ask(link, Range="bytes=0-3")).body == metadata[:4]
        disk.set()
        await served.settled()
        assert (await served.ask(link, Range="bytes=0-3")).body == metadata[:4]
    assert up.count(BESIDE) == 1


@pytest.mark.parametrize(
    ("asked", "status", "got"),
    [
        ("bytes=-4", 206, b"1.0\n"),
        ("bytes=0-3,10-12", 206, None),
        ("bytes=999-", 416, None),
        ("bytes=0-0,0-1", 200, None),
    ],
)
async def test_metadata__ranges__are_as_of_a_file(
    up: RawUpstream, tmp_path: Path, asked: str, status: int, got: bytes | None
) -> None:
    metadata = b"Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n"
    told(up, metadata)
    async with serving(tmp_path, one_remote(up)) as served:
        link = f"{await served.link()}.metadata"
        cold = await served.ask(link, Range=asked)
        await served.settled()
        warm = await served.ask(link, Range=asked)
        other = await served.ask(link, Range=asked, If_Range='"another"')
    assert (cold.status, cold.body) == (warm.status, warm.body)
    assert warm.status == status
    assert got is None or (warm.body, warm.headers["Content-Range"]) == (got, f"bytes 43-46/{len(metadata)}")
    if asked == "bytes=0-3,10-12":
        assert warm.headers["Content-Type"].startswith("multipart/byteranges; boundary=")
        assert [b"\r\n\r\nMeta\r\n--" in warm.body, b"\r\n\r\nersi\r\n--" in warm.body] == [True, False]
        assert f"Content-Range: bytes 10-12/{len(metadata)}\r\n\r\n".encode() + metadata[10:13] in warm.body
    assert (other.status, other.body) == (200, metadata)


async def test_metadata__damaged_where_it_is_stored__is_found_anew_and_told_by_verify(
    up: RawUpstream, tmp_path: Path
) -> None:
    metadata = b"Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n"
    told(up, metadata)
    async with serving(tmp_path, one_remote(up)) as served:
        link = f"{await served.link()}.metadata"
        assert (await served.ask(link)).body == metadata
        await served.settled()
        store = served.daemon.machinery.store
        assert list(verify(store, mend=False)) == []
        env = store.records.env

        def damage(txn: Txn) -> None:
            with txn.cursor(db=env.docs) as cursor:
                assert cursor.first()
                cursor.put(cursor.key(), cursor.value().replace(b"alpha", b"omega"))

        store.records.writer.call(damage)
        assert [finding.kind for finding in verify(store, mend=False)] == ["page"]
        assert (await served.ask(link)).body == metadata
        await served.settled()
        assert list(verify(store, mend=False)) == []
    assert up.count(BESIDE) == 2


async def test_metadata__policy_streamed__is_asked_for_each_time(up: RawUpstream, tmp_path: Path) -> None:
    metadata = b"Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n"
    told(up, metadata)
    async with serving(tmp_path, one_remote(up, policy="streamed")) as served:
        link = f"{await served.link()}.metadata"
        for _ in range(2):
            assert (await served.ask(link)).body == metadata
    assert up.count(BESIDE) == 2


@pytest.mark.parametrize("refusal", [403, 404, 500])
async def test_metadata__never_promised_and_refused__comes_out_of_the_wheel_each_time(
    up: RawUpstream, tmp_path: Path, refusal: int
) -> None:
    wheel = project(up).files[WHEEL]
    up.script(BESIDE, Status(refusal), times=None)
    async with serving(tmp_path, one_remote(up, policy="streamed")) as served:
        link = f"{await served.link()}.metadata"
        for _ in range(3):  # from the second on its digest is known here
            answer = await served.ask(link)
            assert (answer.status, answer.body) == (200, metadata_of(wheel))
            served.forget_failures()


async def test_metadata__not_stored_when_the_daemon_is_told_to_stop__is_stored_first(
    up: RawUpstream, tmp_path: Path
) -> None:
    metadata = b"Metadata-Version: 2.1\nName: alpha\nVersion: 1.0\n"
    told(up, metadata)
    async with serving(tmp_path, one_remote(up)) as served:
        link = f"{await served.link()}.metadata"
        assert (await served.ask(link)).body == metadata
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(link)).body == metadata
    assert up.count(BESIDE) == 1


@pytest.mark.parametrize("wrong", ["digest", "missing", "gone"])
async def test_metadata__of_the_remote_wrong_or_missing__comes_out_of_the_wheel(
    up: RawUpstream, tmp_path: Path, wrong: str
) -> None:
    wheel = told(up, b"Metadata-Version: 2.1\nName: evil\nVersion: 1.0\n", digest="0" * 64)
    if wrong != "digest":
        up.script(BESIDE, Status(404 if wrong == "missing" else 410), times=None)
    right = metadata_of(wheel)
    async with serving(tmp_path, one_remote(up)) as served:
        before = await served.page()
        answer = await served.ask(f"{await served.link()}.metadata")
        assert (answer.status, answer.body) == (200, right)
        # From then on the page tells the digest that is right.
        after = await served.page()
        assert after.json()["files"][0]["core-metadata"] == {"sha256": sha256(right)}
        assert after.etag != before.etag
        assert (await served.page(If_None_Match=before.etag)).status == 200
        assert f'data-core-metadata="sha256={sha256(right)}"' in (await served.page(accept=HTML)).text
        assert (await served.ask(f"{await served.link()}.metadata")).body == right
    assert up.count(BESIDE) == 1


async def test_metadata__remote_has_none__out_of_the_wheel_by_ranges_with_few_bytes(
    up: RawUpstream, tmp_path: Path
) -> None:
    wheel = project(up, payload=LARGE).files[WHEEL]
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        before = await served.page()
        assert before.json()["files"][0]["core-metadata"] is True
        link = await served.link()
        answers = await asyncio.gather(*(served.ask(f"{link}.metadata") for _ in range(10)))
        assert {a.body for a in answers} == {metadata_of(wheel)}
        assert up.count(BESIDE) == 0
        assert 1 <= up.count(FILE) <= 3
        assert up.sent[FILE] < 200_000 < len(wheel) // 10
        asked = up.count(FILE)
        after = await served.page()
        assert after.json()["files"][0]["core-metadata"] == {"sha256": sha256(metadata_of(wheel))}
        assert after.etag != before.etag
        # Kept, also past the page's life and over a restart.
        served.later(601)
        assert (await served.page()).etag == after.etag
        assert (await served.ask(f"{link}.metadata")).body == metadata_of(wheel)
        await served.settled()
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.page()).etag == after.etag
        assert (await served.ask(f"{link}.metadata")).body == metadata_of(wheel)
        assert up.count(FILE) == asked
        assert (await served.ask(link)).body == wheel


async def test_metadata__size_not_told__by_ranges_all_the_same(up: RawUpstream, tmp_path: Path) -> None:
    wheel = project(up, payload=LARGE, size=None).files[WHEEL]
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(f"{await served.link()}.metadata")).body == metadata_of(wheel)
    assert up.sent[FILE] < 200_000


@pytest.mark.parametrize("said", [{}, {"size": None}], ids=["size told", "size not told"])
async def test_metadata__remote_without_ranges__out_of_the_whole_wheel_which_is_kept(
    up: RawUpstream, tmp_path: Path, said: dict[str, Any]
) -> None:
    wheel = project(up, payload=LARGE, **said).files[WHEEL]
    up.serve(FILE, wheel, ranges=False)
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        assert (await served.ask(f"{link}.metadata")).body == metadata_of(wheel)
        await served.settled()
        asked = up.count(FILE, "GET")
        assert (await served.ask(link)).body == wheel
        assert up.count(FILE, "GET") == asked


async def test_metadata__remote_that_only_claims_ranges__is_not_believed(up: RawUpstream, tmp_path: Path) -> None:
    wheel = project(up, payload=LARGE).files[WHEEL]
    up.serve(FILE, wheel, ranges=False, headers={"Accept-Ranges": "bytes"})
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(f"{await served.link()}.metadata")).body == metadata_of(wheel)


async def test_metadata__of_a_small_wheel__takes_the_whole_of_it_once(up: RawUpstream, tmp_path: Path) -> None:
    wheel = project(up).files[WHEEL]
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        assert (await served.ask(f"{link}.metadata")).body == metadata_of(wheel)
        await served.settled()
        assert (await served.ask(link)).body == wheel
    assert up.count(FILE) == 1


@pytest.mark.parametrize("promised", [True, False], ids=["promised as it is", "not promised"])
async def test_metadata__wheel_stored__asks_nobody(up: RawUpstream, tmp_path: Path, *, promised: bool) -> None:
    right = metadata_of(a_wheel(payload=LARGE))
    wheel = told(up, right, digest=None if promised else False)
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        await served.ask(link)
        await served.settled()
        await up.stop()
        assert (await served.ask(f"{link}.metadata")).body == right == metadata_of(wheel)


@pytest.mark.parametrize("has_it", [True, False], ids=["has it", "is down"])
async def test_metadata__wheel_stored_and_other_metadata_promised__the_promise_is_kept_where_it_can_be(
    up: RawUpstream, tmp_path: Path, *, has_it: bool
) -> None:
    """pip compares the digest that the page gave: other bytes, though right, would stop it."""
    wheel = told(up, b"Name: alpha\nas the remote says\n")
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        await served.ask(link)
        await served.settled()
        if not has_it:
            await up.stop()
        expected = b"Name: alpha\nas the remote says\n" if has_it else metadata_of(wheel)
        assert (await served.ask(f"{link}.metadata")).body == expected
        assert await advertised(served) == {"sha256": sha256(expected)}


async def test_metadata__while_the_wheel_arrives__is_one_fetch_of_it(up: RawUpstream, tmp_path: Path) -> None:
    wheel = project(up, payload=LARGE).files[WHEEL]
    up.serve(FILE, wheel, ranges=False)
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=1 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        getting = asyncio.create_task(served.ask(link))
        await up.asked(FILE)
        asking = asyncio.create_task(served.ask(f"{link}.metadata"))
        await up.asked(FILE, 2)  # the range that the remote does not do
        rest.set()
        assert (await asking).body == metadata_of(wheel)
        assert (await getting).body == wheel
    assert up.count(FILE) == 2


async def test_metadata__wheel_without__404_and_the_wheel_is_served(up: RawUpstream, tmp_path: Path) -> None:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("alpha/__init__.py", "")
        archive.writestr("beta-1.0.dist-info/METADATA", "Name: beta\n")
    made = Project("alpha")
    made.add(WHEEL, out.getvalue())
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        link = await served.link()
        answer = await served.ask(f"{link}.metadata")
        assert answer.status == 404
        assert answer.line.startswith(f"{WHEEL} gives no core metadata: ")
        assert (await served.ask(link)).body == out.getvalue()


@pytest.mark.parametrize("data", [b"", b"not a zip", noise(100_000), b"PK\x05\x06" + bytes(18)])
async def test_metadata__wheel_that_is_none__404(up: RawUpstream, tmp_path: Path, data: bytes) -> None:
    made = Project("alpha")
    made.add(WHEEL, data)
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(f"{await served.link()}.metadata")).status == 404


async def test_metadata__wheel_with_wrong_bytes__is_not_read(up: RawUpstream, tmp_path: Path) -> None:
    project(up)  # a small one: fetched whole, so its digest is known
    up.script(FILE, Flip(at=0.1))
    async with serving(tmp_path, one_remote(up)) as served:
        link = f"{await served.link()}.metadata"
        assert (await served.ask(link)).status == 502
        assert (await served.ask(link)).status == 200


async def test_metadata__remote_fails__502_and_then_it_works(up: RawUpstream, tmp_path: Path) -> None:
    told(up, b"metadata")
    up.script(BESIDE, Status(500))
    up.script(BESIDE, Cut(at=0.5))
    async with serving(tmp_path, one_remote(up)) as served:
        link = f"{await served.link()}.metadata"
        for _ in range(2):
            answer = await served.ask(link)
            assert answer.status == 502
            assert answer.line.startswith("remote up: ")
            served.forget_failures()
        assert (await served.ask(link)).body == b"metadata"


async def test_metadata__remote_takes_for_ever__502_in_time(
    up: RawUpstream, tmp_path: Path, patience: Callable[[float], None]
) -> None:
    told(up, b"metadata")
    up.script(BESIDE, Hang(), times=None)
    patience(0.2)
    async with serving(tmp_path, one_remote(up)) as served:
        link = f"{await served.link()}.metadata"
        async with asyncio.timeout(3.0):
            assert (await served.ask(link)).status == 502


async def test_metadata__too_large__is_taken_from_nowhere(up: RawUpstream, tmp_path: Path) -> None:
    told(up, bytes(5 << 20))
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(f"{await served.link()}.metadata")
        assert answer.status == 502
        assert "over the bound" in answer.line


async def test_metadata__promised_as_true__is_taken_as_it_is(up: RawUpstream, tmp_path: Path) -> None:
    told(up, b"as the remote has it", digest=True)
    async with serving(tmp_path, one_remote(up)) as served:
        assert await advertised(served) is True
        assert (await served.ask(f"{await served.link()}.metadata")).body == b"as the remote has it"
        assert await advertised(served) == {"sha256": sha256(b"as the remote has it")}


async def test_metadata__of_another_wheel_under_the_same_name__is_its_own(up: RawUpstream, tmp_path: Path) -> None:
    """What was learned of the old wheel must not be said of the new one: pip checks the digest and gives up."""
    made = project(up, payload=LARGE)
    async with serving(tmp_path, one_remote(up, ttl="10m")) as served:
        link = f"{await served.link()}.metadata"
        old = (await served.ask(link)).body
        new_wheel = a_wheel(requires=("beta",), payload=LARGE)
        made.add(WHEEL, new_wheel)
        made.publish(up, etag='"2"')
        served.later(601)
        assert await advertised(served) is True
        new = (await served.ask(link)).body
        assert new == metadata_of(new_wheel) != old
        assert await advertised(served) == {"sha256": sha256(new)}


async def test_metadata__learned__covers_one_wheel_of_the_page(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    made.add("alpha-2.0-py3-none-any.whl", a_wheel(version="2.0"))
    made.add("alpha-2.0.tar.gz", noise(100))
    made.publish(up)
    async with serving(tmp_path, one_remote(up)) as served:
        links = await served.links()
        await served.ask(f"{links[WHEEL]}.metadata")
        said = {f["filename"]: f.get("core-metadata") for f in (await served.page()).json()["files"]}
        assert isinstance(said.pop(WHEEL), dict)
        assert said["alpha-2.0-py3-none-any.whl"] is True
        assert not said["alpha-2.0.tar.gz"]


async def test_metadata__of_an_sdist__404_unless_the_remote_has_it(up: RawUpstream, tmp_path: Path) -> None:
    made = Project("alpha")
    made.add("alpha-1.0.tar.gz", noise(100))
    made.add("alpha-2.0.tar.gz", noise(101), core_metadata={"sha256": sha256(b"Name: alpha\n")})
    made.add("alpha-3.0.tar.gz", noise(102), core_metadata={"sha256": sha256(b"Name: alpha\n")})
    made.publish(up)
    up.serve("/files/alpha-2.0.tar.gz.metadata", b"Name: alpha\n")
    async with serving(tmp_path, one_remote(up)) as served:
        links = await served.links()
        answer = await served.ask(f"{links['alpha-1.0.tar.gz']}.metadata")
        assert (answer.status, answer.line) == (404, "alpha-1.0.tar.gz has no core metadata of its own")
        assert (await served.ask(f"{links['alpha-2.0.tar.gz']}.metadata")).body == b"Name: alpha\n"
        assert (await served.ask(f"{links['alpha-3.0.tar.gz']}.metadata")).status == 404
    assert up.count("/files/alpha-1.0.tar.gz.metadata") == 0


async def test_metadata__link_with_a_query__keeps_it_behind_the_path(up: RawUpstream, tmp_path: Path) -> None:
    made = Project("alpha")
    made.add(WHEEL, a_wheel(), url=f"../..{FILE}?token=1", core_metadata=True)
    made.publish(up)
    up.serve(BESIDE, b"Name: alpha\n")
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(f"{await served.link()}.metadata")).body == b"Name: alpha\n"
    assert up.requests[-1].target == f"{BESIDE}?token=1"


async def test_metadata__no_page_was_asked_for__works(up: RawUpstream, tmp_path: Path) -> None:
    wheel = project(up, payload=LARGE).files[WHEEL]
    async with serving(tmp_path, one_remote(up)) as served:
        assert (await served.ask(f"/pypi/main/files/up{BESIDE}")).body == metadata_of(wheel)


async def test_metadata__coded_by_the_remote__is_decoded(up: RawUpstream, tmp_path: Path) -> None:
    told(up, b"Name: alpha\n" * 100)
    up.serve(BESIDE, b"Name: alpha\n" * 100, gzip=True)
    up.script(BESIDE, Headers({"Content-Type": "text/html"}))
    async with serving(tmp_path, one_remote(up)) as served:
        answer = await served.ask(f"{await served.link()}.metadata", Accept_Encoding="gzip")
        assert answer.plain == b"Name: alpha\n" * 100
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    "said", [{"dist-info-metadata": True}, {"data-dist-info-metadata": {"sha256": "0" * 64}}], ids=["old", "older"]
)
async def test_metadata__under_its_old_names__is_understood(
    up: RawUpstream, tmp_path: Path, said: dict[str, Any]
) -> None:
    project(up, **said)
    async with serving(tmp_path, one_remote(up)) as served:
        [file] = (await served.page()).json()["files"]
        assert file["core-metadata"] in (True, {"sha256": "0" * 64})


async def test_metadata__html_remote__is_advertised_and_learned(up: RawUpstream, tmp_path: Path) -> None:
    wheel = a_wheel(payload=LARGE)
    page = f'<!DOCTYPE html><html><body><a href="{FILE}#sha256={sha256(wheel)}">{WHEEL}</a></body></html>'
    up.serve("/simple/alpha/", page.encode(), content_type="text/html")
    up.serve(FILE, wheel)
    async with serving(tmp_path, one_remote(up)) as served:
        assert await advertised(served) is True
        assert (await served.ask(f"{await served.link()}.metadata")).body == metadata_of(wheel)
        assert await advertised(served) == {"sha256": sha256(metadata_of(wheel))}
    assert up.sent[FILE] < 200_000


async def test_metadata__asked_for_by_many__is_hashed_once(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(up)
    rest = asyncio.Event()
    up.script(FILE, Gate(rest, first=10))
    hashed = mock.Mock(wraps=hashlib)
    monkeypatch.setattr("pyproxy.index.stored_companions.hashlib", hashed)
    async with serving(tmp_path, one_remote(up)) as served:
        link = f"{await served.link()}.metadata"
        asking = [asyncio.create_task(served.ask(link)) for _ in range(5)]
        await served.coalesced(4)
        rest.set()
        assert {answer.status for answer in await asyncio.gather(*asking)} == {200}
    assert hashed.sha256.call_count == 1

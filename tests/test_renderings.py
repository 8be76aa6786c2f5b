"""Rendered pages: never one page's bytes under another's tag, and no more kept than fits."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pyproxy import encoding, simple_api
from pyproxy import renderings as module
from pyproxy.encoding import Coding
from pyproxy.model import File, ProjectPage, as_filename, as_project
from pyproxy.renderings import FILE_WEIGHT, OFF_LOOP, Look, Renderings
from pyproxy.simple_api import Kind

ALPHA = as_project("alpha")
LOOK = Look("main", ALPHA, Kind.JSON, "../../files/")


def page(version: str, files: int = OFF_LOOP, *, requires: str | None = None) -> ProjectPage:
    names = [as_filename(f"alpha-{version}.{number}.tar.gz") for number in range(files)]
    return ProjectPage(
        ALPHA, tuple(File(n, f"https://x.example/{n}", f"up/{n}", requires_python=requires) for n in names)
    )


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


async def test_get__page_at_the_address_of_one_that_is_gone__has_its_own_bytes(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter gives an object's identity again once it is gone: here to all pages."""
    monkeypatch.setattr(module, "id", lambda _: 1, raising=False)
    begun, rest = threading.Event(), threading.Event()
    real = encoding.compress

    def slow(body: bytes, coding: Coding) -> bytes:
        begun.set()
        rest.wait(10)
        return real(body, coding)

    monkeypatch.setattr(module, "compress", slow)
    kept = Renderings(executor)
    first = page("1")
    await kept.get(LOOK, first, "identity", None)
    asking = asyncio.create_task(kept.get(LOOK, first, "gzip", None))
    await asyncio.to_thread(begun.wait, 10)
    asking.cancel()
    await asyncio.wait([asking])
    new = asyncio.create_task(kept.get(LOOK, page("2"), "gzip", None))
    await asyncio.sleep(0.05)  # let it come to where it would join
    rest.set()
    found, coding = await new
    assert coding == "gzip"
    assert gzip.decompress(kept.body(found, "gzip")) == found.identity
    assert b"alpha-2." in found.identity
    await kept.close()


async def test_get__coded__is_made_in_the_hop_that_renders(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    for name in ("render_page", "compress"):
        real = getattr(module, name)

        def noted(*args: object, real: Callable[..., bytes] = real, **named: object) -> bytes:
            threads.append(threading.current_thread())
            return real(*args, **named)

        monkeypatch.setattr(module, name, noted)
    kept = Renderings(executor)
    found, coding = await kept.get(LOOK, page("1"), "gzip", None)
    assert gzip.decompress(kept.body(found, coding)) == found.identity
    assert threading.main_thread() not in threads
    assert len(threads) == 2
    again, coding = await kept.get(LOOK, found.page, "zstd", None)
    assert again is found
    assert len(threads) == 3


@pytest.mark.parametrize("codings", [["identity", "gzip", "zstd"], ["zstd", "gzip", "identity"]])
async def test_tags__are_those_of_the_bytes_sent__whichever_are_asked_for_first(
    executor: ThreadPoolExecutor, codings: list[Coding]
) -> None:
    kept = Renderings(executor)
    tags = {}
    for coding in codings:
        found, sent = await kept.get(LOOK, page("1"), coding, None)
        assert sent == coding
        digest = hashlib.sha256(Kind.JSON.content_type.encode() + b"\n" + kept.body(found, sent)).hexdigest()[:40]
        tags[sent] = found.etag(sent)
        assert tags[sent] == (f'"{digest}"' if sent == "identity" else f'"{digest}-{sent}"')
    assert len(set(tags.values())) == 3


async def test_get__coding_that_gains_nothing__is_the_body_in_plain_under_its_tag(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "compress", lambda body, coding: body if coding == "identity" else body + b".")
    kept = Renderings(executor)
    same = page("1")
    coded, sent = await kept.get(LOOK, same, "gzip", None)
    assert (sent, kept.body(coded, sent)) == ("identity", coded.identity)
    plain, sent = await kept.get(LOOK, same, "identity", None)
    assert plain is coded
    assert plain.weight == len(plain.identity) + FILE_WEIGHT * len(same.files)
    assert plain.etag(sent).count("-") == 0


async def test_get__coding_that_gains_nothing__made_for_another_rendering_of_the_same_bytes__is_in_plain(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, rest = threading.Event(), threading.Event()

    def slow(body: bytes, coding: Coding) -> bytes:
        if coding == "identity":
            return body
        begun.set()
        rest.wait(10)
        return body + b"."

    monkeypatch.setattr(module, "compress", slow)
    kept = Renderings(executor)
    first, second = page("1"), page("1")
    await kept.get(LOOK, first, "identity", None)
    asking = asyncio.create_task(kept.get(LOOK, first, "gzip", None))
    await asyncio.to_thread(begun.wait, 10)
    await kept.get(LOOK, second, "identity", None)
    joining = asyncio.create_task(kept.get(LOOK, second, "gzip", None))
    await asyncio.sleep(0)  # it joins what is under way
    rest.set()
    for task, its in ((asking, first), (joining, second)):
        found, sent = await task
        assert (found.page is its, sent, kept.body(found, sent)) == (True, "identity", found.identity)


async def test_get__few_files_and_many_bytes__are_rendered_in_a_thread(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    real = simple_api.render_page

    def noted(*args: object, **named: object) -> bytes:
        threads.append(threading.current_thread())
        return real(*args, **named)  # type: ignore[arg-type]  # as they came

    monkeypatch.setattr(module, "render_page", noted)
    kept = Renderings(executor)
    await kept.get(LOOK, page("1", 2), "identity", None)
    await kept.get(LOOK, page("2", 2, requires=">=3" + "," * module.LARGE), "identity", None)
    assert [thread is threading.main_thread() for thread in threads] == [True, False]


async def test_capacity__counts_the_pages_that_renderings_hold(executor: ThreadPoolExecutor) -> None:
    files = 50
    kept = Renderings(executor, capacity=3 * FILE_WEIGHT * files)
    for base in "abcdef":
        await kept.get(Look(base, ALPHA, Kind.JSON, "../../files/"), page("1", files), "identity", None)
    assert len(kept._kept) == 2


async def test_capacity__what_goes__is_taken_apart_after_the_answer(
    executor: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LATER", 0.0)
    kept = Renderings(executor, capacity=1)
    first = page("1", 2)
    await kept.get(Look("a", ALPHA, Kind.JSON, "../../files/"), first, "identity", None)
    held = sys.getrefcount(first)
    await kept.get(LOOK, page("2", 2), "identity", None)
    assert len(kept._kept) == 1
    assert sys.getrefcount(first) == held
    await asyncio.sleep(0.01)
    assert sys.getrefcount(first) == held - 1

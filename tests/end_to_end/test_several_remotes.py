"""Several remotes in their order: the first that knows a project answers for it, and none is ever skipped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import Project, Served, a_remote, a_wheel, noise, remotes, serving
from tests.fakes.faults import Delay, Hang, Status
from tests.fakes.raw_upstream import RawUpstream

WHEEL = "alpha-1.0-py3-none-any.whl"
PAGE = "/simple/alpha/"


@dataclass(frozen=True, slots=True)
class Two:
    """Two remotes, each with an alpha of its own unless it is taken out; the second alone has a beta."""

    one: RawUpstream
    two: RawUpstream

    def text(self, **one: Any) -> str:
        return remotes(one=a_remote(self.one, **one), two=a_remote(self.two))

    def link(self, remote: str, filename: str = WHEEL) -> str:
        return f"/pypi/main/files/{remote}/files/{filename}"


def published(up: RawUpstream, name: str, data: bytes) -> Project:
    made = Project(name)
    made.add(f"{name}-1.0-py3-none-any.whl", data)
    made.publish(up)
    return made


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    async with RawUpstream() as one, RawUpstream() as other:
        published(one, "alpha", a_wheel(payload=b"one"))
        published(other, "alpha", a_wheel(payload=b"two"))
        published(other, "beta", a_wheel("beta"))
        yield Two(one, other)


async def files_of(served: Served, name: str = "alpha") -> list[str]:
    return list((await served.links(name)).values())


async def test_project__known_to_both__is_the_first_ones_alone(two: Two, tmp_path: Path) -> None:
    async with serving(tmp_path, two.text()) as served:
        assert await files_of(served) == [two.link("one")]
        assert b"one" in (await served.ask(two.link("one"))).body
    assert two.two.count(PAGE) == 0


async def test_project__known_to_the_second_alone__is_its(two: Two, tmp_path: Path) -> None:
    async with serving(tmp_path, two.text()) as served:
        link = two.link("two", "beta-1.0-py3-none-any.whl")
        assert await files_of(served, "beta") == [link]
        assert (await served.ask(link)).status == 200
        assert (await served.ask(f"{link}.metadata")).status == 200


async def test_project__known_to_neither__404_that_names_both(two: Two, tmp_path: Path) -> None:
    async with serving(tmp_path, two.text()) as served:
        answer = await served.page("nobody")
        assert (answer.status, answer.line) == (404, "no remote of one, two has project nobody")


@pytest.mark.parametrize("trouble", ["down", "500", "403"])
async def test_project__first_cannot_be_asked__502_and_the_second_never_steps_in(
    two: Two, tmp_path: Path, trouble: str
) -> None:
    if trouble == "down":
        await two.one.stop()
    else:
        two.one.script("*", Status(int(trouble)), times=None)
    async with serving(tmp_path, two.text()) as served:
        for name in ("alpha", "beta"):
            answer = await served.page(name)
            assert answer.status == 502
            assert answer.line.startswith("remote one: ")
        for filename in (WHEEL, "beta-1.0-py3-none-any.whl"):
            answer = await served.ask(two.link("two", filename))
            assert answer.status == 502
            assert answer.line.startswith("remote one: ")
    assert two.two.count(f"/files/{WHEEL}") == 0


async def test_project__both_slow__502_within_one_wait(
    two: Two, tmp_path: Path, patience: Callable[[float], None]
) -> None:
    patience(2.0)
    two.one.script("/simple/beta/", Delay(1.6))
    two.two.script("/simple/beta/", Hang(), times=None)
    async with serving(tmp_path, two.text()) as served:
        began = asyncio.get_running_loop().time()
        assert (await served.page("beta")).status == 502
        assert asyncio.get_running_loop().time() - began < 3.4
    assert two.two.count("/simple/beta/") == 1


async def test_project__first_offline_and_not_cached__503_and_the_second_never_steps_in(
    two: Two, tmp_path: Path
) -> None:
    async with serving(tmp_path, two.text(policy="offline")) as served:
        assert (await served.page("alpha")).status == 503
        assert (await served.page("beta")).status == 503
    assert two.two.count() == 0


async def test_project__first_down_but_cached__its_stale_page(two: Two, tmp_path: Path) -> None:
    async with serving(tmp_path, two.text(ttl="10m")) as served:
        good = await served.page()
        await served.page("beta")
        await two.one.stop()
        served.later(601)
        assert (await served.page()).body == good.body
        # That the first has no beta is remembered no longer than a minute.
        assert (await served.page("beta")).status == 502


async def test_page__of_a_later_remote__is_kept_no_longer_than_the_earlier_ones_are_believed(
    two: Two, tmp_path: Path
) -> None:
    async with serving(tmp_path, two.text(negative_ttl="30s")) as served:
        kept = [(await served.page("beta")).headers["Cache-Control"] for _ in range(2)]
        served.later(20)
        kept.append((await served.page("beta")).headers["Cache-Control"])
        alpha = (await served.page()).headers["Cache-Control"]

    assert [value.partition("=")[0] for value in (*kept, alpha)] == ["max-age"] * 4
    first, again, later, own = (int(value.partition("=")[2]) for value in (*kept, alpha))
    assert first <= 30
    assert again <= 30
    assert later <= 10
    assert own > 500


async def test_project__first_says_403_and_that_means_missing__the_second_answers(two: Two, tmp_path: Path) -> None:
    two.one.script(PAGE, Status(403), times=None)
    async with serving(tmp_path, two.text(missing_status=[403, 404])) as served:
        assert await files_of(served) == [two.link("two")]
        assert b"two" in (await served.ask(two.link("two"))).body


async def test_file__of_the_second_where_the_first_knows_the_project__is_refused_by_url(
    two: Two, tmp_path: Path
) -> None:
    async with serving(tmp_path, two.text()) as served:
        for path in (two.link("two"), f"{two.link('two')}.metadata"):
            answer = await served.ask(path)
            assert (answer.status, answer.line) == (404, "alpha is served from remote one")
        assert (await served.ask(two.link("two"), "HEAD")).status == 404
    assert two.two.count(f"/files/{WHEEL}") == 0


async def test_file__stored_from_the_second__is_refused_once_the_first_has_the_project(
    two: Two, tmp_path: Path
) -> None:
    page = two.one._resources.pop(PAGE)
    async with serving(tmp_path, two.text(negative_ttl="1m")) as served:
        [link] = await files_of(served)
        assert link == two.link("two")
        assert (await served.ask(link)).status == 200
        await served.settled()
        two.one._resources[PAGE] = page
        served.later(61)
        assert (await served.ask(link)).status == 404
        assert await files_of(served) == [two.link("one")]


async def test_file__same_bytes_at_both__are_stored_once(tmp_path: Path) -> None:
    async with RawUpstream() as one, RawUpstream() as other:
        data = noise(100_000)
        for up, name in ((one, "alpha"), (other, "beta")):
            made = Project(name)
            made.add(f"{name}-1.0.tar.gz", data)
            made.publish(up)
        async with serving(tmp_path, Two(one, other).text()) as served:
            for name in ("alpha", "beta"):
                assert (await served.ask(await served.link(name))).body == data
                await served.settled()
            assert served.cached == 1
            assert other.count("/files/beta-1.0.tar.gz") == 0


async def test_source__that_no_remote_of_this_distribution_has__404(two: Two, tmp_path: Path) -> None:
    text = two.text() + "  other:\n    remote: two\n"
    async with serving(tmp_path, text) as served:
        assert (await served.ask(two.link("three"))).line == "no remote 'three' is served here"
        assert (await served.ask(two.link("one").replace("/main/", "/other/"))).status == 404
        # There it is the only remote, so its files are its to serve.
        assert b"two" in (await served.ask(two.link("two").replace("/main/", "/other/"))).body
        assert list((await served.links("alpha", "other")).values()) == ["/pypi/other/files/two/files/" + WHEEL]


async def test_second__hangs__projects_of_the_first_do_not_wait(two: Two, tmp_path: Path) -> None:
    two.two.script("*", Hang(), times=None)
    async with serving(tmp_path, two.text()) as served:
        assert await files_of(served) == [two.link("one")]
        assert (await served.ask(two.link("one"))).status == 200


async def test_remotes__of_one_url_under_two_names__keep_their_own_pages(two: Two, tmp_path: Path) -> None:
    text = remotes(x=a_remote(two.one), y=a_remote(two.one)).replace('["x", "y"]', "x") + "  other:\n    remote: y\n"
    async with serving(tmp_path, text) as served:
        assert await files_of(served) == [two.link("x")]
        assert list((await served.links("alpha", "other")).values()) == [two.link("y").replace("main", "other")]
    assert two.one.count(PAGE) == 2

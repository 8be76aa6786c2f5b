"""A daemon that repeats answers from memory, beside one that does not: nobody can tell them apart."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.daemon import (
    HTML,
    JSON,
    Answer,
    Project,
    Served,
    a_wheel,
    configured,
    logged,
    noise,
    one_remote,
    project,
    serving,
)
from tests.fakes.raw_upstream import RawUpstream
from tests.hot_path import with_hot_path_off
from tests.process.daemons import pyproxy
from tests.uploading import READ, basic, local, upload

COUNTED = ("distribution", "kind", "result")
PAGE = "/pypi/main/simple/alpha/"


def told(answer: Answer) -> tuple[Any, ...]:
    """All that a client sees of an answer, but when it was given."""
    headers = [(name, value) for name, value in answer.headers.items() if name != "Date"]
    return answer.status, answer.reason, headers, answer.body, answer.whole


async def repeated(served: Served, path: str, **headers: str) -> Answer:
    """The last of three equal answers; the last was given from memory unless a second ended in between."""
    answers = [await served.ask(path, **headers) for _ in range(3)]
    assert all(told(answer)[3] == told(answers[0])[3] for answer in answers)
    return answers[-1]


def by_heart(served: Served) -> int:
    """Answers that are known by heart."""
    assert served.daemon.listener._server is not None
    return len(served.daemon.listener._server.memory.answers)


async def test_page_and_file__asked_again__are_known_by_heart(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, HOT + local(up)) as served:
        link = await served.link()
        for _ in range(3):
            await served.page()
            await served.ask(link)
            await served.ask(f"{link}.metadata")
            await served.ask("/pypi/main/simple/Alpha/")
        assert by_heart(served) >= 3  # the fourth, unless a second has just ended


async def test_file__evicted__is_not_known_by_heart__and_each_answer_is_a_use(up: RawUpstream, tmp_path: Path) -> None:
    made = Project("alpha")
    for number in range(3):
        made.add(f"alpha-{number}.0.tar.gz", noise(40_000, number))
    made.publish(up)
    first, second, third = made.files
    text = f"storage: {{max_cache_size: 100000B}}\n{HOT}{one_remote(up)}"
    async with serving(tmp_path, text) as served:
        links = await served.links()
        for name in (first, second, first, second, first):
            assert (await served.ask(links[name])).body == made.files[name]
        await served.ask(links[third])  # in the place of the second: the first was used last, by heart or not
        await served.settled()
        for name in (first, second):
            assert (await served.ask(links[name])).body == made.files[name]

    assert [up.count(f"/files/{name}") for name in made.files] == [1, 2, 1]


HOT = "server: {hot_path: true}\n"


async def test_hot_path__switched_off__keeps_nothing_by_heart(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, with_hot_path_off(local(up))) as served:
        for _ in range(3):
            await served.page()
        assert by_heart(served) == 0


async def test_upload__is_on_a_page_that_was_known_by_heart(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, HOT + local(up)) as served:
        for number in range(1, 6):
            await repeated(served, PAGE, Accept=JSON)
            await upload(served, f"alpha-9.{number}-py3-none-any.whl", a_wheel("alpha", f"9.{number}"))
            assert len(await served.links()) == 1 + number


async def test_page__refreshed_behind__is_another_at_once(up: RawUpstream, tmp_path: Path) -> None:
    made = project(up)
    async with serving(tmp_path, HOT + local(up)) as served:
        for number in range(1, 6):
            await repeated(served, PAGE, Accept=JSON)
            made.add(f"alpha-9.{number}-py3-none-any.whl", a_wheel("alpha", f"9.{number}"))
            made.publish(up, etag=f'"then {number}"')
            index = served.daemon.current.site.sources["up"].index
            await index._page("alpha", anew=True)  # type: ignore[arg-type]  # a normalised name
            assert len(await served.links()) == 1 + number


async def test_metadata__learned__is_on_the_page_at_once(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, HOT + local(up)) as served:
        page = await repeated(served, PAGE, Accept=JSON)
        assert page.json()["files"][0]["core-metadata"] is True
        await served.ask(f"{await served.link()}.metadata")
        page = await served.ask(PAGE, Accept=JSON)
        assert "sha256" in page.json()["files"][0]["core-metadata"]


async def test_reload__holds_from_the_next_request(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, HOT + local(up)) as served:
        await repeated(served, PAGE, Accept=JSON)
        await served.daemon.apply(configured(tmp_path, HOT + local(up, private="[alpha]")))
        assert (await served.ask(PAGE, Accept=JSON)).status == 404


async def test_guard__of_a_reload__is_asked_before_the_next_answer(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    guarded = HOT + local(up, content_guard="staff")
    async with serving(tmp_path, HOT + local(up)) as served:
        link = await served.link()
        await repeated(served, PAGE, Accept=JSON)
        await repeated(served, link)
        await served.daemon.apply(configured(tmp_path, guarded))
        assert [(await served.ask(path)).status for path in (PAGE, link)] == [401, 401]
        known = {"Authorization": basic(READ)}
        assert [(await repeated(served, path, **known)).status for path in (PAGE, link)] == [200, 200]
        await served.daemon.apply(configured(tmp_path, guarded.replace("read: [r]", "read: [u]")))
        assert [(await served.ask(path, **known)).status for path in (PAGE, link)] == [403, 403]


async def test_file__yanked_and_removed_beside_the_daemon__is_so_from_the_next_request(tmp_path: Path) -> None:
    name = "alpha-1.0-py3-none-any.whl"
    async with serving(tmp_path, HOT + local(None)) as served:
        await upload(served, name, a_wheel("alpha", "1.0"))
        link = await served.link()
        for command, yanked, status in (("yank", [True], 200), ("remove", [], 404)):
            config, data = tmp_path / "pyproxy.yaml", tmp_path / "data"
            changing = asyncio.create_task(
                pyproxy("repo", command, "team", "alpha==1.0", "--config", config, "--data", data)
            )
            while not changing.done():  # until then, both are known by heart
                await served.ask(PAGE, Accept=JSON)
                await served.ask(link)
            assert (await changing).code == 0
            files = (await served.ask(PAGE, Accept=JSON)).json()["files"] if yanked else []
            assert [file["yanked"] for file in files] == yanked
            assert (await served.ask(link)).status == status


async def test_access_lines_and_metrics__count_what_is_repeated(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, HOT + local(up)) as served:
        size = len((await served.page()).body)
        before = served.metric("pyproxy_response_bytes_total", kind="simple")
        with served.counting("pyproxy_requests_total", *COUNTED) as counted:
            for _ in range(50):
                await served.page()
        assert counted == {("main", "simple", "hit"): 50}
        assert served.metric("pyproxy_response_bytes_total", kind="simple") - before == 50 * size
        assert served.metric("pyproxy_request_seconds_count", kind="simple") == 51
        assert 0 < served.metric("pyproxy_request_seconds_sum", kind="simple") < 60


async def test_access_lines_and_metrics__of_many_at_once__count_each_request_once(
    up: RawUpstream, tmp_path: Path
) -> None:
    project(up, payload=noise(300_000))
    with logged(tmp_path / "log") as lines:
        async with serving(tmp_path, HOT + local(up)) as served:
            link = await served.link()
            asked: list[tuple[str, str, dict[str, str]]] = [
                (PAGE, "GET", {"Accept": JSON}),
                (PAGE, "HEAD", {"Accept": JSON}),
                (PAGE, "GET", {"Accept": JSON, "If_None_Match": "*"}),
                (link, "GET", {}),
                (link, "GET", {"Range": "bytes=7-"}),
                (f"{link}.metadata", "GET", {}),
            ]

            async def client(number: int) -> int:
                answers = [
                    await served.ask(path, method, **headers)
                    for path, method, headers in (asked * 5)[number:]  # each at another place in the same row
                ]
                assert all(answer.whole and answer.status < 400 for answer in answers)
                return sum(len(answer.body) for answer in answers)

            await client(0)  # stores what is cold
            with (
                served.counting("pyproxy_requests_total") as requests,
                served.counting("pyproxy_response_bytes_total") as nbytes,
                served.counting("pyproxy_request_seconds_count") as seconds,
            ):
                before = len(asked) * 5 + 1
                bodies = sum(await asyncio.gather(*(client(number) for number in range(12))))
            assert by_heart(served) > 0
    count = sum(len(asked) * 5 - number for number in range(12))
    access = [line for line in lines if line["logger"] == "access"][before:]
    assert (requests[()], seconds[()], len(access)) == (count, count, count)
    assert (nbytes[()], sum(line["bytes"] for line in access)) == (bodies, bodies)


# ------------------------------------------------------------------ whatever happens


@dataclass
class Both:
    """Two daemons that differ in this alone, before one remote, and what has been done to them."""

    up: RawUpstream
    made: Project
    hot: Served
    cold: Served
    folder: Path
    uploads: int = 0
    releases: int = 0
    private: bool = False
    asked: list[str] = field(default_factory=list)

    async def do(self, step: tuple[str, int]) -> None:
        match step:
            case "ask", number:
                await self.ask(ASKED[number % len(ASKED)])
            case "upload", _:
                self.uploads += 1
                version = f"8.{self.uploads}"
                for served in (self.hot, self.cold):
                    answer = await upload(served, f"alpha-{version}-py3-none-any.whl", a_wheel("alpha", version))
                    assert answer.status == 200
            case "release", _:
                self.releases += 1
                version = f"9.{self.releases}"
                self.made.add(f"alpha-{version}-py3-none-any.whl", a_wheel("alpha", version))
                self.made.publish(self.up, etag=f'"then {self.releases}"')
            case "later", seconds:
                for served in (self.hot, self.cold):
                    served.later(seconds)
            case "reload", _:
                self.private = not self.private
                text = local(self.up, private="[alpha]" if self.private else "[]")
                await self.hot.daemon.apply(configured(self.folder / "hot", HOT + text))
                await self.cold.daemon.apply(configured(self.folder / "cold", with_hot_path_off(text)))

    async def ask(self, asked: tuple[str, dict[str, str]]) -> None:
        path, headers = asked
        for _ in range(3):
            hot, cold = [told(await served.ask(path, **headers)) for served in (self.hot, self.cold)]
            assert without_times(hot) == without_times(cold)

    def counted(self) -> list[Counter[tuple[str, ...]]]:
        return [served._samples("pyproxy_requests_total", COUNTED) for served in (self.hot, self.cold)]


def without_times(answer: tuple[Any, ...]) -> str:
    """Both daemons say of an upload when it came to them: so pages are compared by their lengths."""
    status, reason, headers, body, whole = answer
    fields = [(name, value) for name, value in headers if name.lower() not in {"etag", "content-length"}]
    return f"{status} {reason} {fields} {len(body)} {whole}"


WHEEL = "/pypi/main/files/up/files/alpha-1.0-py3-none-any.whl"
ASKED: list[tuple[str, dict[str, str]]] = [
    (PAGE, {"Accept": JSON}),
    (PAGE, {"Accept": HTML}),
    (PAGE, {"Accept": JSON, "If_None_Match": "*"}),
    ("/pypi/main/simple/Alpha/", {}),
    (WHEEL, {}),
    (WHEEL, {"Range": "bytes=5-20"}),
    (f"{WHEEL}.metadata", {}),
    ("/pypi/main/simple/nothing/", {}),
]


@asynccontextmanager
async def both() -> AsyncIterator[Both]:
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name in ("hot", "cold"):
            (folder / name).mkdir()
        up = await stack.enter_async_context(RawUpstream())
        made = project(up, payload=noise(100))
        hot = await stack.enter_async_context(serving(folder / "hot", HOT + local(up)))
        cold = await stack.enter_async_context(serving(folder / "cold", with_hot_path_off(local(up))))
        yield Both(up, made, hot, cold, folder)


script = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.integers(0, len(ASKED) - 1)),
        st.tuples(st.just("upload"), st.just(0)),
        st.tuples(st.just("release"), st.just(0)),
        st.tuples(st.just("later"), st.sampled_from([1, 700])),
        st.tuples(st.just("reload"), st.just(0)),
    ),
    min_size=1,
    max_size=15,
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(script)
@pytest.mark.timeout(180)
def test_daemons__whatever_happens__answer_alike(steps: list[tuple[str, int]]) -> None:
    async def run() -> None:
        async with both() as pair:
            for step in steps:
                await pair.do(step)
            hot, cold = pair.counted()
            assert hot == cold

    asyncio.run(run())

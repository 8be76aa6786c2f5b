"""A distribution as it stood at an instant (`/pypi/main~2024-01-31/…`), over real HTTP."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.daemon import HTML, JSON, Project, Served, a_wheel, one_remote, remotes, serving
from tests.fakes.faults import Status
from tests.fakes.raw_upstream import RawUpstream
from tests.uploading import READ, basic, form, local, send, upload

OLD, NEW = "alpha-1.0-py3-none-any.whl", "alpha-2.0-py3-none-any.whl"
BETWEEN = "main~2024-06-01"


def two_releases(up: RawUpstream) -> Project:
    made = Project("alpha")
    made.add(OLD, a_wheel("alpha", "1.0"), upload_time="2024-01-02T03:04:05Z")
    made.add(NEW, a_wheel("alpha", "2.0"), upload_time="2024-12-02T03:04:05Z")
    made.publish(up)
    return made


async def names(served: Served, base: str) -> list[str]:
    page = await served.page(base=base)
    assert page.status == 200, page.text
    return [file["filename"] for file in page.json()["files"]]


def written(seconds: float) -> str:
    return quote(datetime.fromtimestamp(seconds, UTC).isoformat())


@pytest.mark.parametrize(
    ("instant", "shown"),
    [
        ("2024-06-01", [OLD]),
        ("2024-06-01T00:00:00Z", [OLD]),
        ("2024-06-01T00%3A00%3A00Z", [OLD]),
        ("2024-01-02T05:04:05+02:00", [OLD]),
        ("2024-01-02T05:04:05%2B02:00", [OLD]),
        ("2024-01-02T03:04:04Z", []),
        ("2024-01-02", [OLD]),
        ("2024-01-01", []),
        ("2024-12-02T03:04:05Z", [OLD, NEW]),
        ("2999-01-01", [OLD, NEW]),
    ],
)
async def test_page__at_an_instant__holds_what_was_uploaded_by_then(
    tmp_path: Path, instant: str, shown: list[str]
) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        two_releases(up)

        assert await names(served, f"main~{instant}") == shown
        assert await names(served, "main") == [OLD, NEW]


async def test_page__at_an_instant__names_the_versions_of_its_files(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        two_releases(up)
        page = await served.page(base=BETWEEN)
        again = await served.page(base=BETWEEN, If_None_Match=page.headers["ETag"])

    assert page.json()["versions"] == ["1.0"]
    assert again.status == 304


async def test_file__uploaded_later__is_refused_by_its_url(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = two_releases(up)
        links = await served.links()
        old = await served.ask(links[OLD].replace("/main/", f"/{BETWEEN}/"))
        new = await served.ask(links[NEW].replace("/main/", f"/{BETWEEN}/"))
        metadata = await served.ask(links[NEW].replace("/main/", f"/{BETWEEN}/") + ".metadata")

    assert old.body == made.files[OLD]
    assert (new.status, metadata.status) == (403, 403)
    assert "was uploaded after 2024-06-01T23:59:59Z" in new.text


@pytest.mark.parametrize("filters", [{}, {"prereleases": False}])
async def test_explain__at_an_instant__tells_of_what_came_later(tmp_path: Path, filters: dict[str, Any]) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up, **filters)) as served:
        two_releases(up)
        told = await served.ask(f"/pypi/{BETWEEN}/explain/alpha", Accept="application/json")

    assert {file["filename"]: file["hidden_by"] and file["hidden_by"]["reason"] for file in told.json()["files"]} == {
        OLD: None,
        NEW: f"{NEW} was uploaded after 2024-06-01T23:59:59Z",
    }


async def test_json_api__at_an_instant__tells_of_what_was_there(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        two_releases(up)
        found = (await served.ask(f"/pypi/{BETWEEN}/pypi/alpha/json")).json()
        gone = await served.ask(f"/pypi/{BETWEEN}/pypi/alpha/2.0/json")

    assert set(found["releases"]) == {"1.0"}
    assert found["urls"][0]["url"].startswith("/pypi/main~2024-06-01/files/")
    assert gone.status == 404


async def test_remote__that_tells_no_times__is_asked_for_them_through_its_json_api(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = two_releases(up)
        entries = [
            {"filename": record["filename"], "digests": record["hashes"], "upload_time_iso_8601": record["upload-time"]}
            for record in json.loads(made.as_json())["files"]
        ]
        anchors = "".join(
            f'<a href="../../files/{record["filename"]}#sha256={record["hashes"]["sha256"]}">{record["filename"]}</a>'
            for record in json.loads(made.as_json())["files"]
        )
        up.serve("/simple/alpha/", anchors.encode(), content_type="text/html")
        before = await names(served, "main~2024-06-02")
        up.serve("/pypi/alpha/json", json.dumps({"urls": entries}).encode(), content_type="application/json")
        served.later(61)
        after = await names(served, "main~2024-06-03")
        link = (await served.links(base="main"))[OLD]
        file = await served.ask(link.replace("/main/", "/main~2024-06-03/"))

    assert (before, after) == ([], [OLD])
    assert file.status == 200


async def test_local__content_is_that_of_the_version_of_then(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        before = time.time()
        await upload(served, "alpha-1.0-py3-none-any.whl", a_wheel("alpha", "1.0"))
        between = time.time()
        await upload(served, "alpha-2.0-py3-none-any.whl", a_wheel("alpha", "2.0"))
        nothing = await served.page(base=f"main~{written(before)}")
        one = await served.page(base=f"main~{written(between)}")
        late = (await served.links())[NEW].replace("/main/", f"/main~{written(between)}/")
        refused = await served.ask(late)
        both = await names(served, "main~2999-01-01")

    assert nothing.status == 404
    assert [file["filename"] for file in one.json()["files"]] == [OLD]
    assert one.headers["Cache-Control"].startswith("max-age")
    assert refused.status == 404
    assert both == [OLD, NEW]


async def test_upload__to_a_moment__is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        answer = await send(served, form(OLD, a_wheel("alpha", "1.0")), path=f"{BETWEEN}/legacy/")
        now = await served.page()

    assert (answer.status, now.status) == (403, 404)
    assert "takes no uploads as of a moment" in answer.text


@pytest.mark.parametrize("instant", ["", "yesterday", "2024-13-01", "2024-01-01T00:00:00", "~"])
async def test_instant__of_no_form__is_404_with_one_line(tmp_path: Path, instant: str) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        two_releases(up)
        answer = await served.page(base=f"main~{instant}")

    assert answer.status == 404
    assert "neither a date nor an RFC 3339 instant" in answer.text


async def test_base_path__of_several_segments__takes_an_instant_at_its_end(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        text = remotes(up={"url": f"{up.url}simple/"}) + "    base_path: domain/team\n"
        two_releases(up)
        async with serving(tmp_path, text) as served:
            assert await names(served, "domain/team~2024-06-01") == [OLD]


async def test_people__may_look_at_a_moment_too(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        two_releases(up)
        page = await served.ask(f"/pypi/{BETWEEN}/project/alpha/")
        bare = await served.ask(f"/pypi/{BETWEEN}")

    assert OLD in page.text
    assert NEW not in page.text
    assert (bare.status, bare.headers["Location"]) == (301, f"./{BETWEEN}/")


async def test_lists__of_two_versions_of_one_repository__do_not_take_each_other_away(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        await upload(served, "alpha-1.0-py3-none-any.whl", a_wheel("alpha", "1.0"))
        between = time.time()
        await upload(served, "beta-1.0-py3-none-any.whl", a_wheel("beta", "1.0"))
        now = await served.ask("/pypi/main/simple/", Accept=JSON)
        then = await served.ask(f"/pypi/main~{written(between)}/simple/", Accept=JSON)
        files = list(served.daemon.machinery.lists_folder.glob("local.*.names"))

    assert [project["name"] for project in now.json()["projects"]] == ["alpha", "beta"]
    assert [project["name"] for project in then.json()["projects"]] == ["alpha"]
    assert len(files) == 2


async def test_moments__asked_for_in_masses__are_not_all_kept(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        two_releases(up)
        for day in range(1, 31):
            for month in ("01", "03", "05"):
                await served.ask(f"/pypi/main~2023-{month}-{day:02}/simple/alpha/", Accept=HTML)

        assert len(served.daemon.current.site.moments._kept) == 64
        assert up.count("/simple/alpha/") == 1


async def test_file__at_the_first_instant_there_is__is_refused_in_words(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        two_releases(up)
        link = (await served.links())[OLD].replace("/main/", "/main~0001-01-01T00:00:00Z/")
        answer = await served.ask(link)

    assert (answer.status, answer.line) == (403, f"{OLD} was uploaded after 0001-01-01T00:00:00Z")


async def test_remote__whose_times_cannot_be_asked_for__gives_a_page_that_nobody_keeps(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = Project("alpha")
        made.add(OLD, a_wheel("alpha", "1.0"))
        made.publish(up)
        up.script("/pypi/alpha/json", Status(500))
        page = await served.page(base=BETWEEN)
        served.later(61)
        served.forget_failures()
        known = await served.page(base=BETWEEN)

    assert (page.status, page.json()["files"], page.headers["Cache-Control"]) == (200, [], "no-store")
    assert known.headers["Cache-Control"].startswith("max-age=")


async def test_times__asked_for_once__serve_every_moment(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = Project("alpha")
        made.add(OLD, a_wheel("alpha", "1.0"))
        made.publish(up)
        for day in range(1, 10):
            await names(served, f"main~2024-06-0{day}")

        assert up.count("/pypi/alpha/json") == 1


async def test_guard__stands_before_a_moment_too(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, local(up, content_guard="staff")) as served:
        two_releases(up)
        for instant in ("2024-06-01", "yesterday"):
            assert (await served.page(base=f"main~{instant}")).status == 401
        assert not served.daemon.current.site.moments._kept
        page = await served.page(base=BETWEEN, Authorization=basic(READ))
        posted = await send(served, form(OLD, a_wheel("alpha", "1.0")), path=f"{BETWEEN}/legacy/")

    assert page.headers["Cache-Control"].startswith("private, max-age=")
    assert posted.status == 403


async def test_moment__whose_version_was_pruned__is_trouble_and_never_not_found(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        await upload(served, OLD, a_wheel("alpha", "1.0"))
        between = f"main~{written(time.time())}"
        await upload(served, NEW, a_wheel("alpha", "2.0"))
        before = await names(served, between)
        await served.daemon.machinery.repositories.prune("team", last=1)
        known = await served.page(base=between)
        served.daemon.current.site.moments._kept.clear()
        anew = await served.page(base=between)

    assert before == [OLD]
    assert (known.status, anew.status) == (503, 503)
    assert "version 1" in anew.line


async def test_pinned__at_a_moment__is_the_lower_of_both(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        await upload(served, OLD, a_wheel("alpha", "1.0"))
        first = written(time.time())
        await upload(served, NEW, a_wheel("alpha", "2.0"))
        second = written(time.time())
        await upload(served, "beta-1.0-py3-none-any.whl", a_wheel("beta", "1.0"))
    async with serving(tmp_path, local(None, repository_version="2", allow_uploads="false")) as served:
        assert await names(served, f"main~{first}") == [OLD]
        assert await names(served, f"main~{second}") == [OLD, NEW]
        assert await names(served, "main~2999-01-01") == [OLD, NEW]
        assert (await served.page("beta", "main~2999-01-01")).status == 404


async def test_yanked_later__is_not_yanked_then(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)) as served:
        await upload(served, OLD, a_wheel("alpha", "1.0"))
        between = written(time.time())
        await served.daemon.machinery.repositories.yank("team", ["alpha==1.0"], "broken")
        now = (await served.page()).json()["files"]
        then = (await served.page(base=f"main~{between}")).json()["files"]

    assert now[0]["yanked"] == "broken"
    assert "yanked" not in then[0]


async def test_provenance__at_an_instant__is_that_of_files_of_then(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        made = Project("alpha")
        for name, version, day in ((OLD, "1.0", "2024-01-02"), (NEW, "2.0", "2024-12-02")):
            made.add(name, a_wheel("alpha", version), upload_time=f"{day}T00:00:00Z", provenance=f"{up.url}attested")
        made.publish(up)
        up.serve("/attested", b"{}", content_type="application/vnd.pypi.integrity.v1+json")
        text = "server: {public_url: 'https://pkgs.example'}\n" + one_remote(up)
        async with serving(tmp_path, text) as served:
            [file] = (await served.page(base="main~2024-06-01T00:00:00+02:00")).json()["files"]
            path = file["provenance"].removeprefix("https://pkgs.example")
            old = await served.ask(path)
            new = await served.ask(path.replace("1.0", "2.0"))

    assert path.startswith("/pypi/main~2024-06-01T00:00:00+02:00/integrity/alpha/1.0/")
    assert (old.status, new.status) == (200, 403)
    assert new.line == f"{NEW} was uploaded after 2024-05-31T22:00:00Z"


async def test_file__of_unknown_age__is_refused_by_its_url(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = two_releases(up)
        made.add("alpha-1.5-py3-none-any.whl", a_wheel("alpha", "1.5"))
        made.publish(up)
        link = (await served.links())["alpha-1.5-py3-none-any.whl"]
        answer = await served.ask(link.replace("/main/", f"/{BETWEEN}/"))

    assert answer.status == 403
    assert answer.line == "nobody knows whether alpha-1.5-py3-none-any.whl was there at 2024-06-01T23:59:59Z"


@pytest.mark.parametrize(
    ("filters", "instant", "shown"),
    [
        ({"min_age": "30d"}, "2024-01-15", []),
        ({"min_age": "30d"}, "2024-02-15", [OLD]),
        ({"min_age": "30d"}, "2024-12-15", [OLD]),
        ({"min_age": "30d"}, "2025-02-15", [OLD, NEW]),
        ({"keep_latest_packages": 1}, "2024-06-01", [OLD]),
        ({"keep_latest_packages": 1}, "2024-12-31", [NEW]),
        ({"excludes": ["alpha==1.0"]}, "2024-12-31", [NEW]),
    ],
)
@pytest.mark.parametrize("of_remote", [True, False])
async def test_filters__at_an_instant__count_from_it(
    tmp_path: Path, filters: dict[str, Any], instant: str, shown: list[str], *, of_remote: bool
) -> None:
    async with RawUpstream() as up:
        two_releases(up)
        text = one_remote(up, **filters) if of_remote else f"{one_remote(up)}    filters: {json.dumps(filters)}\n"
        async with serving(tmp_path, text) as served:
            links = await served.links()
            found = await names(served, f"main~{instant}")
            new = await served.ask(f"/pypi/main~{instant}/files/up/files/{NEW}")

    assert NEW in links  # now it is old enough, and the latest
    assert found == shown
    assert new.status == (200 if NEW in shown else 403)

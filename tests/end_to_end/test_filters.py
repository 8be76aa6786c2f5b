"""What policy hides: absent from the page, refused at every URL, counted; and what no remote is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.daemon import HTML, Project, Served, a_remote, a_wheel, configured, one_remote, serving
from tests.fakes.faults import Status
from tests.fakes.raw_upstream import RawUpstream
from tests.uploading import local, upload

PAGE = "/simple/alpha/"
FILES = "/pypi/main/files/up/files"
DAY = 86400.0


def wheel(version: str) -> str:
    return f"alpha-{version}-py3-none-any.whl"


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def published(
    up: RawUpstream,
    *ages: tuple[str, float | None],
    name: str = "alpha",
    **page: Any,  # Any: fields of a JSON page
) -> Project:
    """Wheels of these versions, uploaded so many days ago; None: nobody tells. Underscores stand for dashes."""
    made = Project(name, page={key.replace("_", "-"): value for key, value in page.items()})
    for version, days in ages:
        said = {} if days is None else {"upload_time": ago(days)}
        made.add(f"{name}-{version}-py3-none-any.whl", a_wheel(name, version), **said)
    made.publish(up)
    return made


async def shown(served: Served, name: str = "alpha") -> list[str]:
    return [link.rpartition("/")[2].split("-")[1] for link in (await served.links(name)).values()]


async def test_file__filtered__is_not_served_by_url(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 1), ("2.0", 1), versions=["1.0", "2.0"])
    async with serving(tmp_path, one_remote(up, excludes=["alpha==2.0"])) as served:
        answer = await served.page()
        assert [file["filename"] for file in answer.json()["files"]] == [wheel("1.0")]
        assert answer.json()["versions"] == ["1.0"]
        for ending in ("", ".metadata", ".asc"):
            refused = await served.ask(f"{FILES}/{wheel('2.0')}{ending}")
            assert (refused.status, refused.line) == (403, "hidden by remote up: excludes names alpha==2.0")
        assert (await served.ask(f"{FILES}/{wheel('2.0')}", "HEAD")).status == 403
        assert (await served.ask(f"{FILES}/{wheel('1.0')}")).status == 200
        assert served.metric("pyproxy_hidden_files_total", distribution="main", filter="excludes") == 1
        assert served.metric("pyproxy_requests_total", kind="file", result="denied") == 3
    assert up.count(f"/files/{wheel('2.0')}") == 0


async def test_page__judged_once__counts_once_and_stays_the_same_object(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 1), ("2.0", 1))
    async with serving(tmp_path, one_remote(up, excludes=["alpha==2.0"])) as served:
        index = served.daemon.current.site.distributions["main"].index
        first = (await index.page("alpha")).value  # type: ignore[arg-type]  # a name in normal form
        html = await served.page(accept=HTML)
        assert wheel("2.0") not in html.text
        assert (await index.page("alpha")).value is first  # type: ignore[arg-type]
        assert served.metric("pyproxy_hidden_files_total") == 1


async def test_name__not_admitted__404_and_403_and_the_remote_is_never_asked(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 1))
    async with serving(tmp_path, one_remote(up, includes=["beta", "gamma>=1"])) as served:
        answer = await served.page()
        assert (answer.status, answer.line) == (404, "remote up does not offer alpha: includes does not name alpha")
        answer = await served.ask(f"{FILES}/{wheel('1.0')}")
        assert (answer.status, answer.line) == (403, "hidden by remote up: includes does not name alpha")
        assert (await served.ask("/pypi/main/pypi/alpha/json")).status == 404
    assert up.requests == []


async def test_project__all_of_it_hidden__is_a_page_without_files(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 1))
    async with serving(tmp_path, one_remote(up, includes=["alpha>=2"])) as served:
        answer = await served.page()
        assert (answer.status, answer.json()["files"], answer.json()["versions"]) == (200, [], [])


async def test_remote__does_not_admit_the_name__the_next_one_answers(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 1))
    async with RawUpstream() as other:
        published(other, ("9.0", 1))
        text = f"""
            remotes: {json.dumps({"torch": a_remote(other, includes=["torch*"]), "up": a_remote(up)})}
            distributions: {{main: {{remote: [torch, up]}}}}
        """
        async with serving(tmp_path, text) as served:
            assert await shown(served) == ["1.0"]
            assert (await served.ask(f"{FILES}/{wheel('1.0')}")).status == 200
            assert (await served.ask(f"/pypi/main/files/torch/files/{wheel('9.0')}")).status == 403
        assert other.requests == []


async def test_distribution__filters_are_its_own(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 1), ("2.0", 1))
    text = f"""
        remotes: {json.dumps({"up": a_remote(up)})}
        distributions:
          main: {{remote: up, filters: {{includes: ["alpha<2"]}}}}
          all: {{remote: up}}
    """
    async with serving(tmp_path, text) as served:
        assert await shown(served) == ["1.0"]
        assert len(await served.links(base="all")) == 2
        answer = await served.ask(f"{FILES}/{wheel('2.0')}")
        assert answer.line == "hidden by distribution main: includes does not name 2.0, but alpha<2"
        assert (await served.ask(f"{FILES}/{wheel('2.0')}".replace("main", "all"))).status == 200
        # What another distribution has stored is not let out here either.
        assert (await served.ask(f"{FILES}/{wheel('2.0')}")).status == 403


async def test_local_file__of_a_distribution_with_filters(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 1))
    text = local(up, filters="{min_age: 7d, block: ['alpha==4.0']}")
    async with serving(tmp_path, text) as served:
        for version in ("3.0", "4.0"):
            assert (await upload(served, wheel(version), a_wheel("alpha", version))).status == 200
        # The cool-down holds back what strangers upload; what is blocked is blocked wherever it lies.
        assert await shown(served) == ["3.0"]
        assert (await served.ask(f"/pypi/main/files/local/alpha/{wheel('3.0')}")).status == 200
        answer = await served.ask(f"/pypi/main/files/local/alpha/{wheel('4.0')}")
        assert (answer.status, answer.line) == (403, "hidden by distribution main: block names alpha==4.0")


# ---------------------------------------------------------------------- ages


async def test_cool_down__ends__at_the_moment_that_the_page_told(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 30), ("2.0", 7 - 100 / DAY))
    async with serving(tmp_path, one_remote(up, min_age="7d", ttl="1h")) as served:
        before = await served.page()
        assert await shown(served) == ["1.0"]
        assert 95 <= int(before.headers["Cache-Control"].removeprefix("max-age=")) <= 100
        assert (await served.ask(f"{FILES}/{wheel('2.0')}")).status == 403
        served.later(90)
        assert (await served.page()).etag == before.etag
        served.later(15)
        assert await shown(served) == ["1.0", "2.0"]
        assert (await served.ask(f"{FILES}/{wheel('2.0')}")).status == 200
    assert up.count(PAGE) == 1


async def test_cool_down__exempt__is_seen_at_once(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 30), ("2.0", 1), ("2.1", 1))
    async with serving(tmp_path, one_remote(up, min_age="7d", exempt=["alpha==2.1"])) as served:
        assert await shown(served) == ["1.0", "2.1"]


async def test_upload_times__of_a_remote_whose_pages_tell_none__come_from_its_json_api(
    up: RawUpstream, tmp_path: Path
) -> None:
    made = published(up, ("1.0", None), ("2.0", None))
    digests = {file["filename"]: file["hashes"] for file in json.loads(made.as_json())["files"]}
    releases = {
        version: [{"filename": wheel(version), "digests": digests[wheel(version)], "upload_time_iso_8601": ago(days)}]
        for version, days in (("1.0", 30), ("2.0", 1))
    }
    up.serve(
        "/pypi/alpha/json", json.dumps({"info": {}, "releases": releases}).encode(), content_type="application/json"
    )
    async with serving(tmp_path, one_remote(up, min_age="7d")) as served:
        assert await shown(served) == ["1.0"]
        assert (await served.ask(f"{FILES}/{wheel('1.0')}")).status == 200
        assert (await served.ask(f"{FILES}/{wheel('2.0')}")).status == 403
    assert up.count("/pypi/alpha/json") == 1


async def test_upload_times__that_nobody_tells__hide(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", None))
    async with serving(tmp_path, one_remote(up, min_age="7d")) as served:
        assert await shown(served) == []
        answer = await served.ask(f"{FILES}/{wheel('1.0')}")
        assert (answer.status, answer.line) == (
            403,
            "hidden by remote up: unknown_age hide: nobody tells when it was uploaded, which min_age must know",
        )


async def test_file__stored_and_its_page_forgotten__is_judged_by_what_the_page_says(
    up: RawUpstream, tmp_path: Path
) -> None:
    published(up, ("1.0", 30))
    async with serving(tmp_path, one_remote(up, min_age="7d")) as served:
        assert (await served.ask(f"{FILES}/{wheel('1.0')}")).status == 200
        await served.settled()
        source = served.daemon.current.site.sources["up"]
        source.index._shelf.drop("alpha")  # type: ignore[arg-type]  # a name in normal form
        await served.daemon.machinery.store.records.drop_page("up", "alpha")  # type: ignore[arg-type]
        assert (await served.ask(f"{FILES}/{wheel('1.0')}")).status == 200
        assert served.metric("pyproxy_requests_total", kind="file", result="hit") == 1


async def test_file__stored_page_gone_and_remote_down__is_refused_where_its_age_is_not_known(
    up: RawUpstream, tmp_path: Path
) -> None:
    published(up, ("1.0", 30))
    async with serving(tmp_path, one_remote(up, min_age="7d")) as served:
        assert (await served.ask(f"{FILES}/{wheel('1.0')}")).status == 200
        await served.settled()
        source = served.daemon.current.site.sources["up"]
        source.index._shelf.drop("alpha")  # type: ignore[arg-type]  # a name in normal form
        await served.daemon.machinery.store.records.drop_page("up", "alpha")  # type: ignore[arg-type]
        up.script(PAGE, Status(500), times=None)
        assert (await served.ask(f"{FILES}/{wheel('1.0')}")).status == 403


async def test_keep_latest__decides_over_a_file_by_its_page(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 1), ("2.0", 1), ("3.0", 1))
    async with serving(tmp_path, one_remote(up, keep_latest_packages=2)) as served:
        answer = await served.ask(f"{FILES}/{wheel('1.0')}")
        line = "hidden by remote up: keep_latest_packages 2: as many newer versions are there"
        assert (answer.status, answer.line) == (403, line)
        assert await shown(served) == ["2.0", "3.0"]
        assert (await served.ask(f"{FILES}/{wheel('2.0')}")).status == 200


async def test_reload__of_filters_alone__keeps_the_remote_as_it_runs(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 1), ("2.0", 1))
    async with serving(tmp_path, one_remote(up)) as served:
        assert await shown(served) == ["1.0", "2.0"]
        source = served.daemon.current.site.sources["up"]
        await served.daemon.apply(configured(tmp_path, one_remote(up, excludes=["alpha==2.0"])))
        assert await shown(served) == ["1.0"]
        assert served.daemon.current.site.sources["up"] is source
    assert up.count(PAGE) == 1


async def test_quarantined__is_never_offered(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 1), project_status={"status": "quarantined", "reason": "malware"})
    async with serving(tmp_path, one_remote(up, prereleases=False)) as served:
        answer = await served.page()
        assert (answer.status, answer.json()["files"]) == (200, [])
        assert answer.json()["project-status"]["status"] == "quarantined"
        answer = await served.ask(f"{FILES}/{wheel('1.0')}")
        assert (answer.status, answer.line) == (403, "alpha is quarantined on remote up: malware")


async def test_json_api__knows_nothing_of_what_is_hidden(up: RawUpstream, tmp_path: Path) -> None:
    published(up, ("1.0", 1), ("2.0", 1))
    async with serving(tmp_path, one_remote(up, excludes=["alpha==2.0"])) as served:
        answer = await served.ask("/pypi/main/pypi/alpha/json")
        assert list(answer.json()["releases"]) == ["1.0"]
        assert answer.json()["info"]["version"] == "1.0"
        assert (await served.ask("/pypi/main/pypi/alpha/2.0/json")).status == 404


def attested(up: RawUpstream) -> None:
    """Two releases uploaded ten days ago, with attestations."""
    made = Project("alpha")
    for version in ("1.0", "2.0"):
        said = {"provenance": f"{up.url}integrity/{version}", "upload_time": ago(10)}
        made.add(wheel(version), a_wheel("alpha", version), **said)
        up.serve(f"/integrity/{version}", b"{}", content_type="application/json")
    made.publish(up)


def filtering(up: RawUpstream, place: str, **filters: Any) -> str:  # Any: filter keys
    """These filters on the remote, or on the distribution."""
    if place == "remote up":
        return one_remote(up, **filters)
    return f"{one_remote(up)}    filters: {json.dumps(filters)}\n"


@pytest.mark.parametrize("as_of", ["", "~"])
@pytest.mark.parametrize("place", ["remote up", "distribution main"])
@pytest.mark.parametrize(
    "filters",
    [{"excludes": ["alpha==2.0"]}, {"block": ["alpha==2.0"]}, {"keep_latest_packages": 1}, {"max_file_size": 10}],
)
async def test_hidden_file__is_refused_alike_wherever_it_is_asked_for(
    up: RawUpstream, tmp_path: Path, as_of: str, place: str, filters: dict[str, Any]
) -> None:
    attested(up)
    base = f"main~{ago(5)}" if as_of else "main"
    version = "1.0" if "keep_latest_packages" in filters else "2.0"
    link = f"/pypi/{base}/files/up/files/{wheel(version)}"
    companions = [f"{link}.metadata", f"{link}.asc"]
    companions.append(f"/pypi/{base}/integrity/alpha/{version}/{wheel(version)}/provenance")
    async with serving(tmp_path, filtering(up, place, **filters)) as served:
        assert wheel(version) not in await served.links("alpha", base)
        assert wheel(version) not in (await served.ask(f"/pypi/{base}/pypi/alpha/json")).text
        assert (await served.ask(f"/pypi/{base}/pypi/alpha/{version}/json")).status == 404
        refused = await served.ask(link)
        assert refused.status == 403
        assert refused.line.startswith(f"hidden by {place}: {next(iter(filters))} ")
        for path in companions:
            answer = await served.ask(path)
            assert (answer.status, answer.line) == (403, refused.line), path
        assert [(await served.ask(path, "HEAD")).status for path in (link, *companions)] == [403] * 4
    assert up.count(f"/integrity/{version}") == up.count(f"/files/{wheel(version)}") == 0


@pytest.mark.parametrize("place", ["remote up", "distribution main"])
async def test_name__refused__is_so_wherever_it_is_asked_for(up: RawUpstream, tmp_path: Path, place: str) -> None:
    link = f"{FILES}/{wheel('1.0')}"
    async with serving(tmp_path, filtering(up, place, excludes=["alpha"])) as served:
        for path in (link, f"{link}.metadata", f"/pypi/main/integrity/alpha/1.0/{wheel('1.0')}/provenance"):
            answer = await served.ask(path)
            assert (answer.status, answer.line) == (403, f"hidden by {place}: excludes names alpha")
        for path in ("/pypi/main/simple/alpha/", "/pypi/main/pypi/alpha/json"):
            assert (await served.ask(path)).status == 404
    assert up.requests == []


@pytest.mark.parametrize("count", [199, 2000])
async def test_page__large__is_judged_all_the_same(
    up: RawUpstream, tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    made = Project("alpha")
    for number in range(count):
        made.add(wheel(f"1.{number}"), b"x")
    made.publish(up)
    async with serving(tmp_path, one_remote(up, excludes=["alpha>=1.100"])) as served:
        index: Any = served.daemon.current.site.distributions["main"].index
        judge: Callable[..., Any] = index._judge

        def counted(*given: Any) -> Any:
            calls.append(1)
            return judge(*given)

        monkeypatch.setattr(index, "_judge", counted)
        answers = [await served.page(), await served.page()]
        assert [len(answer.json()["files"]) for answer in answers] == [100, 100]
    assert calls == [1]

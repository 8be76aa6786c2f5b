"""The JSON API over real HTTP: which files it names is the page's to say, what it tells of them is the remote's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from pyproxy.index.documents import LIMIT
from tests.daemon import Project, Served, a_wheel, one_remote, project, remotes, serving
from tests.fakes.faults import Status
from tests.fakes.raw_upstream import RawUpstream
from tests.uploading import READ, basic, local, upload

WHEEL = "alpha-1.0-py3-none-any.whl"


def told(up: RawUpstream, made: Project, version: str = "1.0", path: str = "", **more: Any) -> dict[str, Any]:
    """Lays what the remote's JSON API says of the project at its place; returns it. Any: JSON."""
    entries = [
        {
            "filename": name,
            "url": f"https://files.example/{name}",
            "digests": {"md5": hashlib.md5(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest()},  # noqa: S324
            "comment_text": "signed off",
        }
        for name, data in made.files.items()
    ]
    info = {"name": "Alpha", "version": version, "summary": "from the remote", "package_url": "https://index.example/a"}
    document = {
        "info": info,
        "last_serial": 42,
        "releases": {version: entries},
        "urls": entries,
        "vulnerabilities": [{"id": "X-1"}],
        **more,
    }
    up.serve(
        f"/pypi/{made.name}/{path}json", json.dumps(document).encode(), content_type="application/json", etag='"j"'
    )
    return document


async def asked(served: Served, path: str) -> Any:  # Any: JSON
    answer = await served.ask(f"/pypi/main/pypi/{path}")
    assert answer.status == 200, answer.text
    return answer.json()


async def test_project__known_to_the_remotes_api__is_told_with_our_links(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = project(up, upload_time="2024-01-02T03:04:05.678901Z")
        told(up, made)
        answer = await served.ask("/pypi/main/pypi/alpha/json")
        found = answer.json()
        (entry,) = found["urls"]
        body = (await served.ask(entry["url"])).body

    assert (found["info"]["summary"], found["last_serial"], found["vulnerabilities"]) == (
        "from the remote",
        42,
        [{"id": "X-1"}],
    )
    assert found["releases"] == {"1.0": [entry]}
    assert entry["upload_time"] == "2024-01-02T03:04:05"
    assert entry["upload_time_iso_8601"] == "2024-01-02T03:04:05.678901Z"
    assert entry["digests"]["md5"] == entry["md5_digest"]
    assert (entry["packagetype"], entry["python_version"], entry["comment_text"]) == (
        "bdist_wheel",
        "py3",
        "signed off",
    )
    assert entry["url"].startswith("/pypi/main/files/")
    assert found["info"]["package_url"] == "/pypi/main/project/alpha/"
    assert body == made.files[WHEEL]
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"].startswith("max-age=")
    assert "files.example" not in answer.text


async def test_project__remote_without_a_json_api__is_described_by_its_wheel(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        project(up)
        found = await asked(served, "alpha/json")
        before = up.count("/pypi/alpha/json")
        await asked(served, "alpha/json")

    assert (found["info"]["name"], found["info"]["version"], found["last_serial"]) == ("alpha", "1.0", 0)
    assert set(found["releases"]) == {"1.0"}
    assert found["vulnerabilities"] == []
    assert before == up.count("/pypi/alpha/json")


async def test_release__spelled_otherwise__is_the_same(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        told(up, project(up), path="1.0/")
        found = await asked(served, "alpha/1.0.0/json")

    assert "releases" not in found
    assert [entry["filename"] for entry in found["urls"]] == [WHEEL]
    assert found["info"]["version"] == "1.0"


async def test_project__newest_is_yanked__is_described_by_the_one_before(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = project(up)
        made.add("alpha-2.0-py3-none-any.whl", a_wheel("alpha", "2.0"), yanked="broken")
        made.publish(up)
        told(up, made, "2.0")
        told(up, made, "1.0", path="1.0/", vulnerabilities=[])
        found = await asked(served, "alpha/json")
        other = await asked(served, "alpha/2.0/json")

    assert found["info"]["version"] == "1.0"
    assert found["vulnerabilities"] == []
    assert found["releases"]["2.0"][0]["yanked_reason"] == "broken"
    assert (other["info"]["yanked"], other["info"]["yanked_reason"]) == (True, "broken")


@pytest.mark.parametrize(
    ("asked_for", "leads_to"),
    [
        ("/pypi/main/pypi/Al_pha/json", "/pypi/main/pypi/al-pha/json"),
        ("/pypi/main/pypi/Al_pha/json/", "/pypi/main/pypi/al-pha/json"),
        ("/pypi/main/pypi/Al_pha/1.0/json", "/pypi/main/pypi/al-pha/1.0/json"),
        ("/pypi/main/pypi/Al_pha/1.0/json/", "/pypi/main/pypi/al-pha/1.0/json"),
    ],
)
async def test_name__not_normalised__redirects_within_the_proxy(tmp_path: Path, asked_for: str, leads_to: str) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        project(up, "al-pha")
        answer = await served.ask(asked_for)
        followed = await served.ask(leads_to)

    assert answer.status == 301

    assert followed.status == 200
    assert urljoin(asked_for, answer.headers["Location"]) == leads_to


@pytest.mark.parametrize("path", ["beta/json", "alpha/9.9/json", "alpha/not-a-version/json"])
async def test_unknown__is_404_with_one_line(tmp_path: Path, path: str) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        project(up)
        answer = await served.ask(f"/pypi/main/pypi/{path}")

    assert (answer.status, answer.text.count("\n")) == (404, 1)


async def test_repeated__with_its_etag__is_304_also_after_a_restart(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        told(up, project(up))
        async with serving(tmp_path, one_remote(up)) as served:
            first = await served.ask("/pypi/main/pypi/alpha/json")
        async with serving(tmp_path, one_remote(up)) as served:
            again = await served.ask("/pypi/main/pypi/alpha/json", If_None_Match=first.headers["ETag"])
            packed = await served.ask("/pypi/main/pypi/alpha/json", Accept_Encoding="gzip")
            head = await served.ask("/pypi/main/pypi/alpha/json", "HEAD")

    assert (again.status, again.body, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.headers["ETag"] != first.headers["ETag"]
    assert packed.plain == first.body
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(first.body)))


async def test_project__whose_vulnerabilities_nobody_could_be_asked_for__is_502(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        told(up, project(up))
        up.script("/pypi/alpha/json", Status(500), times=1)
        failed = await served.ask("/pypi/main/pypi/alpha/json")
        served.forget_failures()
        found = await asked(served, "alpha/json")

    assert (failed.status, failed.line) == (502, "remote up: answered 500 Internal Server Error")
    assert found["vulnerabilities"] == [{"id": "X-1"}]


async def test_project__whose_newest_release_is_hidden_and_the_remote_fails_to_tell_of_another__is_502(
    tmp_path: Path,
) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up, excludes=["alpha==2.0"])) as served:
        made = project(up)
        made.add("alpha-2.0-py3-none-any.whl", a_wheel("alpha", "2.0"))
        made.publish(up)
        told(up, made, "2.0")
        up.script("/pypi/alpha/1.0/json", Status(500), times=None)
        failed = await served.ask("/pypi/main/pypi/alpha/json")

    assert (failed.status, failed.line) == (502, "remote up: answered 500 Internal Server Error")


async def test_remote__failing_once_it_was_asked__has_told_already(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up, ttl="0s")) as served:
        told(up, project(up))
        before = await asked(served, "alpha/json")
        up.script("/pypi/alpha/json", Status(500), times=None)
        assert await asked(served, "alpha/json") == before


async def test_nonsense__from_the_remotes_api__is_not_passed_on(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        project(up)
        document = {"info": ["no"], "releases": {"1.0": "no"}, "urls": [7], "vulnerabilities": "x", "last_serial": "y"}
        up.serve("/pypi/alpha/json", json.dumps(document).encode(), content_type="application/json")
        found = await asked(served, "alpha/json")

    assert found["info"]["version"] == "1.0"
    assert (found["vulnerabilities"], found["last_serial"]) == ([], 0)


async def test_local__release_is_described_by_itself_beside_the_remotes(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, local(up)) as served:
        made = project(up)
        told(up, made)
        data = a_wheel("alpha", "9.0")
        assert (await upload(served, "alpha-9.0-py3-none-any.whl", data)).status == 200
        found = await asked(served, "alpha/json")

    assert found["info"]["version"] == "9.0"
    assert found["info"]["summary"] != "from the remote"
    assert found["vulnerabilities"] == []
    assert set(found["releases"]) == {"1.0", "9.0"}
    (entry,) = found["urls"]
    assert entry["md5_digest"] == hashlib.md5(data).hexdigest()  # noqa: S324 - what the API gives
    assert set(entry["digests"]) == {"md5", "sha256", "blake2b_256"}
    assert entry["url"].startswith("/pypi/main/files/local/alpha/")


async def test_local__file_of_a_remotes_name_gets_none_of_its_facts(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, local(up)) as served:
        told(up, project(up, payload=b"theirs"))
        data = a_wheel("alpha", "1.0", payload=b"ours")
        assert (await upload(served, WHEEL, data)).status == 200
        found = await asked(served, "alpha/json")

    (entry,) = found["urls"]
    assert entry["digests"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert entry["comment_text"] == ""
    assert entry["md5_digest"] == hashlib.md5(data).hexdigest()  # noqa: S324 - what the API gives


async def test_private__name_is_never_asked_of_the_remotes_api(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, local(up, private='["alpha"]')) as served:
        told(up, project(up))
        assert (await upload(served, WHEEL, a_wheel("alpha"))).status == 200
        await asked(served, "alpha/json")

        assert up.count("/pypi/alpha/json") == 0
        assert up.count("/simple/alpha/") == 0


async def test_remotes__in_order__the_one_that_answers_for_the_page_tells(tmp_path: Path) -> None:
    async with RawUpstream() as first, RawUpstream() as second:
        text = remotes(one={"url": f"{first.url}simple/"}, two={"url": f"{second.url}simple/"})
        told(first, project(first, "beta"))
        told(second, project(second))
        async with serving(tmp_path, text) as served:
            found = await asked(served, "alpha/json")

    assert found["info"]["summary"] == "from the remote"


async def test_quarantined__has_no_release(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = project(up)
        made.page = {"project-status": {"status": "quarantined"}}
        made.publish(up)
        told(up, made)
        answer = await served.ask("/pypi/main/pypi/alpha/json")

    assert answer.status == 404


async def test_pyproxy_in_front_of_pyproxy__tells_the_same(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    near.mkdir()
    far.mkdir()
    async with RawUpstream() as up, serving(far, one_remote(up)) as behind:
        told(up, project(up))
        text = remotes(up={"url": f"{behind.url}/pypi/main/simple/"})
        async with serving(near, text) as served:
            found = await asked(served, "alpha/json")

    assert (found["info"]["summary"], found["last_serial"]) == ("from the remote", 42)


async def test_public_url__makes_its_urls_absolute(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        text = "server: {public_url: 'https://pkgs.example'}\n" + one_remote(up)
        project(up)
        async with serving(tmp_path, text) as served:
            found = await asked(served, "alpha/json")

    assert found["urls"][0]["url"].startswith("https://pkgs.example/pypi/main/files/")
    assert found["info"]["release_url"] == "https://pkgs.example/pypi/main/project/alpha/"


async def test_file__described_by_the_remote__keeps_its_words(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = project(up, core_metadata={"sha256": "0" * 64})
        sha256 = hashlib.sha256(made.files[WHEEL]).hexdigest()
        entry = {"filename": WHEEL, "digests": {"sha256": sha256}, "python_version": "3.3", "packagetype": "bdist_egg"}
        told(up, made, releases={}, urls=[entry])
        found = await asked(served, "alpha/json")

    (entry,) = found["urls"]
    assert (entry["python_version"], entry["packagetype"]) == ("3.3", "bdist_egg")
    assert entry["core-metadata"] == {"sha256": "0" * 64}


async def test_installer__belongs_to_the_version_before_its_platform(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = Project("alpha")
        for name in ("alpha-1.0.win32-py2.7.exe", "alpha-1.0.win-amd64-py2.7.exe", "alpha-1.0.win-amd64.msi"):
            made.add(name, b"an installer")
        made.add("alpha-1.0.tar.gz", b"source")
        made.publish(up)
        found = await asked(served, "alpha/json")
        versions = (await served.page()).json()["versions"]

    assert [len(files) for files in found["releases"].values()] == [4]
    assert versions == ["1.0"]


async def test_remote__with_a_page_for_people_in_its_apis_place__has_none(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        project(up)
        up.serve("/pypi/alpha/json", b"<html>welcome</html>", content_type="text/html")
        for _ in range(3):
            answer = await served.ask("/pypi/main/pypi/alpha/json")
            assert (answer.status, answer.json()["info"]["version"]) == (200, "1.0")
            assert answer.headers["Cache-Control"].startswith("max-age=")

        assert up.count("/pypi/alpha/json") == 1


async def test_remote__whose_api_is_lost__is_told_of_as_it_was_while_that_may_be(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up, ttl="10m", stale_if_error="1h")) as served:
        told(up, project(up))
        await asked(served, "alpha/json")
        served.later(1200)
        up.serve("/pypi/alpha/json", b"<html>down for maintenance</html>", content_type="text/html")
        answer = await served.ask("/pypi/main/pypi/alpha/json")

    assert answer.json()["info"]["summary"] == "from the remote"
    assert answer.headers["Cache-Control"] == "no-store"


async def test_release__whose_first_wheel_cannot_be_read__is_described_by_the_next(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = Project("alpha")
        made.add("alpha-1.0-cp39-none-any.whl", b"no wheel at all")
        made.add(WHEEL, a_wheel("alpha", "1.0", requires=("beta>1",)))
        made.publish(up)
        answer = await served.ask("/pypi/main/pypi/alpha/json")

    assert answer.json()["info"]["requires_dist"] == ["beta>1"]
    assert answer.headers["Cache-Control"].startswith("max-age=")


async def test_guarded__is_for_who_may_read_and_for_no_shared_cache(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, local(up, content_guard="staff")) as served:
        told(up, project(up))
        unknown = await served.ask("/pypi/main/pypi/alpha/json")
        before = up.count()
        found = await served.ask("/pypi/main/pypi/alpha/json", Authorization=basic(READ))

    assert (unknown.status, before, found.status) == (401, 0, 200)
    assert found.headers["Cache-Control"] == "private, no-cache"


async def test_shadowed__project_is_told_of_from_local_files_alone(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, local(up, merge="shadow")) as served:
        told(up, project(up))
        assert (await upload(served, "alpha-9.0-py3-none-any.whl", a_wheel("alpha", "9.0"))).status == 200
        found = await asked(served, "alpha/json")

        assert set(found["releases"]) == {"9.0"}
        assert "ownership" not in found
        assert up.count("/pypi/alpha/json") == 0


async def test_remote__down_with_nothing_cached__is_502_and_local_files_are_told_of_all_the_same(
    tmp_path: Path,
) -> None:
    async with RawUpstream() as up, serving(tmp_path, local(up)) as served:
        for path in ("/simple/alpha/", "/simple/beta/", "/pypi/alpha/json"):
            up.script(path, Status(500), times=None)
        assert (await upload(served, "alpha-9.0-py3-none-any.whl", a_wheel("alpha", "9.0"))).status == 200
        ours = await served.ask("/pypi/main/pypi/alpha/json")
        theirs = await served.ask("/pypi/main/pypi/beta/json")

    assert (ours.status, set(ours.json()["releases"]), ours.headers["Cache-Control"]) == (200, {"9.0"}, "no-store")
    assert (theirs.status, theirs.line) == (502, "remote up: answered 500 Internal Server Error")


async def test_requests__are_counted_as_json_here_and_at_the_remote(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        told(up, project(up))
        with served.counting("pyproxy_requests_total", "kind", "result") as here:
            for _ in range(2):
                await asked(served, "alpha/json")

        assert here == {("json", "miss"): 1, ("json", "hit"): 1}
        assert served.metric("pyproxy_upstream_requests_total", kind="json", status="200") == 1


async def test_release__the_remote_tells_of_projects_alone__gets_what_is_said_of_its_files(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = project(up)
        made.add("alpha-2.0-py3-none-any.whl", a_wheel("alpha", "2.0"))
        made.publish(up)
        told(up, made, "2.0")
        found = await asked(served, "alpha/1.0/json")

    assert (found["info"]["version"], found["info"]["summary"]) == ("1.0", None)
    assert found["vulnerabilities"] == []  # those are of 2.0
    assert found["last_serial"] == 42
    assert found["urls"][0]["digests"]["md5"] == hashlib.md5(made.files[WHEEL]).hexdigest()  # noqa: S324


@pytest.mark.parametrize("merged", [False, True])
async def test_release__whose_vulnerabilities_nobody_could_be_asked_for__is_502(
    tmp_path: Path, *, merged: bool
) -> None:
    async with RawUpstream() as up, serving(tmp_path, local(up) if merged else one_remote(up)) as served:
        told(up, project(up), path="1.0/")
        up.script("/pypi/alpha/1.0/json", Status(500), times=4 if merged else 1)  # as often as it is asked
        failed = await served.ask("/pypi/main/pypi/alpha/1.0/json")
        served.forget_failures()
        found = await asked(served, "alpha/1.0/json")

    assert (failed.status, failed.line) == (502, "remote up: answered 500 Internal Server Error")
    assert found["vulnerabilities"] == [{"id": "X-1"}]


async def test_project__asked_for_again__is_known_by_heart_until_it_changes(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, "server: {hot_path: true}\n" + local(up)) as served:
        told(up, project(up))
        for _ in range(3):
            await asked(served, "alpha/json")
        assert served.metric("pyproxy_hot_path_bytes") > 0
        assert (await upload(served, "alpha-9.0-py3-none-any.whl", a_wheel("alpha", "9.0"))).status == 200
        found = await asked(served, "alpha/json")

    assert set(found["releases"]) == {"1.0", "9.0"}


async def test_project__with_a_document_over_the_bound__is_described_by_its_release(tmp_path: Path) -> None:
    async with RawUpstream() as up, serving(tmp_path, one_remote(up)) as served:
        made = project(up)
        told(up, made, path="1.0/")
        told(up, made, padding="x" * LIMIT)
        for _ in range(2):
            answer = await served.ask("/pypi/main/pypi/alpha/json")

        assert answer.json()["info"]["summary"] == "from the remote"
        assert answer.json()["urls"][0]["comment_text"] == "signed off"
        assert answer.headers["Cache-Control"].startswith("max-age=")
        assert up.count("/pypi/alpha/json") == 1

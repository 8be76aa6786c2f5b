"""Names that are both here and on a remote: in the log, in `pyproxy check` and in a metric, whoever asks first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.daemon import JSON, Served, a_wheel, project, serving
from tests.fakes.raw_upstream import RawUpstream
from tests.process.daemons import pyproxy
from tests.uploading import local, upload

WHEEL = "alpha-9.0-py3-none-any.whl"


def count(served: Served) -> float:
    return served.metric("pyproxy_name_collisions", distribution="main")


async def give(served: Served, name: str = "alpha") -> None:
    assert (await upload(served, f"{name}-9.0-py3-none-any.whl", a_wheel(name, "9.0"))).status == 200


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was warned of since the last time."""
    lines = [record.getMessage() for record in caplog.records if "both in its repository" in record.getMessage()]
    caplog.clear()
    return lines


async def checked(folder: Path) -> list[str]:
    """The warnings of `pyproxy check`."""
    done = await pyproxy("check", "--config", folder / "pyproxy.yaml", "--data", folder / "data")
    assert done.code == 0
    return [line for line in done.err.splitlines() if line.startswith("warning: ")]


WARNING = "distribution main: alpha is both in its repository and on a remote; make it private, or merge: shadow"


async def test_page_of_both__is_warned_of_once(
    up: RawUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project(up)
    async with serving(tmp_path, local(up)) as served:
        await give(served)
        assert (count(served), told(caplog)) == (0, [])
        await served.page()
        await served.page()
        assert (count(served), told(caplog)) == (1, [WARNING])


async def test_after_a_restart__is_known_and_warned_of_before_anybody_asks(
    up: RawUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project(up)
    async with serving(tmp_path, local(up)) as served:
        await give(served)
        await served.page()
        await served.settled()
    asked = up.count()
    told(caplog)
    async with serving(tmp_path, local(up)) as served:
        assert count(served) == 1
        assert told(caplog) == [WARNING]
    assert up.count() == asked


async def test_upload_of_a_name_whose_page_was_seen__is_warned_of_at_once(
    up: RawUpstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    project(up)
    async with serving(tmp_path, local(up)) as served:
        await served.page()
        await served.settled()
        await give(served)
        assert (told(caplog), count(served)) == ([WARNING], 1)


async def test_name_on_the_remotes_list__is_known_though_its_page_was_never_asked_for(
    up: RawUpstream, tmp_path: Path
) -> None:
    names = ["aardvark", "Alpha", "alpha-two", "beta", "zeta"]
    listing = {"meta": {"api-version": "1.1"}, "projects": [{"name": name} for name in names]}
    up.serve("/simple/", json.dumps(listing).encode(), content_type=JSON)
    async with serving(tmp_path, local(up)) as served:
        await give(served)
        await give(served, "gamma")
        assert count(served) == 0
        assert (await served.ask("/pypi/main/simple/", Accept=JSON)).status == 200
        await served.settled()
        assert count(served) == 1
        await give(served, "zeta")
        assert count(served) == 2
        warnings = await checked(tmp_path)

    assert [line.partition("merge: ")[2].partition(" is both")[0] for line in warnings] == ["alpha", "zeta"]


async def test_removed__counts_no_more(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, local(up)) as served:
        await give(served)
        await served.page()
        await served.settled()
        assert (count(served), len(await checked(tmp_path))) == (1, 1)
        folder = ("--config", tmp_path / "pyproxy.yaml", "--data", tmp_path / "data")
        assert (await pyproxy("repo", "remove", "team", "alpha", *folder)).code == 0
        assert (count(served), await checked(tmp_path)) == (0, [])
        wheel = tmp_path / WHEEL
        wheel.write_bytes(a_wheel("alpha", "9.0"))
        assert (await pyproxy("repo", "add", "team", wheel, *folder)).code == 0
        assert count(served) == 1


async def test_gone_from_the_remote__counts_no_more(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, local(up)) as served:
        await give(served)
        await served.page()
        assert count(served) == 1
        up.remove("/simple/alpha/")
        served.later(1000)
        await served.page()
        assert count(served) == 0


@pytest.mark.parametrize("keys", [{"merge": "shadow"}, {"private": "[alpha]"}, {"private": '["al*"]'}])
async def test_private_and_shadowed__do_not_count(up: RawUpstream, tmp_path: Path, keys: dict[str, str]) -> None:
    project(up)
    async with serving(tmp_path, local(up)) as served:
        await give(served)
        await served.page()
        await served.settled()
    async with serving(tmp_path, local(up, **keys)) as served:
        await served.page()
        assert count(served) == 0
        assert await checked(tmp_path) == []


@pytest.mark.parametrize("keys", ["excludes: [alpha]", 'includes: ["beta"]', 'block: ["alpha"]'])
async def test_name_that_no_filter_admits__does_not_count(up: RawUpstream, tmp_path: Path, keys: str) -> None:
    project(up)
    async with serving(tmp_path, local(up)) as served:
        await give(served)
        await served.page()
        await served.settled()
        assert count(served) == 1
    filtered = local(up).replace("simple/'}", f"simple/', {keys}}}")
    async with serving(tmp_path, filtered) as served:
        await served.page()
        assert count(served) == 0
        assert await checked(tmp_path) == []


async def test_check__says_where_and_asks_nobody(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    async with serving(tmp_path, local(up, merge="ahead")) as served:
        await give(served)
        await served.page()
        await served.settled()
    asked = up.count()
    text = (tmp_path / "pyproxy.yaml").read_text().splitlines()
    line = next(number for number, it in enumerate(text, 1) if "merge:" in it)

    where = f"{tmp_path}/pyproxy.yaml:{line}: distributions.main.merge"
    what = "alpha is both in repository team and on remote up"
    assert await checked(tmp_path) == [f"warning: {where}: {what}; make it private, or merge: shadow"]
    assert up.count() == asked


async def test_check__pinned_to_no_version__tells_of_that_and_of_the_others(up: RawUpstream, tmp_path: Path) -> None:
    project(up)
    pinned = "  early:\n    remote: up\n    repository: team\n    repository_version: 7\n"
    main = local(up, merge="ahead", default="true").replace("  main:", f"{pinned}  main:")
    async with serving(tmp_path, main) as served:
        await give(served)
        await served.page()
        await served.settled()

    version, collision = await checked(tmp_path)
    assert version.endswith(
        ":7: distributions.early.repository_version: repository team has no version 7: the latest is 1"
    )
    assert "distributions.main.merge: alpha is both" in collision


async def test_check__of_a_store_that_cannot_be_read__says_so_and_is_right_all_the_same(tmp_path: Path) -> None:
    async with serving(tmp_path, local(None)):
        pass
    (tmp_path / "data" / "local" / "index" / "data.mdb").write_bytes(b"no index" * 1000)

    (warning,) = await checked(tmp_path)
    assert "were not looked for" in warning

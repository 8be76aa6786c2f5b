"""Why each file is shown or hidden: the same over HTTP and by the command, and never other than what the page shows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pyproxy.cli import cli
from tests.daemon import Project, Served, a_remote, a_wheel, configured, one_remote, remotes, serving
from tests.fakes.faults import Status
from tests.fakes.raw_upstream import RawUpstream
from tests.process.daemons import pyproxy
from tests.uploading import READ, basic, local, upload

JSON = "application/json"


def wheel(version: str, name: str = "alpha") -> str:
    return f"{name}-{version}-py3-none-any.whl"


def published(up: RawUpstream, *versions: str, name: str = "alpha", **page: Any) -> None:  # Any: fields of a page
    made = Project(name, page={key.replace("_", "-"): value for key, value in page.items()})
    for version in versions:
        made.add(wheel(version, name), a_wheel(name, version))
    made.publish(up)


async def explained(served: Served, name: str = "alpha", base: str = "main") -> Any:  # Any: JSON
    """The answer, once it is seen to say of each file what its page says."""
    answer = await served.ask(f"/pypi/{base}/explain/{name}", Accept=JSON)
    assert (answer.status, answer.headers["Content-Type"]) == (200, JSON)
    found = answer.json()
    page = await served.page(name, base)
    on_page = [file["filename"] for file in page.json()["files"]] if page.status == 200 else []
    assert sorted(file["filename"] for file in found["files"] if file["shown"]) == sorted(on_page)
    return found


def rulings(found: Any) -> list[tuple[str, str]]:  # Any: JSON
    return [(ruling["key"], ruling["reason"]) for ruling in found["rulings"]]


def hidden(found: Any) -> dict[str, tuple[str, str]]:  # Any: JSON
    """By file, the key that hides it and its line."""
    return {
        f"{file['source']} {file['filename']}": (
            file["hidden_by"]["key"],
            file["hidden_by"]["where"].rpartition("/")[2],
        )
        for file in found["files"]
        if not file["shown"]
    }


async def test_explain__names_key_and_line_of_each_filter(up: RawUpstream, tmp_path: Path) -> None:
    published(up, "1.0", "2.0", "3.0", "4.0")
    text = f"""\
remotes:
  up:
    url: {up.url}simple/
    excludes:
      - alpha==2.0
    keep_latest_packages: 2
distributions:
  main:
    remote: up
    filters:
      block: [alpha==4.0]
"""
    async with serving(tmp_path, text) as served:
        found = await explained(served)
        assert (found["shown"], found["hidden"]) == (1, 3)
        assert hidden(found) == {
            f"remote up {wheel('1.0')}": ("remotes.up.keep_latest_packages", "pyproxy.yaml:6"),
            f"remote up {wheel('2.0')}": ("remotes.up.excludes", "pyproxy.yaml:4"),
            f"remote up {wheel('4.0')}": ("distributions.main.filters.block", "pyproxy.yaml:11"),
        }
        answer = await served.ask("/pypi/main/explain/Alpha/")
        assert answer.headers["Content-Type"].startswith("text/plain")
        lines = answer.text.splitlines()
        assert lines[0] == "alpha in distribution main, /pypi/main/simple/alpha/: 1 of 4 files are shown"
        assert f"shown   {wheel('3.0')}  remote up" in lines
        at = f"{tmp_path}/pyproxy.yaml:4: remotes.up.excludes: names alpha==2.0"
        assert f"hidden  {wheel('2.0')}  remote up  {at}" in lines


async def test_explain__entry_of_a_block_file__names_its_line_there(up: RawUpstream, tmp_path: Path) -> None:
    published(up, "1.0", "2.0", "3.0", "4.0")
    digest = hashlib.sha256(a_wheel("alpha", "3.0")).hexdigest()
    blocked = tmp_path / "blocked.txt"
    blocked.write_text(f"# incident 12\nalpha==2.0  # bad\n\nsha256:{digest}\nbeta\nalpha==2.0\n")
    text = one_remote(up, block=["alpha==1.0", f"file:{blocked}"])
    async with serving(tmp_path, text) as served:
        found = await explained(served)
        assert {file["version"]: file["hidden_by"] and file["hidden_by"]["where"] for file in found["files"]} == {
            "1.0": f"{tmp_path / 'pyproxy.yaml'}:1",
            "2.0": f"{blocked}:2",
            "3.0": f"{blocked}:4",
            "4.0": None,
        }
        assert [ruling["where"] for ruling in (await explained(served, "beta"))["rulings"]] == [f"{blocked}:5"]
        blocked.write_text("# moved\n# down\nalpha==2.0\n")
        await served.daemon.apply(configured(tmp_path, text))
        places = [file["hidden_by"]["where"] for file in (await explained(served))["files"] if file["version"] == "2.0"]
        assert places == [f"{blocked}:3"]


async def test_explain__name_that_is_refused__and_nobody_is_asked(up: RawUpstream, tmp_path: Path) -> None:
    async with serving(tmp_path, one_remote(up, includes=["beta"])) as served:
        found = await explained(served)
        assert rulings(found) == [("remotes.up.includes", "does not name alpha, so that remote up is not asked")]
    assert up.requests == []


async def test_explain__order_of_remotes(up: RawUpstream, tmp_path: Path) -> None:
    published(up, "1.0")
    async with RawUpstream() as none, RawUpstream() as later:
        text = remotes(none=a_remote(none), up=a_remote(up), later=a_remote(later))
        async with serving(tmp_path, text) as served:
            found = await explained(served)
            assert found["shown"] == 1
            assert rulings(found) == [
                ("remotes.none", "remote none has no project alpha"),
                ("distributions.main.remote", "remote up comes before later, which is not asked"),
            ]
            up.script("/simple/beta/", Status(500), times=None)
            found = await explained(served, "beta")
            assert [key for key, _ in rulings(found)] == ["remotes.none", "remotes.up", "distributions.main.remote"]
            assert "no later remote steps in for it" in rulings(found)[1][1]


@pytest.mark.parametrize("merge", ["ahead", "shadow"])
async def test_explain__local_files(up: RawUpstream, tmp_path: Path, merge: str) -> None:
    published(up, "1.0", "2.0")
    text = local(up, merge=merge, private="[secret]", filters="{excludes: ['beta', 'alpha==3.0']}")
    async with serving(tmp_path, text) as served:
        for version in ("2.0", "3.0"):
            assert (await upload(served, wheel(version), a_wheel("alpha", version, payload=b"ours"))).status == 200
        assert (await upload(served, wheel("1", "beta"), a_wheel("beta", "1"))).status == 200
        found = await explained(served)
        assert hidden(found)[f"local {wheel('3.0')}"][0] == "distributions.main.filters.excludes"
        if merge == "ahead":
            assert found["shown"] == 2
            assert hidden(found)[f"remote up {wheel('2.0')}"][0] == "distributions.main.merge"
        else:
            assert found["shown"] == 1
            assert [key for key, _ in rulings(found)] == ["distributions.main.merge"]
        found = await explained(served, "beta")
        assert hidden(found) == {
            f"local {wheel('1', 'beta')}": ("distributions.main.filters.excludes", "pyproxy.yaml:9")
        }
        found = await explained(served, "secret")
        assert rulings(found) == [("distributions.main.private", "remote up is never asked for secret")]


async def test_explain__remotes_words__make_no_lines_of_their_own(up: RawUpstream, tmp_path: Path) -> None:
    forged = f"malware\nshown   {wheel('2.0')}  local"
    published(up, "1.0", project_status={"status": "quarantined", "reason": forged})
    async with serving(tmp_path, one_remote(up)) as served:
        lines = (await served.ask("/pypi/main/explain/alpha")).text.splitlines()
        assert [line.split()[0] for line in lines] == ["alpha", "hidden"]


async def test_explain__quarantined(up: RawUpstream, tmp_path: Path) -> None:
    published(up, "1.0", project_status={"status": "quarantined", "reason": "malware"})
    async with serving(tmp_path, one_remote(up)) as served:
        [file] = (await explained(served))["files"]
        assert file["hidden_by"]["key"] == "remotes.up"
        assert file["hidden_by"]["reason"] == "quarantined: malware"


async def test_explain__stands_behind_the_guard_and_tells_of_it(up: RawUpstream, tmp_path: Path) -> None:
    published(up, "1.0")
    async with serving(tmp_path, local(up, content_guard="staff")) as served:
        assert (await served.ask("/pypi/main/explain/alpha")).status == 401
        answer = await served.ask("/pypi/main/explain/alpha", Accept=JSON, Authorization=basic(READ))
        assert rulings(answer.json()) == [("guards.staff.read", "may be seen by r alone")]


async def test_explain__rule_that_raises__says_so(
    up: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(up, "1.0", "2.0")
    async with serving(tmp_path, one_remote(up, package_types=["bdist_wheel"])) as served:

        def fails(self: object, file: object, now: float) -> None:
            raise RuntimeError(self, file, now)

        monkeypatch.setattr("pyproxy.filters.files.PackageTypes.judge", fails)
        found = await explained(served)
        assert found["shown"] == 0
        for file in found["files"]:
            assert file["hidden_by"]["reason"].startswith("could not be decided")
        assert served.metric("pyproxy_hidden_files_total", filter="package_types") == 2
        link = f"/pypi/main/files/up/files/{wheel('1.0')}"
        assert (await served.ask(link)).status == 403


async def test_command__beside_the_daemon__says_the_same(up: RawUpstream, tmp_path: Path) -> None:
    published(up, "1.0", "2.0", "3.0")
    async with serving(tmp_path, one_remote(up, excludes=["alpha==2.0"])) as served:
        found = await explained(served)
        told = await _command(tmp_path, "main", "alpha", "--json")
        assert told == found
        told = await _command(tmp_path, "main", "alpha>=2", "--json")
        assert [(file["version"], file["shown"]) for file in told["files"]] == [("2.0", False), ("3.0", True)]


async def _command(folder: Path, *arguments: str) -> Any:  # Any: JSON
    done = await pyproxy("explain", *arguments, "--config", folder / "pyproxy.yaml", "--data", folder / "data")
    assert (done.code, done.err) == (0, ""), done
    return json.loads(done.out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["main", "alpha*"], "must be a project's name"), (["other", "alpha"], "no distribution is called other")],
)
def test_command__wrong_usage__exits_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "pyproxy.yaml").write_text(json.dumps({"remotes": {"up": {"url": "https://index.example/simple/"}}}))

    result = CliRunner().invoke(
        cli, ["explain", *arguments, "--config", str(tmp_path / "pyproxy.yaml"), "--data", str(tmp_path / "data")]
    )

    assert result.exit_code == 2
    assert message in result.output

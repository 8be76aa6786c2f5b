"""The cache filled ahead of need: what is fetched, what is told of the rest, and that a daemon has it all."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from pyproxy.progress import Progress
from pyproxy.wanted import gathered
from pyproxy.warming import ASKED_AT_ONCE, Outcome, warm
from tests.daemon import Project, a_remote, a_wheel, configured, noise, one_remote, remotes, serving
from tests.fakes.faults import Delay, Status
from tests.fakes.raw_upstream import RawUpstream

WHEEL = "alpha-1.0-py3-none-any.whl"


@asynccontextmanager
async def unseen(now: Callable[[], Progress]) -> AsyncIterator[None]:
    yield
    assert now().done == now().files


async def warmed(
    folder: Path,
    text: str,
    *requirements: str,
    files: tuple[Path, ...] = (),
    only: tuple[str, ...] = (),
    pythons: tuple[str | None, ...] = (None,),
    deps: bool = True,
) -> Outcome:
    wishes = gathered(requirements, files)
    return await warm(configured(folder, text), "main", wishes, only=only, pythons=pythons, deps=deps, watch=unseen)


def published(up: RawUpstream, name: str = "alpha", *versions: str, requires: tuple[str, ...] = ()) -> Project:
    """A wheel and an sdist of each version."""
    made = Project(name)
    for version in versions or ("1.0",):
        made.add(f"{name}-{version}-py3-none-any.whl", a_wheel(name, version, requires=requires))
        made.add(f"{name}-{version}.tar.gz", noise(1000, zlib.crc32(f"{name} {version}".encode())))
    made.publish(up)
    return made


async def test_requirement__newest_release__is_there_with_its_metadata_when_the_remote_is_gone(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        made = published(up, "alpha", "1.0", "2.0")
        text = one_remote(up)
        outcome = await warmed(tmp_path, text, "alpha")
        assert (outcome.fetched, outcome.already, outcome.failed, outcome.notes) == (2, 0, {}, [])
        assert outcome.nbytes == sum(len(data) for name, data in made.files.items() if "-2.0" in name)
        assert up.count("/files/alpha-1.0.tar.gz") == 0
        await up.stop()
        async with serving(tmp_path, text) as served:
            links = await served.links()
            wheel = links["alpha-2.0-py3-none-any.whl"]
            assert (await served.ask(wheel)).body == made.files["alpha-2.0-py3-none-any.whl"]
            assert (await served.ask(links["alpha-2.0.tar.gz"])).body == made.files["alpha-2.0.tar.gz"]
            assert b"Version: 2.0" in (await served.ask(f"{wheel}.metadata")).body


async def test_requirement__a_second_time__nothing_is_fetched(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        published(up)
        assert (await warmed(tmp_path, one_remote(up), "alpha")).fetched == 2
        asked = len(up.requests)
        again = await warmed(tmp_path, one_remote(up), "alpha")
        assert (again.fetched, again.already, again.nbytes) == (0, 2, 0)
        assert len(up.requests) == asked


async def test_dependencies__of_any_machine_and_extra__come_along(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        requires = (
            "beta>=1",
            "gamma; sys_platform == 'win32'",
            "delta; extra == 'more'",
            "alpha[more]; extra == 'all'",
        )
        published(up, requires=requires)
        for name in ("beta", "gamma", "delta"):
            published(up, name, "0.9", "1.0")
        plain = await warmed(tmp_path, one_remote(up), "alpha")
        extra = await warmed(tmp_path, one_remote(up), "alpha[all]")
        assert (plain.failed, plain.fetched) == ({}, 6)
        assert (extra.failed, extra.fetched, extra.already) == ({}, 2, 6)


async def test_dependencies__that_nobody_wants__are_left_alone(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        published(up, requires=("beta",))
        assert (await warmed(tmp_path, one_remote(up), "alpha", deps=False)).fetched == 2
        assert up.count("/simple/beta/") == 0


async def test_dependency__that_a_requirement_pins__is_of_that_release(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        published(up, requires=("beta",))
        published(up, "beta", "1.0", "2.0")
        outcome = await warmed(tmp_path, one_remote(up), "alpha", "beta==1.0")
        assert outcome.failed == {}
        assert up.count("/files/beta-2.0.tar.gz") == 0


async def test_dependency__that_a_constraint_narrows__is_of_that_release(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        published(up, requires=("beta",))
        published(up, "beta", "1.0", "2.0")
        (tmp_path / "held.txt").write_text("beta<2\n")
        (tmp_path / "wanted.txt").write_text("-c held.txt\nalpha\n")
        outcome = await warmed(tmp_path, one_remote(up), files=(tmp_path / "wanted.txt",))
        assert (outcome.failed, outcome.fetched) == ({}, 4)
        assert up.count("/files/beta-2.0.tar.gz") == 0


async def test_failures__each_has_a_line_and_ends_nothing(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        made = published(up, requires=("missing",))
        up.script(f"/files/{WHEEL}.metadata", Status(500), times=None)
        up.script("/files/alpha-1.0.tar.gz", Status(500), times=None)
        published(up, "beta")
        outcome = await warmed(tmp_path, one_remote(up), "alpha", "beta>1", "unknown", "beta")
        assert outcome.failed == {
            "alpha-1.0.tar.gz": "remote up: answered 500 Internal Server Error",
            "beta>1": "no release of it fits",
            "unknown": "remote up has no project unknown",
            "missing": "remote up has no project missing (wanted by alpha 1.0)",
        }
        assert outcome.fetched == 3
        assert made.files


async def test_bytes_that_are_wrong__are_told_and_not_kept(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        published(up)
        up.serve(f"/files/{WHEEL}", b"wrong" * 1000)
        outcome = await warmed(tmp_path, one_remote(up), "alpha", deps=False)
        assert list(outcome.failed) == [WHEEL]
        assert outcome.fetched == 1


async def test_only__files_of_such_names__are_fetched(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        published(up, "alpha", "1.0", "2.0")
        wheels = await warmed(tmp_path, one_remote(up), "alpha", only=("*.whl",))
        older = await warmed(tmp_path, one_remote(up), "alpha", only=("*-1.0.tar.gz", "*-1.0-*"))
        none = await warmed(tmp_path, one_remote(up), "alpha", only=("*-win32.whl",))
        assert (wheels.fetched, older.fetched, none.fetched) == (1, 2, 0)
        assert none.failed == {"alpha": "no release of it fits"}


async def test_python__each_has_its_newest_release_and_what_that_wants(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        made = published(up, "alpha", "1.0", "2.0", "3.0", "4.0")
        for version, python in (("1.0", None), ("2.0", ">=3.8"), ("3.0", ">=3.12"), ("4.0", ">=4")):
            for name, said in made.said.items():
                if f"-{version}" in name:
                    said["requires-python"] = python
        made.publish(up)
        old = await warmed(tmp_path, one_remote(up), "alpha", pythons=("3.9",))
        assert (old.fetched, up.count("/files/alpha-2.0.tar.gz"), old.notes) == (2, 1, [])
        both = await warmed(tmp_path, one_remote(up), "alpha", pythons=(None, "3.11.7"))
        assert (both.fetched, both.already, up.count("/files/alpha-3.0.tar.gz")) == (2, 2, 1)
        pinned = await warmed(tmp_path, one_remote(up), "alpha==4.0", "alpha==1.0", pythons=("3.9",))
        assert (pinned.fetched, pinned.failed) == (4, {})
        too_old = await warmed(tmp_path, one_remote(up), "alpha>2", pythons=("3.9", "3.12"))
        assert (too_old.failed, too_old.already) == ({}, 2)
        assert too_old.notes == ["alpha>2: no release of it fits Python 3.9"]


async def test_lock__exactly_the_files_it_names__are_fetched(tmp_path: Path) -> None:
    async with RawUpstream() as up, RawUpstream() as other:
        made = published(up, "alpha", "1.0", "2.0", requires=("beta",))
        right = hashlib.sha256(made.files[WHEEL]).hexdigest()
        lock = tmp_path / "uv.lock"
        lock.write_text(
            "version = 1\n"
            f'[[package]]\nname = "alpha"\nsource = {{registry = "{up.url}simple"}}\nwheels = [\n'
            f'  {{url = "{up.url}files/{WHEEL}", hash = "sha256:{right}"}},\n'
            f'  {{url = "{up.url}files/alpha-2.0-py3-none-any.whl", hash = "sha256:{right}"}},\n'
            f'  {{url = "{up.url}files/alpha-3.0-py3-none-any.whl", hash = "sha256:{right}"}},\n]\n'
            f'[[package]]\nname = "torch"\nsource = {{registry = "{other.url}simple/"}}\n'
            f'wheels = [{{url = "{other.url}files/torch-1-py3-none-any.whl", hash = "sha256:{right}"}}]\n'
        )
        text = remotes(up=a_remote(up), other=a_remote(other)).replace('["up", "other"]', "up")
        outcome = await warmed(tmp_path, text, files=(lock,))
        assert outcome.fetched == 1
        assert outcome.failed == {
            "alpha-2.0-py3-none-any.whl": "here it has another digest than the lock file gives",
            "alpha-3.0-py3-none-any.whl": "the project's page does not have it",
        }
        assert outcome.notes == [f"{lock}: torch: is of another index; passed over"]
        assert other.requests == []


async def test_requirements_file__with_hashes__those_files_alone(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        made = published(up, requires=("beta",))
        wanted = tmp_path / "requirements.txt"
        wanted.write_text(f"alpha==1.0 \\\n  --hash=sha256:{hashlib.sha256(made.files[WHEEL]).hexdigest()}\n")
        outcome = await warmed(tmp_path, one_remote(up), files=(wanted,))
        assert (outcome.fetched, outcome.failed) == (1, {})
        assert up.count("/files/alpha-1.0.tar.gz") == up.count("/simple/beta/") == 0


async def test_remote__streamed__is_told_and_not_asked_for_files(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        published(up)
        outcome = await warmed(tmp_path, one_remote(up, policy="streamed"), "alpha", deps=False)
        assert set(outcome.failed.values()) == {"remote up is streamed: no file of it is ever kept"}
        assert up.count("/files/alpha-1.0.tar.gz") == 0


async def test_remote__offline__is_told(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        published(up)
        outcome = await warmed(tmp_path, one_remote(up, policy="offline"), "alpha")
        assert list(outcome.failed) == ["alpha"]
        assert "is offline by configuration" in outcome.failed["alpha"]
        assert up.requests == []


async def test_cache__too_small_for_all__tells_what_was_given_up(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        made = Project("alpha")
        for kind in ("a", "b", "c"):
            made.add(f"alpha-1.0-{kind}-none-any.whl", a_wheel(payload=noise(100_000)) + kind.encode())
        made.publish(up)
        text = f"storage: {{max_cache_size: 250kB}}\n{one_remote(up)}"
        outcome = await warmed(tmp_path, text, "alpha", deps=False)
        assert outcome.failed
        assert all("holds 244.1 KiB" in why or "no room" in why or "taken" in why for why in outcome.failed.values())


async def test_many_requirements__pages_are_asked_for_a_few_at_a_time(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        names = [f"many-{number}" for number in range(40)]
        for name in names:
            up.script(f"/simple/{name}/", Delay(0.02))
        outcome = await warmed(tmp_path, one_remote(up), *names)
        assert len(outcome.failed) == 40
        assert 1 < up.peak[""] <= ASKED_AT_ONCE


async def test_private_and_local__nothing_is_fetched(tmp_path: Path) -> None:
    async with RawUpstream() as up:
        published(up)
        text = one_remote(up).replace('    remote: "up"', "    remote: up\n    private: [alpha]")
        outcome = await warmed(tmp_path, text, "alpha")
        assert list(outcome.failed) == ["alpha"]
        assert up.requests == []

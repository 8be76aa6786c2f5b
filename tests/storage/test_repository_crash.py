"""Killed at any point, written by several at once: what was acknowledged is there, the rest whole or absent."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from pyproxy.model import ProjectName, Sha256, as_filename
from pyproxy.storage.failpoints import NAMES
from pyproxy.storage.repository import LocalFile, Repositories, rebuild_local
from tests.storage.local_child import LocalRunning, child, content
from tests.storage.repositories import REPO, assert_sound, digest_of, names, on_disk, opened, read


def find(repos: Repositories, name: str, repo: str = REPO, version: int | None = None) -> LocalFile | None:
    version = repos.latest(repo) if version is None else version
    return repos.file(repo, ProjectName(name.split("-", maxsplit=1)[0]), as_filename(name), version)


def assert_whole(repos: Repositories) -> None:
    """Everything that any version holds is what it should be, and nothing else lies there."""
    assert repos.reconciled
    assert_sound(repos)
    digests: dict[Sha256, str] = {}
    for repo in repos.repositories():
        for version in repos.versions(repo):
            for name in names(repos, version.number, repo):
                file = find(repos, name, repo, version.number)
                assert file is not None
                digests[file.digest] = name
                assert file.metadata is not None
                assert repos.metadata(file.metadata) == name.encode() * 9
    for digest, name in digests.items():
        assert read(repos, digest) == content(name)
    assert on_disk(repos.path.parent)[0] == digests.keys()


def assert_kept(repos: Repositories, said: Iterable[str]) -> None:
    """What was acknowledged, line by line, holds."""
    going, gone, yanked = set(), set(), set()
    added: dict[tuple[str, str], int] = {}
    for line in said:
        what, _, rest = line.partition(" ")
        if what == "removing":
            going.add(rest)
        elif what == "removed":
            gone.add(rest)
        elif what == "yanked":
            yanked.add(rest)
        elif what in {REPO, "stable"}:
            version, _, name = rest.partition(" ")
            added[what, name] = int(version)
    for (repo, name), made in added.items():
        assert repos.latest(repo) >= made
        file = find(repos, name, repo)
        if repo == REPO and name in gone:
            assert file is None
        elif file is None:
            assert repo == REPO
            assert name in going
        else:
            assert read(repos, file.digest) == content(name)
            assert name not in yanked or repo != REPO or file.yanked


def numbers(repos: Repositories, repo: str = REPO) -> list[int]:
    return [version.number for version in repos.versions(repo)]


# Where an upload passes a point twice, that is for the blob and for the sidecar; later passages are the other changes'.
PASSAGES = {"temp-created": 2, "half-written": 2, "temp-synced": 2, "renamed": 5, "committed": 4, "txn-open": 3}


@pytest.mark.parametrize(
    ("name", "passage"),
    sorted({(name, 1) for name in NAMES} | set(PASSAGES.items()) | {("renamed", 2), ("committed", 2)}),
)
def test_killed_at_a_failpoint__opens_soundly_with_all_that_was_kept(tmp_path: Path, name: str, passage: int) -> None:
    done = child("once", tmp_path, failpoint=f"{name}:kill@{passage}")
    assert done.returncode == -signal.SIGKILL, done.stderr
    with opened(tmp_path) as repos:
        assert_whole(repos)
        assert_kept(repos, done.stdout.splitlines())
        assert numbers(repos)[-1:] in ([], [repos.latest(REPO)])


def test_killed_at_random__many_times__no_acknowledged_file_is_lost(tmp_path: Path) -> None:
    said: list[str] = []
    for cycle in range(6):
        with LocalRunning("busy", tmp_path, str(cycle)) as uploading:
            assert uploading.line() == "open"
            said += [uploading.line() for _ in range(5 + 9 * cycle)]
            said += uploading.kill()
        with opened(tmp_path) as repos:
            asyncio.run(repos.reconcile())
            assert_whole(repos)
            assert_kept(repos, said)
            found = numbers(repos)
            assert found == list(range(found[0], repos.latest(REPO) + 1))
    assert len(said) >= 165


def test_killed_and_its_index_lost__sidecars_bring_back_all_that_was_acknowledged(tmp_path: Path) -> None:
    with LocalRunning("busy", tmp_path, "0") as uploading:
        said = [uploading.line() for _ in range(60)]
        said += uploading.kill()
    highest = {repo: max(int(line.split()[1]) for line in said if line.startswith(repo)) for repo in (REPO,)}
    for file in (tmp_path / "local" / "index").iterdir():
        file.unlink()
    rebuilt = rebuild_local(tmp_path, environment={})
    assert rebuilt.findings == []
    assert rebuilt.repositories[REPO] > highest[REPO]
    with opened(tmp_path) as repos:
        asyncio.run(repos.reconcile())
        assert_kept(repos, said)
        assert_whole(repos)


def test_two_processes__writing_at_once__make_consecutive_versions_and_lose_nothing(tmp_path: Path) -> None:
    with (
        opened(tmp_path) as repos,
        LocalRunning("beside", tmp_path, "one") as one,
        LocalRunning("beside", tmp_path, "two") as two,
    ):
        assert [one.line(), two.line()] == ["open", "open"]
        one.go_on()
        two.go_on()
        outputs = [one.finish(), two.finish()]
        assert [output[-1] for output in outputs] == ["done", "done"]
        assert_sound(repos)
        latest = repos.latest(REPO)
        assert numbers(repos) == list(range(1, latest + 1))
        shared = {f"shared-{at}.tar.gz" for at in range(0, 40, 4)}
        fought = {f"fought-{at}.tar.gz" for at in range(0, 40, 4)}
        own = {f"{name}-{at}.tar.gz" for name in ("one", "two") for at in range(40)}
        assert names(repos) == shared | fought | own
        assert latest == len(shared | fought | own)
        winners = set()
        for at in range(0, 40, 4):
            results = [output.count(f"won {at}") for output in outputs]
            assert sorted(results) == [0, 1]
            file = find(repos, f"fought-{at}.tar.gz")
            assert file is not None
            assert read(repos, file.digest) == (b"one", b"two")[results.index(1)]
            winners.add(file.digest)
        assert len(on_disk(tmp_path)[0]) == len(shared) + len(own) + len(winners)


def test_another_process__sees_a_change_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        done = child("once", tmp_path)
        assert done.returncode == 0, done.stderr
        assert repos.latest(REPO) == 4
        assert names(repos) == {"a-1.0.tar.gz"}


def test_file_size_limit__file_and_index__are_refused_and_recover_without_a_restart(tmp_path: Path) -> None:
    """What a full disk does, by RLIMIT_FSIZE: the kernel answers EFBIG."""
    done = child("limited", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("file: StoreFull cannot write local/tmp/")
    # LMDB tells of half a write as of a broken disk; only a disk that is full indeed is asked whether it is.
    assert lines[1] in {
        "index: StoreFull cannot write the index: File too large",
        "index: StoreTrouble cannot write the index: Input/output error",
    }
    assert lines[2:] == ["read: b'small' True", "later: None True"]
    with opened(tmp_path) as repos:
        assert_sound(repos)
        assert digest_of(bytes(150_000)) in on_disk(tmp_path)[0]

"""Every call of the store fails once, and from then on: no wrong byte, nothing half kept, no failed start after it."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import ClassVar

import lmdb
import pytest

from pyproxy.errors import PyproxyError, StoreFull, StoreTrouble
from pyproxy.model import as_project
from pyproxy.storage import recover
from pyproxy.storage.disk import Disk, Where
from pyproxy.storage.repository import NewFile, Repositories, open_local
from pyproxy.storage.sidecars import Sidecars
from tests.storage.repositories import (
    ACME,
    REPO,
    WHEEL,
    add,
    assert_sound,
    digest_of,
    names,
    new_file,
    on_disk,
    opened,
    read,
    temps,
)
from tests.storage.stores import Faults, in_memory


class Journal:
    """Does things to a store that fails, and keeps what the answers promised."""

    def __init__(self, error: int) -> None:
        self.kept: dict[str, int] = {}
        self.errors: list[PyproxyError] = []
        self.expected = StoreFull if error == errno.ENOSPC else StoreTrouble

    async def did(self, work: Awaitable[object]) -> bool:
        try:
            await work
        except PyproxyError as exc:
            self.errors.append(exc)
            return False
        return True

    async def workload(self, path: Path, faults: Faults) -> None:
        try:
            repos = open_local(path, exclusive=True, fault=faults, environment={})
        except StoreTrouble as exc:
            self.errors.append(exc)
            return
        try:
            await self._changes(repos)
            assert temps(path) == [] or faults.fired
        finally:
            repos.close()

    async def _changes(self, repos: Repositories) -> None:
        for name in ("a-1.tar.gz", "b-1.tar.gz"):
            if await self.did(self._add(repos, name)):
                self.kept[name] = repos.latest(REPO)
        if await self.did(self._add(repos, "c-1.tar.gz", "d-1.tar.gz")):
            self.kept |= dict.fromkeys(("c-1.tar.gz", "d-1.tar.gz"), repos.latest(REPO))
        held = names(repos)
        if "a-1.tar.gz" in held and await self.did(repos.yank(REPO, ["a"], "why")):
            (file,) = repos.page_files(REPO, as_project("a"), repos.latest(REPO))
            assert file.yanked == "why"
        if "b-1.tar.gz" in held and await self.did(repos.copy(REPO, "stable", ["b"])):
            assert names(repos, repo="stable") == {"b-1.tar.gz"}
        if "c-1.tar.gz" in held and await self.did(repos.remove(REPO, ["c"])):
            self.kept.pop("c-1.tar.gz", None)
        if held and await self.did(repos.prune(REPO, 1)):
            assert len(repos.versions(REPO)) == 1

    async def _add(self, repos: Repositories, *wanted: str) -> None:
        files: list[NewFile] = []
        try:
            for name in wanted:
                files.append(new_file(repos, name, name.encode() * 50))  # noqa: PERF401 - those made are discarded
        except BaseException:
            for new in files:
                new.temp.discard()
            raise
        await repos.add(REPO, files)


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from-then-on"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
def test_every_call__failing__leaves_a_store_that_opens_soundly(
    monkeypatch: pytest.MonkeyPatch, *, error: int, lasting: bool
) -> None:
    monkeypatch.setattr(recover, "index_damage", lambda *_: None)  # a child process for each k would take a minute
    at = failures = 0
    while True:
        # Every second call is enough for each variant: together they fail all.
        at += 1 if not lasting else 2
        faults, journal = Faults(error, at=at, lasting=lasting), Journal(error)
        with in_memory() as path:
            asyncio.run(journal.workload(path, faults))
            assert [exc for exc in journal.errors if type(exc) is not journal.expected] == []
            failures += len(journal.errors)
            if path.exists():
                assert_next_start_finds(path, journal, f"call {at}: {faults.calls[-1 if lasting else at - 1 :][:1]}")
        if not faults.fired:
            break
    assert at > 120
    assert failures > 60


def assert_next_start_finds(path: Path, journal: Journal, at: str) -> None:
    with opened(path) as repos:
        asyncio.run(repos.reconcile())
        assert_sound(repos)
        assert journal.kept.keys() <= names(repos), at
        needed = set()
        for repo in repos.repositories():
            for version in repos.versions(repo):
                for name in names(repos, version.number, repo):
                    assert read(repos, digest_of(name.encode() * 50)) == name.encode() * 50
                    needed.add(digest_of(name.encode() * 50))
        assert on_disk(path)[0] == needed
        for one, other in (("c-1.tar.gz", "d-1.tar.gz"),):
            first = next((v.number for v in repos.versions(REPO) if one in names(repos, v.number)), None)
            assert first is None or other in names(repos, first), "added together, so there together"


class NextOf:
    """Lets the next call of a kind find the disk full."""

    def __init__(self) -> None:
        self.kind = ""

    def __call__(self, what: str) -> None:
        if what == self.kind:
            self.kind = ""
            raise OSError(errno.ENOSPC, "")


@pytest.mark.parametrize("kind", ["create", "write", "fsync", "rename", "begin", "commit"])
async def test_add__disk_full_at_any_step__is_refused_and_nothing_remains(tmp_path: Path, kind: str) -> None:
    fault = NextOf()
    with opened(tmp_path, fault=fault) as repos:
        await add(repos, "acme-0.1.tar.gz", b"there before")
        new = new_file(repos, WHEEL, b"wheel")
        fault.kind = kind
        with pytest.raises(StoreFull):
            await repos.add(REPO, [new])
        assert not fault.kind
        assert repos.latest(REPO) == 1
        assert names(repos) == {"acme-0.1.tar.gz"}
        assert on_disk(tmp_path)[0] == {digest_of(b"there before")}
        assert len(on_disk(tmp_path)[1]) == 1
        assert temps(tmp_path) == []
        await add(repos)
        assert names(repos) == {"acme-0.1.tar.gz", WHEEL}
        assert_sound(repos)


async def test_index_full__is_store_full_and_room_made_serves_again(tmp_path: Path) -> None:
    with opened(tmp_path, map_size=1 << 20) as repos:
        added = 0
        refusal = ""
        while not refusal:
            new = new_file(repos, f"acme-{added}.tar.gz", b"%d" % added, metadata=b"%d" % added * 9000)
            try:
                await repos.add(REPO, [new])
                added += 1
            except StoreFull as exc:
                refusal = str(exc)
        assert refusal.startswith("the index of local content is full")
        assert added > 5
        assert len(names(repos)) == added
        assert repos.latest(REPO) == added
        await repos.remove(REPO, [f"acme<{added}"])
        await repos.prune(REPO, 1)
        await add(repos)
        assert names(repos) == {WHEEL}
        assert_sound(repos)


async def test_commit__half_a_write_on_a_full_disk__is_store_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as repos:
        await add(repos)

        def broken(_txn: object) -> None:
            raise lmdb.Error("mdb_txn_commit: Input/output error")

        with pytest.raises(StoreTrouble) as told:
            repos._writer.call(broken)
        assert not isinstance(told.value, StoreFull)
        monkeypatch.setattr(repos._disk, "free", lambda _: 4096)
        with pytest.raises(StoreFull, match="the disk is full"):
            repos._writer.call(broken)


async def test_change__sidecar_that_cannot_be_written__is_caught_up_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise StoreFull("no room for sidecars")

    with opened(tmp_path) as repos:
        await add(repos)
        with monkeypatch.context() as patch:
            patch.setattr(Sidecars, "written", refused)
            # It is durable in the index; only a rebuild would miss it.
            assert (await repos.yank(REPO, ["acme"])).version == 2
        assert b'"yanked": true' not in sidecar_text(tmp_path)
    with opened(tmp_path) as repos:
        assert repos.reconciled
        assert b'"yanked": true' in sidecar_text(tmp_path)
        assert_sound(repos)


def sidecar_text(path: Path) -> bytes:
    (file,) = (path / "local" / "blobs").rglob("*.json")
    return file.read_bytes()


# ---------------------------------------------------------------------- power cuts


class Medium(Disk):
    """A disk that knows what would survive a power cut now: bytes synced, and names whose folders were."""

    synced: ClassVar[set[int]]
    lasting: ClassVar[dict[Path, int]]
    lock = threading.Lock()  # one look at a folder and its sync at a time

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # as the class it stands in for
        Medium.synced, Medium.lasting = set(), {}

    def sync(self, fd: int, path: Path) -> None:
        super().sync(fd, path)
        Medium.synced.add(self.fstat(fd, path).st_ino)

    def sync_dir(self, path: Where) -> None:
        with Medium.lock:
            entries = [Path(path) / name for name in self.names(Path(path))]
            found = {entry: status.st_ino for entry in entries if (status := self.lstat(entry)) is not None}
            super().sync_dir(path)
            Medium.lasting |= found

    def lasts(self, path: Where) -> bool:
        """The file's bytes, its name, and the names of the folders above it, up to the store."""
        above = [Path(path), *Path(path).parents]
        statuses = {one: self.lstat(one) for one in above[: above.index(self.root)]}
        if not all(status and Medium.lasting.get(one) == status.st_ino for one, status in statuses.items()):
            return False
        found = statuses[above[0]]
        return found is not None and found.st_ino in Medium.synced


async def test_row__committed__its_blob_and_sidecar_would_survive_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyproxy.storage.repository.Disk", Medium)
    checked: list[int] = []
    with opened(tmp_path) as repos:
        disk = repos._disk
        assert isinstance(disk, Medium)

        def check(name: str, _path: Path) -> None:
            if name != "committed":
                return
            ledger = repos._ledger
            with repos._env.reading() as txn:
                for digest, _ in ledger.blobs(txn):
                    assert disk.lasts(repos._blobs.path(digest))
                for key in txn.cursor(db=repos._env.sidecars).iternext(values=False):
                    # One that is noted as out of date is written again whatever a power cut makes of it.
                    if txn.get(key, db=repos._env.pending) is None:
                        assert disk.lasts(Sidecars(repos._blobs, disk).path(key))
                        checked.append(1)

        monkeypatch.setattr(disk, "point", check)
        await asyncio.gather(*(add(repos, f"p{at}-1.tar.gz", b"%d" % (at % 9)) for at in range(12)))
        await repos.add(REPO, [new_file(repos, f"q{at}-1.tar.gz", b"q%d" % at) for at in range(4)])
        await repos.yank(REPO, ["p1", "p2"])
        for file in repos.page_files(REPO, as_project("p1"), repos.latest(REPO)):
            assert file.yanked is True
        assert disk.lasts(repos._blobs.path(digest_of(b"1")))
    assert len(checked) > 30


async def test_change__returned__its_sidecars_would_survive_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyproxy.storage.repository.Disk", Medium)
    with opened(tmp_path) as repos:
        disk = repos._disk
        assert isinstance(disk, Medium)
        await add(repos)
        for change in (repos.yank(REPO, ["acme"]), repos.copy(REPO, "stable", ["acme"]), repos.remove(REPO, ["acme"])):
            await change
            assert all(disk.lasts(file) for file in (tmp_path / "local" / "blobs").rglob("*.json"))
        assert repos.page_files("stable", ACME, 1)[0].yanked is True

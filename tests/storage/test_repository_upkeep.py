"""What is found wrong and put right: at the start, by verify, and by making the index anew."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import msgspec
import pytest

from pyproxy.errors import BlobDamaged, FileExists, StoreInUse, StoreTrouble, VersionUnknown
from pyproxy.model import ProjectName, as_filename
from pyproxy.storage import changes, recover, repository
from pyproxy.storage.disk import Disk
from pyproxy.storage.environment import IndexDamaged
from pyproxy.storage.findings import Finding
from pyproxy.storage.intake import Intake
from pyproxy.storage.local_layout import LocalLayout
from pyproxy.storage.repository import Repositories, rebuild_local
from pyproxy.storage.specs import as_specs
from tests.storage.local_child import LocalRunning
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

SDIST = as_filename("acme-1.0.tar.gz")
OTHER = as_filename("bolt-0.1-py3-none-any.whl")
HOUR = 3600


def blob(path: Path, data: bytes) -> Path:
    digest = digest_of(data)
    return path / "local" / "blobs" / digest[:2] / digest[2:4] / digest


def sidecar(path: Path, data: bytes = b"wheel") -> Path:
    (found,) = blob(path, data).parent.glob(f"{digest_of(data)}.*.json")
    return found


def lose_the_index(path: Path) -> None:
    shutil.rmtree(path / "local" / "index")


def strewn(path: Path, data: bytes = b"orphan", *, age: float = 1) -> Path:
    """A blob and a sidecar that no row knows, as an add leaves them that was killed before its commit."""
    file = blob(path, data)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    beside = file.with_name(f"{file.name}.{'0' * 32}.json")
    beside.write_bytes(b"{}")
    for one in (file, beside):
        then = one.stat().st_mtime - age
        os.utime(one, (then, then))
    return file


def found(repos: Repositories, *, mend: bool = False) -> list[tuple[str, str, bool]]:
    return [(finding.kind, finding.detail, finding.mended) for finding in repos.verify(mend=mend)]


# ---------------------------------------------------------------------- starting


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The looks at the index that a child process took."""
    looks: list[object] = []
    look = recover.index_damage

    def looking(disk: Disk, index: Path) -> str | None:
        looks.append(index)
        return look(disk, index)

    monkeypatch.setattr(recover, "index_damage", looking)
    return looks


async def test_start__after_a_clean_stop__needs_no_look_at_the_index(tmp_path: Path, children: list[object]) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
    children.clear()
    with opened(tmp_path):
        assert children == []
    (tmp_path / "local" / "clean").unlink()
    with opened(tmp_path, exclusive=False):
        assert len(children) == 1


async def test_stop__others_still_in_the_store__leaves_no_clean_mark(tmp_path: Path) -> None:
    with opened(tmp_path) as repos, LocalRunning("hold", tmp_path) as beside:
        assert beside.line() == "open"
        await add(repos)
        repos.close()
        assert not (tmp_path / "local" / "clean").exists()
        beside.go_on()
        beside.finish()
        assert (tmp_path / "local" / "clean").exists()


async def test_start__index_gone_and_files_there__refuses_and_says_what_to_do(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
    lose_the_index(tmp_path)
    for exclusive in (True, False):
        with (
            pytest.raises(IndexDamaged, match=r"index of local content is gone.*pyproxy verify --rebuild"),
            opened(tmp_path, exclusive=exclusive),
        ):
            pass
    assert list((tmp_path / "local" / "open").iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "garbage"])
async def test_start__index_damaged__refuses_and_says_what_to_do(tmp_path: Path, damage: str) -> None:
    with opened(tmp_path) as repos:
        for at in range(40):
            await add(repos, f"p{at}-1.tar.gz", b"%d" % at)
    data = tmp_path / "local" / "index" / "data.mdb"
    with data.open("r+b") as file:
        if damage == "cut":
            file.truncate(data.stat().st_size // 2)
        else:
            file.write(b"garbage" * 2000)
    with pytest.raises(IndexDamaged, match=r"is damaged.*pyproxy verify --rebuild"), opened(tmp_path):
        pass
    rebuilt = rebuild_local(tmp_path, environment={})
    assert (rebuilt.repositories, rebuilt.files, rebuilt.findings) == ({REPO: 41}, 40, [])
    with opened(tmp_path) as repos:
        assert len(names(repos)) == 40
        assert_sound(repos)


async def test_start__schema_of_another_version__refuses(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        repos._writer.call(lambda txn: txn.put(b"schema", b"999", db=repos._env.meta))
    for _ in range(2):  # the first leaves nothing open behind
        with pytest.raises(StoreTrouble, match="written by another version of pyproxy"), opened(tmp_path):
            pass


# ---------------------------------------------------------------------- sweeping


async def test_start__alone__sweeps_what_no_row_knows(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
    orphan = strewn(tmp_path)
    with opened(tmp_path, exclusive=False) as repos:
        assert repos.reconciled
        assert orphan.exists()
    with opened(tmp_path) as repos:
        assert repos.reconciled
        assert list(orphan.parent.iterdir()) == []
        assert_sound(repos)


async def test_start__others_in_the_store__spares_what_is_younger_than_an_hour(tmp_path: Path) -> None:
    with LocalRunning("hold", tmp_path) as beside:
        assert beside.line() == "open"
        young, old = strewn(tmp_path), strewn(tmp_path, b"old", age=HOUR + 60)
        with opened(tmp_path) as repos:
            await repos.reconcile()
            assert young.exists()
            assert not old.exists()
            assert [kind for kind, _, _ in found(repos)] == []


async def test_start__much_to_sweep__goes_on_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
    orphans = [strewn(tmp_path, b"%d" % at) for at in range(20)]
    monkeypatch.setattr(repository, "START_SECONDS", 0.0)
    monkeypatch.setattr(repository, "_SLICE_SECONDS", 0.0001)
    with opened(tmp_path) as repos:
        assert not repos.reconciled
        assert all(orphan.exists() for orphan in orphans)
        await repos.reconcile()
        assert repos.reconciled
        assert not any(orphan.exists() for orphan in orphans)
        assert names(repos) == {WHEEL}


async def test_start__temporary_files_of_dead_processes__go_and_foreign_files_stay(tmp_path: Path) -> None:
    with opened(tmp_path):
        pass
    (tmp_path / "local" / "tmp" / f"1.{'0' * 32}").write_bytes(b"half")
    (tmp_path / "local" / "tmp" / "lost+found").mkdir()
    (tmp_path / "local" / "open" / f"1.{'0' * 32}").write_bytes(b"")
    with opened(tmp_path):
        assert temps(tmp_path) == ["lost+found"]
        assert len(list((tmp_path / "local" / "open").iterdir())) == 1


async def test_sweep__blob_that_is_just_being_added__is_spared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as repos:
        submit = repos._writer.call
        swept: list[int] = []

        def call(run: object) -> object:
            if not swept:
                swept.append(1)
                # Between the preparation and the transaction, as a start-up's sweep would: all is there, and no row.
                assert blob(tmp_path, b"wheel").exists()
                os.utime(blob(tmp_path, b"wheel"), (0, 0))
                os.utime(sidecar(tmp_path), (0, 0))
                for shard in repos._sweep.shards():
                    assert repos._sweep.sweep(shard) == 0
            return submit(run)  # type: ignore[arg-type]  # passed on as it came

        monkeypatch.setattr(repos._writer, "call", call)
        await add(repos)
        assert swept
        assert read(repos, digest_of(b"wheel")) == b"wheel"


async def test_add__swept_by_another_process_before_its_commit__is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as repos:
        submit = repos._writer.call
        gone: list[Path] = []

        def call(run: object) -> object:
            if not gone:
                gone.append(blob(tmp_path, b"wheel"))
                gone[0].unlink()
            return submit(run)  # type: ignore[arg-type]  # passed on as it came

        monkeypatch.setattr(repos._writer, "call", call)
        with pytest.raises(StoreTrouble, match="was taken away while it was added"):
            await add(repos)
        assert repos.latest(REPO) == 0
        assert on_disk(tmp_path) == (set(), set())
        await add(repos)
        assert_sound(repos)


async def test_add__sidecar_swept_before_its_commit__is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as repos:
        submit = repos._writer.call
        gone: list[Path] = []

        def call(run: object) -> object:
            if not gone:
                gone.append(sidecar(tmp_path))
                gone[0].unlink()
            return submit(run)  # type: ignore[arg-type]  # passed on as it came

        monkeypatch.setattr(repos._writer, "call", call)
        await add(repos)
        assert gone
        assert_sound(repos)


async def test_add__overtaken_by_others__still_leaves_a_sidecar_that_allows_for_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as repos:
        submit = repos._writer.call
        calls: list[object] = []

        def call(run: object) -> object:
            calls.append(run)
            if len(calls) == 1:
                # Between the preparation and the transaction three others make versions.
                for at in range(3):
                    repos._intake.add(REPO, [new_file(repos, f"p{at}-1.zip", b"%d" % at)], action="add", summary="")
            return submit(run)  # type: ignore[arg-type]  # passed on as it came

        monkeypatch.setattr(repos._writer, "call", call)
        assert (await add(repos)).version == 4
        assert json.loads(sidecar(tmp_path).read_bytes())["highest"] >= 4
        assert len(calls) == 5
        assert_sound(repos)


async def test_add__added_and_removed_by_another_process_meanwhile__leaves_a_sidecar_that_says_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as repos:
        submit = repos._writer.call
        others: list[int] = []

        def call(run: object) -> object:
            if not others:
                others.append(1)
                # The rows and the sidecar as another process leaves them.
                other = Intake(
                    repos._ledger,
                    repos._writer,
                    repos._blobs,
                    repos._intake._sidecars,
                    disk=repos._disk,
                    pool=repos._disk_pool,
                    clock=repos._clock,
                )
                other.add(REPO, [new_file(repos, WHEEL, b"wheel")], action="upload", summary="")
                done = submit(changes.remove(repos._ledger, REPO, as_specs(["acme"]), clock=repos._clock))
                assert isinstance(done, changes.Done)
                assert repos._catching_up.work(done.pending)
                assert json.loads(sidecar(tmp_path).read_bytes())["removed"] is True
            return submit(run)  # type: ignore[arg-type]  # passed on as it came

        monkeypatch.setattr(repos._writer, "call", call)
        assert (await add(repos)).version == 3
        assert "removed" not in json.loads(sidecar(tmp_path).read_bytes())
        assert_sound(repos)


async def test_add__leftovers_of_a_killed_one_under_its_name__are_written_over(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await repos.add(REPO, [new_file(repos, WHEEL, b"wheel", upload_time="2001-01-01T00:00:00.000000Z")])
    # As if the commit had never come.
    lose_the_index(tmp_path)
    kept = {file: file.read_bytes() for file in blob(tmp_path, b"wheel").parent.iterdir()}
    shutil.rmtree(tmp_path / "local" / "blobs")
    with opened(tmp_path) as repos:
        for file, data in kept.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        await repos.add(REPO, [new_file(repos, WHEEL, b"wheel", upload_time="2002-02-02T00:00:00.000000Z")])
        assert b"2002-02-02" in sidecar(tmp_path).read_bytes()
        assert_sound(repos)


# ---------------------------------------------------------------------- sidecars behind the rows


@pytest.mark.parametrize("step", ["make_folder", "sync"], ids=["while-written", "when-renamed"])
async def test_change__another_one_while_its_sidecar_is_written__the_later_one_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        sidecars = repos._intake._sidecars
        original = getattr(sidecars, step)
        later: list[changes.Done] = []

        def meanwhile(where: object) -> None:
            if not later:
                unyank = changes.mark(repos._ledger, REPO, as_specs(["acme"]), yanked=False, clock=repos._clock)
                done = repos._writer.call(unyank)
                assert isinstance(done, changes.Done)
                later.append(done)
            original(where)

        monkeypatch.setattr(sidecars, step, meanwhile)
        await repos.yank(REPO, ["acme"])
        # Its maker comes to its sidecar only now.
        assert repos._catching_up.work(later[0].pending)
        assert "yanked" not in json.loads(sidecar(tmp_path).read_bytes())["file"]
        assert repos._catching_up.waiting() == []
        assert_sound(repos)


@pytest.mark.parametrize("step", ["make_folder", "sync"], ids=["while-written", "when-renamed"])
async def test_change__later_one_first_with_its_sidecar__is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        sidecars = repos._intake._sidecars
        original = getattr(sidecars, step)
        later: list[int] = []

        def meanwhile(where: object) -> None:
            if not later:
                later.append(1)
                unyank = changes.mark(repos._ledger, REPO, as_specs(["acme"]), yanked=False, clock=repos._clock)
                done = repos._writer.call(unyank)
                assert isinstance(done, changes.Done)
                assert repos._catching_up.work(done.pending)
            original(where)

        monkeypatch.setattr(sidecars, step, meanwhile)
        await repos.yank(REPO, ["acme"])
        assert "yanked" not in json.loads(sidecar(tmp_path).read_bytes())["file"]
        assert_sound(repos)


# ---------------------------------------------------------------------- verify


async def test_verify__sound_store__finds_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        assert found(repos, mend=True) == []
        await add(repos)
        await repos.yank(REPO, ["acme"])
        assert found(repos, mend=True) == []


async def test_verify__bit_flipped_and_time_kept__is_found_set_aside_and_healed_by_the_same_file(
    tmp_path: Path,
) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        file = blob(tmp_path, b"wheel")
        times = file.stat().st_atime_ns, file.stat().st_mtime_ns
        file.write_bytes(b"wheeL")
        os.utime(file, ns=times)
        (kind, detail, mended) = found(repos, mend=True)[0]
        assert (kind, mended) == ("altered", False)
        assert detail == f"its bytes do not have its digest, set aside: {REPO}/{WHEEL}"
        with pytest.raises(BlobDamaged):
            repos.open(digest_of(b"wheel"))
        assert names(repos) == {WHEEL}, "still listed: an error, and not absent"
        await add(repos)
        assert read(repos, digest_of(b"wheel")) == b"wheel"
        assert found(repos) == []
        assert file.with_name(f"{file.name}.damaged").read_bytes() == b"wheeL"


async def test_verify__without_mending__changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        for name in (WHEEL, SDIST, OTHER):
            await add(repos, name, name.encode())
        blob(tmp_path, WHEEL.encode()).write_bytes(b"cut")
        blob(tmp_path, SDIST.encode()).unlink()
        os.utime(blob(tmp_path, OTHER.encode()), (1, 1))
        sidecar(tmp_path, WHEEL.encode()).unlink()
        sidecar(tmp_path, SDIST.encode()).write_bytes(b"{}")
        said = json.loads(sidecar(tmp_path, OTHER.encode()).read_bytes())
        said["file"]["yanked"] = True
        sidecar(tmp_path, OTHER.encode()).write_text(json.dumps(said))
        strewn(tmp_path, age=HOUR + 60)
        expected = sorted(["cut", "missing", "touched", "missing", "altered", "altered", "orphan", "orphan"])
        for _ in range(2):
            assert sorted(kind for kind, _, _ in found(repos)) == expected
        assert not any(mended for _, _, mended in found(repos))


async def test_verify__mending__puts_right_what_can_be(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        for name in (WHEEL, SDIST, OTHER):
            await add(repos, name, name.encode())
        os.utime(blob(tmp_path, OTHER.encode()), (1, 1))
        sidecar(tmp_path, WHEEL.encode()).unlink()
        sidecar(tmp_path, SDIST.encode()).write_bytes(b"{}")
        orphan = strewn(tmp_path, age=HOUR + 60)
        repos._writer.call(lambda txn: repos._ledger.put_refs(txn, digest_of(WHEEL.encode()), 7))
        assert sorted(kind for kind, _, _ in found(repos, mend=True)) == sorted(
            ["touched", "missing", "altered", "orphan", "orphan", "total"]
        )
        assert not orphan.exists()
        assert_sound(repos)


async def test_verify__row_that_cannot_be_read__is_told_and_nothing_is_counted_without_it(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)

        def garble(txn: object) -> None:
            cursor = txn.cursor(db=repos._env.current)  # type: ignore[attr-defined]  # a write transaction
            assert cursor.first()
            cursor.put(cursor.key(), cursor.value()[:8] + b"\xc1")

        repos._writer.call(garble)
        kinds = found(repos, mend=True)
        assert ("row", "it cannot be read", False) in kinds
        assert not any(mended for _, _, mended in kinds)
        with pytest.raises(BlobDamaged):
            repos.page_files(REPO, ACME, 1)
        assert blob(tmp_path, b"wheel").exists()


async def test_verify__rows_that_contradict_each_other__are_told(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        env = repos._env
        for table in (env.taken, env.sidecars, env.blobs, env.docs, env.versions):
            kept: list[tuple[bytes, bytes]] = []

            def take(txn: object, table: object = table, kept: list[tuple[bytes, bytes]] = kept) -> None:
                kept[:] = list(txn.cursor(db=table))  # type: ignore[attr-defined]  # a write transaction
                for key, _ in kept:
                    txn.delete(key, db=table)  # type: ignore[attr-defined]

            def put_back(txn: object, table: object = table, kept: list[tuple[bytes, bytes]] = kept) -> None:
                for key, value in kept:
                    txn.put(key, value, db=table)  # type: ignore[attr-defined]

            repos._writer.call(take)
            assert "row" in {kind for kind, _, _ in found(repos)}
            repos._writer.call(put_back)
        assert found(repos) == []


async def test_verify__document_altered__is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        (file,) = repos.page_files(REPO, ACME, 1)
        assert file.metadata is not None
        key = bytes.fromhex(file.metadata)
        repos._writer.call(lambda txn: txn.put(key, b"other", db=repos._env.docs))
        assert ("altered", "a document's bytes do not have its digest", False) in found(repos)


# ---------------------------------------------------------------------- rebuilding


async def test_rebuild__brings_back_the_latest_content_as_one_version_above_all_seen(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await repos.add(REPO, [new_file(repos, WHEEL, b"wheel", metadata=b"\xff", attestations=b"[1]")])
        await add(repos, SDIST, b"sdist")
        await add(repos, OTHER, b"other")
        await repos.yank(REPO, ["acme==1.0"], "broken")
        await repos.remove(REPO, ["bolt"])
        await repos.copy(REPO, "stable", ["acme"])
        before = repos.page_files(REPO, ACME, 5)
    lose_the_index(tmp_path)
    rebuilt = rebuild_local(tmp_path, environment={}, clock=lambda: 5e9)
    assert (rebuilt.repositories, rebuilt.files, rebuilt.findings) == ({REPO: 6, "stable": 2}, 4, [])
    with opened(tmp_path) as repos:
        assert repos.page_files(REPO, ACME, 6) == repos.page_files("stable", ACME, 2) == before
        assert names(repos) == {WHEEL, SDIST}
        (version,) = repos.versions(REPO)
        assert (version.number, version.action, version.created_at, version.files) == (6, "rebuild", 5e9, 2)
        wheel = repos.file(REPO, ACME, WHEEL, 6)
        assert wheel is not None
        assert wheel.metadata is not None
        assert wheel.attestations is not None
        assert (repos.metadata(wheel.metadata), repos.attestations(wheel.attestations)) == (b"\xff", b"[1]")
        for lost in range(1, 6):
            with pytest.raises(VersionUnknown):
                repos.page_files(REPO, ACME, lost)
        with pytest.raises(VersionUnknown):
            repos.at(REPO, 4e9)  # not empty: unknown
        assert repos.at(REPO, 5e9) == 6
        with pytest.raises(FileExists):
            await add(repos, OTHER, b"other bytes of a removed file")
        assert (await add(repos, OTHER, b"other")).version == 7
        assert_sound(repos)


async def test_rebuild__again_and_again__never_gives_a_number_twice(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
    seen = [1, *(rebuild_local(tmp_path, environment={}).repositories[REPO] for _ in range(3))]
    assert seen == sorted(set(seen))
    with opened(tmp_path) as repos:
        assert repos.latest(REPO) == seen[-1]
        assert_sound(repos)
    assert len(list((tmp_path / "local").glob("index.replaced-*"))) >= 1


async def test_rebuild__cut_short__is_done_by_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
    lose_the_index(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(LocalLayout, "sync", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            rebuild_local(tmp_path, environment={})
    lose_the_index(tmp_path)
    (tmp_path / "local" / "index.new").mkdir()
    (tmp_path / "local" / "index.new" / "data.mdb").write_bytes(b"half")
    assert rebuild_local(tmp_path, environment={}).files == 1
    with opened(tmp_path) as repos:
        assert names(repos) == {WHEEL}


async def test_rebuild__store_in_use__is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        with pytest.raises(StoreInUse, match="is in use"):
            rebuild_local(tmp_path, environment={})
        assert names(repos) == {WHEEL}


async def test_rebuild__blob_lost_or_altered__keeps_the_file_as_an_error(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        for name in (WHEEL, SDIST, OTHER):
            await add(repos, name, name.encode())
    blob(tmp_path, WHEEL.encode()).unlink()
    blob(tmp_path, SDIST.encode()).write_bytes(b"x" * len(SDIST))
    rebuilt = rebuild_local(tmp_path, environment={})
    assert sorted(finding.kind for finding in rebuilt.findings) == ["altered", "missing"]
    with opened(tmp_path) as repos:
        assert names(repos) == {WHEEL, SDIST, OTHER}
        for name in (WHEEL, SDIST):
            with pytest.raises(BlobDamaged):
                repos.open(digest_of(name.encode()))
            assert not await repos.mend(digest_of(name.encode()))
            await add(repos, name, name.encode())
        assert_sound(repos)


async def test_rebuild__sidecar_damaged_foreign_or_moved__is_told_and_left_out(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        for name in (WHEEL, SDIST, OTHER):
            await add(repos, name, name.encode())
    sidecar(tmp_path, WHEEL.encode()).write_bytes(b"not json")
    shutil.copy(sidecar(tmp_path, OTHER.encode()), sidecar(tmp_path, SDIST.encode()))
    rebuilt = rebuild_local(tmp_path, environment={})
    assert sorted(finding.detail for finding in rebuilt.findings) == ["it cannot be read", "it is another file's"]
    assert rebuilt.files == 1


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"filename": "../acme"},
        {"repository": "a/b"},
        {"sha256": "zz"},
        {"highest": -1},
        {"project": "ACME"},
    ],
)
async def test_rebuild__sidecar_that_says_what_cannot_be__is_left_out(
    tmp_path: Path, change: dict[str, object]
) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
    said = json.loads(sidecar(tmp_path).read_bytes())
    sidecar(tmp_path).write_text(json.dumps(said | change))
    rebuilt = rebuild_local(tmp_path, environment={})
    assert len(rebuilt.findings) == 1
    assert rebuilt.files == 0


async def test_rebuild__document_altered__is_told_and_dropped(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await repos.add(REPO, [new_file(repos, WHEEL, b"wheel", metadata=b"m", attestations=b"a")])
    said = json.loads(sidecar(tmp_path).read_bytes())
    sidecar(tmp_path).write_text(json.dumps(said | {"metadata": "AAAA", "provenance": None}))
    rebuilt = rebuild_local(tmp_path, environment={})
    assert sorted(finding.detail for finding in rebuilt.findings) == [
        "its core metadata is lost",
        "its provenance is lost",
    ]
    with opened(tmp_path) as repos:
        (file,) = repos.page_files(REPO, ACME, repos.latest(REPO))
        assert (file.metadata, file.attestations) == (None, None)
        assert_sound(repos)


async def test_rebuild__two_files_claim_one_name__the_first_uploaded_stays(tmp_path: Path) -> None:
    for data, when in ((b"late", "2022"), (b"early", "2021")):
        with opened(tmp_path / data.decode()) as repos:
            time = f"{when}-01-01T00:00:00.000000Z"
            await repos.add(REPO, [new_file(repos, WHEEL, data, upload_time=time)])
    shutil.copytree(tmp_path / "late/local/blobs", tmp_path / "early/local/blobs", dirs_exist_ok=True)
    rebuilt = rebuild_local(tmp_path / "early", environment={})
    (finding,) = rebuilt.findings
    assert finding == Finding(
        "row",
        f"{REPO}/{WHEEL}",
        f"{digest_of(b'late')} claims this name too, and was uploaded later: left out",
        mended=False,
    )
    with opened(tmp_path / "early") as repos:
        assert repos.page_files(REPO, ACME, 2)[0].digest == digest_of(b"early")
        assert not blob(tmp_path / "early", b"late").exists()
        assert_sound(repos)


def test_sidecar__is_json_that_people_can_read(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        asyncio.run(repos.add(REPO, [new_file(repos, WHEEL, b"wheel", upload_time="2020-01-01T00:00:00.000000Z")]))
    said = json.loads(sidecar(tmp_path).read_bytes())
    assert said == {
        "format": 1,
        "repository": REPO,
        "filename": WHEEL,
        "project": "acme",
        "sha256": digest_of(b"wheel"),
        "highest": 1,
        "file": {
            "filename": WHEEL,
            "project": "acme",
            "version": "1.0",
            "digest": digest_of(b"wheel"),
            "size": 5,
            "package_type": "bdist_wheel",
            "hashes": {"sha256": digest_of(b"wheel")},
            "upload_time": "2020-01-01T00:00:00.000000Z",
            "metadata": digest_of(b"Metadata-Version: 2.1\n"),
            "name": "acme",
        },
        "metadata": msgspec.to_builtins(b"Metadata-Version: 2.1\n"),
    }


def test_names_of_projects_in_other_repositories__are_none_of_this_one(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        asyncio.run(add(repos, repo="a"))
        asyncio.run(add(repos, OTHER, b"other", repo="b"))
        assert (repos.projects("a", 1), repos.projects("b", 1)) == (["acme"], ["bolt"])
        assert not repos.has("a", ProjectName("bolt"), 1)

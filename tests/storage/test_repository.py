from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from pyproxy.errors import (
    BadName,
    BadRequirement,
    BlobDamaged,
    FileExists,
    NothingMatches,
    StoreTrouble,
    VersionUnknown,
)
from pyproxy.model import ProjectName, as_filename
from pyproxy.storage.intake import Intake
from pyproxy.storage.repository import Outcome, Repositories, rebuild_local
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
NEWER = as_filename("acme-2.0rc1-py3-none-any.whl")
OTHER = as_filename("bolt-0.1-py3-none-any.whl")


# ---------------------------------------------------------------------- adding


def test_repository__never_written__is_empty_and_at_version_0(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        assert repos.latest(REPO) == 0
        assert repos.repositories() == {}
        assert repos.page_files(REPO, ACME, 0) == ()
        assert repos.projects(REPO, 0) == []
        assert not repos.has(REPO, ACME, 0)
        assert repos.file(REPO, ACME, WHEEL, 0) is None
        assert repos.versions(REPO) == []
        assert repos.changed(REPO, ACME, 0) == 0
        assert repos.at(REPO, 2e9) == 0


async def test_add__makes_one_version_that_holds_the_file(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        outcome = await repos.add(REPO, [new_file(repos, WHEEL, b"wheel", requires_python=">=3.9")])
        assert outcome == Outcome(1, added=(WHEEL,))
        assert repos.latest(REPO) == 1
        (file,) = repos.page_files(REPO, ACME, 1)
        assert (file.filename, file.digest, file.size, file.requires_python) == (WHEEL, digest_of(b"wheel"), 5, ">=3.9")
        assert repos.file(REPO, ACME, WHEEL, 1) == file
        assert repos.has(REPO, ACME, 1)
        assert repos.projects(REPO, 1) == ["acme"]
        assert read(repos, file.digest) == b"wheel"
        assert_sound(repos)


async def test_add__documents__are_kept_beside_the_file(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await repos.add(REPO, [new_file(repos, WHEEL, b"wheel", metadata=b"Name: acme\xff", attestations=b"[{}]")])
        (file,) = repos.page_files(REPO, ACME, 1)
        assert file.metadata is not None
        assert file.attestations is not None
        assert repos.metadata(file.metadata) == b"Name: acme\xff"
        assert repos.attestations(file.attestations) == b"[{}]"
        with pytest.raises(BlobDamaged):
            repos.metadata(digest_of(b"nothing"))


async def test_add__upload_time__is_now_unless_it_is_given(tmp_path: Path) -> None:
    with opened(tmp_path, clock=lambda: 1_700_000_000.000_005) as repos:
        await add(repos)
        await repos.add(REPO, [new_file(repos, SDIST, b"sdist", upload_time="2020-01-01T00:00:00.000000Z")])
        sdist, wheel = sorted(repos.page_files(REPO, ACME, 2), key=lambda file: file.filename.endswith(".whl"))
        assert sdist.upload_time == "2020-01-01T00:00:00.000000Z"
        assert wheel.upload_time == "2023-11-14T22:13:20.000005Z"


async def test_add__several_files__are_one_version(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        files = [new_file(repos, name, name.encode()) for name in (WHEEL, SDIST, OTHER)]
        outcome = await repos.add(REPO, files, "add", summary="three at once")
        assert outcome == Outcome(1, added=(WHEEL, SDIST, OTHER))
        (version,) = repos.versions(REPO)
        assert (version.action, version.summary, version.added, version.files) == ("add", "three at once", 3, 3)
        assert names(repos) == {WHEEL, SDIST, OTHER}
        assert_sound(repos)


async def test_add__same_bytes_again__makes_no_version_and_keeps_the_upload_time(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        before = repos.page_files(REPO, ACME, 1)
        assert await add(repos) == Outcome(1, already=(WHEEL,))
        assert repos.page_files(REPO, ACME, 1) == before
        assert_sound(repos)


async def test_add__other_bytes__is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        with pytest.raises(FileExists, match=r"File already exists: acme-1\.0-py3-none-any\.whl"):
            await add(repos, data=b"other")
        assert repos.latest(REPO) == 1
        assert read(repos, digest_of(b"wheel")) == b"wheel"
        assert on_disk(tmp_path)[0] == {digest_of(b"wheel")}
        assert_sound(repos)


async def test_add__other_bytes_of_a_removed_file__is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        await repos.remove(REPO, ["acme"])
        await repos.prune(REPO, 1)
        with pytest.raises(FileExists):
            await add(repos, data=b"other")
        assert_sound(repos)


@pytest.mark.parametrize("twin", ["Acme-1.0-py3-none-any.whl", "acme-1.0.0-py3-none-any.whl"])
async def test_add__second_spelling_of_a_name__is_refused_for_ever(tmp_path: Path, twin: str) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        with pytest.raises(FileExists, match=f"File already exists: {twin} is {WHEEL} in this repository, or was"):
            await add(repos, twin, b"wheel")
        await add(repos, twin, b"wheel", "other")
        with pytest.raises(FileExists):
            await repos.copy("other", REPO, ["acme"])
        await repos.remove(REPO, ["acme"])
        await repos.prune(REPO, 1)
    rebuild_local(tmp_path, environment={})
    with opened(tmp_path) as repos:
        with pytest.raises(FileExists):
            await add(repos, twin, b"wheel")
        assert names(repos) == set()
        assert (await add(repos)).added == (WHEEL,)
        assert_sound(repos)


async def test_add__two_spellings_at_once__adds_neither(tmp_path: Path) -> None:
    twins = ("acme-1.0-py2.py3-none-any.whl", "acme-1.0-py3.py2-none-any.whl")
    with opened(tmp_path) as repos:
        with pytest.raises(FileExists, match="is another spelling of"):
            await repos.add(REPO, [new_file(repos, name, b"wheel") for name in twins])
        outcomes = await asyncio.gather(*(add(repos, name) for name in twins), return_exceptions=True)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["FileExists", "Outcome"]
        assert_sound(repos)


async def test_add__same_bytes_of_a_removed_file__brings_it_back(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        await repos.remove(REPO, ["acme"])
        assert await add(repos) == Outcome(3, added=(WHEEL,))
        await repos.remove(REPO, ["acme"])
        await repos.prune(REPO, 1)
        assert on_disk(tmp_path)[0] == set()
        assert await add(repos) == Outcome(5, added=(WHEEL,))
        assert read(repos, digest_of(b"wheel")) == b"wheel"
        assert_sound(repos)


async def test_add__one_of_several_refused__adds_none(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        with pytest.raises(FileExists):
            await repos.add(REPO, [new_file(repos, SDIST, b"sdist"), new_file(repos, WHEEL, b"other")])
        assert names(repos) == {WHEEL}
        assert on_disk(tmp_path)[0] == {digest_of(b"wheel")}
        assert_sound(repos)


async def test_add__one_name_twice_in_one_call__is_one_file_or_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        assert await repos.add(REPO, [new_file(repos, WHEEL, b"wheel"), new_file(repos, WHEEL, b"wheel")]) == Outcome(
            1, added=(WHEEL,)
        )
        with pytest.raises(FileExists):
            await repos.add(REPO, [new_file(repos, SDIST, b"one"), new_file(repos, SDIST, b"two")])
        assert_sound(repos)


async def test_add__same_bytes_under_two_names_and_repositories__share_a_blob(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        for repo in (REPO, "other"):
            for name in (WHEEL, SDIST):
                await add(repos, name, b"same", repo)
        blobs, sidecars = on_disk(tmp_path)
        assert (len(blobs), len(sidecars)) == (1, 4)
        await repos.remove(REPO, ["acme"])
        await repos.prune(REPO, 1)
        assert names(repos, repo="other") == {WHEEL, SDIST}
        assert read(repos, digest_of(b"same")) == b"same"
        assert_sound(repos)


async def test_add__size_that_was_not_written__is_trouble(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        with pytest.raises(StoreTrouble, match="5 bytes were written of 6"):
            await repos.add(REPO, [new_file(repos, WHEEL, b"wheel", size=6)])
        assert temps(tmp_path) == []


async def test_add__name_that_no_repository_can_have__is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        for name in ("", "a/b", "a b", "x" * 201):
            with pytest.raises(BadName):
                await add(repos, repo=name)
        assert temps(tmp_path) == []


async def test_add__nothing__makes_no_version(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        assert await repos.add(REPO, []) == Outcome(0)


async def test_add__cancelled_caller__does_not_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    look = Intake._look

    def slow(self: Intake, *args: object) -> int:
        begun.set()
        assert go_on.wait(10)
        return look(self, *args)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(Intake, "_look", slow)
    with opened(tmp_path) as repos:
        adding = asyncio.create_task(add(repos))
        await asyncio.to_thread(begun.wait, 10)
        adding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await adding
        go_on.set()
        await asyncio.to_thread(repos._pool.shutdown)
        assert names(repos) == {WHEEL}
        assert_sound(repos)


async def test_add__long_names__have_rows_of_their_own(tmp_path: Path) -> None:
    project = "p" * 240
    first, second = (f"{project}-1.0.{tail}.zip" for tail in "ab")
    assert max(map(len, (first, second))) > 245
    with opened(tmp_path) as repos:
        for name in (first, second):
            await add(repos, name, name.encode())
        await repos.yank(REPO, [project])
        files = repos.page_files(REPO, ProjectName(project), 3)
        assert {file.filename for file in files} == {first, second}
        assert (
            repos.file(REPO, ProjectName(project), as_filename(first), 2)
            == repos.page_files(REPO, ProjectName(project), 2)[0]
        )
        assert_sound(repos)


# ---------------------------------------------------------------------- at once


async def test_adds_at_once__same_bytes__all_succeed_and_one_version_is_made(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        outcomes = await asyncio.gather(*(add(repos) for _ in range(20)))
        assert {outcome.version for outcome in outcomes} == {1}
        assert sum(len(outcome.added) for outcome in outcomes) == 1
        assert sum(len(outcome.already) for outcome in outcomes) == 19
        assert_sound(repos)


async def test_adds_at_once__different_bytes_of_one_name__one_wins(tmp_path: Path) -> None:
    renames: list[str] = []
    with opened(tmp_path, fault=lambda what: renames.append(what) if what == "rename" else None) as repos:
        renames.clear()
        adds = (add(repos, data=b"bytes %d" % at) for at in range(20))
        outcomes = await asyncio.gather(*adds, return_exceptions=True)
        assert len(renames) == 2, "blob and sidecar: who comes later knows before anything is written"
        assert sum(isinstance(outcome, Outcome) for outcome in outcomes) == 1
        assert sum(isinstance(outcome, FileExists) for outcome in outcomes) == 19
        assert len(on_disk(tmp_path)[0]) == 1
        assert_sound(repos)


async def test_adds_at_once__of_new_projects__each_makes_its_version_and_all_are_listed(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        outcomes = await asyncio.gather(*(add(repos, f"p{at}-1.0.tar.gz", b"%d" % at) for at in range(20)))
        assert sorted(outcome.version for outcome in outcomes) == list(range(1, 21))
        assert set(repos.projects(REPO, 20)) == {f"p{at}" for at in range(20)}
        assert [version.files for version in repos.versions(REPO)] == list(range(1, 21))
        assert_sound(repos)


async def test_adds_at_once__same_bytes_under_many_names__leave_a_blob_as_recorded(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await asyncio.gather(*(add(repos, f"p{at}-1.0.tar.gz", b"same") for at in range(12)))
        assert read(repos, digest_of(b"same")) == b"same"
        assert_sound(repos)


async def test_adds_waiting_together__share_commits(tmp_path: Path) -> None:
    commits: list[str] = []
    with opened(tmp_path, fault=lambda what: commits.append(what) if what == "commit" else None) as repos:
        release = threading.Event()
        begun = threading.Event()

        def hold(_txn: object) -> None:
            begun.set()
            assert release.wait(10)

        held = repos._writer.submit(hold)
        assert begun.wait(10)
        adds = [asyncio.ensure_future(add(repos, f"p{at}-1.0.tar.gz", b"%d" % at)) for at in range(8)]
        while repos._writer._queue.qsize() < 8:  # noqa: ASYNC110 - a queue of the standard library has no event for it
            await asyncio.sleep(0)
        commits.clear()
        release.set()
        held.result(10)
        await asyncio.gather(*adds)
        assert repos.latest(REPO) == 8
        assert len(commits) <= 3


# ---------------------------------------------------------------------- other changes


async def shelf(repos: Repositories) -> None:
    for name in (WHEEL, SDIST, NEWER, OTHER):
        await add(repos, name, name.encode())


@pytest.mark.parametrize(
    ("spec", "gone"),
    [
        ("acme", {WHEEL, SDIST, NEWER}),
        ("ACME", {WHEEL, SDIST, NEWER}),
        ("acme==1.0", {WHEEL, SDIST}),
        ("acme>=2.0rc1", {NEWER}),
        ("acme<=2", {WHEEL, SDIST, NEWER}),
        ("acme !=1.0", {NEWER}),
    ],
)
async def test_remove__takes_what_the_requirement_selects(tmp_path: Path, spec: str, gone: set[str]) -> None:
    with opened(tmp_path) as repos:
        await shelf(repos)
        outcome = await repos.remove(REPO, [spec])
        assert set(outcome.removed) == gone
        assert names(repos) == {WHEEL, SDIST, NEWER, OTHER} - gone
        assert names(repos, 4) == {WHEEL, SDIST, NEWER, OTHER}
        assert_sound(repos)


async def test_remove__requirement_without_a_match__is_named_and_nothing_is_done(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await shelf(repos)
        with pytest.raises(NothingMatches, match=r"acme==3 matches nothing in repository team"):
            await repos.remove(REPO, ["bolt", "acme==3"])
        assert repos.latest(REPO) == 4


@pytest.mark.parametrize("spec", ["", "-", "acme[extra]", "acme; python_version>'3'", "acme @ https://index.example/x"])
async def test_remove__text_that_selects_no_files__is_refused(tmp_path: Path, spec: str) -> None:
    with opened(tmp_path) as repos:
        await shelf(repos)
        with pytest.raises(BadRequirement):
            await repos.remove(REPO, [spec])
        with pytest.raises(BadRequirement):
            await repos.remove(REPO, [])


async def test_version_that_nobody_can_read__is_selected_by_the_bare_name(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await repos.add(REPO, [new_file(repos, WHEEL, b"wheel", version="2004d-final!")])
        with pytest.raises(NothingMatches):
            await repos.remove(REPO, ["acme>0"])
        assert (await repos.remove(REPO, ["acme"])).removed == (WHEEL,)


async def test_yank__marks_the_files_and_leaves_earlier_versions_alone(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await shelf(repos)
        assert await repos.yank(REPO, ["acme==1.0"], "broken") == Outcome(5, changed=(WHEEL, SDIST))
        assert {file.filename: file.yanked for file in repos.page_files(REPO, ACME, 5)} == {
            WHEEL: "broken",
            SDIST: "broken",
            NEWER: False,
        }
        assert all(file.yanked is False for file in repos.page_files(REPO, ACME, 4))
        assert repos.versions(REPO)[-1].changed == 2
        assert_sound(repos)


async def test_yank__again_the_same__makes_no_version(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        await repos.yank(REPO, ["acme"])
        assert await repos.yank(REPO, ["acme"]) == Outcome(2, already=(WHEEL,))
        assert (await repos.yank(REPO, ["acme"], "why")).changed == (WHEEL,)
        assert (await repos.unyank(REPO, ["acme"])).changed == (WHEEL,)
        assert await repos.unyank(REPO, ["acme"]) == Outcome(4, already=(WHEEL,))
        assert [repos.page_files(REPO, ACME, number)[0].yanked for number in (1, 2, 3, 4)] == [
            False,
            True,
            "why",
            False,
        ]
        assert_sound(repos)


async def test_copy__takes_files_as_they_are(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await shelf(repos)
        await repos.yank(REPO, ["acme==1.0"], "broken")
        outcome = await repos.copy(REPO, "stable", ["acme==1.0", "bolt"])
        assert outcome == Outcome(1, added=(WHEEL, SDIST, OTHER))
        assert repos.page_files("stable", ACME, 1) == tuple(
            file for file in repos.page_files(REPO, ACME, 5) if file.version == "1.0"
        )
        assert await repos.copy(REPO, "stable", ["bolt"]) == Outcome(1, already=(OTHER,))
        assert_sound(repos)


async def test_copy__name_with_other_bytes__is_refused(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await shelf(repos)
        await add(repos, WHEEL, b"other", "stable")
        with pytest.raises(FileExists):
            await repos.copy(REPO, "stable", ["acme"])
        assert repos.latest("stable") == 1


async def test_copy__from_an_earlier_version__finds_what_was_removed(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await shelf(repos)
        await repos.remove(REPO, ["bolt"])
        with pytest.raises(NothingMatches):
            await repos.copy(REPO, "stable", ["bolt"])
        assert (await repos.copy(REPO, "stable", ["bolt"], version=4)).added == (OTHER,)
        with pytest.raises(VersionUnknown):
            await repos.copy(REPO, "stable", ["bolt"], version=6)


async def test_rollback__holds_exactly_what_the_version_held(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await shelf(repos)
        await repos.yank(REPO, ["acme==1.0"], "broken")
        await repos.remove(REPO, ["bolt"])
        outcome = await repos.rollback(REPO, 3)
        assert outcome == Outcome(7, changed=(WHEEL, SDIST))
        outcome = await repos.rollback(REPO, 5)
        assert outcome == Outcome(8, added=(OTHER,), changed=(WHEEL, SDIST))
        for then, now in ((3, 7), (5, 8)):
            assert names(repos, now) == names(repos, then)
            assert repos.page_files(REPO, ACME, now) == repos.page_files(REPO, ACME, then)
            assert repos.diff(REPO, then, now) == repos.diff(REPO, now, now)
        assert await repos.rollback(REPO, 8) == Outcome(8)
        assert await repos.rollback(REPO, 5) == Outcome(8)
        assert (await repos.rollback(REPO, 0)).version == 9
        assert names(repos) == set()
        with pytest.raises(VersionUnknown):
            await repos.rollback(REPO, 10)
        assert_sound(repos)


async def test_diff__tells_added_removed_and_changed(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos, WHEEL, b"wheel")
        await add(repos, SDIST, b"sdist")
        await repos.yank(REPO, ["acme"])
        await add(repos, OTHER, b"other")
        await repos.remove(REPO, ["acme==1.0"])
        diff = repos.diff(REPO, 1, 4)
        assert [file.filename for file in diff.added] == [SDIST, OTHER]
        assert diff.removed == ()
        assert [(old.yanked, new.yanked) for old, new in diff.changed] == [(False, True)]
        diff = repos.diff(REPO, 5, 2)
        assert [file.filename for file in diff.added] == [WHEEL, SDIST]
        assert [file.filename for file in diff.removed] == [OTHER]


# ---------------------------------------------------------------------- versions


async def test_version__never_made__is_unknown(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        for ask in (
            lambda: repos.page_files(REPO, ACME, 2),
            lambda: repos.file(REPO, ACME, WHEEL, 2),
            lambda: repos.has(REPO, ACME, -1),
            lambda: repos.projects("nothing", 1),
            lambda: repos.diff(REPO, 1, 2),
        ):
            with pytest.raises(VersionUnknown):
                ask()


async def test_at__finds_the_version_of_an_instant(tmp_path: Path) -> None:
    now = [1000.0]
    with opened(tmp_path, clock=lambda: now[0]) as repos:
        for at, name in enumerate((WHEEL, SDIST, NEWER)):
            now[0] = 1000.0 + 10 * at
            await add(repos, name, name.encode())
        assert [repos.at(REPO, when) for when in (0, 999.9, 1000, 1009.9, 1010, 1019, 1020, 9e9)] == [
            0, 0, 1, 1, 2, 2, 3, 3,
        ]  # fmt: skip
        await add(repos, WHEEL, b"wheel", "zeta")
        assert repos.at("zeta", 1019) == 0
        assert repos.at("alpha", 5000) == 0


async def test_at__clock_set_back__finds_the_versions_made_after(tmp_path: Path) -> None:
    now = [1000.0]
    with opened(tmp_path, clock=lambda: now[0]) as repos:
        for when, name in ((1000, WHEEL), (90_000, SDIST), (1010, NEWER), (1020, OTHER)):
            now[0] = float(when)
            await add(repos, name, name.encode())
        assert [repos.at(REPO, when) for when in (1005, 1010, 1020, 100_000)] == [1, 3, 4, 4]


async def test_changed__stays_while_others_change(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos, WHEEL, b"wheel")
        await add(repos, OTHER, b"other")
        assert repos.changed(REPO, ACME, 2) == 1
        assert repos.changed(REPO, ProjectName("bolt"), 2) == 2
        await repos.yank(REPO, ["acme"])
        assert repos.changed(REPO, ACME, 3) == 3
        assert repos.changed(REPO, ACME, 2) == 2
        assert repos.changed(REPO, ProjectName("bolt"), 3) == 2
        await repos.remove(REPO, ["bolt"])
        assert repos.changed(REPO, ProjectName("bolt"), 4) == 4


async def test_projects__spelt_as_their_files_do__in_order_of_normalised_names(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        for at, name in enumerate(("Zope", "acme", "acme_b", "a")):
            await repos.add(REPO, [new_file(repos, f"{name}-1.{at}.zip", b"%d" % at)])
            await repos.add(REPO, [new_file(repos, f"{name}-2.{at}.zip", b"2%d" % at)])
        assert repos.projects(REPO, 8) == ["a", "acme", "acme_b", "Zope"]
        await repos.remove(REPO, ["acme"])
        await repos.remove(REPO, ["a==1.3"])
        assert repos.projects(REPO, 10) == ["a", "acme_b", "Zope"]
        assert repos.projects(REPO, 8) == ["a", "acme", "acme_b", "Zope"]
        assert repos.projects(REPO, 3) == ["acme", "Zope"]


# ---------------------------------------------------------------------- pruning


async def test_prune__keeps_the_last_versions_and_the_pinned_ones(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await shelf(repos)
        await repos.remove(REPO, ["bolt"])
        await repos.remove(REPO, ["acme>=2rc1"])
        pruned = await repos.prune(REPO, 1, pinned={2, 99})
        assert (pruned.versions, pruned.files, pruned.blobs) == ((1, 3, 4, 5), 2, 2)
        assert pruned.nbytes == len(OTHER) + len(NEWER)
        assert [version.number for version in repos.versions(REPO)] == [2, 6]
        assert names(repos, 2) == names(repos, 6) == {WHEEL, SDIST}
        for gone in (1, 3, 4, 5):
            with pytest.raises(VersionUnknown, match="it was pruned"):
                repos.page_files(REPO, ACME, gone)
        assert on_disk(tmp_path)[0] == {digest_of(name.encode()) for name in (WHEEL, SDIST)}
        assert_sound(repos)


async def test_prune__instant_of_a_forgotten_version__is_unknown_and_never_another_version(tmp_path: Path) -> None:
    now = [1000.0]
    with opened(tmp_path, clock=lambda: now[0]) as repos:
        for at, name in enumerate((WHEEL, SDIST, NEWER)):
            now[0] = 1000.0 + 10 * at
            await add(repos, name, name.encode())
        await repos.prune(REPO, 1, pinned=[1])
        assert repos.at(REPO, 1005) == 1
        assert repos.at(REPO, 1020) == 3
        with pytest.raises(VersionUnknown):
            repos.at(REPO, 1010)


async def test_prune__blob_that_another_repository_holds__stays(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        await repos.copy(REPO, "stable", ["acme"])
        await repos.remove(REPO, ["acme"])
        assert (await repos.prune(REPO, 1)).blobs == 0
        assert read(repos, digest_of(b"wheel")) == b"wheel"
        await repos.remove("stable", ["acme"])
        assert (await repos.prune("stable", 1)).blobs == 1
        with pytest.raises(BlobDamaged):
            repos.open(digest_of(b"wheel"))
        assert_sound(repos)


@pytest.mark.parametrize("pinned", [1, 2])
async def test_prune__removed_file_of_a_pinned_version__has_a_sidecar_that_says_what_that_version_says(
    tmp_path: Path, pinned: int
) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        await repos.yank(REPO, ["acme"], "broken")
        await repos.remove(REPO, ["acme"])
        assert (await repos.prune(REPO, 1, pinned=[pinned])).gone == ()
        assert_sound(repos)


async def test_prune__nothing_to_forget__does_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        assert (await repos.prune(REPO, 3)).versions == ()
        await add(repos)
        assert (await repos.prune(REPO, 3)).versions == ()
        with pytest.raises(ValueError, match="at least the latest"):
            await repos.prune(REPO, 0)


# ---------------------------------------------------------------------- bytes


async def test_open__file_changed_or_cut_or_gone__is_damage(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        for name in (WHEEL, SDIST, NEWER):
            await add(repos, name, name.encode())
        paths = [repos._blobs.path(digest_of(name.encode())) for name in (WHEEL, SDIST, NEWER)]
        paths[0].write_bytes(b"x" * len(WHEEL))
        os.utime(paths[0], (1, 1))
        paths[1].write_bytes(b"x")
        paths[2].unlink()
        for name in (WHEEL, SDIST, NEWER):
            with pytest.raises(BlobDamaged):
                repos.open(digest_of(name.encode()))
            assert not await repos.mend(digest_of(name.encode()))
        assert names(repos) == {WHEEL, SDIST, NEWER}


async def test_mend__file_that_was_only_touched__can_be_opened_again(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        path = repos._blobs.path(digest_of(b"wheel"))
        os.utime(path, (1, 1))
        with pytest.raises(BlobDamaged, match="changed after it was stored"):
            repos.open(digest_of(b"wheel"))
        assert await repos.mend(digest_of(b"wheel"))
        assert read(repos, digest_of(b"wheel")) == b"wheel"


async def test_add__same_bytes_where_the_blob_is_damaged__heals_it(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await add(repos)
        path = repos._blobs.path(digest_of(b"wheel"))
        path.write_bytes(b"WHEEL")
        os.utime(path, (1, 1))
        assert await add(repos) == Outcome(1, already=(WHEEL,))
        assert read(repos, digest_of(b"wheel")) == b"wheel"
        assert_sound(repos)


# ---------------------------------------------------------------------- opening and closing


async def test_reopened__all_is_as_it_was(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        await shelf(repos)
        await repos.yank(REPO, ["acme"], "why")
        before = [repos.page_files(REPO, ACME, version) for version in range(6)], repos.versions(REPO)
    with opened(tmp_path) as repos:
        assert ([repos.page_files(REPO, ACME, version) for version in range(6)], repos.versions(REPO)) == before
        assert_sound(repos)


async def test_closed__refuses_changes_and_discards_their_files(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        new = new_file(repos, WHEEL, b"wheel")
        repos.close()
        with pytest.raises(StoreTrouble, match="closed"):
            await repos.add(REPO, [new])
        with pytest.raises(StoreTrouble, match="closed"):
            await repos.prune(REPO, 1)
        assert temps(tmp_path) == []


def test_folders__are_private(tmp_path: Path) -> None:
    with opened(tmp_path) as repos:
        asyncio.run(add(repos))
    for file in (tmp_path / "local").rglob("*"):
        assert file.stat().st_mode & 0o077 == 0

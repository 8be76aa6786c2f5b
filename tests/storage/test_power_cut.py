"""Power cuts, simulated: every prefix of what was done, with what no fsync had made to last kept or lost.

A file system may keep bytes without their sync, or a name without its folder's, and lose either; LMDB with
`metasync=False` may lose its last commit. Whatever the mixture, the store must open soundly.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pyproxy.storage import recover
from pyproxy.storage import store as store_module
from pyproxy.storage.disk import Disk, Where
from tests.storage.stores import opened, put, reopened_soundly

Op = tuple[str, ...]
LIMIT = 1000


class Recorder(Disk):
    """Does what a disk does and writes it down. Files have numbers, in the order of their creation."""

    log: list[Op]
    images: list[bytes]
    numbers: dict[int, str]
    times: dict[str, int]

    def create(self, path: Path) -> int:
        fd = super().create(path)
        self.numbers[fd] = str(sum(op[0] == "create" for op in self.log))
        self._note("create", path, self.numbers[fd])
        return fd

    def make_dir(self, path: Where) -> bool:
        made = super().make_dir(path)
        if made:
            self._note("mkdir", path)
        return made

    def write(self, fd: int, data: bytes | memoryview, path: Path) -> None:
        super().write(fd, data, path)
        if fd in self.numbers:
            self._note("write", path, self.numbers[fd], bytes(data).decode())
            self.times[self.numbers[fd]] = os.fstat(fd).st_mtime_ns

    def sync(self, fd: int, path: Path) -> None:
        super().sync(fd, path)
        self._note("sync", path, self.numbers[fd])

    def sync_dir(self, path: Where) -> None:
        super().sync_dir(path)
        self._note("sync_dir", path)

    def rename(self, source: Where, target: Where) -> bool:
        done = super().rename(source, target)
        if done:
            self._note("rename", source, self.shown(target))
        return done

    def unlink(self, path: Path) -> bool:
        done = super().unlink(path)
        if done:
            self._note("unlink", path)
        return done

    def point(self, name: str, path: Where) -> None:
        super().point(name, path)
        if name == "committed":
            self.images.append((self.root / "cache" / "index" / "data.mdb").read_bytes())
            self._note("commit", path, str(len(self.images) - 1))

    def _note(self, what: str, path: Where, *more: str) -> None:
        self.log.append((what, self.shown(path), *more))


@dataclass
class Lasting:
    """What the medium holds for sure, and what it may hold besides."""

    current: dict[str, str] = field(default_factory=dict)
    """Paths of files as a running system sees them, with the file's number."""
    content: dict[str, str] = field(default_factory=dict)
    synced: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Paths of files and folders that last, with the file's number."""
    pending: list[Op] = field(default_factory=list)
    """Changes of names since their folder was synced."""
    commits: list[int] = field(default_factory=list)

    def play(self, op: Op) -> None:
        match op[0]:
            case "create":
                self.content[op[2]] = ""
                self.current[op[1]] = op[2]
                self.pending.append(op)
            case "rename":
                # Two folders change, and each lasts when it is synced.
                self.current[op[2]] = self.current.pop(op[1])
                self.pending += [("create", op[2], self.current[op[2]]), ("unlink", op[1])]
            case "write":
                self.content[op[2]] += op[3]
            case "sync":
                self.synced[op[2]] = self.content[op[2]]
            case "commit":
                self.commits.append(int(op[2]))
            case "sync_dir":
                for change in self.pending:
                    if within(change, op[1]):
                        apply(self.names, change)
                self.pending = [change for change in self.pending if not within(change, op[1])]
            case _:
                self.pending.append(op)

    def states(self) -> Iterator[tuple[dict[str, str], dict[str, str], int | None]]:
        """Names, contents, commit that a power cut may leave: nothing unsynced, all of it, all but one, one alone."""
        choices = [[], self.pending]
        choices += [self.pending[:at] + self.pending[at + 1 :] for at in range(len(self.pending))]
        choices += [[change] for change in self.pending]
        lost = {number: self.synced.get(number, "") for number in self.content}
        half = {number: self.synced.get(number, text[: len(text) // 2]) for number, text in self.content.items()}
        for at, changes in enumerate(choices):
            names = dict(self.names)
            for change in changes:
                apply(names, change)
            contents = (lost, half, self.content)[at % 3]
            yield names, contents, self.commits[-1 - at % 2] if len(self.commits) > at % 2 else None


def within(change: Op, folder: str) -> bool:
    """Whether a sync of the folder makes this change last."""
    return str(Path(change[1]).parent) == folder


def apply(names: dict[str, str], change: Op) -> None:
    match change[0]:
        case "create":
            names[change[1]] = change[2]
        case "mkdir":
            names[change[1]] = ""
        case _:
            names.pop(change[1], None)


def recorded(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Op], list[bytes]]:
    """What is done to keep five files, of which the fourth pushes two out, and to drop one."""
    with opened(path, limit=LIMIT):
        pass
    (path / "cache" / "clean").unlink()
    Recorder.log, Recorder.images, Recorder.numbers, Recorder.times = [], [], {}, {}
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "Disk", Recorder)
        with opened(path, limit=LIMIT) as store:
            for name in "abc":
                asyncio.run(put(store, f"public/{name}", name.encode() * 300))
            asyncio.run(put(store, "public/again", b"a" * 300))
            asyncio.run(put(store, "public/d", b"d" * 500))
            asyncio.run(store.cache.drop("public/d"))
    return Recorder.log, Recorder.images


def laid_out(path: Path, names: dict[str, str], contents: dict[str, str], image: bytes | None) -> None:
    for name, number in sorted(names.items()):
        file = path / name
        if name.startswith("cache/clean"):
            continue  # its loss is the harder case
        if not number:
            file.mkdir(parents=True, exist_ok=True)
        elif file.parent.exists() or name.startswith("cache/tmp/"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(contents[number])
            if number in Recorder.times:
                os.utime(file, ns=(0, Recorder.times[number]))
    index = path / "cache" / "index"
    index.mkdir(parents=True, exist_ok=True)
    if image is not None:
        (index / "data.mdb").write_bytes(image)


def test_power_cut__after_any_operation__leaves_a_store_that_opens_soundly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, images = recorded(tmp_path / "recorded", monkeypatch)
    monkeypatch.setattr(recover, "index_damage", lambda *_: None)
    kinds = {op[0] for op in log}
    assert kinds >= {"create", "write", "sync", "rename", "sync_dir", "mkdir", "commit", "unlink"}
    medium, seen = Lasting(), set()
    for op in log:
        medium.play(op)
        for names, contents, commit in medium.states():
            state = (tuple(sorted(names.items())), tuple(contents[number] for number in sorted(contents)), commit)
            if state in seen:
                continue
            seen.add(state)
            path = tmp_path / str(len(seen))
            laid_out(path, names, contents, None if commit is None else images[commit])
            for key, data in reopened_soundly(path, limit=LIMIT).items():
                assert set(data) == {ord("a" if key.endswith("again") else key[-1])}, op
    assert len(seen) > 100


def test_keep__acknowledged__survives_a_power_cut_but_for_the_last_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, images = recorded(tmp_path / "recorded", monkeypatch)
    monkeypatch.setattr(recover, "index_damage", lambda *_: None)
    monkeypatch.setattr(store_module, "START_SECONDS", 60.0)
    medium = Lasting()
    for op in log:
        medium.play(op)
        if op[0] == "commit":
            path = tmp_path / op[2]
            laid_out(path, medium.names, medium.synced, images[int(op[2])])
            with opened(path, limit=LIMIT) as store:
                assert store.reconciled
                drift = store.reconciliation.drift
                # Every row's blob lasts by the time the row does. (Files not yet unlinked are no loss.)
                assert drift.dropped == 0, op

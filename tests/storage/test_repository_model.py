"""Repositories against a model that is a list of dicts: same versions, same pages, same refusals, in whatever order."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from packaging.specifiers import SpecifierSet

from pyproxy.errors import FileExists, NothingMatches, PyproxyError, VersionUnknown
from pyproxy.model import Filename, ProjectName, as_filename
from pyproxy.storage.repository import Repositories, open_local, rebuild_local
from tests.storage.repositories import assert_sound, digest_of, new_file, on_disk
from tests.storage.stores import in_memory

PROJECTS = (ProjectName("acme"), ProjectName("acme-x"), ProjectName("bolt"))
FILENAMES = [
    as_filename(f"{project.replace('-', '_')}-{version}.tar.gz")
    for project in PROJECTS
    for version in ("1.0", "2.0", "3.0rc1")
]
REPOS = ("team", "stable")

repos = st.sampled_from(REPOS)
filenames = st.sampled_from(FILENAMES)
contents = st.sampled_from([b"one", b"two", b"three"])
specs = st.sampled_from(["acme", "acme-x", "bolt", "acme==1.0", "acme>=2", "bolt<3", "acme_x!=2.0"])


@dataclass(frozen=True)
class Held:
    data: bytes
    upload_time: str
    yanked: bool | str = False


@dataclass
class Model:
    """One repository: its versions, and the names that were ever taken."""

    versions: dict[int, dict[Filename, Held]] = field(default_factory=lambda: {0: {}})
    taken: dict[Filename, bytes] = field(default_factory=dict)
    highest: int = 0

    @property
    def latest(self) -> dict[Filename, Held]:
        return dict(self.versions[self.highest])

    def make(self, content: dict[Filename, Held]) -> None:
        if content != self.latest:
            self.highest += 1
            self.versions[self.highest] = content
            self.taken |= {name: held.data for name, held in content.items()}


def project_of(filename: str) -> ProjectName:
    return ProjectName(filename.split("-", maxsplit=1)[0].replace("_", "-"))


def version_of(filename: str) -> str:
    return filename.split("-")[1].removesuffix(".tar.gz")


def selected(spec: str, content: dict[Filename, Held]) -> list[Filename]:
    name = spec.rstrip("!<>=0123456789.rc")
    versions = SpecifierSet(spec[len(name) :])
    project = name.replace("_", "-")
    return [
        filename
        for filename in content
        if project_of(filename) == project and versions.contains(version_of(filename), prereleases=True)
    ]


class RepositoryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = ExitStack()
        self.path = self.folder.enter_context(in_memory())
        self.loop = asyncio.new_event_loop()
        self.models = {repo: Model() for repo in REPOS}
        self.uploads = 0
        self.store: Repositories

    @initialize()
    def begin(self) -> None:
        self.store = open_local(self.path, exclusive=True, environment={})

    @rule(repo=repos, name=filenames, data=contents)
    def add(self, repo: str, name: Filename, data: bytes) -> None:
        model = self.models[repo]
        held = self.uploaded(data)
        adding = self.store.add(repo, [new_file(self.store, name, data, upload_time=held.upload_time)])
        if model.taken.get(name, data) != data:
            self.refused(adding, FileExists)
            return
        outcome = self.loop.run_until_complete(adding)
        if name in model.latest:
            assert outcome.already == (name,)
        else:
            model.make({**model.latest, name: held})
            assert outcome.added == (name,)
        assert outcome.version == model.highest

    @rule(repo=repos, files=st.dictionaries(filenames, contents, min_size=2, max_size=4))
    def add_many(self, repo: str, files: dict[Filename, bytes]) -> None:
        model = self.models[repo]
        new = {name: self.uploaded(data) for name, data in files.items()}
        adding = self.store.add(
            repo, [new_file(self.store, name, held.data, upload_time=held.upload_time) for name, held in new.items()]
        )
        if any(model.taken.get(name, data) != data for name, data in files.items()):
            self.refused(adding, FileExists)
            return
        self.loop.run_until_complete(adding)
        model.make(new | model.latest)

    @rule(repo=repos, spec=specs)
    def remove(self, repo: str, spec: str) -> None:
        model = self.models[repo]
        gone = selected(spec, model.latest)
        if not gone:
            self.refused(self.store.remove(repo, [spec]), NothingMatches)
            return
        assert set(self.loop.run_until_complete(self.store.remove(repo, [spec])).removed) == set(gone)
        model.make({name: held for name, held in model.latest.items() if name not in gone})

    @rule(repo=repos, spec=specs, yanked=st.sampled_from([False, True, "broken"]))
    def mark(self, repo: str, spec: str, yanked: bool | str) -> None:  # noqa: FBT001 - as PEP 592 has it
        model = self.models[repo]
        marking = (
            self.store.unyank(repo, [spec])
            if yanked is False
            else self.store.yank(repo, [spec], yanked if isinstance(yanked, str) else None)
        )
        names = selected(spec, model.latest)
        if not names:
            self.refused(marking, NothingMatches)
            return
        self.loop.run_until_complete(marking)
        model.make(model.latest | {name: replace(model.latest[name], yanked=yanked) for name in names})

    @rule(spec=specs, back=st.booleans())
    def copy(self, spec: str, back: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        source, target = reversed(REPOS) if back else REPOS
        copying = self.store.copy(source, target, [spec])
        model, there = self.models[target], self.models[source].latest
        names = selected(spec, there)
        if not names:
            self.refused(copying, NothingMatches)
        elif any(model.taken.get(name, there[name].data) != there[name].data for name in names):
            self.refused(copying, FileExists)
        else:
            self.loop.run_until_complete(copying)
            model.make({name: there[name] for name in names} | model.latest)

    @rule(repo=repos, data=st.data())
    def rollback(self, repo: str, data: st.DataObject) -> None:
        model = self.models[repo]
        version = data.draw(st.sampled_from(sorted(model.versions)))
        outcome = self.loop.run_until_complete(self.store.rollback(repo, version))
        model.make(dict(model.versions[version]))
        assert outcome.version == model.highest

    @rule(repo=repos, keep=st.integers(1, 3), pinned=st.sets(st.integers(0, 6), max_size=2))
    def prune(self, repo: str, keep: int, pinned: set[int]) -> None:
        model = self.models[repo]
        numbers = sorted(set(model.versions) - {0})
        kept = {0, *numbers[-keep:], *(pinned & set(numbers))}
        pruned = self.loop.run_until_complete(self.store.prune(repo, keep, pinned=pinned))
        assert set(pruned.versions) == set(model.versions) - kept
        model.versions = {number: model.versions[number] for number in kept}

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = open_local(self.path, exclusive=True, environment={})
        # On a busy machine the start leaves some of it to be done behind.
        self.loop.run_until_complete(self.store.reconcile())
        assert self.store.reconciled

    @precondition(lambda self: any(model.highest for model in self.models.values()))
    @rule()
    def lose_the_index(self) -> None:
        self.store.close()
        shutil.rmtree(self.path / "local" / "index")
        rebuilt = rebuild_local(self.path, environment={})
        assert rebuilt.findings == []
        self.store = open_local(self.path, exclusive=True, environment={})
        for repo, model in self.models.items():
            if model.highest:
                number = rebuilt.repositories[repo]
                assert number > model.highest
                model.versions = {0: {}, number: model.latest}
                model.highest = number

    def uploaded(self, data: bytes) -> Held:
        """Another file each time: one that comes again after it was removed is not the same as before."""
        self.uploads += 1
        return Held(data, f"2026-01-01T00:00:00.{self.uploads:06}Z")

    def refused(self, change: object, error: type[PyproxyError]) -> None:
        with pytest.raises(error):
            self.loop.run_until_complete(change)  # type: ignore[arg-type]  # any of the store's coroutines

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "store"):
            return
        for repo, model in self.models.items():
            assert self.store.latest(repo) == model.highest
            assert [one.number for one in self.store.versions(repo)] == sorted(set(model.versions) - {0})
            for number in range(model.highest + 2):
                if number in model.versions:
                    self.same_version(repo, number, model.versions[number])
                else:
                    with pytest.raises(VersionUnknown):
                        self.store.projects(repo, number)
        # A damaged or lost blob would be a finding; here it is enough that none is too many.
        versions = [content for model in self.models.values() for content in model.versions.values()]
        assert on_disk(self.path)[0] == {digest_of(held.data) for content in versions for held in content.values()}
        assert len(on_disk(self.path)[1]) == sum(len(model.taken) for model in self.models.values())

    def same_version(self, repo: str, number: int, content: dict[Filename, Held]) -> None:
        listed = {name.replace("_", "-") for name in self.store.projects(repo, number)}
        assert listed == {project_of(name) for name in content}
        for project in PROJECTS:
            files = self.store.page_files(repo, project, number)
            here = {name: held for name, held in content.items() if project_of(name) == project}
            assert [file.filename for file in files] == sorted(here)
            assert [
                (digest_of(held.data), held.upload_time, held.yanked)
                for held in (here[file.filename] for file in files)
            ] == [(file.digest, file.upload_time, file.yanked) for file in files]
            assert self.store.has(repo, project, number) == bool(here)
        for name in FILENAMES:
            found = self.store.file(repo, project_of(name), name, number)
            assert (found is not None) == (name in content)

    def teardown(self) -> None:
        try:
            if hasattr(self, "store"):
                assert_sound(self.store)
        finally:
            if hasattr(self, "store"):
                self.store.close()
            self.loop.close()
            self.folder.close()


TestRepositoriesAgainstModel = RepositoryMachine.TestCase
TestRepositoriesAgainstModel.settings = settings(max_examples=20, stateful_step_count=25, deadline=None)

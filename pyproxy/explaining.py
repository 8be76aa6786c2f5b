"""Why each file of a project is shown or hidden: which filter, merge rule or remote decided it, and where that stands.

What is shown is read off the distribution's own page, so an explanation never says other than what clients see. Only
the reasons for the rest are looked for here, along the layers that `site` put together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import partial

from msgspec import structs

from pyproxy.config import GuardConfig
from pyproxy.errors import NotCached, ProjectUnknown, RemoteFailed
from pyproxy.filters import Refused, as_version, seen
from pyproxy.index.filtered import FilteredIndex, Judged
from pyproxy.index.protocol import Index
from pyproxy.index.snapshot import SnapshotIndex
from pyproxy.model import File, ProjectName, ProjectPage
from pyproxy.selection import Selector
from pyproxy.site import Distribution, Layers, Site

QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What decided: the path of a key, and what it comes to for this project or file, read on from the key.

    `where` is FILE:LINE, of the configuration or of a file that it names.
    """

    key: str
    where: str
    reason: str


@dataclass(frozen=True, slots=True)
class Explained:
    """A file, who has it ("local" or a remote), and what hides it; None: it is shown."""

    filename: str
    version: str | None
    source: str
    hidden_by: Ruling | None


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that is known of a project's files in a distribution. `rulings` are over whole layers: a guard, a remote."""

    distribution: str
    base_path: str
    project: ProjectName
    files: tuple[Explained, ...]
    rulings: tuple[Ruling, ...]

    @property
    def shown(self) -> int:
        return sum(file.hidden_by is None for file in self.files)


async def explain(site: Site, distribution: Distribution, project: ProjectName) -> Explanation:
    """Asks the remotes as a client's request would. Raises StoreTrouble, VersionUnknown."""
    try:
        shown = {file.link for file in _offered((await distribution.index.page(project)).value)}
    except (ProjectUnknown, RemoteFailed, NotCached):
        shown = set()  # the layer that says so tells why
    walk = _Walk(site, distribution, project)
    walk.guard()
    await walk.layers(distribution.layers)
    files = await asyncio.to_thread(walk.files, shown)  # 5,000 take 20 ms
    return Explanation(distribution.name, distribution.base_path, project, files, tuple(walk.rulings))


@dataclass(frozen=True, slots=True)
class _Held:
    """What one layer has of the project. `why` tells for a file what hides it, None where nothing here does."""

    source: str
    page: ProjectPage
    why: Callable[[File], Ruling | None]


class _Walk:
    """One explanation on its way, from the guard to the last remote."""

    def __init__(self, site: Site, distribution: Distribution, project: ProjectName) -> None:
        self.rulings: list[Ruling] = []
        self._held: list[_Held] = []
        self._site = site
        self._distribution = distribution
        self._project = project
        self._own = f"distributions.{distribution.name}"

    def guard(self) -> None:
        name = self._distribution.guard_name
        if name is None:
            return
        config: GuardConfig = self._site.guards[name][0]
        if config.read is None:
            return
        self._rule(f"guards.{name}.read", f"may be seen by {', '.join(sorted(config.read)) or 'nobody'} alone")

    async def layers(self, layers: Layers) -> None:
        project = self._project
        local = layers.local.held(project) if layers.local is not None else None
        whole = await self._whole(layers.filtered)
        if local is not None:
            self._held.append(_Held("local", local, partial(self._of_own, whole)))
        if layers.filtered is not None and (refused := layers.filtered.policy.refuses(project)) is not None:
            self.rulings.append(self._refused(f"{self._own}.filters", refused))
            return
        taken = {file.filename for file in local.files} if local is not None else set()
        answered: str | None = None
        for remote in layers.remotes:
            if layers.private(project):
                self._rule(f"{self._own}.private", f"remote {remote.name} is never asked for {project}")
            elif local is not None and self._distribution.merge == "shadow":
                self._rule(f"{self._own}.merge", f"shadow: local files alone; remote {remote.name} is not asked")
            elif answered is not None:
                self._rule(f"{self._own}.remote", f"remote {answered} comes before {remote.name}, which is not asked")
            elif await self._remote(remote.name, remote.index, remote.filtered, taken, whole):
                answered = remote.name

    async def _whole(self, filtered: FilteredIndex | None) -> Judged | None:
        """What the distribution's own filters say of all that it would show."""
        if filtered is None or filtered.policy.refuses(self._project) is not None:
            return None
        try:
            return await filtered.judgement(self._project)
        except (ProjectUnknown, RemoteFailed, NotCached):
            return None

    async def _remote(
        self, name: str, index: Index, filtered: FilteredIndex | None, taken: AbstractSet[str], whole: Judged | None
    ) -> bool:
        """Whether the remote's word is the last, be it that nobody could get one."""
        own = f"remotes.{name}"
        if filtered is not None and (refused := filtered.policy.refuses(self._project)) is not None:
            ruling = self._refused(own, refused)
            self.rulings.append(replace(ruling, reason=f"{ruling.reason}, so that remote {name} is not asked"))
            return False
        try:
            judged = await filtered.judgement(self._project) if filtered is not None else None
            page = judged.raw if judged is not None else (await index.page(self._project)).value
        except ProjectUnknown as exc:
            self._rule(own, str(exc))
            return False
        except (RemoteFailed, NotCached) as exc:
            self._rule(own, f"{exc}; no later remote steps in for it")
            return True

        def why(file: File) -> Ruling | None:
            if page.status == QUARANTINED:
                return self._ruling(own, f"quarantined: {page.status_reason or 'no reason is given'}")
            if judged is not None and (found := judged.of(file.link)) is not None and found[1] is not None:
                return self._refused(own, found[1])
            if file.filename in taken:
                return self._ruling(f"{self._own}.merge", "the local file of this name is shown in its place")
            return self._of_own(whole, file)

        self._held.append(_Held(f"remote {name}", page, why))
        if isinstance(index, SnapshotIndex):
            later = await asyncio.to_thread(tuple, index.all_left_out(self._project))
            absent = structs.replace(page, files=later)
            self._held.append(_Held(f"remote {name}", absent, lambda file: self._ruling(own, index.why_not(file))))
        return True

    def files(self, shown: AbstractSet[str]) -> tuple[Explained, ...]:
        """All that the layers have. In a thread of its own: nothing here changes any more."""
        found: list[Explained] = []
        for held in self._held:
            for file, release in zip(held.page.files, seen(self._project, held.page.files).releases, strict=True):
                hidden_by = None if file.link in shown else held.why(file) or self._nobody()
                found.append(Explained(file.filename, release.spelled, held.source, hidden_by))
        return tuple(found)

    def _nobody(self) -> Ruling:
        return self._ruling(self._own, "it is not on the page, and no layer says why")

    def _of_own(self, whole: Judged | None, file: File) -> Ruling | None:
        found = whole.of(file.link) if whole is not None else None
        refused = found[1] if found is not None else None
        if refused is None and (filtered := self._distribution.layers.filtered) is not None:
            refused = filtered.policy.refuses(self._project)
        return self._refused(f"{self._own}.filters", refused) if refused is not None else None

    def _rule(self, key: str, reason: str) -> None:
        self.rulings.append(self._ruling(key, reason))

    def _refused(self, section: str, refused: Refused) -> Ruling:
        ruling = self._ruling(f"{section}.{refused.key}", refused.words)
        return ruling if refused.place is None else replace(ruling, where=refused.place)

    def _ruling(self, key: str, reason: str) -> Ruling:
        return Ruling(key, self._site.where(key), " ".join(reason.split()))  # a remote's words may have lines


def _offered(page: ProjectPage) -> tuple[File, ...]:
    """PEP 792: of a quarantined project nothing is offered."""
    return () if page.status == QUARANTINED else page.files


def of_versions(explanation: Explanation, meant: Selector) -> Explanation:
    """The same of the versions that the selector means, and of those that nobody can compare with it."""
    files = tuple(it for it in explanation.files if meant.has(as_version(it.version)) is not False)
    return replace(explanation, files=files)


def as_text(explanation: Explanation) -> Iterator[str]:
    """The lines that people read."""
    shown, total = explanation.shown, len(explanation.files)
    at = f"/pypi/{explanation.base_path}/simple/{explanation.project}/"
    yield f"{explanation.project} in distribution {explanation.distribution}, {at}: {shown} of {total} files are shown"
    for ruling in explanation.rulings:
        yield f"{ruling.where}: {ruling.key}: {ruling.reason}"
    for file in explanation.files:
        if file.hidden_by is None:
            yield f"shown   {file.filename}  {file.source}"
        else:
            ruling = file.hidden_by
            yield f"hidden  {file.filename}  {file.source}  {ruling.where}: {ruling.key}: {ruling.reason}"


def as_object(explanation: Explanation) -> dict[str, object]:
    """The same for machines."""
    return {
        "distribution": explanation.distribution,
        "base_path": explanation.base_path,
        "project": explanation.project,
        "shown": explanation.shown,
        "hidden": len(explanation.files) - explanation.shown,
        "rulings": [_told(ruling) for ruling in explanation.rulings],
        "files": [
            {
                "filename": file.filename,
                "version": file.version,
                "source": file.source,
                "shown": file.hidden_by is None,
                "hidden_by": None if file.hidden_by is None else _told(file.hidden_by),
            }
            for file in explanation.files
        ],
    }


def _told(ruling: Ruling) -> dict[str, str]:
    return {"key": ruling.key, "where": ruling.where, "reason": ruling.reason}

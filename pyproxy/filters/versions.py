"""Rules over versions: `prereleases`, and `keep_latest_packages`, which is counted over what the others left."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

from packaging.version import Version

from pyproxy.config import FilterConfig
from pyproxy.filters.protocol import ByRelease, Judge, Refused, Rule
from pyproxy.filters.seen import Release, Seen
from pyproxy.model import ProjectName

_Rank: TypeAlias = Version | str
"""What keep_latest_packages counts: a version, or the spelling of one that PEP 440 cannot read."""


def rules(config: FilterConfig) -> Iterator[Rule]:
    if not config.prereleases:
        yield NoPrereleases()


@dataclass(frozen=True, slots=True)
class NoPrereleases:
    """`prereleases: false`: neither alphas, betas and candidates nor development releases (PEP 440)."""

    key: ClassVar = "prereleases"

    def refuses(self, project: ProjectName) -> None:
        del project

    def of(self, project: ProjectName) -> Sequence[Judge]:
        del project
        return (ByRelease(self._not_final),)

    def _not_final(self, releases: Sequence[Release]) -> Mapping[Release, Refused]:
        refused = (it for it in releases if it.version is None or it.version.is_prerelease)
        return {it: Refused(self.key, f"false: {_prerelease(it)}") for it in refused}


def _prerelease(release: Release) -> str:
    return f"nobody can tell whether {release} is one" if release.version is None else f"{release.version} is one"


@dataclass(frozen=True, slots=True)
class KeepLatest:
    """The newest `count` versions. Where all of them are pre-releases, the newest final one takes the last place.

    Versions that PEP 440 cannot read are older than all others; a file that has none is not kept.
    """

    count: int

    key: ClassVar = "keep_latest_packages"

    def hides(self, page: Seen, positions: Sequence[int]) -> dict[int, Refused]:
        """Those of the positions whose files are not kept, when they are all that is left."""
        ranks = {release: _rank(release) for release in dict.fromkeys(page.releases[at] for at in positions)}
        keep = _newest(dict.fromkeys(rank for rank in ranks.values() if rank is not None), self.count)
        gone = {release for release, rank in ranks.items() if rank not in keep}
        newer = "a newer version is" if self.count == 1 else "as many newer versions are"
        hidden = Refused(self.key, f"{self.count}: {newer} there")
        return {at: hidden for at in positions if page.releases[at] in gone}


def _newest(there: Collection[_Rank], count: int) -> AbstractSet[_Rank | None]:
    """Sorted as it comes, and not as a set: pages have their files nearly in order."""
    readable: list[_Rank] = [*sorted((it for it in there if isinstance(it, Version)), reverse=True)]
    others: list[_Rank] = [*sorted((it for it in there if isinstance(it, str)), reverse=True)]
    kept = [*readable, *others][:count]
    if kept and not any(map(_is_final, kept)):
        final = next(filter(_is_final, readable), None)
        kept = [*kept[:-1], final] if final is not None else kept
    return set(kept)


def _rank(release: Release) -> _Rank | None:
    return release.spelled if release.version is None else release.version


def _is_final(rank: _Rank) -> bool:
    return isinstance(rank, Version) and not rank.is_prerelease

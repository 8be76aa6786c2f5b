"""Rules over versions: `prereleases`, and `keep_latest_packages`, which is counted over what the others left."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import nlargest
from typing import ClassVar, TypeAlias

from packaging.version import Version

from pyproxy.config import FilterConfig
from pyproxy.filters.protocol import Hidden, Judge, Rule, by_version
from pyproxy.filters.seen import Seen
from pyproxy.model import ProjectName

_Rank: TypeAlias = tuple[Version | None, str]


def rules(config: FilterConfig) -> Iterator[Rule]:
    if not config.prereleases:
        yield NoPrereleases()


@dataclass(frozen=True, slots=True)
class NoPrereleases:
    """`prereleases: false`: neither alphas, betas and candidates nor development releases (PEP 440)."""

    key: ClassVar = "prereleases"

    def refuses(self, project: ProjectName) -> None:
        del project

    def of(self, project: ProjectName) -> Judge:
        del project
        return by_version(_final)


def _final(file: Seen, now: float) -> Hidden | None:
    del now
    if file.version is None:
        return Hidden(f"prereleases: nobody can tell whether {file.spelled or 'what its name says'} is one")
    return Hidden(f"prereleases: {file.version} is one") if file.version.is_prerelease else None


@dataclass(frozen=True, slots=True)
class KeepLatest:
    """The newest `count` versions. Where all of them are pre-releases, the newest final one takes the last place.

    Versions that PEP 440 cannot read are older than all others; a file that has none is not kept.
    """

    count: int

    key: ClassVar = "keep_latest_packages"

    def hides(self, files: Sequence[Seen]) -> dict[int, Hidden]:
        """By position, those of the files that are not kept."""
        ranks = {file.spelled: _rank(file) for file in files if file.spelled is not None}
        there = set(ranks.values())
        kept = nlargest(self.count, there, key=_order)
        if kept and not any(map(_is_final, kept)):
            final = max(filter(_is_final, there), key=_order, default=None)
            kept = [*kept[:-1], final] if final is not None else kept
        keep = set(kept)
        names = {spelled for spelled, rank in ranks.items() if rank in keep}
        reason = f"keep_latest_packages: {self.count} newer " + ("version is" if self.count == 1 else "versions are")
        hidden = Hidden(f"{reason} there")
        return {position: hidden for position, file in enumerate(files) if file.spelled not in names}


def _rank(file: Seen) -> _Rank:
    return (file.version, "" if file.version is not None else file.spelled or "")


def _order(rank: _Rank) -> tuple[bool, Version | str]:
    version, spelled = rank
    return (version is not None, spelled if version is None else version)


def _is_final(rank: _Rank) -> bool:
    return rank[0] is not None and not rank[0].is_prerelease

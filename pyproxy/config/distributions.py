"""The section `distributions`: which remotes and which local content are served together, where, and to whom."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import cast

from pyproxy.config import values
from pyproxy.config.filters import ALSO_CALLED as FILTERS_ALSO_CALLED
from pyproxy.config.filters import FILTER_KEYS, read_filters
from pyproxy.config.reading import Files
from pyproxy.config.remotes import as_name
from pyproxy.config.section import Section, one_of_those
from pyproxy.config.settings import DistributionConfig, Merge
from pyproxy.config.values import Wrong

KEYS = (
    "base_path",
    "remote",
    "repository",
    "repository_version",
    "allow_uploads",
    "merge",
    "private",
    "content_guard",
    "hidden",
    "labels",
    "default",
    "filters",
)
_ALSO_CALLED = {
    "remotes": "remote",
    "path": "base_path",
    "url": "base_path",
    "repositories": "repository",
    "version": "repository_version",
    "uploads": "allow_uploads",
    "guard": "content_guard",
    **{key: f"filters.{key}" for key in FILTER_KEYS},
    **{other: f"filters.{key}" for other, key in FILTERS_ALSO_CALLED.items()},
}

_BASE_PATH = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*\Z", re.ASCII)
_LONGEST_BASE_PATH = 200
_LAST_VERSION = (1 << 31) - 1


def read_distributions(
    distributions: Section,
    files: Files,
    remotes: Collection[str],
    repositories: Collection[str],
    guards: Collection[str],
) -> dict[str, DistributionConfig]:
    """Every distribution, the mistaken ones too; exactly one of several may be the default, a single one is.

    What they are made of is given by name.
    """
    found: dict[str, DistributionConfig] = {}
    for name in distributions:
        wrong = as_name(name)
        if wrong:
            distributions.wrong(name, wrong)
        section = distributions.section(name, KEYS, elsewhere=_ALSO_CALLED)
        found[name] = DistributionConfig(
            name=name,
            base_path=section.value("base_path", _base_path, name),
            remotes=_remotes(section, remotes),
            repository=section.value("repository", one_of_those("repository", repositories), None),
            repository_version=section.value("repository_version", values.whole(1, _LAST_VERSION), None),
            allow_uploads=section.value("allow_uploads", values.boolean, default=False),
            merge=cast("Merge", section.value("merge", values.choice("ahead", "shadow"), "ahead")),
            private=section.values("private", values.name_glob, single=True) or (),
            content_guard=section.value("content_guard", one_of_those("guard", guards), None),
            hidden=section.value("hidden", values.boolean, default=False),
            labels=_labels(section.section("labels")),
            default=section.value("default", values.boolean, default=False),
            filters=read_filters(section.section("filters", FILTER_KEYS, elsewhere=FILTERS_ALSO_CALLED), files),
        )
        _refuse_unkept(section, found[name])
    _refuse_overlaps(distributions, found)
    _refuse_two_defaults(distributions, found)
    if len(found) == 1:
        return {name: replace(only, default=True) for name, only in found.items()}
    return found


def _base_path(raw: object) -> str:
    if (
        isinstance(raw, str)
        and _BASE_PATH.match(raw)
        and len(raw) <= _LONGEST_BASE_PATH
        and not {".", ".."} & set(raw.split("/"))
    ):
        return raw
    expected = "must be one or several segments of letters, digits, dots, dashes and underscores, such as domain/team"
    raise Wrong(expected + values.instead_of(raw))


def _remotes(section: Section, remotes: Collection[str]) -> tuple[str, ...]:
    seen: set[str] = set()
    there = one_of_those("remote", remotes)

    def known(raw: object) -> str:
        name = there(raw)
        if name in seen:
            raise Wrong(f"names {name} twice")
        seen.add(name)
        return name

    names = section.values("remote", known, single=True)
    if (names is None or section.is_empty("remote")) and not section.has("repository"):
        section.wrong("remote", "must name a remote, or several in a list, where there is no repository")
    return names or ()


def _refuse_unkept(section: Section, distribution: DistributionConfig) -> None:
    """What only a repository gives a meaning to."""
    if section.has("repository"):
        return
    if section.has("repository_version"):
        section.wrong("repository_version", "needs a repository beside it")
    if distribution.allow_uploads:
        section.wrong("allow_uploads", "needs a repository beside it, to keep what is uploaded")


def _labels(labels: Section) -> Mapping[str, str]:
    found = {name: labels.value(name, values.text, None) for name in labels}
    return {name: text for name, text in found.items() if text is not None}


def _refuse_overlaps(distributions: Section, found: Mapping[str, DistributionConfig]) -> None:
    """No base path may be another's, nor a leading part of one: nobody could tell whose pages lie below."""
    taken: dict[tuple[str, ...], str] = {}
    for name in sorted(found, key=lambda it: (found[it].base_path.count("/"), _line(distributions, it))):
        segments = tuple(found[name].base_path.split("/"))
        for end in range(1, len(segments) + 1):
            other = taken.get(segments[:end])
            if other is not None:
                _report_overlap(distributions, found, name, other)
                break
        else:
            taken[segments] = name


def _report_overlap(distributions: Section, found: Mapping[str, DistributionConfig], one: str, two: str) -> None:
    first, second = sorted((one, two), key=lambda it: _line(distributions, it))
    ours, theirs = found[second].base_path, found[first].base_path
    if ours == theirs:
        why = f"{ours} is also the base path"
    elif ours.startswith(theirs):
        why = f"{ours} lies below {theirs}, the base path"
    else:
        why = f"{ours} is a leading part of {theirs}, the base path"
    at = distributions.mistakes.where(f"{distributions.at(second)}.base_path")
    line = _line(distributions, first)
    distributions.mistakes.add(
        at, f"{distributions.at(second)}.base_path", f"{why} of {distributions.at(first)} on line {line}"
    )


def _line(distributions: Section, name: str) -> int:
    return distributions.mistakes.where(f"{distributions.at(name)}.base_path")


def _refuse_two_defaults(distributions: Section, found: Mapping[str, DistributionConfig]) -> None:
    defaults = [name for name, distribution in found.items() if distribution.default]
    for name in defaults[1:]:
        where = f"{distributions.at(name)}.default"
        first = distributions.mistakes.where(f"{distributions.at(defaults[0])}.default")
        distributions.mistakes.add(
            distributions.mistakes.where(where),
            where,
            f"only one distribution can be the default, and {defaults[0]} is (line {first})",
        )

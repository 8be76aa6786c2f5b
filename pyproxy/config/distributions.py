"""The section `distributions`: which remotes are served together, and under which base path."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from pyproxy.config import values
from pyproxy.config.remotes import as_name
from pyproxy.config.section import Section, nearest
from pyproxy.config.settings import DistributionConfig, RemoteConfig
from pyproxy.config.values import Wrong

KEYS = ("base_path", "remote", "hidden", "labels", "default")
LATER_KEYS = (
    "repository",
    "repository_version",
    "allow_uploads",
    "merge",
    "private",
    "content_guard",
    "filters",
)
_ALSO_CALLED = {"remotes": "remote", "path": "base_path", "url": "base_path"}

_BASE_PATH = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*\Z", re.ASCII)
_LONGEST_BASE_PATH = 200


def read_distributions(distributions: Section, remotes: Mapping[str, RemoteConfig]) -> dict[str, DistributionConfig]:
    """Every distribution, the mistaken ones too; exactly one of several may be the default, a single one is."""
    found: dict[str, DistributionConfig] = {}
    for name in distributions:
        wrong = as_name(name)
        if wrong:
            distributions.wrong(name, wrong)
        section = distributions.section(name, KEYS, later=LATER_KEYS, elsewhere=_ALSO_CALLED)
        found[name] = DistributionConfig(
            name=name,
            base_path=section.value("base_path", _base_path, name),
            remotes=_remotes(section, remotes),
            hidden=section.value("hidden", values.boolean, default=False),
            labels=_labels(section.section("labels")),
            default=section.value("default", values.boolean, default=False),
        )
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


def _remotes(section: Section, remotes: Mapping[str, RemoteConfig]) -> tuple[str, ...]:
    seen: set[str] = set()

    def known(raw: object) -> str:
        name = values.text(raw)
        if name not in remotes:
            meant = nearest(name, remotes)
            there = f"did you mean {meant}?" if meant else f"there is {values.one_of(list(remotes)) or 'none'}"
            raise Wrong(f"no remote is called {values.as_key(name)}; {there}")
        if name in seen:
            raise Wrong(f"names {name} twice")
        seen.add(name)
        return name

    if not section.has("remote"):
        section.wrong("remote", "must name a remote, or several in a list")
        return ()
    names = section.values("remote", known, single=True) or ()
    if section.is_empty("remote"):
        section.wrong("remote", "must name at least one remote")
    return names


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

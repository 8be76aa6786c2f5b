"""The filter keys of a remote, and of a distribution below `filters`: who may see what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

from pyproxy.config import values
from pyproxy.config.reading import Files
from pyproxy.config.section import Section
from pyproxy.config.settings import BlockEntry, FilterConfig, UnknownAge
from pyproxy.config.values import Wrong
from pyproxy.errors import BadName, BadRequirement
from pyproxy.instants import as_instant
from pyproxy.model import PackageType, as_sha256, printable
from pyproxy.selection import Selector, as_selector

FILTER_KEYS = (
    "includes",
    "excludes",
    "prereleases",
    "package_types",
    "exclude_platforms",
    "keep_latest_packages",
    "min_age",
    "exclude_newer",
    "exempt",
    "unknown_age",
    "block",
    "require_provenance",
    "max_file_size",
)
PLATFORMS = ("windows", "macos", "freebsd", "linux")
PACKAGE_TYPES = (
    "bdist_wheel",
    "sdist",
    "bdist_egg",
    "bdist_wininst",
    "bdist_msi",
    "bdist_rpm",
    "bdist_dmg",
    "bdist_dumb",
)

# What people know from uv and from other mirrors.
ALSO_CALLED = {
    "include": "includes",
    "allow": "includes",
    "exclude": "excludes",
    "deny": "excludes",
    "platforms": "exclude_platforms",
    "keep_latest": "keep_latest_packages",
    "cooldown": "min_age",
    "minimum_release_age": "min_age",
    "exclude-newer": "exclude_newer",
    "blocklist": "block",
}

_LARGEST_BLOCK_FILE = 1 << 24
_MOST_KEPT = 1_000_000
_DEFAULTS = FilterConfig()


def read_filters(section: Section, files: Files) -> FilterConfig:
    """The filter keys that stand in this section; other keys of it are not looked at."""
    kinds = section.values("package_types", values.choice(*PACKAGE_TYPES), single=True) or ()
    block, blocked = _block(section, files)
    return FilterConfig(
        includes=section.values("includes", selector, single=True) or (),
        excludes=section.values("excludes", selector, single=True) or (),
        prereleases=section.value("prereleases", values.boolean, _DEFAULTS.prereleases),
        package_types=cast("tuple[PackageType, ...]", kinds),
        exclude_platforms=section.values("exclude_platforms", values.choice(*PLATFORMS), single=True) or (),
        keep_latest_packages=section.value(
            "keep_latest_packages", values.whole(0, _MOST_KEPT), _DEFAULTS.keep_latest_packages
        ),
        min_age=section.value("min_age", values.duration, _DEFAULTS.min_age),
        exclude_newer=section.value("exclude_newer", instant, None),
        exempt=section.values("exempt", selector, single=True) or (),
        unknown_age=cast("UnknownAge", section.value("unknown_age", values.choice("hide", "show"), "hide")),
        block=block,
        blocked=blocked,
        require_provenance=section.value("require_provenance", values.boolean, _DEFAULTS.require_provenance),
        max_file_size=section.value("max_file_size", values.size, None),
    )


def selector(value: object) -> Selector:
    """A requirement specifier or a glob of names."""
    if not isinstance(value, str):
        raise Wrong(f"must be a requirement specifier such as torch>=2, or a glob of names{values.instead_of(value)}")
    try:
        return as_selector(value)
    except BadRequirement as exc:
        raise Wrong(str(exc)) from None


def instant(value: object) -> float:
    """Seconds since the epoch. A date is the end of that day in UTC."""
    found = as_instant(value) if isinstance(value, str) else None
    if found is None:
        raise Wrong(f"must be an RFC 3339 instant such as 2026-01-31T00:00:00Z, or a date{values.instead_of(value)}")
    return found


def _block(section: Section, files: Files) -> tuple[tuple[str, ...], tuple[BlockEntry, ...]]:
    """The entries as they are shown, and all that they stand for, those of files among them."""
    found: list[BlockEntry] = []

    def item(value: object) -> str:
        kind, colon, name = value.partition(":") if isinstance(value, str) else ("", "", "")
        if colon and kind == "file":
            path = files.path(name)
            found.extend(_of_file(path, files))
            return f"file:{path}"
        found.append(_entry(value))
        return cast("str", value)

    return section.values("block", item, single=True) or (), tuple(found)


def _of_file(path: Path, files: Files) -> list[BlockEntry]:
    """One entry a line; what follows a `#` is a comment. Raises Wrong with every line that is none."""
    try:
        lines = files.read(path, limit=_LARGEST_BLOCK_FILE).decode().splitlines()
    except UnicodeDecodeError:
        raise Wrong(f"{path} does not hold UTF-8 text") from None
    found, wrong = [], []
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        try:
            found.append(replace(_entry(text), place=f"{path}:{number}"))
        except Wrong as exc:
            wrong.append(f"{path}:{number}: {exc}")
    if wrong:
        raise Wrong("; ".join(wrong[:10]))
    return found


def _entry(value: object) -> BlockEntry:
    if not isinstance(value, str):
        raise Wrong(f"must be a name, name==version, sha256:… or file:PATH{values.instead_of(value)}")
    kind, colon, digest = value.partition(":")
    if colon and kind.lower() == "sha256":
        try:
            return BlockEntry(digest=as_sha256(digest.strip().lower()))
        except BadName:
            raise Wrong(f"must be sha256: and 64 hexadecimal digits, not {printable(value)}") from None
    return BlockEntry(selector=selector(value))

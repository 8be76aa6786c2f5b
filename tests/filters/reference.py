"""What filters mean, decided rule by rule and file by file in few words; and random pages and policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from pyproxy.config import BlockEntry
from pyproxy.config.filters import selector
from pyproxy.filters import Policy
from pyproxy.instants import as_uploaded
from pyproxy.model import File, as_sha256
from tests.filters.looking import NOW, a_file, policy

DAY = 86_400.0


# ---------------------------------------------------------------------- pages, with what their names mean


@dataclass(frozen=True, slots=True)
class Shape:
    """How a file is named, and what that says of it."""

    name: str
    kind: str | None
    platforms: frozenset[str] = frozenset()
    spelled: str = "{v}"


SHAPES = [
    Shape("{n}-{v}-py3-none-any.whl", "bdist_wheel"),
    Shape("{n}-{v}-7-cp312-cp312-win_amd64.whl", "bdist_wheel", frozenset({"windows"})),
    Shape("{n}-{v}-cp312-cp312-macosx_11_0_arm64.whl", "bdist_wheel", frozenset({"macos"})),
    Shape("{n}-{v}-cp312-cp312-manylinux_2_17_x86_64.musllinux_1_2_x86_64.whl", "bdist_wheel", frozenset({"linux"})),
    Shape("{n}-{v}-py3-none-win32.macosx_11_0_arm64.whl", "bdist_wheel", frozenset({"windows", "macos"})),
    Shape("{n}-{v}-cp312-cp312-android_21_arm64.whl", "bdist_wheel", frozenset({"android"})),
    Shape("{n}-{v}.tar.gz", "sdist"),
    Shape("{n}-{v}.zip", "sdist"),
    Shape("{n}-{v}.win32-py2.7.exe", "bdist_wininst", frozenset({"windows"})),
    Shape("{n}-{v}.win-amd64-py2.7.msi", "bdist_msi", frozenset({"windows"})),
    Shape("{n}-{v}-py2.7-macosx-10.9-x86_64.egg", "bdist_egg", frozenset({"macos"})),
    Shape("{n}-{v}-py2.7.egg", "bdist_egg"),
    Shape("{n}-{v}-1.noarch.rpm", "bdist_rpm", frozenset({"linux"})),
    Shape("{n}-{v}.linux-x86_64.tar.gz", "bdist_dumb", frozenset({"linux"})),
    Shape("{n}-{v}.txt", None, spelled="{v}.txt"),
]
SPELLED = ["0.9", "1.0", "1.0.0", "1.0rc1", "1.1.dev2", "1.1", "2.0+cpu", "2.0", "2!0.1", "2004d", "odd"]
DIGESTS = [digit * 64 for digit in "abc"]
TIMES = [
    None,
    "yesterday",
    "2026-09-14T14:13:20Z",  # seven days before NOW, to the second
    "2026-09-14T14:13:20.000001Z",
    "2026-09-14T14:13:19.999999Z",
    "2026-09-14T16:13:20.5+02:00",
    "2026-09-14 14:13:21",
    "2026-09-21T14:13:20Z",
    "2026-10-01T00:00:00.123456Z",
    "2001-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "9999-12-31T23:59:59.999999Z",
]


@dataclass(frozen=True, slots=True)
class Made:
    file: File
    shape: Shape
    spelled: str

    @property
    def version(self) -> Version | None:
        try:
            return Version(self.spelled)
        except InvalidVersion:
            return None


@st.composite
def pages(draw: st.DrawFn) -> list[Made]:
    found: dict[str, Made] = {}
    for _ in range(draw(st.integers(0, 12))):
        shape, version = draw(st.sampled_from(SHAPES)), draw(st.sampled_from(SPELLED))
        name = shape.name.format(n=draw(st.sampled_from(["alpha", "Alpha"])), v=version)
        file = a_file(
            name,
            hashes=draw(st.sampled_from([{"sha256": digest} for digest in DIGESTS] + [{"md5": "0" * 32}])),
            size=draw(st.sampled_from([None, 9, 10, 11])),
            upload_time=draw(st.sampled_from(TIMES)),
            provenance=draw(st.sampled_from([None, "https://index.example/p"])),
        )
        local = File(
            file.filename, "", f"local/alpha/{name}", file.hashes, size=file.size, upload_time=file.upload_time
        )
        found[name] = Made(draw(st.sampled_from([file, file, local])), shape, shape.spelled.format(v=version))
    return list(found.values())


# ---------------------------------------------------------------------- policies


CLAUSES = st.builds(
    "{}{}".format, st.sampled_from([">=", "<=", "<", ">", "==", "!=", "~=", "==="]), st.sampled_from(["1.0", "1.1"])
)
ENTRIES = st.lists(
    st.builds(
        "{}{}".format,
        st.sampled_from(["alpha", "al*", "beta"]),
        st.lists(CLAUSES, min_size=1, max_size=2).map(",".join),
    ),
    max_size=2,
)
POLICIES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {},
    optional={
        "blocked": st.lists(st.one_of(ENTRIES, st.sampled_from(DIGESTS)), max_size=2),
        "excludes": ENTRIES,
        "includes": st.one_of(ENTRIES, st.just(["alpha"])),
        "prereleases": st.booleans(),
        "package_types": st.lists(st.sampled_from(["bdist_wheel", "sdist", "bdist_dumb"]), unique=True).map(tuple),
        "exclude_platforms": st.lists(st.sampled_from(["windows", "macos", "linux"]), unique=True).map(tuple),
        "require_provenance": st.booleans(),
        "max_file_size": st.sampled_from([None, 10]),
        "unknown_age": st.sampled_from(["hide", "show"]),
        "exclude_newer": st.sampled_from([None, NOW - 7 * DAY, NOW - 7 * DAY + 1e-6, NOW, -1e9]),
        "min_age": st.sampled_from([0.0, 7 * DAY, 1e-6, 1e12]),
        "exempt": st.one_of(ENTRIES, st.just(["alpha"])),
        "keep_latest_packages": st.integers(0, 3),
    },
)


def made_of(keys: Mapping[str, Any]) -> Policy:
    entries = [entry for group in keys.get("blocked", ()) for entry in ([group] if isinstance(group, str) else group)]
    blocked = tuple(
        BlockEntry(digest=as_sha256(entry)) if entry in DIGESTS else BlockEntry(selector=selector(entry))
        for entry in entries
    )
    return policy(**{**keys, "blocked": blocked})


# ---------------------------------------------------------------------- the reference


def ranges(entries: Sequence[str]) -> list[SpecifierSet]:
    """The ranges of those that are about alpha; of a bare one, the range of everything."""
    split = [(entry.rstrip("<>=!~,.01"), entry) for entry in entries]
    return [SpecifierSet(entry.removeprefix(name)) for name, entry in split if fnmatchcase("alpha", name)]


def within(made: Made, entries: Sequence[str]) -> list[bool | None]:
    """Of each range whether it means the file; None: nobody can tell."""
    version = made.version
    return [
        True if not len(it) else None if version is None else it.contains(version, prereleases=True)
        for it in ranges(entries)
    ]


def by_block(made: Made, keys: Mapping[str, Any]) -> bool:
    entries = [entry for group in keys["blocked"] for entry in ([group] if isinstance(group, str) else group)]
    digests, digest = set(entries) & set(DIGESTS), made.file.hashes.get("sha256")
    named = within(made, [entry for entry in entries if entry not in DIGESTS])
    return (bool(digests) and (digest is None or digest in digests)) or any(it is not False for it in named)


def by_includes(made: Made, keys: Mapping[str, Any]) -> bool:
    entries = keys["includes"]
    return bool(entries) and entries != ["alpha"] and True not in within(made, entries)


def is_exempt(made: Made, keys: Mapping[str, Any]) -> bool:
    return True in within(made, keys.get("exempt", ()))


def by_unknown_age(made: Made, keys: Mapping[str, Any]) -> bool:
    asked = keys.get("exclude_newer") is not None or (keys.get("min_age", 0) > 0 and "local/" not in made.file.link)
    return asked and keys["unknown_age"] == "hide" and not is_exempt(made, keys) and uploaded(made) is None


def by_exclude_newer(made: Made, keys: Mapping[str, Any]) -> bool:
    time, newest = uploaded(made), keys["exclude_newer"]
    return newest is not None and time is not None and time > newest and not is_exempt(made, keys)


def by_min_age(made: Made, keys: Mapping[str, Any]) -> bool:
    time, local = uploaded(made), "local/" in made.file.link
    return (
        not local
        and time is not None
        and time + keys["min_age"] > NOW
        and keys["min_age"] > 0
        and not is_exempt(made, keys)
    )


def uploaded(made: Made) -> float | None:
    return as_uploaded(made.file.upload_time)


Hides: TypeAlias = Callable[[Made, Mapping[str, Any]], bool]
REFERENCE: dict[str, Hides] = {
    "block": lambda made, keys: "blocked" in keys and by_block(made, keys),
    "excludes": lambda made, keys: any(it is not False for it in within(made, keys["excludes"])),
    "includes": by_includes,
    "prereleases": lambda made, keys: not keys["prereleases"] and (made.version is None or made.version.is_prerelease),
    "package_types": lambda made, keys: bool(keys["package_types"]) and made.shape.kind not in keys["package_types"],
    "exclude_platforms": lambda made, keys: (
        bool(made.shape.platforms) and made.shape.platforms <= set(keys["exclude_platforms"])
    ),
    "require_provenance": lambda made, keys: keys["require_provenance"] and made.file.provenance is None,
    "max_file_size": lambda made, keys: (
        keys["max_file_size"] is not None and (made.file.size is None or made.file.size > keys["max_file_size"])
    ),
    "unknown_age": by_unknown_age,
    "exclude_newer": by_exclude_newer,
    "min_age": by_min_age,
}
"""In the order of the rules, whether a key hides a file, decided from that file alone."""


def newest(left: Sequence[Made], count: int) -> set[Version | str]:
    readable = sorted({made.version for made in left if made.version is not None}, reverse=True)
    others = sorted({made.spelled for made in left if made.version is None}, reverse=True)
    finals = [version for version in readable if not version.is_prerelease]
    kept = set[Version | str](readable[:count]) | set(others[: max(0, count - len(readable))])
    if finals and not kept & set(finals):
        kept = {finals[0], *readable[: count - 1]}
    return kept


def expected(page: Sequence[Made], keys: Mapping[str, Any]) -> list[str | None]:
    """By position, the first key that hides the file."""
    asked = {key: hides for key, hides in REFERENCE.items() if key in keys or key in {"block", "unknown_age"}}
    given_keys = {"unknown_age": "hide", **keys}
    found = [next((key for key, hides in asked.items() if hides(made, given_keys)), None) for made in page]
    if count := keys.get("keep_latest_packages"):
        kept = newest([made for made, key in zip(page, found, strict=True) if key is None], count)
        for at, made in enumerate(page):
            if found[at] is None and (made.version or made.spelled) not in kept:
                found[at] = "keep_latest_packages"
    return found

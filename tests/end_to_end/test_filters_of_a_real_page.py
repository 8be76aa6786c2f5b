"""Each filter over a real project of the machine's own index: what is left is worked out here by other means."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest
from packaging.specifiers import SpecifierSet
from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from tests.daemon import serving

pytestmark = [pytest.mark.network, pytest.mark.timeout(120)]

PROJECT = "numpy"

_File: TypeAlias = dict[str, Any]  # Any: a file of a JSON page

DAY = datetime(2022, 1, 1, tzinfo=UTC)
LARGEST = 15 * 1024 * 1024


def version(file: _File) -> Version | None:
    name = file["filename"]
    try:
        return parse_wheel_filename(name)[1] if name.endswith(".whl") else parse_sdist_filename(name)[1]
    except (InvalidWheelFilename, InvalidSdistFilename):
        # "numpy-1.3.0-win32-superpack-python2.5.exe", "numpy-1.0.1.dev3460.win32-py2.4.exe"
        found = re.match(r"numpy-(\d+(?:\.\d+)*(?:\.?(?:dev|rc|a|b)\d+)?)", name)
        return Version(found[1]) if found else None


def uploaded(file: _File) -> datetime:
    return datetime.fromisoformat(file["upload-time"])


def in_range(*ranges: str) -> Callable[[_File], bool]:
    def holds(file: _File) -> bool:
        found = version(file)
        return found is not None and any(SpecifierSet(it, prereleases=True).contains(found) for it in ranges)

    return holds


def tags(file: _File) -> set[str]:
    return {tag.platform for tag in parse_wheel_filename(file["filename"])[3]}


def is_windows(file: _File) -> bool:
    name = file["filename"]
    return (name.endswith(".whl") and all(tag.startswith("win") for tag in tags(file))) or name.endswith(
        (".exe", ".msi")
    )


def is_macos(file: _File) -> bool:
    name = file["filename"]
    return (name.endswith(".whl") and all(tag.startswith("macosx") for tag in tags(file))) or name.endswith(".dmg")


def is_final(file: _File) -> bool:
    found = version(file)
    return found is not None and not found.is_prerelease


def is_of_age(file: _File) -> bool:
    return datetime.now(UTC) - uploaded(file) >= timedelta(days=365)


KEYS: dict[str, tuple[dict[str, Any], Callable[[_File], bool]]] = {
    "includes": ({"includes": ["numpy>=2", "numpy<1.10", "nump*"]}, in_range(">=2", "<1.10")),
    "excludes": ({"excludes": ["numpy>=1.20,<2"]}, lambda file: not in_range(">=1.20,<2")(file)),
    "prereleases": (
        {"prereleases": False},
        lambda file: (found := version(file)) is not None and not found.is_prerelease,
    ),
    "wheels": ({"package_types": ["bdist_wheel"]}, lambda file: file["filename"].endswith(".whl")),
    "sdists": ({"package_types": ["sdist"]}, lambda file: file["filename"].endswith((".tar.gz", ".zip"))),
    "installers": ({"package_types": ["bdist_wininst"]}, lambda file: file["filename"].endswith(".exe")),
    "platforms": (
        {"exclude_platforms": ["windows", "macos"]},
        lambda file: not is_windows(file) and not is_macos(file),
    ),
    "min_age": ({"min_age": "365d"}, is_of_age),
    "exclude_newer": ({"exclude_newer": DAY.isoformat()}, lambda file: uploaded(file) <= DAY),
    "exempt": (
        {"exclude_newer": DAY.isoformat(), "exempt": ["numpy==2.0.0"]},
        lambda file: uploaded(file) <= DAY or version(file) == Version("2.0.0"),
    ),
    "block": ({"block": ["numpy==1.26.4"]}, lambda file: version(file) != Version("1.26.4")),
    "require_provenance": ({"require_provenance": True}, lambda file: bool(file.get("provenance"))),
    "max_file_size": ({"max_file_size": "15MiB"}, lambda file: file["size"] <= LARGEST),
}


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[_File]]:
    """What each filter leaves of the page; under "all" the page itself, with the provenance of its files."""
    distributions: dict[str, Any] = {name: {"remote": "public", "filters": keys} for name, (keys, _) in KEYS.items()}
    latest = {"keep_latest_packages": 3, "prereleases": False, "package_types": ["bdist_wheel"]}
    distributions |= {"all": {"remote": "public"}, "latest": {"remote": "public", "filters": latest}}
    server = {"public_url": "https://proxy.example"}  # or pages leave out where provenance lies
    text = json.dumps({"server": server, "remotes": {"public": {}}, "distributions": distributions})

    async def pages() -> dict[str, list[_File]]:
        async with serving(tmp_path_factory.mktemp("real"), text) as served:
            return {name: (await served.page(PROJECT, name)).json()["files"] for name in distributions}

    return asyncio.run(pages())


@pytest.mark.parametrize("name", KEYS)
def test_filter__over_a_real_page__leaves_what_its_words_promise(left: dict[str, list[_File]], name: str) -> None:
    promised = [file["filename"] for file in left["all"] if KEYS[name][1](file)]

    assert len(left["all"]) > 1000
    assert len(promised) < len(left["all"])
    assert promised or name == "require_provenance"  # an index may have no attestations at all
    assert [file["filename"] for file in left[name]] == promised


def test_keep_latest__over_a_real_page__leaves_the_newest_of_what_the_others_left(left: dict[str, list[_File]]) -> None:
    wheels = [file for file in left["all"] if file["filename"].endswith(".whl")]
    finals = {found for file in wheels if (found := version(file)) is not None and not found.is_prerelease}

    assert {version(file) for file in left["latest"]} == set(sorted(finals)[-3:])
    assert all(file["filename"].endswith(".whl") for file in left["latest"])

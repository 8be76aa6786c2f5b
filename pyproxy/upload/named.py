"""What an uploaded file's name says: project, version and kind, each only where it can be read in one way."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from packaging.utils import InvalidWheelFilename, canonicalize_version, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pyproxy.errors import BadName
from pyproxy.model import Filename, ProjectName, as_filename, as_project, printable
from pyproxy.upload.refusal import UploadRefused

UploadType: TypeAlias = Literal["bdist_wheel", "sdist"]
"""PEP 527 leaves these; eggs and installers are not taken."""

SDIST_ENDINGS: Final = (".tar.gz", ".zip")

_VERSION_LENGTH: Final = 250

# PEP 425, compressed sets. packaging takes anything here.
_TAG = re.compile(r"[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Named:
    """A file name and what it says. `stem` is "{name}-{version}" as spelled there."""

    filename: Filename
    kind: UploadType
    project: ProjectName
    version: Version
    stem: str


def named(raw: str) -> Named:
    """What the name of a file says. Raises UploadRefused."""
    try:
        filename = as_filename(raw)
    except BadName as exc:
        raise UploadRefused(str(exc)) from exc
    if filename.endswith(".whl"):
        return _wheel(filename)
    for ending in SDIST_ENDINGS:
        if filename.endswith(ending):
            return _sdist(filename, filename[: -len(ending)])
    raise UploadRefused(f"only wheels (.whl) and sdists ({', '.join(SDIST_ENDINGS)}) are taken, not {printable(raw)}")


def identity(raw: str) -> str | None:
    """What all spellings of one file's name have in common; None for what no file is named."""
    try:
        said = named(raw)
    except UploadRefused:
        return None
    version = canonicalize_version(said.version)  # 1.0 and 1.0.0 are one
    if said.kind == "sdist":
        return f"{said.project} {version} {said.filename.removeprefix(said.stem)}"
    _, _, build, tags = parse_wheel_filename(said.filename)
    return f"{said.project} {version} {build} {','.join(sorted(map(str, tags)))}"


def _wheel(filename: Filename) -> Named:
    parts = filename.removesuffix(".whl").split("-")
    if not all(_TAG.match(tag) for tag in parts[-3:]):
        raise UploadRefused(f"not a wheel's file name: {printable(filename)}")
    try:
        # Name and version, a build tag that begins with a digit, three tags (PEP 427).
        _, version, _, _ = parse_wheel_filename(filename)
        project = as_project(parts[0])
    except (InvalidWheelFilename, BadName) as exc:
        raise UploadRefused(f"not a wheel's file name: {printable(filename)}") from exc
    return Named(filename, "bdist_wheel", project, version, f"{parts[0]}-{parts[1]}")


def _sdist(filename: Filename, stem: str) -> Named:
    """PEP 625 allows one dash; older names have more, and are taken where only one of them can end the name."""
    found = [
        Named(filename, "sdist", project, version, stem)
        for at, char in enumerate(stem)
        if char == "-" and (version := as_version(stem[at + 1 :])) and (project := _project(stem[:at]))
    ]
    if not found:
        raise UploadRefused(f"not an sdist's file name, {{name}}-{{version}}.tar.gz: {printable(filename)}")
    if len(found) > 1:
        # "foo-2-2.tar.gz" is foo-2 in version 2, or foo in version 2.post2: tools disagree, and one may be tricked.
        name, version = found[-1].project.replace("-", "_"), found[-1].version
        raise UploadRefused(
            f"the name {printable(filename)} can be read in {len(found)} ways: "
            f"give it the form of PEP 625, such as {name}-{version}.tar.gz"
        )
    return found[0]


def as_version(text: str) -> Version | None:
    """None where it is no version (PEP 440), or too long for a file name."""
    try:
        return Version(text) if len(text) <= _VERSION_LENGTH else None
    except InvalidVersion:
        return None


def _project(text: str) -> ProjectName | None:
    try:
        return as_project(text)
    except BadName:
        return None

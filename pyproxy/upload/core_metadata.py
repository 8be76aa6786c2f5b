"""Core metadata as its file has it, METADATA or PKG-INFO: headers that every reader must understand alike.

https://packaging.python.org/specifications/core-metadata/. Readers differ over what is no proper header (some stop
there, some go on), over control characters, and over which of two names counts; so none of these is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from pyproxy.errors import BadName
from pyproxy.model import ProjectName, as_project, printable
from pyproxy.upload.named import Named, as_version
from pyproxy.upload.refusal import UploadRefused

_HEADER = re.compile(r"([!-9;-~]+):[ \t]*(.*)\Z", re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_METADATA_VERSION = re.compile(r"[12]\.[0-9]\Z", re.ASCII)

_ONCE: Final = ("metadata-version", "name", "version", "requires-python", "summary")
_SPECIFIER_LENGTH: Final = 1000

# Far more than any has; each costs some memory.
_LINES: Final = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreMetadata:
    """`fields` has all headers, names in lower case, values as spelled with their line breaks."""

    project: ProjectName
    name: str
    version: str
    parsed_version: Version
    requires_python: str | None
    fields: Mapping[str, tuple[str, ...]]

    def agree(self, said: Named, where: str) -> None:
        """Refuses metadata of another project or version than the file's name tells. `where` names the member."""
        if self.project != said.project:
            raise UploadRefused(f"the file's name says {said.project}, {where} says {self.project}")
        if self.parsed_version != said.version:
            raise UploadRefused(f"the file's name says version {said.version}, {where} says {self.parsed_version}")


def core_metadata(raw: bytes, where: str) -> CoreMetadata:
    """What the metadata says; `where` names the member. Raises UploadRefused."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UploadRefused(f"{where} is not UTF-8") from exc
    fields = _headers(text, where)
    for name in _ONCE:
        if len(fields.get(name, ())) > 1:
            raise UploadRefused(f"{where} has {name} twice")
    metadata_version, name, version = (_required(fields, field, where) for field in _ONCE[:3])
    if not _METADATA_VERSION.match(metadata_version):
        raise UploadRefused(f"{where} has an unknown Metadata-Version: {printable(metadata_version)}")
    try:
        project = as_project(name)
    except BadName as exc:
        raise UploadRefused(f"{where}: {exc}") from exc
    parsed = as_version(version)
    if parsed is None:
        raise UploadRefused(f"{where}: not a version: {printable(version)}")
    return CoreMetadata(
        project=project,
        name=name,
        version=version,
        parsed_version=parsed,
        requires_python=_requires_python(fields, where),
        fields=fields,
    )


def _required(fields: Mapping[str, tuple[str, ...]], name: str, where: str) -> str:
    value = fields.get(name, ("",))[0].strip(" \t")
    if not value:
        raise UploadRefused(f"{where} has no {name.title()}")
    return value


def _requires_python(fields: Mapping[str, tuple[str, ...]], where: str) -> str | None:
    value = fields.get("requires-python", ("",))[0].strip(" \t")
    if not value:
        return None
    if not _is_specifier(value):
        raise UploadRefused(f"{where}: Requires-Python is no version specifier: {printable(value)}")
    return value


def _is_specifier(value: str) -> bool:
    if len(value) > _SPECIFIER_LENGTH or "\n" in value:
        return False
    try:
        SpecifierSet(value)
    except InvalidSpecifier:
        return False
    return True


def _headers(text: str, where: str) -> Mapping[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    values: list[str] | None = None  # those of the header that may be continued
    lines: list[str] = []
    for number, ended in enumerate(_lines(text), 1):
        line = ended.removesuffix("\r")
        if not line:
            break
        if number > _LINES:
            raise UploadRefused(f"{where} has more than {_LINES} lines of headers")
        if _CONTROL.search(line):
            raise UploadRefused(f"{where} has a control character in line {number}")
        if line[0] in " \t" and values is not None:
            lines.append(line)
            continue
        _close(values, lines)
        header = _HEADER.match(line)
        if header is None:
            raise UploadRefused(f"{where}: line {number} is no header: {printable(line)}")
        values = found.setdefault(header[1].lower(), [])
        lines = [header[2]]
    _close(values, lines)
    return {name: tuple(values) for name, values in found.items()}


def _close(values: list[str] | None, lines: list[str]) -> None:
    if values is not None:
        values.append("\n".join(lines))


def _lines(text: str) -> Iterator[str]:
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        if end < 0:
            end = len(text)
        yield text[at:end]
        at = end + 1

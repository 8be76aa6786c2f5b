"""pip's requirements files: requirements with their hashes, further files, and options that are not ours to follow."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from pyproxy.errors import BadName
from pyproxy.model import ProjectName, as_project, package_type, printable
from pyproxy.wanted.markers import may_hold
from pyproxy.wanted.values import Ask, Unreadable, Wishes

LARGEST: Final = 16 << 20
DEEPEST: Final = 20
"""Files that include each other, at most."""

_COMMENT: Final = re.compile(r"(^|\s+)#.*$")
_PATH: Final = re.compile(r"\.{0,2}/|[A-Za-z]:\\|(?:file|https?|ftp|(?:git|hg|svn|bzr)(?:\+\w+)?):", re.ASCII)
_HASH: Final = re.compile(r"(?:sha256|sha384|sha512):[0-9a-f]+\Z")


def read_requirements(path: Path) -> Wishes:
    """Raises Unreadable, with a line for each mistake."""
    reading = _Reading()
    reading.file(path, depth=0, constrains=False)
    if reading.mistakes:
        raise Unreadable(*reading.mistakes)
    return reading.wishes()


def as_ask(text: str, where: str) -> Ask | str:
    """The ask of one requirement, or why there is nothing to fetch for it. Raises Unreadable."""
    try:
        found = Requirement(text)
        project = as_project(found.name)
    except (InvalidRequirement, BadName):
        raise Unreadable(f"{_at(where)}not a requirement: {printable(text)}") from None
    if found.url is not None:
        return f"{_at(where)}{project} comes from a URL, not from an index; passed over"
    extras = frozenset(canonicalize_name(extra) for extra in found.extras)
    if not may_hold(found.marker, extras):
        return f"{_at(where)}{project} is wanted nowhere: {found.marker}; passed over"
    return Ask(project, found.specifier, extras, where=where)


def _at(where: str) -> str:
    return f"{where}: " if where else ""


@dataclass(slots=True)
class _Reading:
    """One file and all that it includes. Written by the functions below alone."""

    asks: list[Ask] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)
    constraints: dict[ProjectName, SpecifierSet] = field(default_factory=dict)

    def wishes(self) -> Wishes:
        return Wishes(tuple(dict.fromkeys(self.asks)), notes=tuple(self.notes), constraints=self.constraints)

    def file(self, path: Path, *, depth: int, constrains: bool) -> None:
        if depth > DEEPEST:
            self.mistakes.append(f"{path}: files include each other more than {DEEPEST} deep")
            return
        try:
            with path.open("rb") as source:
                raw = source.read(LARGEST + 1)
            text = raw.decode("utf-8-sig")
        except OSError as exc:
            self.mistakes.append(f"{path}: {exc.strerror or exc}")
            return
        except UnicodeDecodeError:
            self.mistakes.append(f"{path}: is not text in UTF-8")
            return
        if len(raw) > LARGEST:
            self.mistakes.append(f"{path}: larger than {LARGEST >> 20} MiB")
            return
        for number, line in logical_lines(text):
            try:
                self._line(path, f"{path}:{number}", line, depth=depth, constrains=constrains)
            except Unreadable as exc:
                self.mistakes += exc.mistakes

    def _line(self, path: Path, where: str, line: str, *, depth: int, constrains: bool) -> None:
        wanted, options = _split(line, where)
        if wanted:
            self._requirement(wanted, options, where, constrains=constrains)
            return
        name, value = options[0]
        if name in ("-r", "--requirement", "-c", "--constraint"):
            if _PATH.match(value) and "://" in value:
                raise Unreadable(f"{where}: {name} names a URL; only files are read")
            self.file(path.parent / value, depth=depth + 1, constrains=constrains or name in ("-c", "--constraint"))
        elif name in ("-e", "--editable"):
            self.notes[f"{where}: an editable requirement comes from no index; passed over"] = None
        else:
            self.notes[f"{path}: {name} is ignored: the distribution says what there is"] = None

    def _requirement(self, wanted: str, options: list[tuple[str, str]], where: str, *, constrains: bool) -> None:
        if _PATH.match(wanted) or ("@" not in wanted and package_type(wanted) is not None):
            self.notes[f"{where}: a path or URL comes from no index; passed over"] = None
            return
        ask = as_ask(wanted, where)
        if isinstance(ask, str):
            self.notes[ask] = None
            return
        if constrains:
            known = self.constraints.get(ask.project, SpecifierSet())
            self.constraints[ask.project] = known & ask.versions
            return
        hashes = frozenset(value for name, value in options if name == "--hash")
        for value in hashes:
            if not _HASH.match(value):
                raise Unreadable(f"{where}: not a hash: {printable(value)}")
        # pip, too, takes nothing that is not listed once there are hashes.
        self.asks.append(Ask(ask.project, ask.versions, ask.extras, hashes, where, alone=bool(hashes)))


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, those that end in a backslash joined to the next; with the number of the first."""
    begun, held = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        is_comment = line.lstrip().startswith("#")
        if line.endswith("\\") and not is_comment:
            begun = begun or number
            held += line[:-1]
            continue
        # A comment's line ends what was continued, as pip has it.
        whole = _COMMENT.sub("", f"{held} {line}" if is_comment and held else held + line).strip()
        if whole:
            yield begun or number, whole
        begun, held = 0, ""
    if whole := _COMMENT.sub("", held).strip():
        yield begun, whole


def _split(line: str, where: str) -> tuple[str, list[tuple[str, str]]]:
    """The requirement, and the options behind it (or alone) with their values."""
    found = re.search(r"(?:^|\s)-", line)
    if found is None:
        return line, []
    try:
        words = shlex.split(line[found.start() :])
    except ValueError as exc:
        raise Unreadable(f"{where}: {exc}") from None
    options: list[tuple[str, str]] = []
    for word in words:
        if word.startswith("--"):
            name, _, value = word.partition("=")
            options.append((name, value))
        elif word.startswith("-") and len(word) > 1:
            options.append((word[:2], word[2:].removeprefix("=")))
        elif options and not options[-1][1]:
            options[-1] = (options[-1][0], word)
    return line[: found.start()].strip(), options

"""Files of this machine into a repository: looked at as an upload is looked at; all of them, or none."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import click

from pyproxy.errors import PyproxyError
from pyproxy.model import printable
from pyproxy.repo_commands.changes import change
from pyproxy.storage.examined_files import examined_file
from pyproxy.storage.repository import NewFile, Repositories
from pyproxy.storage.temps import Temp
from pyproxy.upload import Digests, UploadRefused, examine
from pyproxy.upload.hashing import Hashing

ENDINGS = (".whl", ".tar.gz", ".zip")
_CHUNK = 1 << 20


class CannotRead(PyproxyError):
    """A file that is to be added cannot be read."""


def add(opened: Repositories, repository: str, paths: Sequence[Path], *, as_json: bool) -> None:
    """Files, and the distributions in folders, as one version. Raises UploadRefused, FileExists, CannotRead."""
    wanted = sorted(found for path in paths for found in _distributions(path))
    if not wanted:
        raise click.UsageError("there is no wheel and no sdist among these")
    files: list[NewFile] = []
    try:
        files.extend(_new(opened, path) for path in wanted)
    except BaseException:
        for new in files:
            new.temp.discard()
        raise
    change(opened.add(repository, files, "add"), as_json=as_json)


def copied(source: BinaryIO, temp: Temp) -> Digests:
    """Copies all that is left of the source. Raises StoreTrouble; an OSError of the source passes through."""
    hashing = Hashing()
    while chunk := source.read(_CHUNK):
        temp.write(chunk)
        hashing.update(chunk)
    return hashing.digests()


def _distributions(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (entry for entry in path.iterdir() if entry.is_file() and entry.name.endswith(ENDINGS))
    elif path.exists():
        yield path
    else:
        raise click.UsageError(f"there is no {printable(str(path))}")


def _new(opened: Repositories, path: Path) -> NewFile:
    """Copies the file in and then looks at the copy, which nobody else can change meanwhile."""
    temp = opened.temp()
    try:
        try:
            with path.open("rb") as source:
                digests = copied(source, temp)
        except OSError as exc:
            raise CannotRead(f"cannot read {path}: {exc.strerror}") from exc
        with os.fdopen(os.dup(temp.fd), "rb") as archive:
            try:
                examined = examine(archive, path.name)
            except UploadRefused as exc:
                raise UploadRefused(f"{path}: {exc.reason}", exc.status) from exc
    except BaseException:
        temp.discard()
        raise
    return examined_file(temp, examined, digests)

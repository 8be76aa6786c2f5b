"""What `pyproxy repo` does, beside the running daemon: each change is one transaction and makes one new version."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from pyproxy.config import Config
from pyproxy.errors import PyproxyError
from pyproxy.model import Sha256, as_project
from pyproxy.storage.repository import LocalFile, NewFile, Outcome, Repositories, open_local
from pyproxy.upload.examine import examine
from pyproxy.upload.refusal import UploadRefused

ENDINGS = (".whl", ".tar.gz", ".zip")
_CHUNK = 1 << 20


class NoSuchRepository(PyproxyError):
    """The configuration declares no repository of this name."""


@contextmanager
def repositories(config: Config, *names: str) -> Iterator[Repositories]:
    """The local content, open for as long as the command runs. Raises NoSuchRepository."""
    for name in names:
        if name not in config.repositories:
            there = ", ".join(config.repositories) or "none"
            raise NoSuchRepository(f"no repository is called {name}; the configuration has {there}")
    opened = open_local(config.storage.path, exclusive=False)
    try:
        yield opened
    finally:
        opened.close()


def change(work: Coroutine[Any, Any, Outcome], *, as_json: bool) -> None:  # Any: what a coroutine is sent
    """Runs a change and tells what it did."""
    outcome = asyncio.run(_awaited(work))
    if as_json:
        click.echo(msgspec.json.encode(asdict(outcome)))
        return
    for what, names in (
        ("added", outcome.added),
        ("already there", outcome.already),
        ("removed", outcome.removed),
        ("changed", outcome.changed),
    ):
        for name in names:
            click.echo(f"{what}: {name}")
    click.echo(f"version {outcome.version}")


async def _awaited(work: Coroutine[Any, Any, Outcome]) -> Outcome:
    return await work


def add(opened: Repositories, repository: str, paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Files, and the distributions in folders, as one version."""
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


def _distributions(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (entry for entry in path.iterdir() if entry.is_file() and entry.name.endswith(ENDINGS))
    else:
        yield path


def _new(opened: Repositories, path: Path) -> NewFile:
    """Copies the file in and looks at it as an upload is looked at. Raises UploadRefused, StoreTrouble."""
    temp = opened.temp()
    try:
        sha256, md5, blake2 = hashlib.sha256(), hashlib.md5(usedforsecurity=False), hashlib.blake2b(digest_size=32)
        with path.open("rb") as source:
            try:
                examined = examine(source, path.name)
            except UploadRefused as exc:
                raise UploadRefused(f"{path}: {exc.reason}") from exc
            source.seek(0)
            while chunk := source.read(_CHUNK):
                temp.write(chunk)
                for hasher in (sha256, md5, blake2):
                    hasher.update(chunk)
    except BaseException:
        temp.discard()
        raise
    digest = sha256.hexdigest()
    file = LocalFile(
        filename=examined.filename,
        project=examined.project,
        version=examined.version,
        digest=Sha256(digest),
        size=temp.size,
        package_type=examined.package_type,
        hashes={"sha256": digest, "md5": md5.hexdigest(), "blake2b_256": blake2.hexdigest()},
        requires_python=examined.requires_python,
        name=examined.name,
    )
    return NewFile(temp, file, metadata=examined.metadata if examined.package_type == "bdist_wheel" else None)


def show(rows: list[dict[str, object]], line: Callable[[dict[str, object]], str], *, as_json: bool) -> None:
    """One line a row, for people or for machines."""
    for row in rows:
        click.echo(msgspec.json.encode(row) if as_json else line(row))


def listed(opened: Repositories, repository: str, version: int | None, *, as_json: bool) -> None:
    """Every file of a version."""
    number = opened.latest(repository) if version is None else version
    rows = [
        msgspec.to_builtins(file)
        for name in opened.projects(repository, number)
        for file in opened.page_files(repository, as_project(name), number)
    ]
    show(rows, lambda row: f"{row['filename']}{_mark(row.get('yanked', False))}", as_json=as_json)


def _mark(yanked: object) -> str:
    return "" if yanked is False else " (yanked)" if yanked is True else f" (yanked: {yanked})"


def versions(opened: Repositories, repository: str, *, as_json: bool) -> None:
    """Every version that was not pruned."""
    rows = [
        {**asdict_of(version), "created_at": datetime.fromtimestamp(version.created_at, UTC).isoformat()}
        for version in opened.versions(repository)
    ]

    def line(row: dict[str, object]) -> str:
        change = f"{row['action']}  +{row['added']} -{row['removed']}"
        return f"{row['number']:>6}  {row['created_at']}  {change}  {row['files']} files  {row['summary']}"

    show(rows, line, as_json=as_json)


def asdict_of(struct: msgspec.Struct) -> dict[str, object]:
    """A struct's fields by name, whatever its encoding."""
    return {name: getattr(struct, name) for name in struct.__struct_fields__}

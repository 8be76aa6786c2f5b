"""Small repositories for tests: how to fill one, and what must hold of it at any time."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pyproxy.model import ProjectName, Sha256, as_filename, as_project
from pyproxy.storage.environment import MAP_SIZE
from pyproxy.storage.repository import LocalFile, NewFile, Outcome, Repositories, open_local

REPO = "team"
ACME = ProjectName("acme")
WHEEL = as_filename("acme-1.0-py3-none-any.whl")


def digest_of(data: bytes) -> Sha256:
    return Sha256(hashlib.sha256(data).hexdigest())


def local_file(filename: str, data: bytes, **more: object) -> LocalFile:
    name, version = filename.split("-")[:2]
    fields = {
        "filename": as_filename(filename),
        "project": as_project(name),
        "version": version.removesuffix(".tar.gz").removesuffix(".zip"),
        "digest": digest_of(data),
        "size": len(data),
        "package_type": "bdist_wheel" if filename.endswith(".whl") else "sdist",
        "hashes": {"sha256": digest_of(data)},
        "name": name,
        **more,
    }
    return LocalFile(**fields)  # type: ignore[arg-type]  # each test gives what it is about


def new_file(
    repositories: Repositories,
    filename: str,
    data: bytes,
    *,
    metadata: bytes | None = b"Metadata-Version: 2.1\n",
    attestations: bytes | None = None,
    **more: object,
) -> NewFile:
    temp = repositories.temp()
    try:
        temp.write(data)
    except BaseException:
        temp.discard()
        raise
    return NewFile(temp, local_file(filename, data, **more), metadata, attestations)


async def add(repositories: Repositories, filename: str = WHEEL, data: bytes = b"wheel", repo: str = REPO) -> Outcome:
    """What an upload does."""
    return await repositories.add(repo, [new_file(repositories, filename, data)])


def names(repositories: Repositories, version: int | None = None, repo: str = REPO) -> set[str]:
    """The file names that a version holds, found as pages find them."""
    version = repositories.latest(repo) if version is None else version
    return {
        file.filename
        for project in repositories.projects(repo, version)
        for file in repositories.page_files(repo, as_project(project), version)
    }


def read(repositories: Repositories, digest: Sha256) -> bytes:
    blob = repositories.open(digest)
    try:
        return os.pread(blob.fd, blob.size + 1, 0)
    finally:
        blob.close()


@contextmanager
def opened(
    path: Path,
    *,
    exclusive: bool = True,
    map_size: int = MAP_SIZE,
    fault: Callable[[str], None] | None = None,
    environment: Mapping[str, str] = {},
    clock: Callable[[], float] | None = None,
) -> Iterator[Repositories]:
    timed = {} if clock is None else {"clock": clock}
    repositories = open_local(
        path, exclusive=exclusive, map_size=map_size, fault=fault, environment=environment, **timed
    )
    try:
        yield repositories
    finally:
        repositories.close()


def on_disk(path: Path) -> tuple[set[str], set[str]]:
    """The blobs, and the sidecars, by the names of their files."""
    files = [file.name for file in (path / "local" / "blobs").rglob("*") if file.is_file()]
    return {name for name in files if len(name) == 64}, {name for name in files if name.endswith(".json")}


def temps(path: Path) -> list[str]:
    return sorted(file.name for file in (path / "local" / "tmp").iterdir())


def assert_sound(repositories: Repositories) -> None:
    """I1, I2, I7: bytes as named, rows as files, sidecars as rows, nothing left behind."""
    assert list(repositories.verify(mend=False)) == []
    assert temps(repositories.path.parent) == []
    for repo in repositories.repositories():
        for version in [0, *(version.number for version in repositories.versions(repo))]:
            for project in repositories.projects(repo, version):
                for file in repositories.page_files(repo, as_project(project), version):
                    assert digest_of(read(repositories, file.digest)) == file.digest
                    assert file.metadata is None or digest_of(repositories.metadata(file.metadata)) == file.metadata

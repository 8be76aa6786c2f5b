"""What was pulled through from a remote becomes kept content: the cached files that requirements name, as one change.

Nothing is fetched. The bytes are those that the remote's page vouched for, copied and hashed anew; what the page said
of a file stays said: when it was uploaded, which Pythons it wants, that it was yanked and why, and its attestations
where they are cached. It is not examined as an upload is: it was published elsewhere, by rules of another time, and
whoever keeps it installs it already.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from pyproxy.config import Config, RemoteConfig
from pyproxy.errors import BlobDamaged, MetadataUnreadable, NothingMatches, PyproxyError
from pyproxy.index.archives import archive_key, verified_as
from pyproxy.model import File, PackageType, ProjectPage, Sha256, package_type, version_of
from pyproxy.repo_commands.adding import copied
from pyproxy.repo_commands.changes import change
from pyproxy.site import origin_of
from pyproxy.storage.cache import OpenBlob
from pyproxy.storage.examined_files import hashes_of
from pyproxy.storage.records import FileRecord, unpack_page
from pyproxy.storage.repository import LocalFile, NewFile, Repositories
from pyproxy.storage.specs import Spec, as_specs
from pyproxy.storage.store import Store
from pyproxy.wheel import metadata_in

log = logging.getLogger(__name__)


class Ambiguous(PyproxyError):
    """Several remotes have cached files of a project: which is meant is for who asks to say."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A file of a cached page that a requirement selects."""

    remote: RemoteConfig
    page: ProjectPage
    file: File
    version: str
    kind: PackageType


def add_cached(
    opened: Repositories,
    store: Store,
    config: Config,
    repository: str,
    requirements: Sequence[str],
    *,
    remote: str | None,
    as_json: bool,
) -> None:
    """Adds what the cache holds of these. Raises BadRequirement, NothingMatches, Ambiguous, FileExists."""
    remotes = [config.remotes[remote]] if remote is not None else list(config.remotes.values())
    wanted = {one.file.filename: one for spec in as_specs(requirements) for one in _wanted(store, remotes, spec)}
    files: list[NewFile] = []
    try:
        files.extend(new for one in wanted.values() if (new := _new(opened, store, one)) is not None)
    except BaseException:
        for new in files:
            new.temp.discard()
        raise
    change(opened.add(repository, files, "add"), as_json=as_json, left_out=len(wanted) - len(files))


def _wanted(store: Store, remotes: Sequence[RemoteConfig], spec: Spec) -> list[_Wanted]:
    """What the page of the one remote that has cached files of it names. Raises Ambiguous, NothingMatches.

    Several remotes may have the same files; but none is mixed with another, whose project may be somebody else's.
    """
    pages = [(remote, page) for remote in remotes if (page := _page(store, remote, spec)) is not None]
    selected = [list(_selected(remote, page, spec)) for remote, page in pages]
    cached = [
        {(one.file.filename, record.digest) for one in files if (record := _cached(store, one)) is not None}
        for files in selected
    ]
    everything = set().union(*cached)
    if not everything:
        raise NothingMatches(f"nothing is cached that {spec.text} selects")
    for files, here in zip(selected, cached, strict=True):
        if here == everything:
            return files
    names = ", ".join(files[0].remote.name for files, here in zip(selected, cached, strict=True) if here)
    raise Ambiguous(f"{spec.project} is cached from several remotes ({names}): --remote says which is meant")


def _page(store: Store, remote: RemoteConfig, spec: Spec) -> ProjectPage | None:
    stored = store.records.page(remote.name, spec.project)
    if stored is None or stored[0].url != origin_of(remote):
        return None
    try:
        page = unpack_page(stored[1])
    except BlobDamaged as exc:
        log.warning("the page of %s from remote %s cannot be read: %s", spec.project, remote.name, exc)
        return None
    if page.status == "quarantined":
        log.warning("remote %s has put %s in quarantine: nothing of it is taken", remote.name, spec.project)
        return None
    return page


def _selected(remote: RemoteConfig, page: ProjectPage, spec: Spec) -> Iterator[_Wanted]:
    for file in page.files:
        version, kind = version_of(file.filename, page.name), package_type(file.filename)
        if version is not None and kind is not None and spec.admits(version):
            yield _Wanted(remote, page, file, version, kind)


def _cached(store: Store, one: _Wanted) -> FileRecord | None:
    """The cached bytes that the page vouches for; None where there are none."""
    promised = one.file.hashes.get("sha256")
    if promised is None:
        netloc = urlsplit(one.remote.url).netloc
        record = store.records.file(archive_key(one.remote.name, netloc, unquote(one.file.link)))
        return record if record is not None and record.verified == verified_as(one.file) else None
    # Whatever it was that brought them here: a digest names the bytes.
    size = store.cache.holds(digest := Sha256(promised))
    if size is None:
        return None
    return FileRecord(digest, size, one.page.name, one.file.filename, 0.0, verified_as(one.file))


def _new(opened: Repositories, store: Store, one: _Wanted) -> NewFile | None:
    """A copy of the cached file; None where it is not cached, or damaged. Raises StoreTrouble."""
    record = _cached(store, one)
    if record is None:
        return None
    try:
        blob = store.cache.open(record)
    except BlobDamaged as exc:
        log.warning("%s is left out: %s", one.file.filename, exc)
        return None
    try:
        return _copy(opened, store, one, blob)
    finally:
        blob.close()


def _copy(opened: Repositories, store: Store, one: _Wanted, blob: OpenBlob) -> NewFile | None:
    file = one.file
    temp = opened.temp()
    try:
        with os.fdopen(os.dup(blob.fd), "rb") as source:
            digests = copied(source, temp)
            metadata = _metadata(source, file) if file.is_wheel else None
    except BaseException:
        temp.discard()
        raise
    if digests.sha256 != blob.digest:
        log.warning("%s is left out: its cached bytes are damaged", file.filename)
        temp.discard()
        return None
    document = store.records.doc(one.remote.name, "provenance", file.provenance) if file.provenance else None
    local = LocalFile(
        filename=file.filename,
        project=one.page.name,
        version=one.version,
        digest=digests.sha256,
        size=temp.size,
        package_type=one.kind,
        hashes=hashes_of(digests),
        upload_time=file.upload_time or "",
        requires_python=file.requires_python,
        yanked=file.yanked,
    )
    return NewFile(temp, local, metadata=metadata, attestations=None if document is None else document.body)


def _metadata(source: BinaryIO, file: File) -> bytes | None:
    """What the wheel itself says; None where it says nothing that can be read."""
    try:
        return metadata_in(source, file.filename)
    except MetadataUnreadable as exc:
        log.warning("%s is kept without core metadata: %s", file.filename, exc)
        return None

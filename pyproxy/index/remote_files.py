"""The files of one remote: out of the store, or on their way into it, with their core metadata and signatures."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pyproxy.arrival import Arrival, Arrivals, Landed, Promise, Room
from pyproxy.digests import agrees, checkable
from pyproxy.errors import BlobDamaged, FileUnknown, MetadataUnreadable, NotCached, RemoteFailed, StoreTrouble
from pyproxy.index.documents import RemoteDocuments
from pyproxy.index.keeper import PATIENCE
from pyproxy.index.protocol import Content, Document, Facts, FileRef, etag_of
from pyproxy.index.range_metadata import metadata_from_remote
from pyproxy.model import File, ProjectName, Sha256
from pyproxy.singleflight import Flights
from pyproxy.storage.blobs import Blobs, Temp
from pyproxy.storage.cache import BlobCache, OpenBlob
from pyproxy.storage.room import Reservation
from pyproxy.storage.records import FileRecord, Records, file_key
from pyproxy.upstream import SmallFound, Upstream, Validators
from pyproxy.wheel import metadata_in

log = logging.getLogger(__name__)

METADATA_LIMIT = 4 * 1024 * 1024
SIGNATURE_LIMIT = 64 * 1024
WHOLE_WHEEL = 64 * 1024
"""Wheels up to this many bytes are fetched whole for their metadata: their tail would be all of them."""


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a remote, as an index offers it."""

    project: ProjectName
    file: File
    files: RemoteFiles

    async def facts(self) -> Facts:
        return await self.files.facts(self.project, self.file)

    async def archive(self) -> Content:
        return await self.files.archive(self.project, self.file)

    async def metadata(self) -> Content:
        return await self.files.metadata(self.project, self.file)

    async def signature(self) -> Content:
        return await self.files.signature(self.project, self.file)

    async def provenance(self) -> Document:
        return await self.files.provenance(self.file)


class RemoteFiles:
    """Finds or fetches. `keep` False (policy streamed) stores nothing; `offline` fetches nothing."""

    def __init__(
        self,
        upstream: Upstream,
        records: Records,
        cache: BlobCache,
        blobs: Blobs,
        arrivals: Arrivals,
        documents: RemoteDocuments,
        *,
        name: str,
        url: str,
        keep: bool,
        offline: bool,
        retries: int,
        executor: Executor,
        joined: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._upstream = upstream
        self._records = records
        self._cache = cache
        self._blobs = blobs
        self._arrivals = arrivals
        self._documents = documents
        self._name = name
        self._scheme, self._netloc = urlsplit(url)[:2]
        self._keep = keep
        self._offline = offline
        self._retries = retries
        self._executor = executor
        self._clock = clock
        self._small: Flights[str, bytes] = Flights(joined=joined)

    async def close(self) -> None:
        await self._small.close()
        await self._documents.close()

    def offer(self, project: ProjectName, file: File) -> RemoteFile:
        return RemoteFile(project, file, self)

    def kept(self, ref: FileRef) -> RemoteFile | None:
        """A stored file whose link no page names any more."""
        _, _, elsewhere = ref.source.partition("~")
        netloc = elsewhere or self._netloc
        record = self._cache.find(file_key(self._name, netloc, ref.path))
        if record is None:
            return None
        url = urlunsplit((self._scheme, netloc, quote(ref.path), "", ""))
        file = File(ref.filename, url, ref.link, {"sha256": record.digest}, size=record.size)
        return RemoteFile(record.project, file, self)

    # ------------------------------------------------------------------ the archive

    async def facts(self, project: ProjectName, file: File) -> Facts:
        """Without a download; the remote is asked for the size where the page does not tell it."""
        blob = await self._stored(self._key(file), project, file)
        if blob is not None:
            blob.close()
            return Facts(blob.size, _etag(file, blob.digest), stored=True)
        if self._offline:
            raise self._not_cached(file.filename)
        size = file.size
        if size is None:
            size = (await self._upstream.head(file.url)).size
        return Facts(size, _etag(file, None), stored=False)

    async def archive(self, project: ProjectName, file: File) -> Content:
        key = self._key(file)
        lasting = bool(file.hashes)
        blob = await self._stored(key, project, file)
        if blob is not None:
            return Content("hit", _etag(file, blob.digest), lasting, blob=blob)
        return Content("miss", _etag(file, None), lasting, arrival=self._arrive(key, project, file))

    def _arrive(self, key: str, project: ProjectName, file: File) -> Arrival:
        if self._offline:
            raise self._not_cached(file.filename)
        return self._arrivals.join(
            key,
            lambda: Arrival(
                file.filename,
                self._name,
                Promise(file.hashes, file.size),
                lambda start, if_range: self._upstream.stream(file.url, start=start, if_range=if_range),
                _Shelf(self, key, project, file),
                keep=self._keep,
                retries=self._retries,
                executor=self._executor,
            ),
        )

    async def _stored(self, key: str, project: ProjectName, file: File) -> OpenBlob | None:
        """The stored bytes that the page promises, or None. A damaged blob is dropped, to be fetched again."""
        wanted = file.hashes.get("sha256")
        record = self._cache.find(key)
        if wanted is not None:
            if record is None or record.digest != wanted:
                record = await self._found_by_digest(key, project, file, Sha256(wanted))
        elif record is not None and record.verified != _verified_as(file):
            return None
        return await self._opened(record)

    async def _found_by_digest(self, key: str, project: ProjectName, file: File, digest: Sha256) -> FileRecord | None:
        """The same bytes under another link: the remote moved the file, or another remote has it too."""
        size = self._cache.holds(digest)
        if size is None:
            return None
        record = FileRecord(
            digest=digest,
            size=size,
            project=project,
            filename=file.filename,
            stored_at=self._clock(),
            verified=_verified_as(file),
        )
        return record if await self._cache.link(key, record) else None

    async def _opened(self, record: FileRecord | None) -> OpenBlob | None:
        if record is None:
            return None
        for attempt in (1, 2):
            try:
                return self._cache.open(record)
            except BlobDamaged as exc:
                log.warning("%s: %s", record.filename, exc)
                if attempt == 2 or not await self._cache.mend(record):
                    return None
        return None

    # ------------------------------------------------------------------ core metadata and signatures

    async def metadata(self, project: ProjectName, file: File) -> Content:
        if not file.is_wheel and not file.core_metadata:
            raise FileUnknown(f"{file.filename} has no core metadata of its own")
        promised = file.core_metadata if isinstance(file.core_metadata, dict) else {}
        return await self._little(
            self._key(file) + ".metadata", file, promised, lambda key: self._find_metadata(key, project, file, promised)
        )

    async def signature(self, project: ProjectName, file: File) -> Content:
        if not file.gpg_sig:
            raise FileUnknown(f"{file.filename} has no signature")
        return await self._little(
            self._key(file) + ".asc", file, {}, lambda key: self._find_signature(key, project, file)
        )

    async def provenance(self, file: File) -> Document:
        if file.provenance is None:
            raise FileUnknown(f"{file.filename} has no provenance")
        return (await self._documents.get(file.provenance, f"the provenance of {file.filename}")).value

    async def _little(
        self, key: str, file: File, promised: dict[str, str], find: Callable[[str], Awaitable[bytes]]
    ) -> Content:
        """A small companion of a file: stored, or found in one flight for all who ask."""
        lasting = bool(file.hashes)
        record = self._cache.find(key)
        if record is not None and promised.get("sha256", record.digest) == record.digest:
            blob = await self._opened(record)
            if blob is not None:
                return Content("hit", etag_of(record.digest), lasting, blob=blob)
        try:
            body = await self._small.wait(key, lambda: find(key), patience=PATIENCE)
        except TimeoutError:
            raise RemoteFailed(self._name, f"no answer within {PATIENCE:g} s") from None
        return Content("miss", etag_of(hashlib.sha256(body).hexdigest()), lasting, body=body)

    async def _find_metadata(self, key: str, project: ProjectName, file: File, promised: dict[str, str]) -> bytes:
        """Out of the stored wheel, from the remote, or read out of the remote's wheel: whichever is to be had, in this order."""
        body = await self._metadata_of_stored(project, file)
        if body is None and self._offline:
            raise self._not_cached(f"the metadata of {file.filename}")
        if body is None and file.core_metadata:
            body = await self._metadata_as_told(file, promised)
        if body is None:
            if not file.is_wheel:
                raise FileUnknown(f"remote {self._name} does not have the metadata of {file.filename}")
            body = await self._metadata_out_of(project, file)
        digest = await self._store_little(key, project, file, body)
        if file.is_wheel and promised.get("sha256") != digest:
            await self._learn(project, file, digest)
        return body

    async def _metadata_of_stored(self, project: ProjectName, file: File) -> bytes | None:
        if not file.is_wheel or (blob := await self._stored(self._key(file), project, file)) is None:
            return None
        return await self._read_wheel(blob.fd, file, blob.close)

    async def _metadata_as_told(self, file: File, promised: dict[str, str]) -> bytes | None:
        answer = await self._upstream.small(
            _beside(file.url, ".metadata"),
            kind="metadata",
            limit=METADATA_LIMIT,
            deadline=asyncio.get_running_loop().time() + PATIENCE,
            validators=Validators(),
        )
        if not isinstance(answer, SmallFound):
            log.warning("remote %s promises the metadata of %s and does not have it", self._name, file.filename)
            return None
        if not agrees(promised, answer.body):
            if not file.is_wheel:
                raise RemoteFailed(self._name, f"the metadata of {file.filename} does not have the promised digest")
            log.warning("remote %s: the metadata of %s does not have the promised digest", self._name, file.filename)
            return None
        return answer.body

    async def _metadata_out_of(self, project: ProjectName, file: File) -> bytes:
        try:
            if file.size is None or file.size > WHOLE_WHEEL:
                body = await metadata_from_remote(self._upstream, file)
                if body is not None:
                    return body
            arrival = self._arrive(self._key(file), project, file)
            with arrival.reading():
                await arrival.whole()
                if arrival.spool is not None and arrival.spool.whole_on_disk:
                    return await self._read_wheel(arrival.spool.fd, file)
        except MetadataUnreadable as exc:
            raise FileUnknown(f"{file.filename} gives no core metadata: {exc}") from exc
        raise StoreTrouble(f"no room to read the metadata out of {file.filename}")

    async def _read_wheel(self, fd: int, file: File, close: Callable[[], None] = lambda: None) -> bytes:
        def read() -> bytes:
            with os.fdopen(os.dup(fd), "rb") as archive:
                return metadata_in(archive, file.filename)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, read)
        except MetadataUnreadable as exc:
            raise FileUnknown(f"{file.filename} gives no core metadata: {exc}") from exc
        finally:
            close()

    async def _find_signature(self, key: str, project: ProjectName, file: File) -> bytes:
        if self._offline:
            raise self._not_cached(f"the signature of {file.filename}")
        answer = await self._upstream.small(
            _beside(file.url, ".asc"),
            kind="file",
            limit=SIGNATURE_LIMIT,
            deadline=asyncio.get_running_loop().time() + PATIENCE,
            validators=Validators(),
        )
        if not isinstance(answer, SmallFound):
            raise FileUnknown(f"remote {self._name} does not have the signature of {file.filename}")
        await self._store_little(key, project, file, answer.body)
        return answer.body

    async def _store_little(self, key: str, project: ProjectName, file: File, body: bytes) -> Sha256:
        digest = Sha256(hashlib.sha256(body).hexdigest())
        if not self._keep:
            return digest
        record = FileRecord(
            digest=digest,
            size=len(body),
            project=project,
            filename=file.filename,
            stored_at=self._clock(),
            verified="sha256",
        )
        try:
            await self._keep_little(key, record, body)
        except StoreTrouble as exc:
            log.warning("a companion of %s was served but not kept: %s", file.filename, exc)
        return digest

    async def _keep_little(self, key: str, record: FileRecord, body: bytes) -> None:
        room = await self._cache.reserve(len(body))
        try:
            temp = self._blobs.temp()
            try:
                temp.write(body)
                await self._cache.keep(temp, key, record, room)
            finally:
                temp.discard()  # nothing is left to discard once it is kept
        finally:
            room.release()

    async def _learn(self, project: ProjectName, file: File, digest: Sha256) -> None:
        try:
            await self._records.learn(self._name, project, file.filename, digest)
        except StoreTrouble as exc:
            log.warning("the digest of the metadata of %s was not kept: %s", file.filename, exc)

    # ------------------------------------------------------------------ shared

    def _key(self, file: File) -> str:
        parts = urlsplit(file.url)
        return file_key(self._name, parts.netloc, unquote(parts.path))

    def _not_cached(self, what: str) -> NotCached:
        return NotCached(f"{what} is not cached, and remote {self._name} is offline by configuration")


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Where the arrival of one file puts its bytes."""

    files: RemoteFiles
    key: str
    project: ProjectName
    file: File

    def temp(self) -> Temp:
        return self.files._blobs.temp()

    async def reserve(self, nbytes: int) -> Room:
        return await self.files._cache.reserve(nbytes)

    async def keep(self, temp: Temp, landed: Landed, room: Room) -> None:
        record = FileRecord(
            digest=landed.digest,
            size=landed.size,
            project=self.project,
            filename=self.file.filename,
            stored_at=self.files._clock(),
            verified=_verified_as(self.file),
        )
        assert isinstance(room, Reservation)
        await self.files._cache.keep(temp, self.key, record, room)


def _verified_as(file: File) -> str:
    """What vouches for the stored bytes: the digest that the page gave, or the framing alone."""
    algorithm = checkable(file.hashes)
    return "framing" if algorithm is None else f"{algorithm}:{file.hashes[algorithm].lower()}"


def _etag(file: File, digest: Sha256 | None) -> str | None:
    """Known before the bytes are, where the page gives a digest: so it is the same cold, warm and after a restart."""
    algorithm = checkable(file.hashes)
    if algorithm is not None:
        return etag_of(file.hashes[algorithm].lower(), "" if algorithm == "sha256" else f"{algorithm}-")
    return etag_of(digest) if digest is not None else None


def _beside(url: str, ending: str) -> str:
    """The URL of a companion: the ending goes behind the path, before any query (PEP 658)."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=parts.path + ending))

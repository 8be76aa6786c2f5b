"""The archives of one remote: out of the store, or on their way into it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import cast
from urllib.parse import quote, unquote

from pyproxy.arrival import Arrival, Landed, Promise, Room
from pyproxy.arrivals import Arrivals
from pyproxy.digests import checkable
from pyproxy.errors import BlobDamaged, NotCached, StoreTrouble
from pyproxy.fellows import Shared
from pyproxy.index.protocol import Content, Facts, FileRef, etag_of
from pyproxy.metrics import Result
from pyproxy.model import File, ProjectName, Sha256
from pyproxy.shared_arrival import SharedArrival, Sharing
from pyproxy.storage.blobs import Blobs
from pyproxy.storage.cache import BlobCache, OpenBlob
from pyproxy.storage.records import FileRecord, file_key
from pyproxy.storage.room import Reservation
from pyproxy.storage.temps import Temp
from pyproxy.upstream import Upstream

log = logging.getLogger(__name__)

_USUAL_PORTS = {":443": "https", ":80": "http"}


class Archives:
    """Finds or fetches. `keep` False (policy streamed) stores nothing; `offline` fetches nothing."""

    def __init__(
        self,
        upstream: Upstream,
        cache: BlobCache,
        blobs: Blobs,
        arrivals: Arrivals,
        *,
        name: str,
        url: str,
        keep: bool,
        offline: bool,
        retries: int,
        executor: Executor,
        shared: Shared | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.offline = offline
        self._keep = keep
        self._upstream = upstream
        self._cache = cache
        self._blobs = blobs
        self._arrivals = arrivals
        self._name = name
        self._scheme, _, rest = url.partition("://")
        self._netloc = rest.partition("/")[0]
        self._retries = retries
        self._executor = executor
        self._shared = shared
        self._clock = clock

    async def facts(self, project: ProjectName, file: File, *, size: bool) -> Facts:
        """Without a download; where the page does not tell the `size` and it is wanted, the remote is asked for it."""
        blob = await self.stored(project, file)
        if blob is not None:
            blob.close()
            return Facts(blob.size, _etag(file, blob.digest), lasting(file), stored=True)
        if self.offline:
            raise self.not_cached(file.filename)
        told = file.size
        if told is None and size:
            told = (await self._upstream.head(file.url)).size
        return Facts(told, _etag(file, None), lasting(file), stored=False)

    async def content(self, project: ProjectName, file: File) -> Content:
        blob = await self.stored(project, file)
        if blob is not None:
            return Content("hit", _etag(file, blob.digest), lasting(file), blob=blob)
        arrival = self.arrive(project, file)
        result: Result = "miss"
        if arrival.checked is not None:
            # About to be recorded: nobody waits for the remote any more, and this is a use like any later one.
            result = "hit"
            self._cache.touch(arrival.checked.digest)
        return Content(result, _etag(file, None), lasting(file), arrival=arrival)

    def arrive(self, project: ProjectName, file: File) -> Arrival:
        """The file on its way, shared with all who ask for it. Raises NotCached."""
        if self.offline:
            raise self.not_cached(file.filename)
        # What was promised of a download that has begun is not what a newer page promises.
        key = f"{self.key(file)} {verified_as(file)} {file.size}"
        return self._arrivals.join(key, lambda: self._begun(key, project, file))

    def _begun(self, key: str, project: ProjectName, file: File) -> Arrival:
        """The download, shared with the other workers where there are some."""
        make: Callable[..., Arrival] = Arrival
        if self._shared is not None:
            stored = partial(self.stored, project, file)
            make = partial(SharedArrival, sharing=Sharing(self._shared, f"file {key}", self._blobs.tmp, stored))
        return make(
            file.filename,
            self._name,
            Promise(file.hashes, file.size),
            lambda start, if_range: self._upstream.stream(file.url, start=start, if_range=if_range),
            _Shelf(
                self._cache, self._blobs, self.key(file), lambda digest, size: self.record(project, file, digest, size)
            ),
            keep=self._keep,
            retries=self._retries,
            executor=self._executor,
        )

    async def stored(self, project: ProjectName, file: File) -> OpenBlob | None:
        """The stored bytes that the page promises, or None. A damaged blob is dropped, to be fetched again."""
        key = self.key(file)
        wanted = file.hashes.get("sha256")
        record = self._cache.find(key)
        if wanted is not None:
            if record is None or record.digest != wanted:
                record = await self._found_by_digest(key, project, file, Sha256(wanted))
        elif record is not None and record.verified != verified_as(file):
            return None
        return await self.opened(record)

    async def _found_by_digest(self, key: str, project: ProjectName, file: File, digest: Sha256) -> FileRecord | None:
        """The same bytes under another link: the remote moved the file, or another remote has it too."""
        size = self._cache.holds(digest)
        if size is None:
            return None
        record = self.record(project, file, digest, size)
        try:
            return record if await self._cache.link(key, record) else None
        except StoreTrouble as exc:
            log.warning("where %s is stored was not noted: %s", file.filename, exc)
            return record

    async def opened(self, record: FileRecord | None) -> OpenBlob | None:
        """The blob of a record, or None where there is none that is sound."""
        if record is None:
            return None
        for attempt in (1, 2):
            try:
                return self._cache.open(record)
            except BlobDamaged as exc:
                log.warning("%s: %s", record.filename, exc)
                if attempt == 2 or not await self._mended(record):  # noqa: PLR2004 - once is enough
                    return None
        return None

    async def _mended(self, record: FileRecord) -> bool:
        try:
            return await self._cache.mend(record)
        except StoreTrouble as exc:
            log.warning("%s: its blob is damaged and cannot be looked at: %s", record.filename, exc)
            return False

    def kept(self, ref: FileRef) -> tuple[ProjectName, File] | None:
        """A stored file whose link no page names any more."""
        record = self._cache.find(self._key(ref.link))
        if record is None:
            return None
        elsewhere = ref.source.partition("~")[2]
        # The usual port stands in a link only where it is that of the other scheme.
        port = elsewhere[elsewhere.rfind(":") :]
        scheme = _USUAL_PORTS.get(port, self._scheme)
        url = f"{scheme}://{elsewhere or self._netloc}{quote(ref.path)}"
        # Where nothing but their framing vouched for the bytes, nothing more does now.
        hashes = {} if record.verified == "framing" else {"sha256": str(record.digest)}
        return record.project, File(ref.filename, url, ref.link, hashes, size=record.size)

    # ------------------------------------------------------------------ how files are recorded

    def key(self, file: File) -> str:
        """What the file is recorded under; its companions stand beside it."""
        return self._key(unquote(file.link))

    def _key(self, link: str) -> str:
        return archive_key(self._name, self._netloc, link)

    def record(self, project: ProjectName, file: File, digest: Sha256, size: int) -> FileRecord:
        """What is noted of the stored bytes of a file, or of a companion of it."""
        return FileRecord(
            digest=digest,
            size=size,
            project=project,
            filename=file.filename,
            stored_at=self._clock(),
            verified=verified_as(file),
        )

    def not_cached(self, what: str) -> NotCached:
        return NotCached(f"{what} is not cached, and remote {self._name} is offline by configuration")


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Where the arrival of one file puts its bytes."""

    cache: BlobCache
    blobs: Blobs
    key: str
    record: Callable[[Sha256, int], FileRecord]

    def temp(self) -> Temp:
        return self.blobs.temp()

    async def reserve(self, nbytes: int) -> Room:
        return await self.cache.reserve(nbytes)

    async def keep(self, temp: Temp, landed: Landed, room: Room) -> None:
        await self.cache.keep(temp, self.key, self.record(landed.digest, landed.size), _as_given(room))

    async def put(self, body: bytes, landed: Landed, room: Room) -> None:
        await self.cache.put(body, self.key, self.record(landed.digest, landed.size), _as_given(room))


def _as_given(room: Room) -> Reservation:
    return cast("Reservation", room)  # as the shelf's `reserve` gave it


def archive_key(remote: str, netloc: str, link: str) -> str:
    """What the file under a percent-decoded link of a remote, whose own URL is at this `netloc`, is recorded under."""
    # By the link, which says the same of every spelling of a URL; but under the host, that files of the same path
    # are not taken for each other once the remote's own url is another.
    source, _, path = link.partition("/")
    return file_key(remote, source.partition("~")[2] or netloc, path)


def verified_as(file: File) -> str:
    """What vouches for the bytes of a file: the digest that its page gives, or the framing alone."""
    algorithm = checkable(file.hashes)
    return "framing" if algorithm is None else f"{algorithm}:{file.hashes[algorithm].lower()}"


def lasting(file: File) -> bool:
    """Whether the bytes under the file's link will never be others: a digest names them, and it is checked."""
    return checkable(file.hashes) is not None


def _etag(file: File, digest: Sha256 | None) -> str | None:
    """Known before the bytes are, where the page gives a digest: so it is the same cold, warm and after a restart."""
    algorithm = checkable(file.hashes)
    if algorithm is not None:
        return etag_of(file.hashes[algorithm].lower(), "" if algorithm == "sha256" else f"{algorithm}-")
    return etag_of(digest) if digest is not None else None

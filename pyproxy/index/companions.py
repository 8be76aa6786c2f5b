"""What stands beside the archives of one remote: core metadata (PEP 658), signatures, attestations (PEP 740)."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

from pyproxy.digests import agrees
from pyproxy.errors import FileUnknown, MetadataUnreadable, RemoteFailed, StoreTrouble
from pyproxy.fellows import Turn, Turns
from pyproxy.index.archives import Archives, lasting, verified_as
from pyproxy.index.documents import RemoteDocuments
from pyproxy.index.patience import PATIENCE, time_left
from pyproxy.index.protocol import Content, Document, Served, etag_of
from pyproxy.index.range_metadata import metadata_from_remote
from pyproxy.index.stored_companions import Companion, StoredCompanions
from pyproxy.model import File, Filename, Hashes, ProjectName, Sha256
from pyproxy.singleflight import Flights
from pyproxy.storage.records import Records
from pyproxy.upstream import Kind, SmallFound, Upstream, Validators
from pyproxy.wheel import metadata_in

log = logging.getLogger(__name__)

METADATA_LIMIT = 4 * 1024 * 1024
SIGNATURE_LIMIT = 64 * 1024
WAIT = 60.0
"""Seconds that one worker waits for another to find something: it may be at a whole wheel."""

WHOLE_WHEEL = 64 * 1024
"""Wheels up to this many bytes are fetched whole for their metadata: their tail would be all of them."""


def learned_as(file: File) -> Filename:
    """Under what the digest of a wheel's metadata is learned: another wheel of the same name has other metadata."""
    return Filename(f"{file.filename} {verified_as(file)}")


class Companions:
    """Finds or fetches them, and keeps them as documents in the index; `keep` False stores no more of them.

    `learned` is told of a project once more is known of its wheels' metadata than its page says.
    """

    def __init__(
        self,
        upstream: Upstream,
        records: Records,
        archives: Archives,
        documents: RemoteDocuments,
        stored: StoredCompanions,
        *,
        name: str,
        keep: bool,
        executor: Executor,
        joined: Callable[[], None],
        turns: Turns,
        learned: Callable[[ProjectName], None] = lambda _: None,
    ) -> None:
        self._stored = stored
        self._keep = keep
        self._turns = turns
        self._upstream = upstream
        self._records = records
        self._archives = archives
        self._documents = documents
        self._name = name
        self._executor = executor
        self._learned = learned
        self._flights: Flights[str, Companion] = Flights(joined=joined)
        self._storing: dict[str, Companion] = {}
        """What was found and is about to be in the store, by flight: nobody waits for the disk, or asks once more."""

    async def close(self) -> None:
        """Ends what is under way; what is being stored is stored."""
        await self._flights.close()
        await self.settled()
        await self._documents.close()

    async def settled(self) -> None:
        """Returns once all that was found is stored."""
        await self._stored.settled()

    async def metadata(self, project: ProjectName, file: File) -> Content:
        if not file.is_wheel and not file.core_metadata:
            raise FileUnknown(f"{file.filename} has no core metadata of its own")
        promised = {} if isinstance(file.core_metadata, bool) else file.core_metadata
        key = f"{self._archives.key(file)}.metadata"
        return await self._content(
            key,
            file,
            lambda found: promised.get("sha256", found.digest) == found.digest,
            lambda: self._find_metadata(project, file, promised),
            lasts=lasting(file),
        )

    async def signature(self, file: File) -> Content:
        if not file.gpg_sig:
            raise FileUnknown(f"{file.filename} has no signature")
        key = f"{self._archives.key(file)}.asc"
        # No digest names a signature: the file may be signed anew.
        return await self._content(key, file, lambda _: True, lambda: self._find_signature(file), lasts=False)

    async def provenance(self, file: File) -> Served[Document]:
        if file.provenance is None:
            raise FileUnknown(f"{file.filename} has no provenance")
        return await self._documents.get(file.provenance, f"the provenance of {file.filename}")

    async def _content(
        self,
        key: str,
        file: File,
        fits: Callable[[Companion], bool],
        find: Callable[[], Awaitable[Companion]],
        *,
        lasts: bool,
    ) -> Content:
        """What is stored under `key` for just this file, where that `fits`; else what one flight for all finds."""
        flight = f"{key} {verified_as(file)}"
        if (found := self._here(key, file, fits)) is not None:
            return Content("hit", etag_of(found.digest), lasts, body=found.body)
        try:
            found = await self._flights.wait(
                flight, lambda: self._once(flight, key, file, fits, find), patience=time_left()
            )
        except TimeoutError:
            raise RemoteFailed(self._name, f"no answer within {PATIENCE:g} s") from None
        return Content("miss", etag_of(found.digest), lasts, body=found.body)

    def _here(self, key: str, file: File, fits: Callable[[Companion], bool]) -> Companion | None:
        verified = verified_as(file)
        for found in (self._storing.get(f"{key} {verified}"), self._stored.find(key, verified)):
            if found is not None and fits(found):
                return found
        return None

    async def _once(
        self,
        flight: str,
        key: str,
        file: File,
        fits: Callable[[Companion], bool],
        find: Callable[[], Awaitable[Companion]],
    ) -> Companion:
        """One worker finds it, the others wait for what it stores."""
        try:
            turn = await self._turns.take(f"beside {flight}", until=_now() + WAIT)
        except TimeoutError:
            raise RemoteFailed(self._name, "another worker waits for its answer") from None
        try:
            found = self._here(key, file, fits)
            if found is not None or not self._keep:
                found = found or await find()
                turn.release()
                return found
            found = await find()
        except BaseException:
            turn.release()
            raise
        self._storing[flight] = found
        done = self._stored.keep(key, verified_as(file), found)
        done.add_done_callback(lambda _: self._over(flight, turn))
        return found

    def _over(self, flight: str, turn: Turn) -> None:
        self._storing.pop(flight, None)
        # Not before it is stored: who has the next turn looks there.
        turn.release()

    # ------------------------------------------------------------------ core metadata

    async def _find_metadata(self, project: ProjectName, file: File, promised: Hashes) -> Companion:
        """Out of the stored wheel, from the remote, or out of the remote's wheel: the first that is as promised.

        Where nothing is, what stands in the wheel is right.
        """
        body = await self._metadata_of_stored(project, file)
        if body is None or not agrees(promised, body):
            if not self._archives.offline:
                body = await self._metadata_as_told(project, file, promised, instead=body)
            elif body is None:
                raise self._archives.not_cached(f"the metadata of {file.filename}")
        if body is None:
            if not file.is_wheel:
                raise FileUnknown(f"remote {self._name} does not have the metadata of {file.filename}")
            body = await self._metadata_out_of(project, file)
        found = Companion.of(body)
        if file.is_wheel and promised.get("sha256") != found.digest:
            await self._learn(project, file, found.digest)
        return found

    async def _metadata_of_stored(self, project: ProjectName, file: File) -> bytes | None:
        if not file.is_wheel or (blob := await self._archives.stored(project, file)) is None:
            return None
        try:
            # A descriptor of the thread's own: whoever waits for it may be cancelled and close the other.
            own = os.dup(blob.fd)
        except OSError as exc:
            raise StoreTrouble(f"cannot read {file.filename}: {exc.strerror}") from exc
        finally:
            blob.close()
        return await self._read_wheel(own, file)

    async def _metadata_as_told(
        self, project: ProjectName, file: File, promised: Hashes, *, instead: bytes | None
    ) -> bytes | None:
        """What the remote has beside the file, if it is promised and right; else what is here `instead`."""
        if not file.core_metadata:
            return instead
        try:
            body = await self._beside(file, ".metadata", "metadata", METADATA_LIMIT)
        except RemoteFailed as exc:
            if instead is None and not self._found_out_here(project, file, promised):
                raise
            log.warning("the metadata of %s is that of the wheel: %s", file.filename, exc)
            return instead
        if body is None:
            if not self._found_out_here(project, file, promised):
                log.warning("remote %s promises the metadata of %s and does not have it", self._name, file.filename)
            return instead
        if not agrees(promised, body):
            if not file.is_wheel:
                raise RemoteFailed(self._name, f"the metadata of {file.filename} does not have the promised digest")
            log.warning("remote %s: the metadata of %s does not have the promised digest", self._name, file.filename)
            return instead
        return body

    def _found_out_here(self, project: ProjectName, file: File, promised: Hashes) -> bool:
        """Whether the digest is none of the remote's. It may have nothing beside the wheel, and refuse to say so."""
        return self._records.learned(self._name, project).digests.get(learned_as(file)) == promised.get("sha256", "")

    async def _metadata_out_of(self, project: ProjectName, file: File) -> bytes:
        try:
            if file.size is None or file.size > WHOLE_WHEEL:
                body = await metadata_from_remote(self._upstream, file)
                if body is not None:
                    return body
            arrival = self._archives.arrive(project, file)
            with arrival.reading():
                await arrival.whole()
                fd = arrival.spool.opened() if arrival.spool is not None else None
                if fd is not None:
                    return await self._read_wheel(fd, file)
        except MetadataUnreadable as exc:
            raise FileUnknown(f"{file.filename} gives no core metadata: {exc}") from exc
        raise StoreTrouble(f"no room to read the metadata out of {file.filename}")

    async def _read_wheel(self, fd: int, file: File) -> bytes:
        """Closes the descriptor."""

        def read() -> bytes:
            with os.fdopen(fd, "rb") as archive:
                return metadata_in(archive, file.filename)

        reading = self._executor.submit(read)
        try:
            return await asyncio.wrap_future(reading)
        except MetadataUnreadable as exc:
            raise FileUnknown(f"{file.filename} gives no core metadata: {exc}") from exc
        finally:
            if reading.cancel():  # given up before a thread took it
                os.close(fd)

    async def _learn(self, project: ProjectName, file: File, digest: Sha256) -> None:
        try:
            await self._records.learn(self._name, project, learned_as(file), digest)
            self._learned(project)
        except StoreTrouble as exc:
            log.warning("the digest of the metadata of %s was not kept: %s", file.filename, exc)

    # ------------------------------------------------------------------ signatures, and what both need

    async def _find_signature(self, file: File) -> Companion:
        if self._archives.offline:
            raise self._archives.not_cached(f"the signature of {file.filename}")
        body = await self._beside(file, ".asc", "file", SIGNATURE_LIMIT)
        if body is None:
            raise FileUnknown(f"remote {self._name} does not have the signature of {file.filename}")
        return Companion.of(body)

    async def _beside(self, file: File, ending: str, kind: Kind, limit: int) -> bytes | None:
        """What the remote has beside the file; None where it has nothing there."""
        path, mark, query = file.url.partition("?")
        answer = await self._upstream.small(
            f"{path}{ending}{mark}{query}",
            kind=kind,
            limit=limit,
            deadline=_now() + PATIENCE,
            validators=Validators(),
        )
        return answer.body if isinstance(answer, SmallFound) else None


def _now() -> float:
    return asyncio.get_running_loop().time()

"""Small JSON documents of a remote that may change (attestations, the JSON API), cached by the rules of freshness."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import msgspec

from pyproxy.errors import ContentWrong, FileUnknown, RemoteFailed, StoreTrouble
from pyproxy.fellows import Turns
from pyproxy.index.keeper import Copy, Fetched, Keeper
from pyproxy.index.protocol import Document, Served
from pyproxy.metrics import Result
from pyproxy.storage.records import DocRecord, Records
from pyproxy.upstream import Kind, SmallFound, Unchanged, Upstream, Validators

log = logging.getLogger(__name__)

LIMIT = 8 * 1024 * 1024
"""Bytes of one document."""

OFF_LOOP = 64 * 1024
"""Bytes from which on a document is looked at in a thread."""


class RemoteDocuments:
    """The documents of one kind, as the upstream kinds name them."""

    def __init__(
        self,
        upstream: Upstream,
        records: Records,
        keeper: Keeper[str, Document],
        *,
        name: str,
        kind: Kind,
        turns: Turns,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._upstream = upstream
        self._records = records
        self._keeper = keeper
        self._name = name
        self._kind = kind
        self._turns = turns
        self._clock = clock

    async def get(self, url: str, what: str) -> Served[Document]:
        """The document at this URL of the remote, called `what` in messages.

        Raises FileUnknown, RemoteFailed, NotCached.
        """
        record = self._records.doc(self._name, self._kind, url)
        copy = None if record is None else Copy(Document(record.body, record.content_type), record.fetched_at)
        return await self._keeper.get(url, what, copy, lambda deadline: self._fetch(url, what, record, deadline))

    async def close(self) -> None:
        await self._keeper.close()

    async def _fetch(self, url: str, what: str, old: DocRecord | None, deadline: float) -> Fetched[Document]:
        """One worker asks, the others wait for what it stores."""
        try:
            turn = await self._turns.take(f"{self._kind} {self._name} {url}", until=deadline)
        except TimeoutError:
            raise RemoteFailed(self._name, "another worker waits for its answer") from None
        try:
            found = self._records.doc(self._name, self._kind, url)
            if found is not None and (old is None or found.fetched_at > old.fetched_at):
                return Fetched(Copy(Document(found.body, found.content_type), found.fetched_at), "miss")
            return await self._asked(url, what, old, deadline)
        finally:
            turn.release()

    async def _asked(self, url: str, what: str, old: DocRecord | None, deadline: float) -> Fetched[Document]:
        validators = Validators() if old is None else Validators(old.etag, old.last_modified)
        answer = await self._upstream.small(url, kind=self._kind, limit=LIMIT, deadline=deadline, validators=validators)
        now = self._clock()
        if isinstance(answer, SmallFound):
            if not await _is_json(answer.body):
                raise ContentWrong(self._name, f"{what} is no JSON")
            new = DocRecord(
                body=answer.body,
                content_type=answer.content_type,
                etag=answer.validators.etag,
                last_modified=answer.validators.last_modified,
                fetched_at=now,
                url=url,
            )
        elif isinstance(answer, Unchanged) and old is not None:
            new = DocRecord(
                body=old.body,
                content_type=old.content_type,
                etag=answer.validators.etag,
                last_modified=answer.validators.last_modified,
                fetched_at=now,
                url=url,
            )
        else:
            if old is not None:
                await self._forget(url, what)
            raise FileUnknown(f"remote {self._name} does not have {what}")
        try:
            await self._records.put_doc(self._name, self._kind, url, new)
        except StoreTrouble as exc:
            log.warning("%s was served but not kept: %s", what, exc)
        result: Result = "miss" if isinstance(answer, SmallFound) else "revalidated"
        return Fetched(Copy(Document(new.body, new.content_type), now), result)

    async def _forget(self, url: str, what: str) -> None:
        """It is gone: it must not come back as a stale one."""
        try:
            await self._records.drop_doc(self._name, self._kind, url)
        except StoreTrouble as exc:
            log.warning("%s, gone from remote %s, stays stored: %s", what, self._name, exc)


async def _is_json(body: bytes) -> bool:
    """Whether it can be read as JSON: a page that asks to sign in, say, is no document."""
    if len(body) < OFF_LOOP:
        return _reads_as_json(body)
    return await asyncio.to_thread(_reads_as_json, body)


def _reads_as_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True

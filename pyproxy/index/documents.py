"""Small documents of a remote that may change (attestations, the JSON API), cached by the rules of freshness."""

from __future__ import annotations

import time
from collections.abc import Callable

from pyproxy.errors import FileUnknown
from pyproxy.index.keeper import Copy, Fetched, Keeper
from pyproxy.index.protocol import Document, Served
from pyproxy.metrics import Result
from pyproxy.storage.records import DocRecord, Records
from pyproxy.upstream import Kind, SmallFound, Unchanged, Upstream, Validators

LIMIT = 8 * 1024 * 1024
"""Bytes of one document."""


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
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._upstream = upstream
        self._records = records
        self._keeper = keeper
        self._name = name
        self._kind = kind
        self._clock = clock

    async def get(self, url: str, what: str) -> Served[Document]:
        """The document at this URL of the remote, called `what` in messages. Raises FileUnknown, RemoteFailed, NotCached."""
        record = self._records.doc(self._name, self._kind, url)
        copy = None if record is None else Copy(Document(record.body, record.content_type), record.fetched_at)
        return await self._keeper.get(url, what, copy, lambda deadline: self._fetch(url, what, record, deadline))

    async def close(self) -> None:
        await self._keeper.close()

    async def _fetch(self, url: str, what: str, old: DocRecord | None, deadline: float) -> Fetched[Document]:
        validators = Validators() if old is None else Validators(old.etag, old.last_modified)
        answer = await self._upstream.small(url, kind=self._kind, limit=LIMIT, deadline=deadline, validators=validators)
        now = self._clock()
        if isinstance(answer, SmallFound):
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
            raise FileUnknown(f"remote {self._name} does not have {what}")
        await self._records.put_doc(self._name, self._kind, url, new)
        result: Result = "miss" if isinstance(answer, SmallFound) else "revalidated"
        return Fetched(Copy(Document(new.body, new.content_type), now), result)

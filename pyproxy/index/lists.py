"""A remote's list of projects: fetched to disk, read in another process, kept as a file of names."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from pyproxy.errors import PageUnreadable, ProjectUnknown, RemoteFailed
from pyproxy.index.keeper import Copy, Fetched, Keeper
from pyproxy.index.protocol import Names, Served
from pyproxy.listing import parse_list
from pyproxy.storage.records import DocRecord, Records
from pyproxy.upstream import ListFound, ListMissing, Upstream, Validators

KIND = "list"


class RemoteList:
    """The list of one remote. The names lie in `folder`; the record holds their digest and the validators."""

    def __init__(
        self,
        upstream: Upstream,
        records: Records,
        keeper: Keeper[str, Names],
        *,
        name: str,
        origin: str,
        folder: Path,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._upstream = upstream
        self._records = records
        self._keeper = keeper
        self._name = name
        self._origin = origin
        self._folder = folder
        self._clock = clock

    async def get(self) -> Served[Names]:
        """Raises ProjectUnknown where the remote has no list, RemoteFailed, NotCached."""
        record = self._records.doc(self._name, KIND, "")
        copy = None
        if record is not None and record.url == self._origin:
            names = self._names(record.body.decode())
            if names.path.exists():
                copy = Copy(names, record.fetched_at)
        old = record if copy is not None else None
        return await self._keeper.get(KIND, "the list of projects", copy, lambda deadline: self._fetch(old, deadline))

    async def close(self) -> None:
        await self._keeper.close()

    def _names(self, digest: str) -> Names:
        return Names(self._folder / f"{self._name}.{digest[:16]}.names", digest)

    async def _fetch(self, old: DocRecord | None, deadline: float) -> Fetched[Names]:
        validators = Validators() if old is None else Validators(old.etag, old.last_modified)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        raw = self._folder / f"{self._name}.{os.getpid()}.raw"
        parsed = raw.with_suffix(".parsed")
        try:
            answer = await self._upstream.list_to(raw, validators, deadline=deadline)
            now = self._clock()
            if isinstance(answer, ListMissing):
                raise ProjectUnknown(f"remote {self._name} gives no list of its projects")
            if isinstance(answer, ListFound):
                try:
                    digest = await parse_list(raw, parsed, answer.content_type)
                except PageUnreadable as exc:
                    raise RemoteFailed(self._name, f"the list of projects: {exc}") from exc
                names = self._names(digest)
                parsed.replace(names.path)
            elif old is not None:
                names = self._names(old.body.decode())
            else:
                raise RemoteFailed(self._name, "said 'not modified' of a list that it was never asked to compare")
        finally:
            raw.unlink(missing_ok=True)
            parsed.unlink(missing_ok=True)
        record = DocRecord(
            body=names.digest.encode(),
            content_type="",
            etag=answer.validators.etag,
            last_modified=answer.validators.last_modified,
            fetched_at=now,
            url=self._origin,
        )
        await self._records.put_doc(self._name, KIND, "", record)
        for other in self._folder.glob(f"{self._name}.*.names"):
            if other != names.path:
                other.unlink(missing_ok=True)
        return Fetched(Copy(names, now), "miss" if isinstance(answer, ListFound) else "revalidated")

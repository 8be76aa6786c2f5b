"""A remote's list of projects: fetched to disk, read in another process, kept as a file of names."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path

import aiofiles.os

from pyproxy.errors import PageUnreadable, ProjectUnknown, RemoteFailed, StoreTrouble
from pyproxy.fellows import Turns
from pyproxy.index.keeper import Copy, Fetched, Keeper
from pyproxy.index.protocol import Names, Served
from pyproxy.listing import SHORT, names_file, parse_list
from pyproxy.storage.records import DocRecord, Records
from pyproxy.upstream import ListFound, ListMissing, Upstream, Validators

log = logging.getLogger(__name__)

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
        turns: Turns,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._upstream = upstream
        self._records = records
        self._keeper = keeper
        self._name = name
        self._origin = origin
        self._folder = folder
        self._turns = turns
        self._clock = clock

    async def get(self) -> Served[Names]:
        """Raises ProjectUnknown where the remote has no list, RemoteFailed, NotCached."""
        old, copy = self._kept()
        return await self._keeper.get(KIND, "the list of projects", copy, lambda deadline: self._fetch(old, deadline))

    async def close(self) -> None:
        await self._keeper.close()

    def _kept(self) -> tuple[DocRecord | None, Copy[Names] | None]:
        """What is stored, where its file is there too."""
        record = self._records.doc(self._name, KIND, "")
        if record is not None and record.url == self._origin:
            names = self._names(record.body.decode())
            if names.path.exists():
                return record, Copy(names, record.fetched_at)
        return None, None

    def _names(self, digest: str) -> Names:
        return Names(names_file(self._folder, self._name, digest), digest)

    async def _fetch(self, old: DocRecord | None, deadline: float) -> Fetched[Names]:
        """One worker asks, the others wait for what it stores."""
        try:
            turn = await self._turns.take(f"{KIND} {self._name} {self._origin}", until=deadline)
        except TimeoutError:
            raise RemoteFailed(self._name, "another worker waits for its answer") from None
        try:
            record, copy = self._kept()
            if record is not None and copy is not None and (old is None or record.fetched_at > old.fetched_at):
                return Fetched(copy, "miss")
            return await self._asked(old, deadline)
        finally:
            turn.release()

    async def _asked(self, old: DocRecord | None, deadline: float) -> Fetched[Names]:
        validators = Validators() if old is None else Validators(old.etag, old.last_modified)
        # Of this fetch alone: after a reload the remote of the old configuration may be at its list still.
        raw = self._folder / f"{self._name}.{secrets.token_hex(8)}.raw"
        parsed = raw.with_suffix(".parsed")
        try:
            answer = await self._upstream.list_to(raw, validators, deadline=deadline)
            now = self._clock()
            if isinstance(answer, ListMissing):
                await self._forget()
                raise ProjectUnknown(f"remote {self._name} gives no list of its projects")
            if isinstance(answer, ListFound):
                try:
                    digest = await parse_list(raw, parsed, answer.content_type)
                except PageUnreadable as exc:
                    raise RemoteFailed(self._name, f"the list of projects: {exc}") from exc
                names = self._names(digest)
                await self._publish(parsed, names)
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
        try:
            await self._records.put_doc(self._name, KIND, "", record)
        except StoreTrouble as exc:
            log.warning("the list of projects of remote %s was fetched but not kept: %s", self._name, exc)
        await self._sweep(names)
        return Fetched(Copy(names, now), "miss" if isinstance(answer, ListFound) else "revalidated")

    async def _forget(self) -> None:
        """The list is gone: it must not come back as a stale one."""
        try:
            await self._records.drop_doc(self._name, KIND, "")
        except StoreTrouble as exc:
            log.warning("the list of projects, gone from remote %s, stays stored: %s", self._name, exc)

    async def _publish(self, parsed: Path, names: Names) -> None:
        try:
            await aiofiles.os.replace(parsed, names.path)
        except OSError as exc:
            raise StoreTrouble(f"the list of projects cannot be stored: {exc.strerror}") from exc

    async def _sweep(self, newest: Names) -> None:
        """Takes away the lists of this remote that went before."""
        ours = re.compile(rf"{re.escape(self._name)}\.[0-9a-f]{{{SHORT}}}\.names")
        try:
            for name in await aiofiles.os.listdir(self._folder):
                if ours.fullmatch(name) and name != newest.path.name:
                    await aiofiles.os.remove(self._folder / name)
        except FileNotFoundError:
            pass  # another process sweeps too
        except OSError as exc:
            log.warning("old lists of remote %s stay where they are: %s", self._name, exc.strerror)

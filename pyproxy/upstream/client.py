"""The questions that a remote is asked: a page, the list, a small document, a file, a file's head."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import NoReturn, TypeVar

from pyproxy.errors import FileUnknown, RemoteFailed
from pyproxy.listing import MAX_LIST
from pyproxy.model import ProjectName
from pyproxy.upstream import bodies, ranges, retry
from pyproxy.upstream.answer import Answer
from pyproxy.upstream.asking import Asking, Judge
from pyproxy.upstream.exchange import Exchange, Question
from pyproxy.upstream.files import FileStream
from pyproxy.upstream.memory import FailureMemory
from pyproxy.upstream.reach import Lookup
from pyproxy.upstream.trouble import Trouble, wrong
from pyproxy.upstream.values import (
    FileHead,
    Kind,
    ListFound,
    Missing,
    Observer,
    Pace,
    PageFound,
    RemoteSettings,
    SmallFound,
    Unchanged,
    Validators,
)

T = TypeVar("T")

PAGE_LIMIT = 64 << 20
LIST_LIMIT = MAX_LIST
"""Bytes of a page, and of the list of projects, both as sent and decoded."""

ACCEPT_PAGE = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
"""JSON where there is any, as PEP 691 recommends to ask."""

_NOTHING = Validators()
_STEADY = Pace()
_OK = frozenset({200, 206})
_GONE = frozenset({404, 410})
# Numbers: to take them from their Enum calls a function, for each answer.
_FOUND = int(HTTPStatus.OK)
_NOT_MODIFIED = int(HTTPStatus.NOT_MODIFIED)
# What remotes answer that serve a file and refuse to tell of it: HEAD not known, or not covered by a signed URL.
_HEAD_REFUSED = frozenset({400, 403, 405, 501})


class Upstream:
    """One remote. Every deadline is an absolute time of the loop's clock, in seconds.

    All questions raise RemoteFailed, in words that name the remote and the cause and hold no secret. `pace`: how slow
    a file may be. `memory` and `lookup` (which resolves names) are for tests.
    """

    def __init__(
        self,
        settings: RemoteSettings,
        *,
        observe: Observer,
        pace: Pace = _STEADY,
        memory: FailureMemory | None = None,
        lookup: Lookup | None = None,
    ) -> None:
        """Raises ValueError where the URL of the settings cannot be asked."""
        self.settings = settings
        self._pace = pace
        try:
            self._exchange = Exchange(settings, observe, lookup=lookup)
        except Trouble as trouble:
            raise ValueError(f"remote {settings.name}: its url {trouble.why}") from trouble
        self._asking = Asking(
            self._exchange,
            FailureMemory() if memory is None else memory,
            remote=settings.name,
            retries=settings.retries,
        )

    @property
    def name(self) -> str:
        return self.settings.name

    async def page(
        self, project: ProjectName, validators: Validators, *, deadline: float
    ) -> PageFound | Unchanged | Missing:
        """The project's page, or that it is as `validators` say, or that the remote knows no such project."""

        async def judge(answer: Answer) -> PageFound:
            body = await bodies.read(answer, limit=PAGE_LIMIT, silence=self.settings.read_timeout, deadline=deadline)
            if not (answer.framed or bodies.is_gzipped(answer) or _looks_whole(body)):
                raise wrong("its page ends early", again=True)
            return PageFound(body, answer.content_type, answer.url, answer.validators)

        ask = partial(_question, "page", f"{self.settings.url}{project}/", deadline, ACCEPT_PAGE)
        return await self._conditional(ask, judge, validators, missing=self.settings.missing_status)

    async def small(
        self,
        url: str,
        *,
        kind: Kind,
        limit: int,
        deadline: float,
        validators: Validators = _NOTHING,
        accept: str = "*/*",
    ) -> SmallFound | Unchanged | Missing:
        """A document of at most `limit` bytes: core metadata, attestations, the JSON API, a signature."""

        async def judge(answer: Answer) -> SmallFound:
            body = await bodies.read(answer, limit=limit, silence=self.settings.read_timeout, deadline=deadline)
            return SmallFound(body, answer.content_type, answer.validators)

        ask = partial(_question, kind, url, deadline, accept)
        return await self._conditional(ask, judge, validators, missing=_GONE | self.settings.missing_status)

    async def list_to(self, path: Path, validators: Validators, *, deadline: float) -> ListFound | Unchanged | Missing:
        """The list of projects, decoded into a file made at `path`; without ListFound there is no file.

        Raises StoreTrouble where it cannot be written.
        """

        async def judge(answer: Answer) -> ListFound:
            await bodies.write(answer, path, limit=LIST_LIMIT, silence=self.settings.read_timeout, deadline=deadline)
            return ListFound(answer.content_type, answer.url, answer.validators)

        ask = partial(_question, "list", self.settings.url, deadline, ACCEPT_PAGE)
        return await self._conditional(ask, judge, validators, missing=_GONE | self.settings.missing_status)

    @asynccontextmanager
    async def stream(
        self,
        url: str,
        *,
        start: int = 0,
        end: int | None = None,
        if_range: str | None = None,
        kind: Kind = "file",
        deadline: float | None = None,
    ) -> AsyncIterator[FileStream]:
        """The file from byte `start` to byte `end` inclusive, on condition of the validator `if_range`.

        `deadline` (default: the connect and the read timeout from now) bounds the way to the head of the answer, with
        its retries. What breaks later is raised by `chunks` and not retried. Raises FileUnknown.
        """
        headers = {"Accept-Encoding": "identity"}
        part = ranges.asked(start, end)
        if part is not None:
            headers["Range"] = part
            if if_range is not None:
                headers["If-Range"] = if_range

        async def judge(answer: Answer) -> FileStream:
            if answer.status not in _OK:
                self._refuse_file(answer)
            span = ranges.span(answer.status, answer.headers, answer.length, start=start, end=end)
            if answer.status == HTTPStatus.PARTIAL_CONTENT:
                ranges.check_condition(if_range, answer.validators)
            silence = self.settings.read_timeout
            return FileStream(answer, span, silence=silence, pace=self._pace, failed=self._asking.as_error)

        question = Question(kind, url, self._head_deadline(deadline), headers)
        stream = await self._asking.ask(question, judge, keep_open=True)
        try:
            yield stream
        except BaseException as exc:
            stream.close(exc)
            raise
        else:
            stream.close()

    async def head(self, url: str, *, kind: Kind = "file", deadline: float | None = None) -> FileHead:
        """Size and validators of a file, without its bytes. Raises FileUnknown."""
        until = self._head_deadline(deadline)
        headers = {"Accept-Encoding": "identity"}
        found = await self._asking.ask(Question(kind, url, until, headers, "HEAD"), self._judge_head)
        if found is None:
            # The first byte's answer tells the whole length.
            question = Question(kind, url, until, {**headers, "Range": "bytes=0-0"})
            found = await self._asking.ask(question, self._judge_first_byte)
        return found

    async def close(self) -> None:
        """Closes all connections; what is under way fails."""
        await self._exchange.close()

    async def _judge_head(self, answer: Answer) -> FileHead | None:
        """None where the remote refuses HEAD, or does not tell the size; some answer 0."""
        if answer.status == HTTPStatus.OK and answer.length:
            return FileHead(answer.length, answer.validators, ranges.accepted(200, answer.headers))
        if answer.status == HTTPStatus.OK or answer.status in _HEAD_REFUSED:
            return None
        return self._refuse_file(answer)

    async def _judge_first_byte(self, answer: Answer) -> FileHead:
        if answer.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return FileHead(ranges.total_of_none(answer.headers), answer.validators, accepts_ranges=True)
        if answer.status not in _OK:
            self._refuse_file(answer)
        span = ranges.span(answer.status, answer.headers, answer.length, start=0, end=0)
        return FileHead(span.total, answer.validators, ranges.accepted(answer.status, answer.headers))

    async def _conditional(
        self,
        ask: Callable[[Validators], Question],
        judge: Judge[T],
        validators: Validators,
        *,
        missing: frozenset[int],
    ) -> T | Unchanged | Missing:
        """GET on condition of the validators, and once more without any where the 304 cannot be meant so."""
        known = validators

        async def judge_status(answer: Answer) -> T | Unchanged | Missing | None:
            if answer.status == _FOUND:
                return await judge(answer)
            if answer.status == _NOT_MODIFIED:
                return _unchanged(known, answer.validators)
            if answer.status in missing:
                return Missing(answer.status)
            raise _refusal(answer)

        found = await self._asking.ask(ask(known), judge_status)
        if found is None:
            known = _NOTHING
            found = await self._asking.ask(ask(known), judge_status)
        if found is None:
            raise RemoteFailed(self.name, "answered 304 Not Modified where nothing was to compare with")
        return found

    def _refuse_file(self, answer: Answer) -> NoReturn:
        """Raises FileUnknown or Trouble for an answer that holds no file."""
        if answer.status in _GONE or answer.status in self.settings.missing_status:
            raise FileUnknown(f"remote {self.name}: answered {answer.status}, it has no such file")
        raise _refusal(answer)

    def _head_deadline(self, deadline: float | None) -> float:
        if deadline is not None:
            return deadline
        return asyncio.get_running_loop().time() + self.settings.connect_timeout + self.settings.read_timeout


def _refusal(answer: Answer) -> Trouble:
    return retry.refusal(answer.status, answer.headers, now=datetime.now(UTC))


def _question(kind: Kind, url: str, deadline: float, accept: str, known: Validators) -> Question:
    fields = {"Accept": accept, "Accept-Encoding": "gzip"}
    if known.etag is not None:
        fields["If-None-Match"] = known.etag
    if known.last_modified is not None:
        fields["If-Modified-Since"] = known.last_modified
    return Question(kind, url, deadline, fields)


def _unchanged(known: Validators, told: Validators) -> Unchanged | None:
    """None for a 304 to a question without conditions, or one that names another state than was asked about."""
    if not known or (known.etag and told.etag and _opaque(known.etag) != _opaque(told.etag)):
        return None
    return Unchanged(Validators(told.etag or known.etag, told.last_modified or known.last_modified))


def _opaque(etag: str) -> str:
    """What the weak comparison compares (RFC 9110 §8.8.3.2)."""
    return etag.removeprefix("W/")


def _looks_whole(body: bytes) -> bool:
    """Whether a page that nothing frames but the end of its connection has an end of its own."""
    end = body[-4096:].rstrip().lower()
    return end.endswith(b"}") or b"</html>" in end

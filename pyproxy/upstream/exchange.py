"""One request to a remote and its answer: connections, credentials, time limits, and redirects hop by hop."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace

import aiohttp
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse
from multidict import CIMultiDict

from pyproxy import __version__
from pyproxy.upstream import tls
from pyproxy.upstream.answer import Answer, outcome
from pyproxy.upstream.reach import Lookup, Reach
from pyproxy.upstream.slots import Slots
from pyproxy.upstream.trouble import Broken, Trouble, from_exception
from pyproxy.upstream.urls import Target, admitted, redirected, target
from pyproxy.upstream.values import Kind, Observer, RemoteSettings

MOST_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}

# A body of 500 MB/s fills this in a millisecond; more would only be memory per download.
_BUFFER = 512 * 1024
_MOST_HEADERS = 128
_LONGEST_HEADER = 8190

# A connection that was kept alive may have been closed at the other end just now, or hold what came too much after the
# answer before. That is no failure of this request.
_STALE_CONNECTIONS = 3


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked of a remote. `deadline` (the loop's time) bounds all waiting until the head of the answer."""

    kind: Kind
    target: Target
    deadline: float
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)


class Exchange:
    """The connections of one remote. Made anywhere, used on one loop, closed there."""

    def __init__(self, settings: RemoteSettings, observe: Observer, *, lookup: Lookup | None = None) -> None:
        self._settings = settings
        self._observe = observe
        self.origin = target(settings.url).origin
        self._reach = Reach(self.origin, proxied=settings.proxy is not None, lookup=lookup)
        self._slots = Slots(settings.max_connections)
        self._own_headers = _own_headers(settings)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._contexts: tls.Contexts | None = None
        self._loading = asyncio.Lock()

    async def send(self, ask: Ask) -> Answer:
        """The answer, redirects followed. Raises Trouble; what it answers is for the caller to judge."""
        release = await self._place(ask)
        try:
            return await self._follow(ask, release)
        except BaseException:
            release()
            raise

    async def _place(self, ask: Ask) -> Callable[[], None]:
        """A place among the remote's requests. Raises Trouble where none becomes free in time."""
        if self._slots.is_free(ask.kind):
            return await self._slots.take(ask.kind)
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            async with asyncio.timeout_at(ask.deadline):
                return await self._slots.take(ask.kind)
        except TimeoutError as exc:
            why = f"no free connection within {loop.time() - began:.1f} s ({self._settings.max_connections} in use)"
            raise Trouble(why, ours=True, timeout=True) from exc

    async def _follow(self, ask: Ask, release: Callable[[], None]) -> Answer:
        here = ask.target
        for _ in range(MOST_REDIRECTS + 1):
            if not admitted(here.origin, self.origin, self._settings.file_hosts):
                raise Trouble("led to a host that file_hosts does not name")
            try:
                answer = await self._hop(here, ask, release)
            except Trouble as trouble:
                # Where a redirect leads may be down, and the origin that was asked is not.
                trouble.unconnected = trouble.unconnected and here.origin == ask.target.origin
                raise
            if answer.status not in _REDIRECTS:
                return answer
            location = answer.headers.get("Location")
            answer.drop()
            here = redirected(here, location)
        raise Trouble(f"redirected more than {MOST_REDIRECTS} times")

    async def _hop(self, here: Target, ask: Ask, release: Callable[[], None]) -> Answer:
        loop = asyncio.get_running_loop()
        stale = 0
        while True:
            hop = _Hop(loop.time(), self._settings, ask.deadline)
            try:
                response = await hop.within(self._respond(here, ask, hop))
            except Broken as exc:
                if hop.reused and stale < _STALE_CONNECTIONS:
                    stale += 1
                    continue
                self._tell(ask.kind, "error", loop.time() - hop.began)
                raise from_exception(exc) from exc
            except BaseException as exc:
                if hop.tried:
                    self._tell(ask.kind, outcome(exc) or "error", loop.time() - hop.began)
                raise
            headed = loop.time()

            def tell(status: str, hop: _Hop = hop, headed: float = headed) -> None:
                ended = headed if ask.kind == "file" else loop.time()
                self._tell(ask.kind, status, ended - hop.began)

            return Answer(response, here, tell=tell, release=release)

    async def _respond(self, here: Target, ask: Ask, hop: _Hop) -> ClientResponse:
        await self._reach.check(here.origin)
        own = here.origin == self.origin
        context = await self._context(own=own) if here.origin.scheme == "https" else True
        session = self._open()
        hop.tried = True
        try:
            return await session.request(
                ask.method,
                here.url,
                headers=self._headers(ask.headers, own=own),
                allow_redirects=False,
                ssl=context,
                trace_request_ctx=hop,
            )
        except (aiohttp.ClientError, OSError) as exc:
            raise from_exception(exc) from exc

    def _headers(self, asked: Mapping[str, str], *, own: bool) -> CIMultiDict[str]:
        headers = CIMultiDict({"User-Agent": f"pyproxy/{__version__}", "Accept": "*/*"})
        if own:
            headers.update(self._own_headers)
        # Last, since the body is read by what these ask for.
        headers.update(asked)
        return headers

    def _open(self) -> aiohttp.ClientSession:
        if self._closed:
            raise Trouble("its connections were closed", ours=True)
        if self._session is None:
            # Slots count the requests, so the pool has no limit of its own: a second queue would hide who waits.
            connector = aiohttp.TCPConnector(limit=0, resolver=self._reach, timeout_ceil_threshold=float("inf"))
            trace = aiohttp.TraceConfig()
            trace.on_connection_create_end.append(_connected)
            trace.on_connection_reuseconn.append(_reused)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(),  # none: every wait here has a limit of its own
                auto_decompress=False,
                trust_env=False,
                proxy=self._settings.proxy,
                read_bufsize=_BUFFER,
                max_line_size=_LONGEST_HEADER,
                max_field_size=_LONGEST_HEADER,
                max_headers=_MOST_HEADERS,
                middlewares=(_once,),
                trace_configs=[trace],
            )
        return self._session

    async def _context(self, *, own: bool) -> ssl.SSLContext:
        async with self._loading:
            if self._contexts is None:
                self._contexts = await asyncio.to_thread(tls.contexts, self._settings)
        return self._contexts.own if own else self._contexts.other

    def _tell(self, kind: Kind, status: str, seconds: float) -> None:
        self._observe.asked(self._settings.name, kind, status, seconds)

    async def close(self) -> None:
        """Ends what is under way; nothing can be asked any more."""
        self._closed = True
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Hop:
    """The clock of one request: so long to connect, then so long to the head, and never past the deadline."""

    def __init__(self, began: float, settings: RemoteSettings, deadline: float) -> None:
        self.began = began
        self.tried = False
        self.reused = False
        self._settings = settings
        self._deadline = deadline
        self._connected: float | None = None
        self._limit = asyncio.timeout_at(min(began + settings.connect_timeout, deadline))

    async def within(self, responding: Coroutine[None, None, ClientResponse]) -> ClientResponse:
        """Raises Trouble when time is up."""
        try:
            async with self._limit:
                return await responding
        except TimeoutError as exc:
            now = asyncio.get_running_loop().time()
            if self._connected is not None:
                raise Trouble(f"no answer within {now - self._connected:.1f} s", again=True, timeout=True) from exc
            waited = now - self.began
            # Where the deadline left little time, nothing is known of the remote.
            hurried = waited < 0.9 * self._settings.connect_timeout
            raise Trouble(
                f"no connection within {waited:.1f} s", again=True, unconnected=True, ours=hurried, timeout=True
            ) from exc

    def connected(self, *, reused: bool) -> None:
        now = asyncio.get_running_loop().time()
        self._connected, self.reused = now, reused
        self._limit.reschedule(min(now + self._settings.read_timeout, self._deadline))


async def _connected(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.connected(reused=False)


async def _reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: object) -> None:
    context.trace_request_ctx.connected(reused=True)


async def _once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Keeps aiohttp from repeating a request by itself, uncounted, when a connection breaks: not for `Broken`."""
    try:
        return await handler(request)
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError, aiohttp.ClientResponseError) as exc:
        raise Broken from exc


def _own_headers(settings: RemoteSettings) -> CIMultiDict[str]:
    headers = CIMultiDict(settings.headers)
    if settings.username is not None or settings.password is not None:
        pair = f"{settings.username or ''}:{settings.password or ''}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return headers

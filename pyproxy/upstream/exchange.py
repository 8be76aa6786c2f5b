"""One request to a remote and its answer: credentials, time limits, and redirects hop by hop."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from aiohttp import ClientRequest
from multidict import CIMultiDict
from yarl import URL

from pyproxy import __version__
from pyproxy.upstream import tls
from pyproxy.upstream.answer import Answer, outcome
from pyproxy.upstream.connections import BROKEN, Channel, Connections, Route
from pyproxy.upstream.heads import Heads
from pyproxy.upstream.reach import Lookup, Reach
from pyproxy.upstream.slots import Slots
from pyproxy.upstream.trouble import Trouble, from_exception
from pyproxy.upstream.urls import Target, admitted, redirected, target
from pyproxy.upstream.values import Kind, Observer, RemoteSettings

MOST_REDIRECTS = 5
_REDIRECTS = {301, 302, 303, 307, 308}

# More hosts than a remote has. All are forgotten beyond it: each takes a tenth of a millisecond to find again.
_MOST_ROUTES: Final = 64


class Question(NamedTuple):
    """`deadline` (the loop's time) bounds the waiting for the head of an answer, pauses and attempts included."""

    kind: Kind
    url: str
    deadline: float
    headers: Mapping[str, str]
    method: str = "GET"


class Exchange:
    """Requests to one remote. Made anywhere, used on one loop, closed there."""

    def __init__(self, settings: RemoteSettings, observe: Observer, *, lookup: Lookup | None = None) -> None:
        self._settings = settings
        self._observe = observe
        self.origin = target(settings.url).origin
        self._reach = Reach(self.origin, proxied=settings.proxy is not None, lookup=lookup)
        self._slots = Slots(settings.max_connections)
        self._connections: Connections | None = None
        self._closed = False
        self._routes: dict[str, Route] = {}  # by the base of a target
        self._contexts: tls.Contexts | None = None
        self._loading = asyncio.Lock()

    async def send(self, question: Question, to: Target) -> Answer:
        """The answer, redirects followed. Raises Trouble; what it answers is for the caller to judge."""
        release = self._slots.free(question.kind) or await self._place(question)
        try:
            return await self._follow(question, to, release)
        except BaseException:
            release()
            raise

    async def _place(self, question: Question) -> Callable[[], None]:
        """A place among the remote's requests. Raises Trouble where none becomes free in time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            return await self._slots.take(question.kind, until=question.deadline)
        except TimeoutError as exc:
            why = f"no free connection within {loop.time() - began:.1f} s ({self._settings.max_connections} in use)"
            raise Trouble(why, ours=True, timeout=True) from exc

    async def _follow(self, question: Question, to: Target, release: Callable[[], None]) -> Answer:
        here = to
        for _ in range(MOST_REDIRECTS + 1):
            if not admitted(here.origin, self.origin, self._settings.file_hosts):
                raise Trouble("led to a host that file_hosts does not name")
            try:
                answer = await self._hop(here, question, release)
            except Trouble as trouble:
                # Where a redirect leads may be down, and the origin that was asked is not.
                trouble.unconnected = trouble.unconnected and here.origin == to.origin
                raise
            if answer.status not in _REDIRECTS:
                return answer
            location = answer.headers.get("Location")
            answer.drop()
            here = redirected(here, location)
        raise Trouble(f"redirected more than {MOST_REDIRECTS} times")

    async def _hop(self, here: Target, question: Question, release: Callable[[], None]) -> Answer:
        loop = asyncio.get_running_loop()
        kept = self._kept(here)
        while True:
            began = loop.time()
            channel, asked = kept, began
            if channel is None:
                channel, asked = await self._connect(here, question, began), loop.time()
            until = min(asked + self._settings.read_timeout, question.deadline)
            try:
                heard = await channel.ask(question.method, here.path, question.headers, until=until)
            except BROKEN as exc:
                if kept is not None:
                    # Closed at the other end just now, most likely, which is no failure of this request.
                    kept = None
                    continue
                self._tell(question.kind, "error", loop.time() - began)
                raise from_exception(exc) from exc
            except BaseException as exc:
                self._tell(question.kind, outcome(exc) or "error", loop.time() - began)
                raise
            headed = loop.time()

            def tell(status: str, began: float = began, headed: float = headed) -> None:
                ended = headed if question.kind == "file" else loop.time()
                self._tell(question.kind, status, ended - began)

            return Answer(channel, heard, here, tell=tell, release=release)

    def _kept(self, here: Target) -> Channel | None:
        """A connection that is open already, if this remote may still lead there."""
        route = self._routes.get(here.base)
        if route is None or self._connections is None or not self._reach.admits(here.origin):
            return None
        return self._connections.kept(route)

    async def _connect(self, here: Target, question: Question, began: float) -> Channel:
        """A new connection. Raises Trouble."""
        loop = asyncio.get_running_loop()
        tried = False
        try:
            async with asyncio.timeout_at(min(began + self._settings.connect_timeout, question.deadline)):
                route = await self._route(here)
                connections = self._open()
                tried = True
                return await connections.connect(route)
        except TimeoutError as exc:
            waited = loop.time() - began
            if tried:
                self._tell(question.kind, "timeout", waited)
            # Where the deadline left little time, nothing is known of the remote.
            hurried = waited < 0.9 * self._settings.connect_timeout
            raise Trouble(
                f"no connection within {waited:.1f} s", again=True, unconnected=True, ours=hurried, timeout=True
            ) from exc
        except BaseException as exc:
            if tried:
                self._tell(question.kind, outcome(exc) or "error", loop.time() - began)
            raise

    async def _route(self, here: Target) -> Route:
        """Raises Trouble where this remote may not lead there, or its certificates cannot be loaded."""
        await self._reach.check(here.origin)
        own = here.origin == self.origin
        context = await self._context(own=own) if here.origin.scheme == "https" else None
        route = self._routes.get(here.base)
        if route is None:
            if len(self._routes) >= _MOST_ROUTES:
                self._routes.clear()
            route = self._routes[here.base] = self._new_route(here, context, own=own)
        return route

    def _new_route(self, here: Target, context: ssl.SSLContext | None, *, own: bool) -> Route:
        proxy = URL(self._settings.proxy) if self._settings.proxy is not None else None
        request = ClientRequest("GET", URL(here.base, encoded=True), ssl=context or True, proxy=proxy)
        fields = CIMultiDict({"Host": request.headers["Host"], "User-Agent": f"pyproxy/{__version__}"})
        if own:
            fields.update(_own_headers(self._settings))
        if proxy is None or here.origin.scheme == "https":
            return Route(request, Heads(fields))
        # What is said to the proxy; for https aiohttp says it, before the tunnel is there.
        credentials = ClientRequest("GET", proxy).headers.get("Authorization")
        if credentials is not None:
            fields["Proxy-Authorization"] = credentials
        return Route(request, Heads(fields, before_path=here.base))

    def _open(self) -> Connections:
        if self._closed:
            raise Trouble("its connections were closed", ours=True)
        if self._connections is None:
            self._connections = Connections(self._reach)
        return self._connections

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
        if self._connections is not None:
            await self._connections.close()
            self._connections = None


def _own_headers(settings: RemoteSettings) -> CIMultiDict[str]:
    headers = CIMultiDict(settings.headers)
    if settings.username is not None or settings.password is not None:
        pair = f"{settings.username or ''}:{settings.password or ''}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    return headers

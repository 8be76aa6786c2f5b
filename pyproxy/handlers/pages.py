"""Project pages and the list of projects: negotiation, validators and what a client may keep."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from urllib.parse import quote, unquote

from aiohttp import web

from pyproxy.encoding import choose_coding
from pyproxy.handlers.conditions import if_none_match
from pyproxy.handlers.exchange import Exchange, Repeats
from pyproxy.handlers.fields import field
from pyproxy.handlers.guard import refusal
from pyproxy.handlers.respond import send_whole
from pyproxy.index.patience import PATIENCE
from pyproxy.model import File, ProjectName, as_project, version_of
from pyproxy.renderings import Look
from pyproxy.simple_api import Kind, negotiate
from pyproxy.site import Distribution

SHORTEST = 0.5
"""Seconds left for the rendering where the fetching has taken all of them."""

LASTS = 600.0
"""Seconds that a redirect stands: nothing but the configuration could change it."""

VARY = "Accept, Accept-Encoding"


async def project_list(exchange: Exchange, distribution: Distribution) -> web.StreamResponse:
    """`/simple/`: every project that a remote of the distribution lists. Tens of megabytes, so a file on disk."""
    request = exchange.request
    kind = _negotiated(request)
    if kind is None:
        return not_acceptable(exchange)
    loop = asyncio.get_running_loop()
    latest = loop.time() + PATIENCE
    served = await distribution.index.projects()
    exchange.result = served.result
    coding = choose_coding(field(request, "Accept-Encoding"))
    rendered = await exchange.site.lists.get(served.value, patience=max(SHORTEST, latest - loop.time()))
    headers = page_headers(exchange, rendered.etag(kind, coding), served.fresh_for)
    if if_none_match(field(request, "If-None-Match"), headers["ETag"]):
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = kind.content_type
    if coding != "identity":
        headers["Content-Encoding"] = coding
    with rendered.open(kind, coding) as file:
        return await send_whole(exchange, file.fileno(), os.fstat(file.fileno()).st_size, headers)


async def project_page(
    exchange: Exchange, distribution: Distribution, name: str, *, slash: bool, files: str
) -> web.StreamResponse:
    """`/simple/{project}/`. `slash`: the path ended in one; `files`: the relative way from the page to its files."""
    request = exchange.request
    project = as_project(name)
    if name != project or not slash:
        # PEP 503: "a server SHOULD redirect"; relative, so that any prefix before us keeps working.
        exchange.repeats = Repeats(LASTS, project)
        return redirect(f"../{project}/" if slash else f"{project}/", request.rel_url.raw_query_string)
    kind = _negotiated(request)
    if kind is None:
        return not_acceptable(exchange)
    served = await distribution.index.page(project)
    exchange.result = served.result
    coding = choose_coding(field(request, "Accept-Encoding"))
    renderings = exchange.site.renderings
    rendering, coding = await renderings.get(
        Look(distribution.base_path, project, kind, files),
        served.value,
        coding,
        _provenance(exchange, distribution, project),
    )
    headers = page_headers(exchange, rendering.etag(coding), served.fresh_for)
    exchange.repeats = Repeats(unchanged_for(headers["Cache-Control"], served.fresh_for), project)
    if if_none_match(field(request, "If-None-Match"), headers["ETag"]):
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = kind.content_type
    if coding != "identity":
        headers["Content-Encoding"] = coding
    return web.Response(body=renderings.body(rendering, coding), headers=headers)


def page_headers(exchange: Exchange, etag: str, fresh_for: float) -> dict[str, str]:
    """What every page answer says."""
    return {
        "ETag": etag,
        "Cache-Control": keeps_for(exchange, fresh_for),
        "Vary": VARY,
        "X-Content-Type-Options": "nosniff",
    }


def keeps_for(exchange: Exchange, fresh_for: float) -> str:
    """The value of Cache-Control. A stale answer may not be kept: the next ask may find the remote well.

    Where uploads may come, a client asks each time (pip and uv obey it): an upload must be seen at once.
    """
    if fresh_for <= 0:
        return "no-store"
    always_asks = exchange.distribution is not None and exchange.distribution.always_asks
    return exchange.kept_by("no-cache" if always_asks else f"max-age={int(fresh_for)}")


def unchanged_for(cache_control: str, fresh_for: float) -> float:
    """For how long these directives stand: until the page is fresh for a whole second less, where they count them."""
    return fresh_for % 1.0 if "max-age" in cache_control else fresh_for


def redirect(location: str, query: str = "") -> web.Response:
    """301 to a relative reference, the query kept. No URL is ever built from a Host header."""
    return web.Response(
        status=301, headers={"Location": f"{location}?{query}" if query else location, "Cache-Control": "max-age=3600"}
    )


def not_acceptable(exchange: Exchange) -> web.Response:
    """PEP 691: 406, and never 300, where nothing fits."""
    exchange.result = "denied"
    types = ", ".join(kind.content_type.partition(";")[0] for kind in Kind)
    return refusal(406, f"this page is served as {types}")


def _negotiated(request: web.BaseRequest) -> Kind | None:
    return negotiate(field(request, "Accept"), _format(request.rel_url.raw_query_string))


def _format(query: str) -> str | None:
    """The `format` parameter; the `+` of a media type is a plus, typed as it is or encoded."""
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if name == "format":
            return unquote(value)
    return None


def _provenance(
    exchange: Exchange, distribution: Distribution, project: ProjectName
) -> Callable[[File], str | None] | None:
    """How a page names a file's provenance: PEP 740 wants it absolute, so only where public_url is set."""
    public_url = exchange.site.public_url
    if public_url is None:
        return None

    def url(file: File) -> str | None:
        version = version_of(file.filename, project)
        if version is None:
            return None  # the path has a version in it
        parts = quote(f"{project}/{version}/{file.filename}")
        return f"{public_url}/pypi/{distribution.base_path}/integrity/{parts}/provenance"

    return url

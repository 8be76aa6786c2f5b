"""The pages for people, over the same index that tools read."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor
from functools import partial

from aiohttp import web

from pyproxy.errors import PyproxyError, StoreTrouble
from pyproxy.handlers.access import listed
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.markup import CONTENT_SECURITY_POLICY
from pyproxy.handlers.pages import redirect
from pyproxy.handlers.search import matching
from pyproxy.handlers.web import SHOWN_LIMIT, DistributionView, distribution_page, project_page, root_page
from pyproxy.model import as_project
from pyproxy.site import Distribution, Site

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}


async def root(exchange: Exchange) -> web.StreamResponse:
    """`/`: what is served to who asks, and how to use it."""
    shown = [_view(exchange.site, distribution) for distribution in await listed(exchange)]
    return _page(root_page(shown), "private, no-cache")


async def distribution(exchange: Exchange, asked: Distribution) -> web.StreamResponse:
    """`/pypi/{base_path}/`: how to use it, and a search over its projects (`?q=`)."""
    query = exchange.request.query.get("q", "")[:200].strip()
    matches: list[str] | None = None
    trouble: str | None = None
    if query:
        try:
            matches = await _search(asked, query, exchange.site.machinery.search)
        except PyproxyError as exc:
            trouble = str(exc)
    return _page(
        distribution_page(_view(exchange.site, asked), query=query, matches=matches, trouble=trouble),
        exchange.kept_by("no-cache"),
    )


async def project(exchange: Exchange, asked: Distribution, name: str, *, slash: bool) -> web.StreamResponse:
    """`/pypi/{base_path}/project/{project}/`: its versions and files."""
    normal = as_project(name)
    if name != normal or not slash:
        return redirect(f"../{normal}/" if slash else f"{normal}/", exchange.request.rel_url.raw_query_string)
    served = await asked.index.page(normal)
    exchange.result = served.result
    text = await asyncio.get_running_loop().run_in_executor(
        None, project_page, _view(exchange.site, asked), served.value
    )
    return _page(text, exchange.kept_by("no-cache"))


async def _search(asked: Distribution, query: str, executor: Executor) -> list[str]:
    lists = (await asked.index.projects()).value.values()
    search = partial(matching, [it.path for it in lists], query, SHOWN_LIMIT + 1, sieves=[it.sieves for it in lists])
    try:
        return await asyncio.get_running_loop().run_in_executor(executor, search)
    except OSError as exc:  # replaced by a newer one just now, say
        raise StoreTrouble(f"the list of projects cannot be read: {exc.strerror}") from exc


def _view(site: Site, asked: Distribution) -> DistributionView:
    return DistributionView(
        name=asked.name,
        base_path=asked.base_path,
        labels=asked.labels,
        remotes=asked.remotes,
        default=asked.default,
        hidden=asked.hidden,
        takes_uploads=asked.takes_uploads,
        public_url=site.public_url,
    )


def _page(text: str, cache_control: str) -> web.StreamResponse:
    return web.Response(body=text.encode(), headers={**HEADERS, "Cache-Control": cache_control})

"""The pages for people, over the same index that tools read."""

from __future__ import annotations

import asyncio

from aiohttp import web

from pyproxy.errors import PyproxyError, StoreTrouble
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.markup import CONTENT_SECURITY_POLICY
from pyproxy.handlers.pages import redirect
from pyproxy.handlers.web import DistributionView, distribution_page, project_page, root_page
from pyproxy.model import as_project, normalised
from pyproxy.site import Distribution, Site

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Cache-Control": "no-cache",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}

FOUND = 500
"""Names that a search shows at the most."""


async def root(exchange: Exchange) -> web.StreamResponse:
    """`/`: what is served, and how to use it."""
    site = exchange.site
    return _page(exchange, root_page([_view(site, d) for d in site.distributions.values() if not d.hidden]))


async def distribution(exchange: Exchange, asked: Distribution) -> web.StreamResponse:
    """`/pypi/{base_path}/`: how to use it, and a search over its projects (`?q=`)."""
    query = exchange.request.query.get("q", "")[:200].strip()
    matches: list[str] | None = None
    trouble: str | None = None
    if query:
        try:
            matches = await _search(asked, query)
        except PyproxyError as exc:
            trouble = str(exc)
    return _page(
        exchange, distribution_page(_view(exchange.site, asked), query=query, matches=matches, trouble=trouble)
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
    return _page(exchange, text)


async def _search(asked: Distribution, query: str) -> list[str]:
    lists = (await asked.index.projects()).value
    wanted = normalised(query)

    def scan() -> list[str]:
        found: dict[str, str] = {}
        for names in lists.values():
            with names.path.open(encoding="utf-8") as lines:
                for line in lines:
                    name = line.rstrip("\n")
                    if wanted in normalised(name):
                        found.setdefault(normalised(name), name)
        # The name itself first, then those that begin with it, each group by name.
        ranked = sorted(found, key=lambda name: (name != wanted, not name.startswith(wanted), name))
        return [found[name] for name in ranked[: FOUND + 1]]

    try:
        return await asyncio.get_running_loop().run_in_executor(None, scan)
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
        public_url=site.public_url,
    )


def _page(exchange: Exchange, text: str) -> web.StreamResponse:
    body = text.encode()
    exchange.sent = 0 if exchange.is_head else len(body)
    return web.Response(body=body, headers=HEADERS)

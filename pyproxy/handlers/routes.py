"""Which handler answers which path (CONTRACT of URLs), from the path as it stands in the request.

Segments are decoded one by one, after the split: an encoded slash never makes a new segment.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from aiohttp import web

from pyproxy.auth import Decision
from pyproxy.errors import DistributionUnknown, NotThere
from pyproxy.handlers import explain, files, json_api, ops, pages, people, provenance, upload
from pyproxy.handlers.access import may, refused
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.guard import refusal
from pyproxy.metrics import RequestKind
from pyproxy.model import printable
from pyproxy.site import Distribution, Site

Simple = Callable[[Exchange], Awaitable[web.StreamResponse]]

_ENDS: tuple[list[str], ...] = ([], [""])
"""What may stand behind the last name of a path: nothing, or a slash."""

READS: tuple[str, ...] = ("GET", "HEAD")

_UPLOADS: tuple[list[str], ...] = ([], [""], ["legacy"], ["legacy", ""], ["simple"], ["simple", ""])
"""Where uploads go: with and without the closing slash, for no client follows a redirect of a POST."""

_OPERATIONS: dict[str, Simple] = {
    "metrics": ops.metrics,
    "healthz": ops.health,
    "readyz": ops.readiness,
    "distributions": ops.distributions,
}


async def answer(exchange: Exchange) -> web.StreamResponse:
    """The answer to a request. Raises the errors of pyproxy.errors for those that have none."""
    segments = exchange.request.raw_path.partition("?")[0].removeprefix("/").split("/")
    reads = exchange.request.method in READS
    match segments:
        case [""] if reads:
            return await people.root(exchange)
        case [name] if name in _OPERATIONS and reads:
            return await _OPERATIONS[name](exchange)
        case ["simple", *rest]:
            distribution = exchange.site.default
            if distribution is None:
                raise DistributionUnknown("no distribution is the default, so nothing is served at /simple/")
            return await _distribution(
                exchange, distribution, ["simple", *rest], f"pypi/{distribution.base_path}/files/"
            )
        case ["pypi", *rest]:
            distribution, instant, below = _found(exchange.site, rest)
            return await _distribution(exchange, distribution, below, "files/", instant)
    if reads:
        raise _nothing()
    return _not_allowed(exchange)


def _found(site: Site, segments: list[str]) -> tuple[Distribution, str | None, list[str]]:
    """The distribution whose base path these segments begin with, the moment it is asked for, and what is below it.

    No base path is a leading part of another, so the first that fits is the one; a `~` and an instant may follow it.
    """
    base = ""
    for position, segment in enumerate(map(unquote, segments[: site.depth])):
        base = f"{base}/{segment}" if position else segment
        if "/" in segment:
            break
        if (found := site.distributions.get(base)) is not None:
            return found, None, segments[position + 1 :]
        name, tilde, instant = base.partition("~")
        if tilde and (found := site.distributions.get(name)) is not None:
            return found, instant, segments[position + 1 :]
    raise DistributionUnknown(f"no distribution is served under {printable(base)}")


async def _distribution(
    exchange: Exchange, distribution: Distribution, below: list[str], files_at: str, instant: str | None = None
) -> web.StreamResponse:
    exchange.distribution = distribution
    exchange.kind = _kind(below)
    if exchange.request.method not in READS:
        if exchange.request.method == "POST" and below in _UPLOADS:
            return await upload.upload(exchange, distribution, latest=instant is None)
        return _not_allowed(exchange, below)
    if (
        distribution.is_guarded
        and (decision := await may(exchange.request, distribution, "read")) is not Decision.ALLOWED
    ):
        exchange.result = "denied"
        return refused(decision, distribution, "read")
    if instant is not None:
        # Not before the guard has let the request in: this asks what was there then.
        distribution = exchange.distribution = exchange.site.as_of(distribution, instant)
    if distribution.repository is not None:
        exchange.local_stamp = exchange.site.local_stamp()
    if (answer := await _below(exchange, distribution, below, files_at)) is not None:
        return answer
    if (answer := await _documents(exchange, distribution, below)) is not None:
        return answer
    if below in _UPLOADS:
        return _not_allowed(exchange, below)
    raise _nothing()


async def _below(
    exchange: Exchange, distribution: Distribution, below: list[str], files_at: str
) -> web.StreamResponse | None:
    """The simple index, its files, and the pages for people."""
    query = exchange.request.rel_url.raw_query_string
    match below:
        case []:
            return pages.redirect(f"./{distribution.base_path.rpartition('/')[2]}/", query)
        case [""]:
            return await people.distribution(exchange, distribution)
        case ["simple"]:
            return pages.redirect("simple/", query)
        case ["simple", ""]:
            return await pages.project_list(exchange, distribution)
        case ["simple", name, *end] if end in _ENDS:
            return await pages.project_page(
                exchange, distribution, unquote(name), slash=bool(end), files=f"../../{files_at}"
            )
        case ["files", source, *path] if path:
            return await files.file(exchange, distribution, source, "/" + "/".join(path))
        case ["project", name, *end] if end in _ENDS:
            return await people.project(exchange, distribution, unquote(name), slash=bool(end))
    return None


async def _documents(exchange: Exchange, distribution: Distribution, below: list[str]) -> web.StreamResponse | None:
    """What is told of projects and files beside their pages."""
    match below:
        case ["pypi", name, "json", *end] if end in _ENDS:
            return await json_api.json_api(exchange, distribution, unquote(name), None, slash=bool(end))
        case ["pypi", name, version, "json", *end] if end in _ENDS:
            return await json_api.json_api(exchange, distribution, unquote(name), unquote(version), slash=bool(end))
        case ["explain", name, *end] if end in _ENDS:
            return await explain.explanation(exchange, distribution, unquote(name))
        case ["integrity", name, version, filename, "provenance", *end] if end in _ENDS:
            return await provenance.provenance(
                exchange, distribution, unquote(name), unquote(version), unquote(filename)
            )
    return None


def _kind(below: list[str]) -> RequestKind:
    """What a request is counted as, whatever becomes of it."""
    match below:
        case ["simple", *_]:
            return "simple"
        case ["files", *_, last]:
            return "metadata" if last.endswith(files.METADATA) else "file"
        case ["pypi" | "integrity", *_]:
            return "json"
    return "other"


def _not_allowed(exchange: Exchange, below: list[str] | None = None) -> web.StreamResponse:
    """`below`: what of the path is a distribution's, where it is."""
    exchange.result = "denied"
    allowed = READS
    if below in _UPLOADS:
        allowed = ("POST",) if below[:1] == ["legacy"] else (*READS, "POST")
    line = f"{printable(exchange.request.method, 20)} is not allowed here"
    response = refusal(405, line, {"Allow": ", ".join(allowed)})
    response.force_close()
    return response


def _nothing() -> NotThere:
    return NotThere("nothing is served at this path")

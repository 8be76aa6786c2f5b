"""The JSON API of projects and releases, as the public index lays it out, over the same Index as the simple pages."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from aiohttp import web

from pyproxy.encoding import choose_coding, compress
from pyproxy.errors import FileUnknown, NotCached, NotThere, RemoteFailed, Withheld
from pyproxy.handlers.conditions import if_none_match
from pyproxy.handlers.exchange import Exchange, Repeats
from pyproxy.handlers.fields import field
from pyproxy.handlers.pages import keeps_for, redirect, unchanged_for
from pyproxy.index.protocol import Content, Details, FileRef, Index, Served
from pyproxy.json_api import (
    Object,
    Place,
    Release,
    Releases,
    Told,
    info_from_metadata,
    info_from_page,
    read_told,
    releases_of,
    render_answer,
)
from pyproxy.model import File, ProjectName, ProjectPage, as_project, printable
from pyproxy.site import Distribution
from pyproxy.upload.examine import examine
from pyproxy.upload.refusal import UploadRefused

log = logging.getLogger(__name__)
T = TypeVar("T")

OFF_LOOP = 64 * 1024
"""Bytes from which on a document is read in a thread; and what is made of it."""

MANY = 100
"""Files of a page from which on the answer is made in a thread."""


TRIED = 3
"""Files of a release that are asked for their core metadata, until one has some."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What was found out of a project, and how long it is good for (seconds, as in Served)."""

    told: Told
    details: Details
    fresh_for: float


async def json_api(
    exchange: Exchange, distribution: Distribution, name: str, version: str | None, *, slash: bool
) -> web.StreamResponse:
    """`/pypi/{project}/json`, and with `version` `/pypi/{project}/{version}/json`. `slash`: the path ended in one."""
    project = as_project(name)
    if name != project:
        there = f"{project}/json" if version is None else f"{project}/{quote(version, safe='!+')}/json"
        up = 1 + (version is not None) + slash
        return redirect("../" * up + there, exchange.request.rel_url.raw_query_string)
    index = distribution.index
    served = await index.page(project)
    exchange.result = served.result
    page = served.value
    releases = await _in_thread(lambda: releases_of(page), large=len(page.files) >= MANY)
    release = _wanted(releases, project, version)
    known = await _known(index, project, release, version)
    info, fresh_for = await _info(index, page, release, known)
    place = Place(exchange.site.public_url or "", distribution.base_path, project)
    every = releases.all if version is None else None
    fresh_for = min(served.fresh_for, known.fresh_for, fresh_for)
    # All that goes into it is believed for as long, or is told as news of the project.
    exchange.repeats = Repeats(unchanged_for(keeps_for(exchange, fresh_for), fresh_for), project)
    return await _answer(
        exchange,
        lambda: render_answer(place, release, info, told=known.told, digests=known.details.digests, releases=every),
        fresh_for=fresh_for,
        large=len(page.files) >= MANY,
    )


def _wanted(releases: Releases, project: ProjectName, version: str | None) -> Release:
    """Raises FileUnknown where there is no such release, or none at all."""
    release = releases.newest if version is None else releases.named(version)
    if release is None:
        raise FileUnknown(f"{project} has no release {'' if version is None else printable(version, 60)}".rstrip())
    return release


async def _known(index: Index, project: ProjectName, release: Release, version: str | None) -> _Known:
    """What the remote tells of the release, and of the project where that is asked for.

    Raises RemoteFailed: that nobody could be asked for vulnerabilities must not read as that there are none.
    """
    if version is not None:
        found = await _told(index, project, release.version)
        # There are remotes that tell of projects, and not of releases.
        return found if found.told.info is not None else await _told(index, project, None)
    first = await _told(index, project, None)
    told = first.told
    if told.is_of(release.version):
        return first
    # It describes another release than the newest that is shown here: one is hidden, or yanked, or newer. Or there is
    # none that could be read: that of a project of 20,000 files is over the bound, while those of its releases are not.
    second = await _told(index, project, release.version)
    merged = Told(
        second.told.info,
        {**second.told.files, **told.files},
        second.told.vulnerabilities,
        told.ownership or second.told.ownership,
        told.last_serial or second.told.last_serial,
    )
    return _Known(merged, first.details, min(first.fresh_for, second.fresh_for))


async def _told(index: Index, project: ProjectName, version: str | None) -> _Known:
    """What the index tells, nothing where nobody is asked. Raises RemoteFailed."""
    try:
        served = await index.details(project, version)
    except (NotCached, NotThere) as exc:
        # The page is there: what else there is to tell must not take it away. Nobody may keep the answer then.
        log.info("the JSON API of %s tells only what its page says: %s", project, exc)
        served = Served(Details(), "error", 0.0)
    document = served.value.document
    if document is None:
        return _Known(Told(), served.value, served.fresh_for)
    body = document.body
    told = await _in_thread(lambda: read_told(body), large=len(body) >= OFF_LOOP)
    return _Known(told, served.value, served.fresh_for)


async def _info(index: Index, page: ProjectPage, release: Release, known: _Known) -> tuple[Object, float]:
    """What describes the release, and for how long: the remote's word, else its metadata, else what its page says.

    What is local describes itself: a remote of the same name speaks of other files.
    """
    told = known.told
    if not any(map(_is_local, release.files)) and told.info is not None and told.is_of(release.version):
        return told.info, known.fresh_for
    try:
        raw = await _metadata(index, release)
    except (RemoteFailed, NotCached) as exc:
        log.info("the JSON API of %s does without core metadata: %s", page.name, exc)
        return info_from_page(page.name, release), 0.0
    if raw is None:
        return info_from_page(page.name, release), known.fresh_for
    return await _in_thread(partial(info_from_metadata, raw, release), large=len(raw) >= OFF_LOOP), known.fresh_for


def _is_local(file: File) -> bool:
    return file.link.startswith("local/")


async def _metadata(index: Index, release: Release) -> bytes | None:
    """The core metadata of its best file: a local one first, and a wheel; None where none has any to be read.

    Raises RemoteFailed, NotCached.
    """
    # To learn what is in a remote's sdist, all of it would have to be fetched.
    telling = [file for file in release.files if file.is_wheel or file.core_metadata or _is_local(file)]
    for file in sorted(telling, key=lambda file: (not _is_local(file), not file.is_wheel))[:TRIED]:
        try:
            offered = await index.file(FileRef.from_link(file.link, file.filename))
            if file.is_wheel or file.core_metadata:
                return _bytes(await offered.metadata())
            if (found := await _pkg_info(await offered.archive(), file.filename)) is not None:
                return found
        except (NotThere, Withheld) as exc:
            log.info("no core metadata of %s: %s", file.filename, exc)
    return None


def _bytes(content: Content) -> bytes:
    if content.blob is None:
        return content.body or b""
    try:
        return os.pread(content.blob.fd, content.blob.size, 0)
    finally:
        content.blob.close()


async def _pkg_info(content: Content, filename: str) -> bytes | None:
    """Out of a local sdist, which was examined when it came; None where it was kept from elsewhere, and odd."""
    if content.blob is None:
        return None
    with os.fdopen(content.blob.fd, "rb") as archive:
        try:
            return (await asyncio.to_thread(examine, archive, filename)).metadata
        except UploadRefused as exc:
            log.info("%s has no core metadata that can be read: %s", filename, exc)
            return None


async def _answer(
    exchange: Exchange, make: Callable[[], bytes], *, fresh_for: float, large: bool
) -> web.StreamResponse:
    coding = choose_coding(field(exchange.request, "Accept-Encoding"))

    def made() -> tuple[bytes, str]:
        body = make()
        digest = hashlib.sha256(body).hexdigest()[:40]
        return compress(body, coding), f'"{digest}"' if coding == "identity" else f'"{digest}-{coding}"'

    body, etag = await _in_thread(made, large=large)
    headers = {
        "ETag": etag,
        "Cache-Control": keeps_for(exchange, fresh_for),
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }
    if if_none_match(field(exchange.request, "If-None-Match"), etag):
        return web.Response(status=304, headers=headers)
    headers["Content-Type"] = "application/json"
    if coding != "identity":
        headers["Content-Encoding"] = coding
    return web.Response(body=body, headers=headers)


async def _in_thread(call: Callable[[], T], *, large: bool) -> T:
    """In a thread where it takes long: 5 ms a megabyte of JSON, 4 ms a thousand files."""
    return await asyncio.to_thread(call) if large else call()

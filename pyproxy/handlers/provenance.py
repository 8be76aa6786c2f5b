"""Attestations of files (PEP 740), under the path that the public index uses."""

from __future__ import annotations

import asyncio
import hashlib

from aiohttp import web

from pyproxy.errors import FileUnknown, ProjectUnknown
from pyproxy.handlers.conditions import if_none_match
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.fields import field
from pyproxy.handlers.pages import keeps_for
from pyproxy.index.protocol import Document, FileRef
from pyproxy.json_api import same_version
from pyproxy.model import File, Filename, ProjectName, as_filename, as_project, printable, version_of
from pyproxy.site import Distribution

INTEGRITY = "application/vnd.pypi.integrity.v1+json"

OFF_LOOP = 256 * 1024
"""Bytes from which on a document is hashed in a thread: 256 KiB take 0.2 ms, a hop 0.1 ms."""


async def provenance(
    exchange: Exchange, distribution: Distribution, project: str, version: str, filename: str
) -> web.StreamResponse:
    """`/integrity/{project}/{version}/{filename}/provenance`: as the remote gives it."""
    normal = as_project(project)
    wanted = as_filename(filename)
    layers = distribution.layers
    try:
        served = await distribution.index.page(normal)
    except ProjectUnknown:
        layers.refuse(normal)
        raise
    file = next((file for file in served.value.files if file.filename == wanted), None)
    file = file or layers.left_out(normal, wanted)
    if file is None or not _is_of(file, normal, version):
        raise _unknown(normal, version, wanted)
    # Asked by link, so that whatever decides over the file decides over its provenance too, in the same words.
    offered = await distribution.index.file(FileRef.from_link(file.link, wanted))
    if file.provenance is None:
        raise _unknown(normal, version, wanted)
    found = await offered.provenance()
    document = found.value
    exchange.result = found.result
    etag = await _etag(document.body)
    headers = {
        "ETag": etag,
        "Cache-Control": keeps_for(exchange, min(served.fresh_for, found.fresh_for)),
        "X-Content-Type-Options": "nosniff",
    }
    if if_none_match(field(exchange.request, "If-None-Match"), etag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=document.body, headers={**headers, "Content-Type": _content_type(document)})


def _unknown(project: ProjectName, version: str, filename: Filename) -> FileUnknown:
    return FileUnknown(f"{project} {printable(version)} has no provenance of {filename}")


def _is_of(file: File, project: ProjectName, version: str) -> bool:
    """Whether the file's name has this version, however either spells it (PEP 440; PEP 427 has "_" for "-")."""
    spelled = version_of(file.filename, project)
    return spelled is not None and (spelled == version or same_version(spelled.replace("_", "-"), version))


async def _etag(body: bytes) -> str:
    digest = hashlib.sha256(body) if len(body) < OFF_LOOP else await asyncio.to_thread(hashlib.sha256, body)
    return f'"{digest.hexdigest()[:40]}"'


def _content_type(document: Document) -> str:
    """One of JSON's, whatever the remote calls it: nothing of a remote's is shown as a page of this host's."""
    return INTEGRITY if document.content_type.partition(";")[0].strip().lower() == INTEGRITY else "application/json"

"""Uploads, as twine, uv, flit, hatch, poetry and pdm send them: refused early, checked whole, durable once answered."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from aiohttp import web

from pyproxy.auth import Decision
from pyproxy.errors import BlobDamaged, FileExists, StoreFull, StoreTrouble
from pyproxy.handlers.access import is_cross_site, may, why_not
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.fields import field, wants_json
from pyproxy.handlers.form import read_form
from pyproxy.handlers.guard import NO_STORE, RETRY_AFTER, as_reason
from pyproxy.site import Distribution
from pyproxy.storage.examined_files import examined_file
from pyproxy.storage.repository import NewFile
from pyproxy.storage.temps import Temp
from pyproxy.upload.agreement import SUBMIT, action_of, check_digests, check_form, check_protocol
from pyproxy.upload.attestations import provenance
from pyproxy.upload.examine import examine
from pyproxy.upload.form import Form
from pyproxy.upload.refusal import UploadRefused


async def upload(exchange: Exchange, distribution: Distribution, *, latest: bool = True) -> web.StreamResponse:
    """One file into the distribution's repository. A refusal is one line: reason phrase, text, and JSON by Accept.

    `latest`: the distribution is asked for as it is, and not as of a moment.
    """
    exchange.kind = "upload"
    exchange.result = "error"  # where nobody is left to be answered
    try:
        repository = _repository_of(distribution, latest=latest)
        if is_cross_site(exchange.request):
            return _refusal(exchange, 403, "no upload is taken from a page of another site")
        decision = await may(exchange.request, distribution, "upload")
        if decision is not Decision.ALLOWED:
            why = why_not(decision, distribution, "upload")
            return _refusal(exchange, why.status, why.line, why.headers)
        added = await _taken(exchange, distribution, repository)
    except UploadRefused as exc:
        return _refusal(exchange, exc.status, exc.reason)
    except FileExists as exc:
        return _refusal(exchange, 409, str(exc))
    except StoreFull as exc:
        return _refusal(exchange, 507, str(exc))
    except BlobDamaged as exc:
        return _refusal(exchange, 500, str(exc))
    except StoreTrouble as exc:
        return _refusal(exchange, 503, str(exc), {"Retry-After": RETRY_AFTER})
    exchange.result = "miss" if added else "hit"
    return told(exchange.request, 200, "added" if added else "already there")


def _repository_of(distribution: Distribution, *, latest: bool) -> str:
    """Where its uploads go. Raises UploadRefused where it takes none."""
    if not latest:
        raise UploadRefused(f"distribution {distribution.name} takes no uploads as of a moment", 403)
    if not distribution.allow_uploads or distribution.repository is None:
        raise UploadRefused(f"distribution {distribution.name} takes no uploads", 403)
    if distribution.pinned is not None:
        raise UploadRefused(
            f"distribution {distribution.name} is pinned to version {distribution.pinned} of its repository", 403
        )
    return distribution.repository


async def _taken(exchange: Exchange, distribution: Distribution, repository: str) -> bool:
    """Whether the file is new. Raises UploadRefused, FileExists, StoreTrouble; nothing of it remains then."""
    site, machinery = exchange.site, exchange.site.machinery
    length = exchange.request.content_length
    if length is not None and length <= site.max_upload_size:
        # What is cached can be fetched again, so it gives way to what is kept.
        await machinery.store.cache.free_disk(length)
    temp = machinery.repositories.temp()
    try:
        form = await read_form(exchange.request, temp, limit=site.max_upload_size)
        if action_of(form) == SUBMIT:
            return False  # old clients register a project first, and expect to be told that it is done
        check_protocol(form)
        check_digests(form, form.digests)
        loop = asyncio.get_running_loop()
        new = await loop.run_in_executor(machinery.examinations, _new_file, temp, form)
        outcome = await machinery.repositories.add(repository, [new])
    finally:
        temp.discard()  # nothing is left to discard once it is added
    if outcome.added:
        machinery.collisions.added(distribution.name, new.file.project)
    return bool(outcome.added)


def _new_file(temp: Temp, form: Form) -> NewFile:
    """The file, examined and held against its form. Blocking. Raises UploadRefused."""
    digests = form.digests
    with os.fdopen(os.dup(temp.fd), "rb") as archive:
        examined = examine(archive, form.filename)
    check_form(form, examined, digests)
    attestations = form.one("attestations")
    documents = None
    if attestations is not None:
        documents = provenance(
            attestations, filename=examined.filename, sha256=digests.sha256, publisher={"kind": "pyproxy"}
        )
    return examined_file(temp, examined, digests, attestations=documents)


def _refusal(
    exchange: Exchange, status: int, reason: str, headers: Mapping[str, str] = MappingProxyType({})
) -> web.StreamResponse:
    exchange.result = "error" if status >= 500 else "denied"  # noqa: PLR2004 - the server's own trouble
    response = told(exchange.request, status, reason, headers)
    response.force_close()  # whatever is left of the body is not read
    return response


def told(
    request: web.BaseRequest, status: int, line: str, headers: Mapping[str, str] = MappingProxyType({})
) -> web.Response:
    """As uv wants it (JSON by Accept, `code` being what it prints), and as twine prints it (the reason phrase)."""
    line = " ".join(line.split())
    reason = as_reason(line) if status >= 400 else "OK"  # noqa: PLR2004 - refusals
    headers = {**NO_STORE, **headers}
    if not wants_json(field(request, "Accept") or ""):
        return web.Response(status=status, reason=reason, text=line + "\n", headers=headers)
    body = msgspec.json.encode({"message": line, "code": f"{status} {line}", "title": reason})
    return web.Response(
        status=status, reason=reason, body=body, headers={**headers, "Content-Type": "application/json"}
    )

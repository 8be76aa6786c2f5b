"""Uploads, as twine, uv, flit, hatch, poetry and pdm send them: refused early, checked whole, durable once answered."""

from __future__ import annotations

import asyncio
import os

import msgspec
from aiohttp import web

from pyproxy.auth import Decision
from pyproxy.errors import FileExists, StoreFull
from pyproxy.handlers.access import may, refused
from pyproxy.handlers.exchange import Exchange
from pyproxy.handlers.fields import field
from pyproxy.handlers.form import read_form
from pyproxy.handlers.guard import as_reason
from pyproxy.site import Distribution
from pyproxy.storage.blobs import Temp
from pyproxy.storage.examined_files import examined_file
from pyproxy.storage.repository import NewFile
from pyproxy.upload.agreement import action_of, check_digests, check_form, check_protocol
from pyproxy.upload.attestations import provenance
from pyproxy.upload.examine import Examined, examine
from pyproxy.upload.form import Form
from pyproxy.upload.refusal import UploadRefused

NO_STORE = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


async def upload(exchange: Exchange, distribution: Distribution) -> web.StreamResponse:
    """One file into the distribution's repository. A refusal is one line: reason phrase, text, and JSON by Accept."""
    exchange.kind = "upload"
    try:
        repository = _repository_of(distribution)
        decision = await may(exchange.request, distribution, "upload")
        if decision is not Decision.ALLOWED:
            exchange.result = "denied"
            response = refused(decision, distribution, "upload")
            response.force_close()  # the body is not read
            return response
        added = await _taken(exchange, repository)
    except UploadRefused as exc:
        exchange.result = "denied"
        return _refusal(exchange, exc.status, exc.reason)
    except FileExists as exc:
        exchange.result = "denied"
        return _refusal(exchange, 409, str(exc))
    except StoreFull as exc:
        exchange.result = "error"
        return _refusal(exchange, 507, str(exc))
    exchange.result = "miss" if added else "hit"
    return _answer(exchange, 200, "OK", "added" if added else "already there")


def _repository_of(distribution: Distribution) -> str:
    """Where its uploads go. Raises UploadRefused where it takes none."""
    if not distribution.allow_uploads or distribution.repository is None:
        raise UploadRefused(f"distribution {distribution.name} takes no uploads", 403)
    if distribution.pinned is not None:
        raise UploadRefused(
            f"distribution {distribution.name} is pinned to version {distribution.pinned} of its repository", 403
        )
    return distribution.repository


async def _taken(exchange: Exchange, repository: str) -> bool:
    """Whether the file is new. Raises UploadRefused, FileExists, StoreTrouble; nothing of it remains then."""
    repositories = exchange.site.machinery.repositories
    temp = repositories.temp()
    try:
        form = await read_form(exchange.request, temp, limit=exchange.site.max_upload_size)
        if action_of(form) == "submit":
            return False  # old clients register a project first, and expect to be told that it is done
        check_protocol(form)
        check_digests(form, form.digests)
        examined = await asyncio.get_running_loop().run_in_executor(
            exchange.site.machinery.disk, _examined, temp, form.filename
        )
        check_form(form, examined, form.digests)
        new = _new_file(temp, form, examined)
        outcome = await repositories.add(repository, [new])
    finally:
        temp.discard()  # nothing is left to discard once it is added
    return bool(outcome.added)


def _examined(temp: Temp, filename: str) -> Examined:
    with os.fdopen(os.dup(temp.fd), "rb") as archive:
        return examine(archive, filename)


def _new_file(temp: Temp, form: Form, examined: Examined) -> NewFile:
    digests = form.digests
    attestations = form.one("attestations")
    documents = None
    if attestations is not None:
        documents = provenance(
            attestations, filename=examined.filename, sha256=digests.sha256, publisher={"kind": "pyproxy"}
        )
    return examined_file(temp, examined, digests, attestations=documents)


def _refusal(exchange: Exchange, status: int, reason: str) -> web.StreamResponse:
    response = _answer(exchange, status, as_reason(reason), reason)
    response.force_close()  # whatever is left of the body is not read
    return response


def _answer(exchange: Exchange, status: int, phrase: str, line: str) -> web.Response:
    """As uv wants it (JSON by Accept, `code` being what it prints), and as twine prints it (the reason phrase)."""
    if "application/json" in (field(exchange.request, "Accept") or ""):
        body = msgspec.json.encode({"message": line, "code": f"{status} {line}", "title": phrase})
        return web.Response(
            status=status, reason=phrase, body=body, headers={**NO_STORE, "Content-Type": "application/json"}
        )
    return web.Response(status=status, reason=phrase, text=line + "\n", headers=NO_STORE)

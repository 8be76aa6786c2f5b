"""Uploads as clients send them, and the configurations that take them."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from typing import Protocol
from urllib.parse import urljoin

import aiohttp

from tests.daemon import Answer
from tests.fakes.raw_upstream import RawUpstream

BOUNDARY = "a-boundary-of-the-tests"
READ, UPLOAD = "the-read-token", "the-upload-token"


def fields_of(filename: str, data: bytes) -> dict[str, str]:
    """What twine says of this file."""
    name, version = filename.removesuffix(".tar.gz").split("-")[:2]
    return {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": name,
        "version": version,
        "filetype": "bdist_wheel" if filename.endswith(".whl") else "sdist",
        "sha256_digest": hashlib.sha256(data).hexdigest(),
    }


def form(filename: str, data: bytes, **fields: str | None) -> bytes:
    """What twine sends for this file; `fields` over it, None takes one out."""
    told = {key: value for key, value in {**fields_of(filename, data), **fields}.items() if value is not None}
    return multipart(told, filename, data)


def multipart(told: Mapping[str, str], filename: str | None, data: bytes = b"") -> bytes:
    """A form of these fields and, where it has a name, one file."""
    parts = [
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in told.items()
    ]
    if filename is not None:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="content"; filename="{filename}"\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


class Daemon(Protocol):
    """A daemon, wherever it runs, and a client for it."""

    @property
    def url(self) -> str: ...

    @property
    def session(self) -> aiohttp.ClientSession: ...


async def send(served: Daemon, body: bytes, *, path: str = "main/legacy/", **headers: str) -> Answer:
    """One POST of a form; underscores in the names of header fields stand for dashes."""
    fields = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    url = urljoin(served.url, f"/pypi/{path}")
    async with served.session.post(url, data=io.BytesIO(body), headers=fields) as response:
        return Answer(response.status, response.reason or "", response.headers, await response.read(), whole=True)


async def upload(served: Daemon, filename: str, data: bytes, *, path: str = "legacy/", **headers: str) -> Answer:
    return await send(served, form(filename, data), path=f"main/{path}", **headers)


def local(up: RawUpstream | None, **distribution: str) -> str:
    """One distribution, main, over the repository team, and over a remote where there is one; these keys over it."""
    keys = {"repository": "team", "allow_uploads": "true", **distribution}
    if up is not None:
        keys["remote"] = "up"
    remotes = f"remotes: {{up: {{url: '{up.url}simple/'}}}}\n" if up is not None else ""
    tokens = ", ".join(
        f"{n}: 'sha256:{hashlib.sha256(t.encode()).hexdigest()}'" for n, t in (("r", READ), ("u", UPLOAD))
    )
    guards = f"guards: {{staff: {{read: [r], upload: [u], tokens: {{{tokens}}}}}}}\n" if "content_guard" in keys else ""
    lines = "".join(f"    {key}: {value}\n" for key, value in keys.items())
    return f"{remotes}repositories: {{team: {{}}}}\n{guards}distributions:\n  main:\n{lines}"


def basic(token: str, user: str = "__token__") -> str:
    return "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()

"""Heads of requests: where one ends, what is wrong with it, and the fixed words that say so. Bytes in, values out.

The grammar stays with aiohttp's parser. Here stand the bounds and the refusals that it lacks, and what it would let
through. A fault is the status to answer with, 0 where there is none; no answer ever repeats a byte of the request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from aiohttp import hdrs

from pyproxy.wire.limits import Limits

END = b"\r\n\r\n"

# RFC 9112, 3.2: origin-form, the asterisk of OPTIONS, the authority of CONNECT (whose refusal is the handler's).
# Absolute-form is for proxies that a client was told of, and would smuggle in a host of its own: we are none.
_REQUEST_LINE = re.compile(rb"(?:[A-Z][A-Z-]* /[!-~]*|OPTIONS \*|CONNECT [!-~]+) HTTP/1\.[01]\r\n")
_OTHER_VERSION = re.compile(rb"[A-Z-]+ [!-~]+ HTTP/(?!1\.[01]\r)[0-9]+(?:\.[0-9]+)?\r\n|PRI \* HTTP/2")
_HOST = re.compile(rb"\r\nhost:([^\r]*)", re.IGNORECASE)
# A name, an IPv4 or a bracketed IPv6 address, a port: what aiohttp can make a URL of, and a 500 else.
_HOST_VALUE = re.compile(rb"[ \t]*(?:[A-Za-z0-9._~-]*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?[ \t]*")
_PORTS = 1 << 16

TEXTS = MappingProxyType(
    {
        400: "Bad Request",
        408: "Request Timeout",
        413: "Content Too Large",
        414: "URI Too Long",
        431: "Request Header Fields Too Large",
        500: "Internal Server Error",
        505: "HTTP Version Not Supported",
    }
)
"""Reason phrases (RFC 9110), which are the texts too."""


def fault(head: bytes, limits: Limits) -> int:
    """What is wrong with a whole head, which ends with an empty line."""
    if not _REQUEST_LINE.match(head):
        return _fault_of_line(head, limits)
    eol = head.find(b"\r\n")
    if eol > limits.max_line:
        return 414
    size = len(head) - eol - 4
    if size > limits.max_headers or head.count(b"\r\n") - 2 > limits.max_header_fields:
        return 431
    if size > limits.max_line and any(len(line) > limits.max_line for line in head.split(b"\r\n")):
        return 431
    if b"\0" in head or head.count(b"\n") != head.count(b"\r\n"):
        return 400
    hosts = _HOST.findall(head)
    # RFC 9112, 3.2: "A server MUST respond with a 400 […] to any HTTP/1.1 request message that lacks a Host header
    # field and to any request message that contains more than one Host header field line or a Host header field with
    # an invalid field value".
    if not hosts:
        return 400 if head[eol - 1] == ord("1") else 0
    return 0 if len(hosts) == 1 and _is_host(hosts[0]) else 400


def _is_host(value: bytes) -> bool:
    found = _HOST_VALUE.fullmatch(value)
    return found is not None and int(found[1] or b"0") < _PORTS


def fault_so_far(part: bytes, limits: Limits) -> int:
    """What is already wrong with the beginning of a head."""
    if not part[:1].isupper():
        return 400  # TLS on a plain port, an SSH client, noise: told at once, not after the time for a head
    eol = part.find(b"\r\n")
    if eol > limits.max_line or (eol < 0 and len(part) > limits.max_line + 1):
        return 414
    if eol >= 0 and len(part) - eol > limits.max_headers + 4:
        return 431
    # A bare LF ends a line for lenient servers, and would here wait for its CR until the time is over.
    return 400 if part.count(b"\n") != part.count(b"\r\n") else 0


def _fault_of_line(head: bytes, limits: Limits) -> int:
    if head.find(b"\r\n") > limits.max_line:
        return 414
    return 505 if _OTHER_VERSION.match(head) else 400


def may_have_body(fields: Mapping[str, str]) -> bool:
    """Whether the head of a request says anything of what follows it (RFC 9112, 6)."""
    return any(name in fields for name in (hdrs.CONTENT_LENGTH, hdrs.TRANSFER_ENCODING, hdrs.EXPECT, hdrs.UPGRADE))


def answer(status: int, reason: str, fields: Mapping[str, str]) -> bytes:
    """The head of an answer as aiohttp has sent it, which has looked at every character."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def refusal(status: int) -> bytes:
    """A whole answer of one line, after which the connection closes."""
    body = f"{TEXTS[status]}\n"
    return (
        f"HTTP/1.1 {status} {TEXTS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    ).encode("ascii")

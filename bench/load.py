"""Requests as fast as a server answers them: by wrk where it is installed, else by a generator of our own.

Ours costs more per small answer than a fast server does, so that rates of small pages then say little; the server's
processor time per request is right with both.
"""

from __future__ import annotations

import selectors
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.client import WrongAnswer, get

WRK: Final = shutil.which("wrk")
_LONGEST: Final = 60
_ANSWER_HEAD: Final = 2048
_READ: Final = 1 << 20
_PATIENCE: Final = 30.0

_SCRIPT: Final = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format("\\nflow %d %d %d %d %d\\n", summary.requests, summary.bytes, summary.duration,
           e.connect + e.read + e.write + e.timeout, e.status))
end
"""
_MANY: Final = """
local at = 0
local made = {}
init = function(args)
  for line in io.lines(args[1]) do made[#made + 1] = wrk.format("GET", line) end
end
request = function()
  at = at % #made + 1
  return made[at]
end
"""


@dataclass(frozen=True, slots=True)
class Flow:
    """What came in how many seconds; `nbytes` with heads."""

    requests: int
    nbytes: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def megabytes(self) -> float:
        """MB/s."""
        return self.nbytes / self.seconds / 1e6


def load(
    url: str,
    headers: Mapping[str, str],
    *,
    connections: int,
    seconds: float,
    length: int,
    large: bool = False,
    paths: Sequence[str] = (),
) -> Flow:
    """Asks over so many connections for so long. `length` is that of the right body; `paths` are asked in turn.

    `large`: few answers come in that time, which are followed until one at least is whole.

    Raises WrongAnswer where an answer failed, or was not of this length.
    """
    if WRK is not None and not large:
        flow = _wrk((WRK, url), headers, connections, seconds, paths)
        if not flow.requests:  # the time was too short for a single answer on a machine as busy as this
            flow = _wrk((WRK, url), headers, connections, seconds + _PATIENCE / 10, paths)
    else:
        flow = _own(url, headers, connections, seconds, paths)
    mean = flow.nbytes / max(flow.requests, 1)
    # What was under way at the end has come in part: at most one answer a connection.
    most = (length + _ANSWER_HEAD) * (1 + connections / max(flow.requests, 1))
    if not flow.requests or not length <= mean <= most:
        raise WrongAnswer(f"{flow.requests} answers of {mean:.0f} bytes, where {length} are right")
    return flow


def _wrk(
    command: tuple[str, str], headers: Mapping[str, str], connections: int, seconds: float, paths: Sequence[str]
) -> Flow:
    wrk, url = command
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script.lua")
        script.write_text(_SCRIPT + (_MANY if paths else ""))
        listed = Path(folder, "paths")
        listed.write_text("\n".join(paths))
        fields = [word for name, value in headers.items() for word in ("-H", f"{name}: {value}")]
        shape = ("-t1", f"-c{connections}", f"-d{_LONGEST}s", "--timeout", "30s", "-s", str(script))
        process = subprocess.Popen([wrk, *shape, *fields, url, "--", str(listed)], stdout=subprocess.PIPE)
        try:
            time.sleep(seconds)
            process.send_signal(signal.SIGINT)  # it takes whole seconds alone, and reports when it is interrupted
            out, _ = process.communicate(timeout=_LONGEST)
        finally:
            process.kill()
            process.wait()
    found = next((line.split()[1:] for line in out.decode().splitlines() if line.startswith("flow ")), None)
    if found is None:
        raise WrongAnswer(f"wrk failed: {out[-200:]!r}")
    requests, nbytes, microseconds, broken, refused = map(int, found)
    if broken or refused:
        raise WrongAnswer(f"{broken} connections broken, {refused} refusals among {requests} answers")
    return Flow(requests, nbytes, microseconds / 1e6)


def one_by_one(url: str, headers: Mapping[str, str], *, seconds: float, length: int) -> Flow:
    """The same over one connection at a time, at least one answer: for servers so slow that many would only queue."""
    began = time.monotonic()
    count = nbytes = 0
    while (now := time.monotonic()) < began + seconds or not count:
        answer = get(url, headers)
        if answer.status not in (200, 304) or len(answer.raw) != length:
            raise WrongAnswer(f"{answer.status} with {len(answer.raw)} bytes, where {length} are right")
        count += 1
        nbytes += len(answer.raw)
    return Flow(count, nbytes, now - began)


# ---------------------------------------------------------------------- a generator of our own


@dataclass(slots=True)
class _Connection:
    """One connection with one request on its way, and how much of the answer is still to come."""

    sock: socket.socket
    head: bytes = b""
    left: int = -1


def _own(url: str, headers: Mapping[str, str], connections: int, seconds: float, paths: Sequence[str]) -> Flow:
    parts = urllib.parse.urlsplit(url)
    fields = "".join(f"{name}: {value}\r\n" for name, value in {"Host": parts.netloc, **headers}.items())
    requests = [f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode() for path in paths or (parts.path,)]
    buffer = memoryview(bytearray(_READ))
    count = nbytes = 0
    with ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())

        def ask() -> None:
            sock = stack.enter_context(socket.create_connection((parts.hostname, parts.port or 80), timeout=_PATIENCE))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.sendall(requests[count % len(requests)])
            selector.register(sock, selectors.EVENT_READ, _Connection(sock))

        for _ in range(connections):
            ask()
        began = time.monotonic()
        while (now := time.monotonic()) < began + seconds or (not count and now < began + _PATIENCE):
            for key, _ in selector.select(0.1):
                one: _Connection = key.data
                got = _received(one, buffer)
                if not got:  # a server that closes after each answer is asked anew
                    selector.unregister(one.sock)
                    one.sock.close()
                    ask()
                nbytes += got
                if got and _taken(one, buffer[:got]):
                    count += 1
                    with suppress(ConnectionError):  # closed already: the next read tells
                        one.sock.sendall(requests[count % len(requests)])
    return Flow(count, nbytes, now - began)


def _received(one: _Connection, buffer: memoryview) -> int:
    """How many bytes came; 0 where the connection was closed between two answers. Raises WrongAnswer for within one."""
    try:
        got = one.sock.recv_into(buffer)
    except ConnectionError:
        got = 0
    if not got and (one.head or one.left >= 0):
        raise WrongAnswer("a connection was closed within an answer")
    return got


def _taken(one: _Connection, data: memoryview) -> bool:
    """Whether the answer is whole with these bytes."""
    if one.left < 0:
        one.head += data
        head, end, body = one.head.partition(b"\r\n\r\n")
        if not end:
            return False
        one.head = b""
        one.left = _length(head) - len(body)
    else:
        one.left -= len(data)
    if one.left > 0:
        return False
    one.left = -1
    return True


def _length(head: bytes) -> int:
    status = int(head[9:12])
    if status not in (200, 304):
        raise WrongAnswer(f"an answer is {status}")
    if status == 304:  # noqa: PLR2004 - a status without a body
        return 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line[15:])
    raise WrongAnswer("an answer of unknown length, which only wrk can follow")

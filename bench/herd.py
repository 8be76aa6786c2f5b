"""Many clients at once for one cold file: one fetch, every body hashed, and what it costs the daemon.

    python -m bench.herd [--clients 500] [--megabytes 100]

The remote holds the body back until all clients wait for it, so the first byte's time is that of the daemon alone.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import multiprocessing
import selectors
import socket
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from multiprocessing.pool import Pool
from pathlib import Path

from tests.daemon import Project, noise
from tests.fakes.faults import Gate
from tests.fakes.raw_upstream import RawUpstream
from tests.process.daemons import Process, daemon, one_remote

NAME = "alpha-1.0.tar.gz"
PATH = f"/pypi/main/files/up/files/{NAME}"
PROCESSES = 4
READ = 1 << 18


@dataclass(slots=True)
class _Client:
    """One connection, and what came over it."""

    sock: socket.socket
    head: bytes = b""
    left: int | None = None
    first: float = 0.0
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)

    def take(self, data: memoryview) -> None:
        if self.left is None:
            self.head += data
            if b"\r\n\r\n" not in self.head:
                return
            head, _, body = self.head.partition(b"\r\n\r\n")
            lines = head.decode().lower().split("\r\n")
            self.left = next(int(line.split(":")[1]) for line in lines if line.startswith("content-length:"))
            data = memoryview(body)
        if data and not self.first:
            self.first = time.monotonic()
        self.left -= len(data)
        self.digest.update(data)


def clients(host: str, port: int, count: int) -> list[tuple[str, float]]:
    """Digest and time of the first byte, for each of `count` clients; an early end gives a digest that is wrong."""
    buffer = memoryview(bytearray(READ))
    found: list[tuple[str, float]] = []
    with selectors.DefaultSelector() as selector:
        for _ in range(count):
            sock = socket.create_connection((host, port))
            sock.sendall(f"GET {PATH} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
            sock.settimeout(0)
            selector.register(sock, selectors.EVENT_READ, _Client(sock))
        while selector.get_map():
            for key, _ in selector.select():
                client: _Client = key.data
                got = client.sock.recv_into(buffer)
                client.take(buffer[:got])
                if not got or client.left == 0:
                    selector.unregister(client.sock)
                    client.sock.close()
                    found.append((client.digest.hexdigest(), client.first))
    return found


async def _all_waiting(served: Process, count: int) -> None:
    """Returns once every client has joined the one download."""
    while await served.metric("pyproxy_coalesced_requests_total") < count - 1:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.05)


async def herd(pool: Pool, *, count: int, size: int, folder: Path) -> str:
    """The figures. Raises SystemExit where a body is wrong or more than one fetch was made."""
    gate = asyncio.Event()
    async with RawUpstream() as up, daemon(folder, one_remote(f"{up.url}simple/")) as served:
        made = Project("alpha")
        data = noise(size)
        made.add(NAME, data)
        made.publish(up)
        await served.page()
        up.script(f"/files/{NAME}", Gate(gate, first=0))
        rest = served.memory()
        host, _, port = served.url.split("/")[2].partition(":")
        share = [count // PROCESSES + (n < count % PROCESSES) for n in range(PROCESSES)]
        asked = [asyncio.to_thread(pool.apply, clients, (host, int(port), n)) for n in share]
        asking = asyncio.gather(*asked)
        await _all_waiting(served, count)
        waiting = served.memory()
        began = time.monotonic()
        gate.set()
        found = [one for many in await asking for one in many]
        took = time.monotonic() - began
        right = hashlib.sha256(data).hexdigest()
        whole, fetches = [digest for digest, _ in found].count(right), up.count(f"/files/{NAME}")
        if (whole, fetches) != (count, 1):
            raise SystemExit(f"{whole} of {count} bodies are right, {fetches} fetches")
        firsts = sorted((first - began) * 1000 for _, first in found)
        mib = 1 << 20
        return (
            f"{count} clients, {size / 1e6:.0f} MB: 1 fetch, {count} bodies right, {took:.1f} s "
            f"({count * size / took / 1e9:.2f} GB/s)\n"
            f"first byte after the remote's: {firsts[0]:.0f} ms, median {statistics.median(firsts):.0f} ms, "
            f"last {firsts[-1]:.0f} ms\n"
            f"memory: {rest / mib:.0f} MiB at rest, {waiting / mib:.0f} MiB with all waiting, "
            f"{served.memory('VmHWM') / mib:.0f} MiB at most"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--megabytes", type=int, default=100)
    asked = parser.parse_args()
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool, tempfile.TemporaryDirectory() as folder:
        size = asked.megabytes * 1_000_000
        print(asyncio.run(herd(pool, count=asked.clients, size=size, folder=Path(folder))))


if __name__ == "__main__":
    main()

"""Where a daemon listens: addresses bound to sockets, and the file of a Unix socket. Knows no connection."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from pyproxy.errors import PyproxyError

Where: TypeAlias = tuple[str, int] | Path
"""A host (name or address) and port, 0 for any; or the path of a Unix socket."""


class CannotListen(PyproxyError):
    """The address is taken, or not ours to take."""


@dataclass(frozen=True, slots=True)
class UnixFile:
    """The file of a Unix socket that this process has bound, known by its inode."""

    path: Path
    inode: tuple[int, int]

    def unlink(self) -> None:
        """Removes the file, unless somebody else has put another in its place."""
        with contextlib.suppress(FileNotFoundError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self.inode:
                self.path.unlink()


async def bind_tcp(host: str, port: int) -> socket.socket:
    """A bound socket for the first address of the host. "::" takes IPv4 too. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _, address = found[0]
    sock = socket.socket(family, kind, proto)
    try:
        # Else a restart has to wait until the last connections of the daemon before are forgotten.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def bind_unix(path: Path, *, mode: int = 0o660) -> tuple[socket.socket, UnixFile]:
    """A bound socket and its file. A file that a dead daemon left is taken over.

    Raises OSError: EADDRINUSE where somebody listens there, EEXIST where the path is no socket.
    """
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        # Before listening: until then nobody can connect, whatever the umask has allowed.
        path.chmod(mode)
        found = path.lstat()
    except BaseException:
        sock.close()
        raise
    return sock, UnixFile(path, (found.st_dev, found.st_ino))


def _clear(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise FileExistsError(errno.EEXIST, "in the way of the socket", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # somebody listens, and has many waiting
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(path))

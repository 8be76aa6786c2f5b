"""Sockets as the operating system knows them: binding, a Unix socket's file, and what a peer has taken of its bytes."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import stat
import struct
import sys
import termios
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

Where: TypeAlias = tuple[str, int] | Path
"""A host (name or address) and port, 0 for any; or the path of a Unix socket."""

_BYTES_ACKED = struct.Struct("@Q")
_BYTES_ACKED_AT = 120  # in struct tcp_info (linux/tcp.h); the kernel has had the field since 4.1


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


def taken(sock: socket.socket, handed: int) -> tuple[int, int]:
    """How many bytes the peer has taken, on a scale of its own, and how many wait for it in the kernel.

    TCP itself counts what is taken, whoever writes to the socket and through which descriptor; elsewhere it is what the
    kernel was `handed` less what waits. Being writable would say less: the kernel calls a socket writable when a third
    of its buffer is free, which a slow reader of megabytes may take minutes to bring about.
    """
    fd = sock.fileno()
    if fd < 0:
        return 0, 0
    waiting = _waiting(fd)
    if sys.platform == "linux" and sock.family != socket.AF_UNIX:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED_AT + _BYTES_ACKED.size)
        if len(info) == _BYTES_ACKED_AT + _BYTES_ACKED.size:
            return int(_BYTES_ACKED.unpack_from(info, _BYTES_ACKED_AT)[0]), waiting
    return handed - waiting, waiting


def _waiting(fd: int) -> int:
    try:
        return int.from_bytes(fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:
        return 0  # not known for this kind of socket; what the loop itself holds back still shows


def reset_on_close(sock: socket.socket) -> None:
    """Makes closing a reset: the peer cannot take what it has for all there was, and what is left to send is forgotten.

    A Unix socket has no such thing: its peer sees an early end.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

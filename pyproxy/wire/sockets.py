"""Sockets as the operating system knows them: what a peer has taken of its bytes, and how it is told of a cut."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios

_BYTES_ACKED = struct.Struct("@Q")
_BYTES_ACKED_AT = 120  # in struct tcp_info (linux/tcp.h); the kernel has had the field since 4.1


def taken(sock: socket.socket, handed: int, *, tcp: bool) -> tuple[int, int]:
    """How many bytes the peer has taken, on a scale of its own, and how many wait for it in the kernel.

    TCP itself counts what is taken, whoever writes to the socket and through which descriptor; elsewhere it is what the
    kernel was `handed` less what waits. Being writable would say less: the kernel calls a socket writable when a third
    of its buffer is free, which a slow reader of megabytes may take minutes to bring about.
    """
    fd = sock.fileno()
    if fd < 0:
        return 0, 0
    waiting = _waiting(fd)
    if tcp and sys.platform == "linux":
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

"""What supervisor and workers tell each other, and the pickled frames in which they do."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import socket
import struct
from dataclasses import dataclass
from typing import Final, TypeAlias

from pyproxy.config import Config
from pyproxy.logs import Format, Level

_LENGTH: Final = struct.Struct("!I")


# ---------------------------------------------------------------------- to a worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first word: what to serve, and through which inherited descriptors."""

    config: Config
    index: int
    count: int
    listener: int
    board: int
    key: bytes
    log_format: Format
    log_level: Level


@dataclass(frozen=True, slots=True)
class Prepare:
    """Build what this configuration describes, to have it ready; answered by Prepared."""

    config: Config


@dataclass(frozen=True, slots=True)
class Commit:
    """Put what was prepared in force."""


@dataclass(frozen=True, slots=True)
class Abort:
    """Throw away what was prepared: another worker could not."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Answer what is in flight and end. `now`: cut it."""

    now: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    """Tell what you have counted; answered by Counted."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the other workers have counted, those that died too; the answer to Gather."""

    number: int
    counted: tuple[bytes, ...]


# ---------------------------------------------------------------------- both ways


@dataclass(frozen=True, slots=True)
class LoginFailed:
    """A guard has counted a failure, which those of the other workers are to count too. `user` is a keyed hash."""

    guard: str
    network: str
    user: bytes


# ---------------------------------------------------------------------- to the supervisor


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker serves, under this index URL."""

    url: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """`trouble` says why the configuration cannot be used; None: it can."""

    trouble: str | None


@dataclass(frozen=True, slots=True)
class Counted:
    """What the worker has counted since it began."""

    counts: bytes


@dataclass(frozen=True, slots=True)
class Gather:
    """A client asks for the metrics of all; `counts` is what it will be told of this worker."""

    number: int
    counts: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot serve, and ends."""

    why: str


@dataclass(frozen=True, slots=True)
class Bye:
    """The worker ends in order. `untidy`: it had to leave files in the store that no record knows."""

    untidy: bool


ToWorker: TypeAlias = Hello | Prepare | Commit | Abort | Stop | Count | Gathered | LoginFailed
ToSupervisor: TypeAlias = Ready | Prepared | Counted | Gather | LoginFailed | Failed | Bye
Message: TypeAlias = ToWorker | ToSupervisor


class Channel:
    """One end of a socket pair. Only a process of ours has the other, so what comes may be unpickled."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def over(cls, sock: socket.socket) -> Channel:
        """Takes the socket over."""
        return cls(*await asyncio.open_unix_connection(sock=sock))

    def send(self, message: Message) -> None:
        """Queues it; nothing happens where the other end has gone, which `receive` tells."""
        if not self._writer.is_closing():
            data = pickle.dumps(message)
            self._writer.write(_LENGTH.pack(len(data)) + data)

    async def receive(self) -> Message | None:
        """The next message; None once the other end has gone."""
        try:
            (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
            data = await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        message: Message = pickle.loads(data)  # noqa: S301 - see the class
        return message

    async def close(self) -> None:
        """Returns once the other end may have all that was queued."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

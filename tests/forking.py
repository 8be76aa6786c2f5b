"""Processes that begin where the interpreter has imported pyproxy: forked from one that does nothing else.

To import pyproxy takes most of a second, and the tests start some hundreds of processes. The first call starts one that
imports it and waits; each process is a fork of that one, and then all that a new one would be: its descriptors, folder,
environment and arguments are what it was given, and it opened nothing before. FORKING=off in the environment starts
every process from its beginning, and so do the tests that are about just that.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

ROOT = Path(__file__).parents[1]

OFF = os.environ.get("FORKING") == "off"

_LARGEST = 1 << 20  # a request: arguments and an environment
LONGEST_LINE = 1 << 20

_FOR_CHILDREN = (
    "tests.storage.stores",
    "tests.storage.repositories",
    "pip._internal.commands.install",
    "pip._internal.commands.download",
)
"""What the children of the tests of storage import, and what takes pip half of its time."""


# ---------------------------------------------------------------------- how tests ask for one


class Forked:
    """One forked process. Its end is heard from the process that it was forked from, which is its parent."""

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        """As `subprocess` has it, once it was waited for."""
        self._status = status

    def wait(self) -> int:
        """Blocks until it has ended; its exit code, or less than zero the signal that ended it."""
        if self.returncode is None:
            self.hear(self._status.recv(64))
        assert self.returncode is not None
        return self.returncode

    def hear(self, said: bytes) -> None:
        """Takes what its parent says at its end."""
        assert said, "the process from which all are forked has ended"
        self.returncode = int(said)
        self._status.close()

    async def waited_for(self) -> int:
        if self.returncode is None:
            self._status.setblocking(False)  # noqa: FBT003 - positional only
            self.hear(await asyncio.get_running_loop().sock_recv(self._status, 64))
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def begun(
    module: str,
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str],
    stdout: int,
    stderr: int,
    stdin: int = subprocess.DEVNULL,
) -> Forked | subprocess.Popen[bytes]:
    """`python -m module arguments…`, begun with these descriptors, which stay the caller's."""
    if OFF:
        command = [sys.executable, "-m", module, *arguments]
        return subprocess.Popen(command, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr)
    return _forked(module, *arguments, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr)


def _forked(
    *argv: str, cwd: Path, env: Mapping[str, str], stdout: int, stderr: int, stdin: int = subprocess.DEVNULL
) -> Forked:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, Path(os.devnull).open("rb") as nothing:
        request = json.dumps({"argv": argv, "cwd": str(cwd), "env": dict(env)}).encode()
        standard = [nothing.fileno() if stdin == subprocess.DEVNULL else stdin, stdout, stderr]
        socket.send_fds(_origin(), [request], [*standard, theirs.fileno()])
    said = ours.recv(64)
    assert said, "the process from which all are forked has ended"
    return Forked(int(said), ours)


class AsyncForked:
    """The same for a loop, with the face of `asyncio.subprocess.Process`; nothing is on its stdin."""

    def __init__(self, forked: Forked, stdout: asyncio.StreamReader, stderr: asyncio.StreamReader) -> None:
        self.stdout, self.stderr = stdout, stderr
        self.pid = forked.pid
        self.send_signal, self.kill = forked.send_signal, forked.kill
        self._forked = forked
        self._ended = asyncio.create_task(forked.waited_for())

    @classmethod
    async def begun(
        cls, module: str, *arguments: str, cwd: Path, env: Mapping[str, str], together: bool = False
    ) -> AsyncForked:
        """Forks, whatever the environment of the tests says. `together`: what goes to stderr comes on stdout."""
        with _pipe() as (out, their_out), _pipe() as (err, their_err):
            files = {"stdout": their_out.fileno(), "stderr": (their_out if together else their_err).fileno()}
            forked = _forked(module, *arguments, cwd=cwd, env=env, **files)
        return cls(forked, await _reader(out), await _reader(err))

    @property
    def returncode(self) -> int | None:
        return self._forked.returncode

    async def wait(self) -> int:
        # Who waits no longer must not take the end from others.
        return await asyncio.shield(self._ended)

    async def communicate(self) -> tuple[bytes, bytes]:
        out, err, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return out, err


@contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """A pipe whose end for writing is closed when the block is left."""
    reading, writing = os.pipe()
    with open(writing, "wb", buffering=0) as their:  # noqa: PTH123 - a descriptor has no path
        yield open(reading, "rb", buffering=0), their  # noqa: PTH123, SIM115 - the stream that reads it closes it


async def _reader(pipe: BinaryIO) -> asyncio.StreamReader:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(LONGEST_LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader


@dataclass(slots=True)
class _Origin:
    """What all are forked from, in this process of tests; `asking` is closed at the end, which ends it."""

    process: subprocess.Popen[bytes] | None = None
    asking: socket.socket | None = None


_the_origin = _Origin()


def _origin() -> socket.socket:
    if _the_origin.asking is None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            _the_origin.process = subprocess.Popen(
                [sys.executable, "-m", "tests.forking", str(theirs.fileno())],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C is for the tests, which then end it
            )
        _the_origin.asking = ours
    return _the_origin.asking


def end() -> None:
    """Ends what all are forked from, and what was forked and is still there."""
    if _the_origin.asking is not None and _the_origin.process is not None:
        _the_origin.asking.close()
        _the_origin.process.wait(10)
    _the_origin.asking = _the_origin.process = None


# ---------------------------------------------------------------------- the one they are forked from


def _import_all() -> None:
    import pyproxy  # heavy: not for the tests, which import this module too

    found = [module.name for module in pkgutil.walk_packages(pyproxy.__path__, "pyproxy.")]
    for module in (*found, *_FOR_CHILDREN):
        if not module.endswith("__main__"):
            importlib.import_module(module)


def _fork_on_demand(asked: socket.socket) -> Mapping[str, object] | None:
    """Forks for each request. Returns in each fork what it is to be; None when nobody asks any more."""
    woken, waking = socket.socketpair()
    waking.setblocking(False)  # noqa: FBT003 - positional only
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waking.fileno())
    under_way: dict[int, socket.socket] = {}
    poll = select.poll()
    for each in (asked, woken):
        poll.register(each, select.POLLIN)
    while True:
        for readable, _ in poll.poll():
            if readable == woken.fileno():
                woken.recv(4096)
                _tell_of_ends(under_way)
                continue
            message, descriptors, _, _ = socket.recv_fds(asked, _LARGEST, 4)
            if not message:
                for pid in under_way:
                    os.kill(pid, signal.SIGKILL)
                return None
            if (pid := os.fork()) == 0:
                os.setsid()  # whoever ends it may end what it has started, too
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for each in (asked, woken, waking, *under_way.values()):
                    each.close()
                for number, descriptor in enumerate(descriptors[:3]):
                    os.dup2(descriptor, number)
                for descriptor in descriptors:
                    os.close(descriptor)
                request: Mapping[str, object] = json.loads(message)
                return request
            for descriptor in descriptors[:3]:
                os.close(descriptor)
            under_way[pid] = socket.socket(fileno=descriptors[3])
            _say(under_way[pid], pid)


def _tell_of_ends(under_way: dict[int, socket.socket]) -> None:
    while under_way:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with under_way.pop(pid) as told:
            _say(told, os.waitstatus_to_exitcode(status))


def _say(to: socket.socket, number: int) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # a test that was given up
        to.send(str(number).encode())


def _become(request: Mapping[str, object]) -> None:
    match request:
        case {"argv": [str(module), *arguments], "cwd": str(cwd), "env": dict(env)}:
            os.chdir(cwd)
            os.environ.clear()
            os.environ.update(env)
            sys.path[0] = cwd
            sys.argv[1:] = [str(one) for one in arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _import_all()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as _asked:
        _wanted = _fork_on_demand(_asked)
    if _wanted is not None:
        _become(_wanted)

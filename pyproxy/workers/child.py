"""One worker as its supervisor sees it: a process, what it says, and what is known of it once it has died."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pyproxy
from pyproxy.config import Config
from pyproxy.workers import messages
from pyproxy.workers.messages import Channel, ToWorker

log = logging.getLogger(__name__)

START_LIMIT: Final = 60.0
"""Seconds that a worker has until it is ready."""

_LAST_WORD: Final = 2.0
"""Seconds for what a process that has ended said last to be read."""


class Child:
    """A process from its start to its end. `heard` is told each message that is not answered here."""

    def __init__(self, hello: messages.Hello, *, heard: Callable[[Child, messages.Message], None]) -> None:
        self.config: Config = hello.config
        """What it serves, or is about to."""
        self.index = hello.index
        self.url: str | None = None
        self.began = time.monotonic()
        self.counts: bytes | None = None
        """What it has counted, as far as it has told."""
        self.why: str | None = None
        """Why it says that it cannot serve."""
        self.tidy = False
        """It has ended, and left nothing half done."""
        self.buried = False
        """Its successor's post has taken over what it counted."""
        self.settled = asyncio.Event()
        """It is ready, or will never be."""
        self.counted = asyncio.Event()
        self._hello = hello
        self._heard = heard
        self._prepared: asyncio.Future[str | None] | None = None
        self._channel: Channel | None = None
        self._early: list[ToWorker] = []  # what it was told before it was there
        self._process: asyncio.subprocess.Process | None = None

    @property
    def is_ready(self) -> bool:
        return self.url is not None and self.alive

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    async def run(self) -> int:
        """Starts the process and returns its exit code once it has ended. Cancelled, it kills it."""
        ours, theirs = socket.socketpair()
        try:
            self._process = await self._spawn(theirs)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._channel = await Channel.over(ours)
        for message in (self._hello, *self._early):
            self._channel.send(message)
        listening = asyncio.create_task(self._listen(self._channel))
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._see_it_ready())
                code = await self._process.wait()
                watching.cancel()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(listening), _LAST_WORD)
            return code
        finally:
            self.kill()
            await self._process.wait()
            self.settled.set()
            self.counted.set()
            listening.cancel()
            await asyncio.wait([listening])
            await self._channel.close()

    async def _spawn(self, theirs: socket.socket) -> asyncio.subprocess.Process:
        # -P: nothing is imported from the folder where the daemon happens to stand.
        found = os.pathsep.join(filter(None, (str(Path(pyproxy.__file__).parents[1]), os.environ.get("PYTHONPATH"))))
        descriptors = (theirs.fileno(), self._hello.listener, self._hello.board)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "pyproxy.workers", str(theirs.fileno()), str(os.getpid())),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": found},
            pass_fds=descriptors,
        )

    async def _see_it_ready(self) -> None:
        try:
            async with asyncio.timeout(START_LIMIT):
                await self.settled.wait()
        except TimeoutError:
            self.why = f"it was not ready within {START_LIMIT:g} s"
            self.kill()

    async def _listen(self, channel: Channel) -> None:
        while (message := await channel.receive()) is not None:
            match message:
                case messages.Ready():
                    self.url = message.url
                    self.settled.set()
                    self._heard(self, message)
                case messages.Prepared():
                    if self._prepared is not None and not self._prepared.done():
                        self._prepared.set_result(message.trouble)
                case messages.Counted():
                    self.counts = message.counts
                    self.counted.set()
                case messages.Gather():
                    self.counts = message.counts
                    self._heard(self, message)
                case messages.LoginFailed():
                    self._heard(self, message)
                case messages.Failed():
                    self.why = message.why
                case messages.Bye():
                    self.tidy = not message.untidy
                case _:
                    log.error("worker %d says what nobody understands", self.index)
        if self._prepared is not None and not self._prepared.done():
            self._prepared.set_result(None)  # its successor begins with what is in force then

    # ------------------------------------------------------------------ telling it

    def send(self, message: ToWorker) -> None:
        if self._channel is None:
            self._early.append(message)
        else:
            self._channel.send(message)

    async def prepare(self, config: Config, limit: float) -> str | None:
        """Why it cannot serve the configuration; None where it can, or has died, which its successor makes good."""
        self._prepared = asyncio.get_running_loop().create_future()
        self.send(messages.Prepare(config))
        try:
            async with asyncio.timeout(limit):
                return await self._prepared
        except TimeoutError:
            return f"worker {self.index} does not answer"
        finally:
            self._prepared = None

    async def count(self, limit: float) -> None:
        """Has it tell what it has counted; where it does not, what it told last must do."""
        self.counted.clear()
        self.send(messages.Count())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self.counted.wait()

    def kill(self) -> None:
        if self.alive and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)

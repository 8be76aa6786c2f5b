"""Where lines go: a bounded queue, and a thread that writes them, so that nobody ever waits for a reader of stderr."""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from pyproxy.logs.line import Line

QUEUE = 20_000
"""Lines that wait for a slow reader; those beyond are dropped and counted."""

_BATCH = 1000
_NAP = 0.02  # seconds between two writes while lines keep coming: one call to the kernel for many lines


class Sink:
    """A bounded queue of lines and the thread that writes them to a descriptor.

    With a `piece` no write has more bytes than that, and none but the longest lines are broken over two.
    """

    def __init__(self, fd: int, render: Callable[[Line], str], *, limit: int = QUEUE, piece: int | None = None) -> None:
        self._fd = fd
        self._piece = piece
        self.render = render
        self._limit = limit
        self._queue: deque[Line | str] = deque()  # appended to by everybody, taken from by the thread
        self._wake = threading.Event()
        self._asleep = False  # set by the thread; whoever finds it set wakes the thread
        self._closed = False
        self._closing = threading.Event()  # the same, for the thread to wait for
        self._told = 0  # how many of the dropped were told of
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)
        self._thread.start()

    def push(self, line: Line | str) -> None:
        """Takes the line (a text as it is to be shown), or drops and counts it where too many wait. Never blocks."""
        if len(self._queue) >= self._limit or self._closed:
            self.dropped += 1
            return
        self._queue.append(line)
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def push_all(self, lines: Sequence[str]) -> None:
        """Takes texts as `push` takes one."""
        if len(self._queue) + len(lines) > self._limit or self._closed:
            for line in lines:
                self.push(line)
            return
        self._queue.extend(lines)
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def close(self, timeout: float = 2.0) -> None:
        """Writes what waits, for at most `timeout` seconds: a reader that has stopped must not stop the daemon."""
        self._closed = True
        self._closing.set()
        self._wake.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while True:
            while self._queue:
                self._write(self._batch())
                if len(self._queue) < _BATCH:
                    self._closing.wait(_NAP)
            if self.dropped > self._told:
                self._tell_dropped()
                continue
            if self._closing.is_set():
                return
            self._asleep = True
            if self._queue:  # pushed between the look above and the line before this one
                continue
            self._wake.wait()
            self._wake.clear()

    def _batch(self) -> bytes:
        take = self._queue.popleft
        lines = [take() for _ in range(min(len(self._queue), _BATCH))]
        rows = [line if isinstance(line, str) else self._shown(line) for line in lines]
        rows.append("")
        return "\n".join(rows).encode("utf-8", "backslashreplace")

    def _shown(self, line: Line) -> str:
        try:
            return self.render(line)
        except Exception as exc:  # noqa: BLE001 - whatever a line holds, the lines after it are still written
            return self.render(Line(time.time(), "error", "logs", f"a line cannot be shown: {exc!r}"))

    def _tell_dropped(self) -> None:
        count, self._told = self.dropped - self._told, self.dropped
        line = Line(time.time(), "warning", "logs", f"{count} log lines were dropped")
        self._write(f"{self.render(line)}\n".encode())

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fd, self._next(data, view)) :]
            except BlockingIOError:
                # Somebody who shares the descriptor (a terminal, say) made it non-blocking.
                select.select([], [self._fd], [], 1.0)
            except OSError:
                # Nobody reads any more (EPIPE), or the disk is full: there is no other place to say so.
                lost = bytes(view).count(b"\n")
                self.dropped += lost
                self._told += lost
                return

    def _next(self, data: bytes, view: memoryview) -> memoryview:
        """What is written at once of the end of the data that is left."""
        if self._piece is None or len(view) <= self._piece:
            return view
        start = len(data) - len(view)
        end = data.rfind(b"\n", start, start + self._piece) + 1
        return view[: end - start] if end > start else view[: self._piece]

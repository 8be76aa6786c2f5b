"""Programs under measurement: started in a session of their own, watched through /proc, ended with their children."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import cores
from bench.client import WrongAnswer, get

START: Final = 60.0
"""Seconds that a server has until it answers."""

STOP: Final = 10.0
LOOPBACK: Final = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
"""No proxy that the environment names stands between servers, clients and the upstream."""

_TICK: Final = 1 / os.sysconf("SC_CLK_TCK")
_PAUSE: Final = 0.005
_IDLE: Final = 0.04


class Unavailable(Exception):
    """A server that cannot be measured here; the text is the reason, and stands in the table."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, summed over all processes of a program. `own` leaves out pages of files (programs, mapped indexes)."""

    resident: int
    own: int


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Program:
    """One program with its own folder, log and port. `cpus` are the cores that it may use."""

    def __init__(self, folder: Path, *, cpus: frozenset[int] = cores.SERVER) -> None:
        self.folder = folder
        self.port = free_port()
        self.origin = f"http://127.0.0.1:{self.port}"
        self._cpus = cpus
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, command: Sequence[str | Path], *, probe: str, env: Mapping[str, str] | None = None) -> float:
        """Returns the seconds until `probe` was answered at all. Raises Unavailable with the end of its log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "log"
        began = time.monotonic()
        with cores.on(self._cpus), log.open("wb") as out:
            self._process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **LOOPBACK, **(env or {})},
                start_new_session=True,
            )
        while time.monotonic() < began + START:
            try:
                get(self.origin + probe)
                return time.monotonic() - began
            except WrongAnswer:
                if self._process.poll() is not None:
                    break
                time.sleep(_PAUSE)
        self.stop()
        raise Unavailable(f"did not start: {_last_line(log)}")

    def stop(self) -> None:
        """Ends it and what it started. Does nothing the second time."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.terminate()
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pid in _of_session(process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it ended by itself meanwhile

    def clear(self) -> None:
        """Forgets all that it has on disk."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pids(self) -> list[int]:
        return list(_of_session(self._process.pid)) if self._process is not None else []

    def cpu(self) -> float:
        """Seconds of processor time that its processes have used."""
        return sum(_cpu(pid) for pid in self.pids)

    def settle(self) -> None:
        """Returns when it does nothing any more: a slow server still answers those that have hung up."""
        ends = time.monotonic() + STOP
        before = -1.0
        while (now := self.cpu()) != before and time.monotonic() < ends:
            before = now
            time.sleep(_IDLE)

    def memory(self) -> Memory:
        found = [_memory(pid) for pid in self.pids]
        return Memory(sum(one.resident for one in found), sum(one.own for one in found))


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the command's name: state, ppid, pgrp, session …; empty when it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def _of_session(leader: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and int(fields[3]) == leader and fields[0] != "Z":
                yield int(entry.name)


def _cpu(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) * _TICK if fields else 0.0


def _memory(pid: int) -> Memory:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return Memory(0, 0)
    found = {name: value for name, _, value in (line.partition(":") for line in lines)}
    kilobytes = [int(found.get(name, "0 kB").split()[0]) for name in ("VmRSS", "RssAnon")]
    return Memory(kilobytes[0] * 1024, kilobytes[1] * 1024)

"""Real pip and uv as processes that reach nothing but the index they are given, and what they have installed."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Literal, TypeAlias

from packaging.utils import canonicalize_name

from tests import forking
from tests.forking import AsyncForked

Client: TypeAlias = Literal["pip", "uv"]

CLIENTS: tuple[Client, ...] = ("pip", "uv")

_PATIENCE = 45.0
"""Seconds for one command; a test has 60."""

_PIP = (sys.executable, "-m", "pip")

# What an installer notes about itself.
_NOTES = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json", ".lock"})


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, what it printed (both streams), and how many seconds it took."""

    status: int
    output: str
    seconds: float


async def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    """Runs the command with an empty home. `env` goes over the clean environment of the tests."""
    with tempfile.TemporaryDirectory(prefix="pyproxy-client-") as home:
        started = time.monotonic()
        process = await _begun([*map(str, command)], cwd, {**os.environ, **_own(Path(home)), **(env or {})})
        try:
            async with asyncio.timeout(_PATIENCE):
                output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)  # with the builds it started
                await process.wait()
        assert process.returncode is not None
        return Ended(process.returncode, output.decode(errors="replace"), time.monotonic() - started)


async def _begun(command: list[str], cwd: Path, env: Mapping[str, str]) -> asyncio.subprocess.Process | AsyncForked:
    if command[:3] == [*_PIP] and not forking.OFF:
        return await AsyncForked.begun("pip", *command[3:], cwd=cwd, env=env, together=True)
    return await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env=env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )


def _own(home: Path) -> dict[str, str]:
    folders = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA", "STATE")}
    return {
        "HOME": str(home),
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "PIP_NO_INPUT": "1",
        "PIP_RETRIES": "0",  # the first answer has to be the right one
        "UV_HTTP_RETRIES": "0",
        "UV_PYTHON_DOWNLOADS": "never",
        **folders,
    }


async def pip(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    return await run(*_PIP, *arguments, cwd=cwd, env=env)


async def uv(*arguments: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> Ended:
    return await run(sys.executable, "-m", "uv", *arguments, cwd=cwd, env=env)


async def try_to_install(client: Client, index: str, *wanted: str | Path, into: Path) -> Ended:
    """Installs into a folder of its own, without the client's cache."""
    into.parent.mkdir(parents=True, exist_ok=True)
    where = ("--target", into, "--index-url", index)
    if client == "pip":
        return await pip("install", "--no-cache-dir", "--no-compile", *where, *wanted, cwd=into.parent)
    return await uv("pip", "install", "--no-cache", "--python", sys.executable, *where, *wanted, cwd=into.parent)


async def install(client: Client, index: str, *wanted: str | Path, into: Path) -> Ended:
    """As `try_to_install`; fails the test where the client fails."""
    ended = await try_to_install(client, index, *wanted, into=into)
    assert ended.status == 0, ended.output
    return ended


def installed(folder: Path) -> dict[str, str]:
    """By normalised name, the version of each distribution in the folder."""
    return {canonicalize_name(one.name): one.version for one in distributions(path=[str(folder)])}


def contents(folder: Path) -> dict[str, str]:
    """By path, the SHA-256 of each file that came out of a wheel: whoever installed it, the same."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _NOTES
    }

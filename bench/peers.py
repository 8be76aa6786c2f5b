"""The Python peers, each in a virtual environment of its own: installed once from the machine's index, then kept."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from bench.client import get
from bench.programs import Program, Unavailable
from bench.servers import Server

CACHE: Final = Path(os.environ.get("XDG_CACHE_HOME", Path(__file__).parent / ".cache")) / "pyproxy-bench"
_INSTALL: Final = 300.0
_USER: Final = "root"  # the one that devpi begins with
_MIRROR: Final = f"/{_USER}/up"


def installed(name: str, *packages: str) -> Path:
    """The folder of a peer's programs. Raises Unavailable."""
    folder = CACHE / name
    stamp = folder / ".installed"
    if not stamp.exists() or stamp.read_text() != " ".join(packages):
        shutil.rmtree(folder, ignore_errors=True)
        pip: tuple[str | Path, ...] = (
            sys.executable,
            "-m",
            "pip",
            "--python",
            folder,
            "install",
            "--quiet",
            "--no-input",
            *packages,
        )
        _run((sys.executable, "-m", "venv", "--without-pip", folder))
        _run(pip)
        stamp.write_text(" ".join(packages))
    return folder / "bin"


def _run(command: tuple[str | Path, ...]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Unavailable(f"cannot be installed: {exc}") from exc
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"cannot be installed: {lines[-1][:200] if lines else done.returncode}")


class _Peer:
    """What peers have in common: a program, an index path, and the upstream that they stand before."""

    name = ""
    path = "/simple/"

    def __init__(self, folder: Path, upstream: str) -> None:
        self.program = Program(folder)
        self.simple = self.program.origin + self.path
        self._upstream = upstream


class Devpi(_Peer):
    """devpi-server with one mirror index; nothing in front of it."""

    name = "devpi-server"
    path = f"{_MIRROR}/+simple/"

    def start(self) -> float:
        programs = installed(self.name, "devpi-server")
        data = self.program.folder / "server"
        if not data.exists():
            self.program.folder.mkdir(parents=True, exist_ok=True)
            _run((programs / "devpi-init", "--serverdir", data, "--no-root-pypi"))
        command = (programs / "devpi-server", "--serverdir", data, "--port", str(self.program.port))
        took = self.program.start((*command, "--mirror-cache-expiry", "86400"), probe="/+api")
        self._mirror()
        return took

    def _mirror(self) -> None:
        as_json = {"Content-Type": "application/json", "Accept": "application/json"}
        who = json.dumps({"user": _USER, "password": ""}).encode()
        login = get(f"{self.program.origin}/+login", as_json, method="POST", body=who)
        token = json.loads(login.body)["result"]["password"]
        auth = {**as_json, "X-Devpi-Auth": base64.b64encode(f"{_USER}:{token}".encode()).decode()}
        index = {"type": "mirror", "mirror_url": self._upstream, "volatile": True, "mirror_no_project_list": True}
        answer = get(self.program.origin + _MIRROR, auth, method="PUT", body=json.dumps(index).encode())
        if answer.status not in (200, 409):  # 409: it is there since the last start
            raise Unavailable(f"its mirror cannot be made: {answer.status}")


class Proxpi(_Peer):
    """proxpi below gunicorn, as its image runs it; it waits for a download rather than redirect to the upstream."""

    name = "proxpi"
    path = "/index/"

    def start(self) -> float:
        programs = installed(self.name, "proxpi", "gunicorn")
        files = self.program.folder / "files"
        files.mkdir(parents=True, exist_ok=True)
        env = {
            "PROXPI_INDEX_URL": self._upstream,
            "PROXPI_INDEX_TTL": "86400",
            "PROXPI_CACHE_DIR": str(files),
            "PROXPI_DOWNLOAD_TIMEOUT": "60",
        }
        shape = ("--workers", "1", "--threads", "2", "--keep-alive", "60", "--bind", f"127.0.0.1:{self.program.port}")
        return self.program.start((programs / "gunicorn", *shape, "proxpi.server:app"), probe="/", env=env)


class Pypiserver(_Peer):
    """pypiserver over a folder: it caches nothing, so it is given the files, and small ones for those of pages."""

    name = "pypiserver"

    def __init__(self, folder: Path, upstream: str, files: Path) -> None:
        super().__init__(folder, upstream)
        self._files = files

    def start(self) -> float:
        programs = installed(self.name, "pypiserver", "watchdog", "gunicorn")
        # Its default server answers one connection after the other, and keeps uv waiting for ever.
        shape = ("--server", "gunicorn", "--backend", "cached-dir", "--disable-fallback")
        where = ("-p", str(self.program.port), "-i", "127.0.0.1", *shape)
        return self.program.start((programs / "pypi-server", "run", *where, self._files), probe="/health")


class SimpleRepository(_Peer):
    """simple-repository-server, told to stream files rather than to redirect to the upstream."""

    name = "simple-repository-server"

    def start(self) -> float:
        programs = installed(self.name, "simple-repository-server")
        where = ("--port", str(self.program.port), "--host", "127.0.0.1", "--stream-http-resources")
        return self.program.start((programs / self.name, *where, self._upstream), probe="/simple/p12-warm/")


def makers(upstream: str, hosted: Path) -> Mapping[str, Callable[[Path], Server]]:
    """How each peer is made in a folder; `hosted` is the folder of files of those that do not proxy."""
    return {
        Devpi.name: lambda folder: Devpi(folder, upstream),
        Proxpi.name: lambda folder: Proxpi(folder, upstream),
        Pypiserver.name: lambda folder: Pypiserver(folder, upstream, hosted),
        SimpleRepository.name: lambda folder: SimpleRepository(folder, upstream),
    }

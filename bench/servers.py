"""The servers that need this checkout and nginx alone: pyproxy, nginx with the same bytes, nginx as a cache."""

from __future__ import annotations

import gzip
import os
import re
import shutil
import sys
from collections.abc import Iterable
from compileall import compile_dir
from pathlib import Path
from typing import Final, Protocol

from bench import cores
from bench.catalogue import HTML, JSON
from bench.client import Answer, WrongAnswer, get
from bench.programs import Program, Unavailable

ROOT: Final = Path(__file__).parents[1]
NGINX: Final = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

STATIC: Final = "nginx static"
CACHE: Final = "nginx cache"
PYPROXY: Final = "pyproxy"


class Server(Protocol):
    """What rows ask of a server. `simple` is its index URL."""

    name: str
    simple: str
    program: Program

    def start(self) -> float:
        """Seconds until it answered. Raises Unavailable."""


def restarted(server: Server, *, empty: bool) -> float:
    """Seconds that the new start took; `empty` forgets what it had cached."""
    server.program.stop()
    if empty:
        server.program.clear()
    return server.start()


class Pyproxy:
    """pyproxy as a user starts it, from this checkout, before the upstream; access lines and metrics are on."""

    def __init__(
        self, folder: Path, upstream: str, *, workers: int = 1, extra: str = "", cpus: frozenset[int] = cores.SERVER
    ) -> None:
        self.name = PYPROXY if workers == 1 else f"{PYPROXY} x{workers}"
        self.program = Program(folder, cpus=cpus)
        self.simple = f"{self.program.origin}/pypi/main/simple/"
        self.data = folder / "data"
        self._workers = workers
        self._config = f"""
            server: {{workers: {workers}}}
            remotes: {{up: {{url: "{upstream}", ttl: 1d{extra}}}}}
            repositories: {{}}
            distributions: {{main: {{remote: up}}}}
        """

    def configured(self) -> Path:
        """Its configuration, written."""
        self.program.folder.mkdir(parents=True, exist_ok=True)
        config = self.program.folder / "pyproxy.yaml"
        config.write_text(self._config)
        return config

    def start(self) -> float:
        config = self.configured()
        compile_dir(ROOT / "pyproxy", quiet=1)  # as pip leaves a package that it installs
        listen = f"127.0.0.1:{self.program.port}"
        command = (
            sys.executable,
            "-m",
            "pyproxy",
            "serve",
            "--config",
            config,
            "--data",
            self.data,
            "--listen",
            listen,
        )
        env = {"PYTHONPATH": str(ROOT)}
        return self.program.start(command, probe="/readyz", env=env)


# ---------------------------------------------------------------------- nginx


_COMMON: Final = """
daemon off;
{user}
worker_processes {workers};
pid {folder}/pid;
error_log {folder}/errors;
worker_rlimit_nofile 16384;
events {{ worker_connections 4096; }}
http {{
  types {{ {json} json; text/html html; }}
  default_type application/octet-stream;
  map $http_accept $form {{ default html; ~json json; }}
  access_log {folder}/access combined buffer=64k flush=1s;
  sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000000;
  client_body_temp_path {folder}/tmp; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/tmp;
  uwsgi_temp_path {folder}/tmp; scgi_temp_path {folder}/tmp;
"""

_STATIC: Final = """
  open_file_cache max=20000 inactive=10m; open_file_cache_valid 10m;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/tree;
    location / {{ {files} }}
    location /pypi/main/simple/ {{ gzip_static on; try_files ${{uri}}index.$form =404; {pages} }}
  }}
}}
"""

_CACHING: Final = """
  proxy_cache_path {folder}/pages keys_zone=pages:50m max_size=5g inactive=7d use_temp_path=off;
  proxy_cache_path {folder}/files keys_zone=files:10m max_size=50g inactive=30d use_temp_path=off;
  upstream up {{ server {upstream}; keepalive 32; }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_cache_lock on; proxy_cache_lock_timeout 60s; proxy_cache_lock_age 60s;
    proxy_cache_use_stale error timeout updating http_500 http_502 http_503;
    gzip on; gzip_comp_level 1; gzip_min_length 500; gzip_proxied any; gzip_types {json};
    location /simple/ {{
      proxy_pass http://up;
      proxy_cache pages; proxy_cache_key $uri$form; proxy_cache_valid 200 1d; proxy_ignore_headers Vary Cache-Control;
      proxy_set_header Accept-Encoding "";
      sub_filter http://{upstream}/files/ /files/; sub_filter_once off; sub_filter_types {json};
    }}
    location /files/ {{
      proxy_pass http://up; proxy_cache files; proxy_cache_key $uri; proxy_cache_valid 200 1d;
    }}
  }}
}}
"""


def _nginx(program: Program, text: str, probe: str, *, workers: int = 1, **more: str) -> float:
    if NGINX is None:
        raise Unavailable("nginx is not on this machine")
    program.folder.mkdir(parents=True, exist_ok=True)
    config = program.folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    shape = {"folder": program.folder, "port": program.port, "workers": workers, "json": JSON, "user": user}
    config.write_text((_COMMON + text).format(**shape, **more))
    return program.start((NGINX, "-p", program.folder, "-c", config), probe=probe)


class NginxStatic:
    """nginx with the very bytes and headers of pyproxy's answers on disk, compressed beforehand: what a disk allows."""

    def __init__(self, folder: Path, *, workers: int = 1, cpus: frozenset[int] = cores.SERVER) -> None:
        self.name = STATIC if workers == 1 else f"{STATIC} x{workers}"
        self.program = Program(folder, cpus=cpus)
        self.simple = f"{self.program.origin}/pypi/main/simple/"
        self.tree = folder / "tree"
        self._workers = workers
        self._pages = self._files = ""

    def copy(self, source: Pyproxy, projects: Iterable[str], upstream_files: Path) -> None:
        """Lays down the pages of these projects as pyproxy gives them, and their files as far as they are there."""
        for project in projects:
            pages = {form: get(f"{source.simple}{project}/", {"Accept": form}) for form in (JSON, HTML)}
            folder = self.tree / f"pypi/main/simple/{project}"
            folder.mkdir(parents=True, exist_ok=True)
            for ending, form in (("json", JSON), ("html", HTML)):
                packed = get(f"{source.simple}{project}/", {"Accept": form, "Accept-Encoding": "gzip"})
                folder.joinpath(f"index.{ending}").write_bytes(pages[form].raw)
                folder.joinpath(f"index.{ending}.gz").write_bytes(_packed(packed))
            self._pages = _headers(pages[JSON])
            for name, url in pages[JSON].links().items():
                self._lay(upstream_files, name, url.removeprefix(source.program.origin))

    def _lay(self, upstream_files: Path, name: str, path: str) -> None:
        for ending in ("", ".metadata"):
            there = upstream_files / f"{name}{ending}"
            here = self.tree / f"{path.removeprefix('/')}{ending}"
            if there.exists() and not here.exists():
                here.parent.mkdir(parents=True, exist_ok=True)
                here.hardlink_to(there)

    def like_files(self, answer: Answer) -> None:
        """Files get the headers of this answer of pyproxy's."""
        self._files = _headers(answer)

    def start(self) -> float:
        more = {"pages": self._pages, "files": self._files}
        return _nginx(self.program, _STATIC, "/", workers=self._workers, **more)


def _packed(answer: Answer) -> bytes:
    packed = answer.fields.get("content-encoding") == "gzip"
    return answer.raw if packed else gzip.compress(answer.raw)


def _headers(answer: Answer) -> str:
    """The directives for what nginx does not say by itself."""
    own = re.compile("content-|date|server|connection|etag|last-modified|accept-ranges|transfer-|keep-|age")
    kept = {name: value for name, value in answer.fields.items() if not own.match(name)}
    return " ".join(f'add_header {name} "{value}";' for name, value in kept.items())


class NginxCache:
    """The usual recipe: nginx's proxy cache with the links rewritten, and its lock for misses."""

    name = CACHE

    def __init__(self, folder: Path, upstream: str) -> None:
        self.program = Program(folder)
        self.simple = f"{self.program.origin}/simple/"
        self._upstream = upstream.split("/")[2]

    def start(self) -> float:
        return _nginx(self.program, _CACHING, "/", upstream=self._upstream)


def warmed(server: Server, project: str) -> Answer:
    """The page of a project, which the server then has. Raises WrongAnswer."""
    answer = get(f"{server.simple}{project}/", {"Accept": f"{JSON}, {HTML};q=0.2, text/html;q=0.1"})
    if answer.status != 200:  # noqa: PLR2004 - HTTP's own number
        raise WrongAnswer(f"{server.name} answers {answer.status} for the page of {project}")
    return answer

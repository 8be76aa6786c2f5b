"""One run's stage: the upstream with what it offers, all servers before it, and which of them could not come."""

from __future__ import annotations

import json
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench import catalogue, cores, upstream
from bench.client import WrongAnswer, get
from bench.peers import makers
from bench.programs import Program, Unavailable
from bench.servers import PYPROXY, ROOT, NginxCache, NginxStatic, Pyproxy, Server, warmed

WARM_PAGES: Final = ("p12-warm", "p300-warm", "p3000-warm")
KB50, MB5, MB100 = "sized-50k", "sized-5m", "sized-100m"
SIZES: Final = {KB50: 50_000, MB5: 5_000_000, MB100: 100_000_000}
QUICK_SIZES: Final = {KB50: 50_000, MB5: 500_000, MB100: 2_000_000}


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is asked for. `seconds` is how long one server is loaded in one round."""

    rounds: int
    seconds: float
    quick: bool
    only: tuple[str, ...]
    peers: tuple[str, ...]


@dataclass(slots=True)
class Stage:
    """What rows find. `absent` tells why a server could not come; written while the stage is set."""

    options: Options
    folder: Path
    upstream: Program
    index: str
    pages: list[catalogue.Page]
    servers: dict[str, Server] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> Path:
        return self.folder / "upstream"

    @property
    def peers(self) -> list[str]:
        return [name for name in self.options.peers if name in self.servers]

    def steer(self, path: str, **query: str) -> dict[str, int]:
        """How often each path was asked for, after the upstream was told this."""
        counts: dict[str, int] = json.loads(
            get(f"{self.upstream.origin}/_/{path}?{urllib.parse.urlencode(query)}").body
        )
        return counts

    def page(self, name: str) -> catalogue.Page:
        """A page that the upstream was given, or makes up."""
        known = next((page for page in self.pages if page.name == name), None) or catalogue.made_up(name)
        if known is None:
            raise KeyError(name)
        return known


def say(text: str) -> None:
    """Progress, for who waits; the report alone goes to stdout."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


@contextmanager
def stage(options: Options, folder: Path, offered: Callable[[Path, Options], list[catalogue.Page]]) -> Iterator[Stage]:
    """The upstream alone, with what `offered` lays down beside its own. Ends whatever was started within."""
    files = folder / "upstream"
    files.mkdir(parents=True)
    say("making packages")
    sizes = QUICK_SIZES if options.quick else SIZES
    pages = [catalogue.write_sized(files, name, size) for name, size in sizes.items()]
    pages += catalogue.write_graph(files, 6 if options.quick else 150)
    pages += offered(files, options)
    upstream.save(files, pages)
    with ExitStack() as stack:
        program = Program(folder / "upstream-run", cpus=cores.CLIENT)
        stack.callback(program.stop)
        command = (sys.executable, "-m", "bench.upstream", files, str(program.port))
        program.start(command, probe="/_/counts", env={"PYTHONPATH": str(ROOT)})
        made = Stage(options, folder, program, f"{program.origin}/simple/", pages)
        stack.callback(_stop, made)
        yield made


def _stop(on: Stage) -> None:
    for server in on.servers.values():
        server.program.stop()


def bring(on: Stage, server: Server) -> None:
    """Starts a server, or tells why it is absent."""
    say(f"starting {server.name}")
    try:
        server.start()
    except (Unavailable, WrongAnswer) as exc:
        server.program.stop()
        on.absent[server.name] = str(exc)
    else:
        on.servers[server.name] = server


def bring_all(on: Stage) -> None:
    """pyproxy, warm; nginx with what pyproxy then serves; and the peers."""
    projects = [*WARM_PAGES, *SIZES, *(page.name for page in on.pages if page.name.startswith("graph-"))]
    ours = Pyproxy(on.folder / "pyproxy", on.index)
    bring(on, ours)
    if PYPROXY not in on.servers:
        raise Unavailable(on.absent[PYPROXY])
    static = NginxStatic(on.folder / "nginx-static")
    fill_static(on, ours, static, projects)
    bring(on, static)
    bring(on, NginxCache(on.folder / "nginx-cache", on.index))
    hosted = _hosted(on)
    for name, make in makers(on.index, hosted).items():
        if name in on.options.peers:
            bring(on, make(on.folder / name))
        else:
            on.absent[name] = "not asked for"


def fill_static(on: Stage, ours: Pyproxy, static: NginxStatic, projects: Sequence[str]) -> None:
    for name in SIZES:
        page = warmed(ours, name)
        (link,) = page.links().values()
        static.like_files(get(link))
    static.copy(ours, projects, on.files)


def several(on: Stage, workers: int) -> dict[str, Server]:
    """Both pyproxy and nginx with so many workers, on all cores; neither where pyproxy cannot come."""
    ours = Pyproxy(on.folder / "pyproxy-several", on.index, workers=workers, cpus=cores.ALL)
    static = NginxStatic(on.folder / "nginx-several", workers=workers, cpus=cores.ALL)
    bring(on, ours)
    if ours.name in on.servers:
        fill_static(on, ours, static, [*WARM_PAGES, *SIZES])
        bring(on, static)
    return {server.name: server for server in (ours, static) if server.name in on.servers}


def _hosted(on: Stage) -> Path:
    """The folder of a peer that only hosts: the real files, and small ones in the place of those that pages list."""
    folder = on.folder / "hosted"
    folder.mkdir()
    for path in on.files.glob("*.whl"):
        folder.joinpath(path.name).hardlink_to(path)
    for name in WARM_PAGES:
        for entry in on.page(name).entries:
            folder.joinpath(entry.filename).write_text(entry.filename)
    return folder

"""From a file and the command line to a Config, or to the list of everything that is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from pyproxy.config import addresses, values
from pyproxy.config.addresses import Address, Listen, UnixListen
from pyproxy.config.cores import cores
from pyproxy.config.distributions import KEYS as DISTRIBUTION_KEYS
from pyproxy.config.distributions import read_distributions
from pyproxy.config.filters import FILTER_KEYS
from pyproxy.config.guards import KEYS as GUARD_KEYS
from pyproxy.config.guards import read_guards
from pyproxy.config.located import LARGEST_FILE, Entry, Located, read_yaml
from pyproxy.config.reading import Files
from pyproxy.config.remotes import KEYS as REMOTE_KEYS
from pyproxy.config.remotes import Fallback, read_remotes
from pyproxy.config.repositories import read_repositories
from pyproxy.config.section import Mistakes, Section, as_mapping
from pyproxy.config.settings import Config, Flags, ServerConfig, Stamp, StorageConfig
from pyproxy.config.values import Wrong
from pyproxy.errors import ConfigError
from pyproxy.machine_index import MachineIndex, machine_index

T = TypeVar("T")

EMBEDDED = "embedded default"
"""The source of a configuration that no file gave."""

_SYSTEM = Path("/etc/pyproxy")
_FILE = "pyproxy.yaml"

_MOST_WORKERS = 1024
_MAIN = "main"
"""The distribution, and its repository, of a file that declares none."""

_SECTIONS = ("server", "storage", "remotes", "repositories", "guards", "distributions")
_SERVER_KEYS = ("listen", "workers", "public_url", "request_timeout", "max_upload_size", "watch_config", "hot_path")
_STORAGE_KEYS = ("path", "max_cache_size")
_ELSEWHERE = {
    **{key: f"distributions.NAME.{key}" for key in DISTRIBUTION_KEYS},
    **{key: f"guards.NAME.{key}" for key in GUARD_KEYS},
    **{key: f"server.{key}" for key in _SERVER_KEYS},
    **{key: f"storage.{key}" for key in _STORAGE_KEYS},
    **{key: f"remotes.NAME.{key}" for key in (*REMOTE_KEYS, *FILTER_KEYS)},
    "remote": "remotes",
    "repository": "repositories",
    "guard": "guards",
    "distribution": "distributions",
}
_ALSO_CALLED = {
    "host": "listen",
    "port": "listen",
    "bind": "listen",
    **{key: f"storage.{key}" for key in _STORAGE_KEYS},
}


class WrongConfig(ConfigError):
    """A ConfigError that also tells which files were looked at: once one of them changes, it may be right."""

    def __init__(self, mistakes: list[str], files: Mapping[Path, Stamp | None]) -> None:
        super().__init__(mistakes)
        self.files = files


def find(cwd: Path, env: Mapping[str, str], *, system: Path = _SYSTEM) -> Path | None:
    """The first file of the search order that is there: below `cwd`, the user's, the system's.

    One that is there and cannot be read counts: to pass over it would serve something else than was asked for.
    """
    user = _xdg(env, "XDG_CONFIG_HOME", ".config")
    for folder in (cwd / "config", user / "pyproxy" if user else None, system):
        if folder is not None and os.path.lexists(folder / _FILE):
            return folder / _FILE
    return None


def load(
    path: Path | None,
    *,
    flags: Flags = Flags(),  # noqa: B008 (frozen)
    env: Mapping[str, str] | None = None,
    machine: Callable[[], MachineIndex] = machine_index,
) -> Config:
    """The configuration in the file, or the embedded default where `path` is None.

    Flags win over the file. Without a section `distributions` there is one, `main`, over the remotes declared, in their
    order; without those too, as in an empty file, over the machine's own index. Its local content, which takes no
    uploads, is the repository `main`, declared or not; where others are declared and it is not, the only one of them,
    and none of several, as nothing tells which is meant. `machine` is called once at most, and
    only where a remote has no url and no flag gives one; it blocks. `env` is the environment that secrets and the
    folders of the user come from.

    Raises WrongConfig (a ConfigError), which holds every mistake there is, in the order of the file.
    """
    env = os.environ if env is None else env
    files = Files(path.absolute().parent if path else Path(), env)
    mistakes = Mistakes(str(path) if path else EMBEDDED)
    config = _Loading(mistakes, files, flags, env, machine).config(_root(path, files, mistakes))
    report = mistakes.report()
    if report:
        raise WrongConfig(report, files.stamps)
    return config


def loops(config: Config) -> list[str]:
    """A line for each remote that would lead back to the daemon itself."""
    mistakes = Mistakes(config.source)
    mistakes.lines.update(config.lines)
    _refuse_loops(config, mistakes, upstream=None)
    return mistakes.report()


def _root(path: Path | None, files: Files, mistakes: Mistakes) -> Mapping[str, Entry]:
    """The file's top mapping; none for the embedded default, an empty file, and one that cannot be read."""
    if path is None:
        return {}
    try:
        raw = files.read(path.absolute(), limit=LARGEST_FILE)
    except Wrong as exc:
        raise WrongConfig([str(exc)], files.stamps) from None
    tree = read_yaml(raw, mistakes.add)
    if tree is None:
        # What is no YAML holds no key to find more mistakes in.
        if report := mistakes.report():
            raise WrongConfig(report, files.stamps)
        return {}
    return {} if tree.value is None else as_mapping(mistakes, tree, line=tree.line, path="")


class _Loading:
    """One load: the flags and the file together."""

    def __init__(
        self,
        mistakes: Mistakes,
        files: Files,
        flags: Flags,
        env: Mapping[str, str],
        machine: Callable[[], MachineIndex],
    ) -> None:
        self._mistakes = mistakes
        self._files = files
        self._flags = flags
        self._env = env
        self._machine = machine

    def config(self, entries: Mapping[str, Entry]) -> Config:
        top = Section(self._mistakes, entries, known=_SECTIONS, elsewhere=_ELSEWHERE)
        server = self._server(top.section("server", _SERVER_KEYS, elsewhere=_ALSO_CALLED))
        storage = self._storage(top.section("storage", _STORAGE_KEYS))
        upstream = self._flag("--upstream", self._flags.upstream, addresses.with_userinfo, None)
        declared, local, distributions = (top.section(it) for it in ("remotes", "repositories", "distributions"))
        if not len(declared) and not len(distributions):
            declared = Section(self._mistakes, {"public": _EMPTY}, path="remotes")
        if not len(local) and not len(distributions):
            local = Section(self._mistakes, {_MAIN: _EMPTY}, path="repositories")
        remotes = read_remotes(declared, self._files, Fallback(self._files, upstream, self._machine))
        repositories = read_repositories(local)
        guards = read_guards(top.section("guards"), self._files)
        if not len(distributions):
            main = _over(list(remotes), _of(repositories))
            distributions = Section(self._mistakes, {_MAIN: main}, path="distributions")
        config = Config(
            server=server,
            storage=storage,
            remotes=remotes,
            repositories=repositories,
            guards=guards,
            distributions=read_distributions(distributions, self._files, remotes, repositories, guards),
            source=self._mistakes.source,
            files=self._files.stamps,
            lines=self._mistakes.lines,
        )
        _refuse_loops(config, self._mistakes, upstream=upstream)
        return config

    def _server(self, section: Section) -> ServerConfig:
        default = ServerConfig()
        listen: Listen | UnixListen = section.value(
            "listen", lambda raw: addresses.listen(raw, folder=self._files.folder), default.listen
        )
        return ServerConfig(
            listen=self._flag(
                "--listen", self._flags.listen, lambda raw: addresses.listen(raw, folder=Path.cwd()), listen
            ),
            workers=self._flag(
                "--workers", self._flags.workers, _workers, section.value("workers", _workers, default.workers)
            ),
            public_url=section.value("public_url", addresses.public_url, None),
            request_timeout=section.value("request_timeout", values.some_duration, default.request_timeout),
            max_upload_size=section.value("max_upload_size", values.size, default.max_upload_size),
            watch_config=section.value("watch_config", values.boolean, default.watch_config),
            hot_path=section.value("hot_path", values.boolean, default.hot_path),
        )

    def _storage(self, section: Section) -> StorageConfig:
        path = section.value("path", self._files.path, None)
        if self._flags.data is not None:
            data = str(self._flags.data)
            path = self._flag("--data", data, lambda raw: values.path(raw, folder=Path.cwd()), Path())
        elif path is None:
            home = _xdg(self._env, "XDG_DATA_HOME", ".local/share")
            if home is None:
                section.wrong("path", "must be given, as there is no home folder to keep the data in")
            path = (home or Path()) / "pyproxy"
        return StorageConfig(path=path, max_cache_size=section.value("max_cache_size", values.size, 50 << 30))

    def _flag(self, flag: str, raw: object, parse: Callable[[object], T], default: T) -> T:
        if raw is None:
            return default
        try:
            return parse(raw)
        except Wrong as exc:
            self._mistakes.add_flag(flag, str(exc))
            return default


_EMPTY = Entry(0, Located({}, 0))


def _over(remotes: list[str], repository: str | None) -> Entry:
    """A distribution of these, as if the file had it."""
    names = Located([Located(name, 0) for name in remotes], 0)
    local = Located(repository, 0)
    return Entry(0, Located({"remote": Entry(0, names), "repository": Entry(0, local)}, 0))


def _of(repositories: tuple[str, ...]) -> str | None:
    """The one that a distribution is of which no file declares."""
    if _MAIN in repositories:
        return _MAIN
    return repositories[0] if len(repositories) == 1 else None


def _workers(raw: object) -> int:
    given = int(raw) if isinstance(raw, str) and raw.isascii() and raw.isdecimal() else raw
    return min(_MOST_WORKERS, cores()) if given == "auto" else values.whole(1, _MOST_WORKERS)(given)


def _xdg(env: Mapping[str, str], name: str, default: str) -> Path | None:
    """A folder of the XDG base directory specification; None where there is no home."""
    given = env.get(name, "")
    # "All paths set in these environment variables must be absolute. If [...] relative [...] ignore it."
    if given and Path(given).is_absolute():
        return Path(given)
    if env.get("HOME"):
        return Path(env["HOME"]) / default
    try:
        return Path.home() / default
    except RuntimeError:
        return None


def _refuse_loops(config: Config, mistakes: Mistakes, *, upstream: Address | None) -> None:
    for name, remote in config.remotes.items():
        if not remote.url or not addresses.is_own(remote.url, config.server.listen, config.server.public_url):
            continue
        path = f"remotes.{name}"
        if remote.machine:
            why = f"the index that pip on this machine uses, {remote.url}, is pyproxy's own address"
            mistakes.add_once(mistakes.where(path), path, f"{why}: give a url here, or --upstream URL")
        elif upstream is not None and f"{path}.url" not in mistakes.lines:
            mistakes.add_flag("--upstream", f"{remote.url} is pyproxy's own address")
        else:
            mistakes.add(mistakes.where(f"{path}.url"), f"{path}.url", f"{remote.url} is pyproxy's own address")

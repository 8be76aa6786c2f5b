"""The configuration as frozen values: what every other part is built from. Nothing here is live.

Durations are seconds, sizes are bytes, paths are absolute. Equal values mean that nothing has to be rebuilt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pyproxy.config.addresses import Listen, UnixListen
from pyproxy.model import PackageType, Sha256
from pyproxy.secret import Secret
from pyproxy.selection import Selector

Policy: TypeAlias = Literal["on_demand", "streamed", "offline"]
Merge: TypeAlias = Literal["ahead", "shadow"]
UnknownAge: TypeAlias = Literal["hide", "show"]

_LISTEN = Listen("127.0.0.1", 7974)
_DAY = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the command line says; it wins over the file. None: not given."""

    listen: str | None = None
    data: Path | None = None
    upstream: str | None = None
    workers: str | int | None = None


@dataclass(frozen=True, slots=True)
class Stamp:
    """A file as it was when it was read; another stamp means that it must be read again."""

    mtime_ns: int
    size: int
    inode: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """The section `server`."""

    listen: Listen | UnixListen = _LISTEN
    workers: int = 1
    public_url: str | None = None
    request_timeout: float = 60.0
    max_upload_size: int = 1 << 30
    watch_config: bool = True
    hot_path: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageConfig:
    """The section `storage`."""

    path: Path
    max_cache_size: int = 50 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """How a remote is trusted, and how it knows us. `cert` may hold the key too.

    `contents` is a digest over the files as they were read: a renewed certificate makes another value.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    verify: bool = True
    contents: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEntry:
    """What `block` names: files of a project, or the one with this digest. `place` is FILE:LINE of one in a file."""

    selector: Selector | None = None
    digest: Sha256 | None = None
    place: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterConfig:
    """The filter keys of a remote or a distribution; as it is here, everything is shown.

    An empty `includes` or `package_types` admits all. `exclude_newer` is in seconds since the epoch. `block` is what
    the file says, and `blocked` what that came to when it and the files that it names were read.
    """

    includes: tuple[Selector, ...] = ()
    excludes: tuple[Selector, ...] = ()
    prereleases: bool = True
    package_types: tuple[PackageType, ...] = ()
    exclude_platforms: tuple[str, ...] = ()
    keep_latest_packages: int = 0
    min_age: float = 0.0
    exclude_newer: float | None = None
    exempt: tuple[Selector, ...] = ()
    unknown_age: UnknownAge = "hide"
    block: tuple[str, ...] = ()
    blocked: tuple[BlockEntry, ...] = ()
    require_provenance: bool = False
    max_file_size: int | None = None

    @property
    def needs_upload_times(self) -> bool:
        return self.min_age > 0 or self.exclude_newer is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteConfig:
    """One of `remotes`. `url` ends with a slash and holds no credentials; `proxy` may.

    `machine` tells that the URL was found through pip. `file_hosts` None stands for any host.
    """

    name: str
    url: str
    policy: Policy = "on_demand"
    ttl: float = 600.0
    negative_ttl: float = 60.0
    stale_if_error: float = 7 * _DAY
    stale_after: float = 2.0
    headers: Mapping[str, Secret] = field(default_factory=dict, hash=False)
    username: Secret | None = None
    password: Secret | None = None
    proxy: Secret | None = None
    tls: TlsConfig = TlsConfig()
    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    max_connections: int = 50
    retries: int = 3
    file_hosts: tuple[str, ...] | None = None
    missing_status: frozenset[int] = frozenset({404, 410})
    filters: FilterConfig = FilterConfig()
    machine: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardConfig:
    """One of `guards`. `read` and `upload` hold names of tokens and users; `read` None stands for everybody.

    `tokens` are SHA-256 digests in hexadecimal, by name. `users` are the bcrypt hashes that the file `htpasswd` held
    when it was read, by user name: a password changed makes another value.
    """

    name: str
    read: frozenset[str] | None = None
    upload: frozenset[str] = frozenset()
    tokens: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    htpasswd: Path | None = None
    users: Mapping[str, bytes] = field(default_factory=dict, hash=False, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionConfig:
    """One of `distributions`, served at `/pypi/{base_path}/`; `remotes` are names, in the order they are asked.

    It has a remote, a repository, or both. `repository_version` None stands for the latest; `private` are globs over
    normalised project names (for `fnmatch.fnmatchcase`), themselves normalised.
    """

    name: str
    base_path: str
    remotes: tuple[str, ...]
    repository: str | None = None
    repository_version: int | None = None
    allow_uploads: bool = False
    merge: Merge = "ahead"
    private: tuple[str, ...] = ()
    content_guard: str | None = None
    hidden: bool = False
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    default: bool = False
    filters: FilterConfig = FilterConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration without a mistake.

    `source` is the file as people named it, or "embedded default". `files` are all that were read for it, with their
    stamps from that moment; where one is another since, it is time to load again. `lines` tells where each key stands.
    Two are equal where they mean the same, wherever it was read.
    """

    server: ServerConfig
    storage: StorageConfig
    remotes: Mapping[str, RemoteConfig] = field(hash=False)
    repositories: tuple[str, ...] = ()
    guards: Mapping[str, GuardConfig] = field(default_factory=dict, hash=False)
    distributions: Mapping[str, DistributionConfig] = field(hash=False)
    source: str = field(compare=False)
    files: Mapping[Path, Stamp | None] = field(default_factory=dict, compare=False)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    def where(self, path: str) -> str:
        """`FILE:LINE` of a key, or of the nearest one above it that the file has."""
        while path and path not in self.lines:
            path = path.rpartition(".")[0]
        line = self.lines.get(path, 0)  # 0: no line of the file says it
        return f"{self.source}:{line}" if line else self.source

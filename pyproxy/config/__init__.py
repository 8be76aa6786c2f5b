"""YAML to a frozen Config: every mistake reported at once, with file and line. Builds nothing live.

`load` is the way in; `settings` holds the values that everything else is built from. Below them: `located` (YAML with
its lines), `section` (a mapping read key by key), `values`, `addresses` and `htpasswd` (what a right value is),
`reading` (files and secrets), `remotes`, `repositories`, `guards` and `distributions` (a section each), `filters` (the
keys that remotes and distributions share), `loading` (all of it together), `showing` (back to text), `doubts` (what
may be a mistake).
"""

from __future__ import annotations

from pyproxy.config.addresses import Listen, UnixListen
from pyproxy.config.doubts import warnings
from pyproxy.config.guards import as_token_name
from pyproxy.config.loading import EMBEDDED, WrongConfig, find, load, loops
from pyproxy.config.reading import stamp_of
from pyproxy.config.settings import (
    BlockEntry,
    Config,
    DistributionConfig,
    FilterConfig,
    Flags,
    GuardConfig,
    Merge,
    Policy,
    RemoteConfig,
    ServerConfig,
    Stamp,
    StorageConfig,
    TlsConfig,
)
from pyproxy.config.showing import as_entry, describe
from pyproxy.secret import Secret

__all__ = [
    "EMBEDDED",
    "BlockEntry",
    "Config",
    "DistributionConfig",
    "FilterConfig",
    "Flags",
    "GuardConfig",
    "Listen",
    "Merge",
    "Policy",
    "RemoteConfig",
    "Secret",
    "ServerConfig",
    "Stamp",
    "StorageConfig",
    "TlsConfig",
    "UnixListen",
    "WrongConfig",
    "as_entry",
    "as_token_name",
    "describe",
    "find",
    "load",
    "loops",
    "stamp_of",
    "warnings",
]

"""The index that pip on this machine uses, asked of pip itself: `pip config list` and `pip help install`.

Both are documented commands. pip reads its files and environment in its own way and order, in each version of its own,
and what it ships as the default stands in its help: no host name is known here.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import netrc
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from pyproxy.errors import PyproxyError
from pyproxy.model import printable
from pyproxy.secret import Secret

# pip answers in 0.3 s; more is a network folder, a very busy machine, or a command that waits for somebody.
_TIMEOUT = 30.0

_LISTED = re.compile(r"(\S+?)\.([a-z0-9-]+)=(['\"].*['\"])\Z")
_DEFAULT = re.compile(r"--index-url <url> .*?\(default (\S+?)\)", re.IGNORECASE)
_WANTED = frozenset({"index-url", "pypi-url", "no-index", "cert", "client-cert", "proxy", "trusted-host"})
_SECTIONS = ("global", "install", ":env:")  # the later one wins
_KINDS = ("env", "site", "user", "global")  # of configuration files: the earlier one wins
_FILES_OF = re.compile(r"^(\w+):\n((?: .*\n)*)", re.MULTILINE)
_TRUE = frozenset({"1", "y", "yes", "t", "true", "on"})


class NoMachineIndex(PyproxyError):
    """The machine's own index cannot be told, or is one that pyproxy cannot read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineIndex:
    """What pip would use. `url` is http or https and holds no credentials, `proxy` may; paths are absolute."""

    url: str
    username: Secret | None = None
    password: Secret | None = None
    ca: Path | None = None
    cert: Path | None = None
    proxy: Secret | None = None
    verify: bool = True


def machine_index() -> MachineIndex:
    """The index, and how pip would reach it. Blocks for as long as pip takes, some 0.4 s.

    Raises NoMachineIndex: there is no pip, pip fails, or its index is a folder or turned off.
    """
    settings, shipped = _ask_pip()
    url = settings.get("index-url") or settings.get("pypi-url")
    if not url and settings.get("no-index", "").lower() in _TRUE:
        raise NoMachineIndex("pip on this machine is told to use no index (no-index)")
    parts = _split(url or shipped)
    username, password = _credentials(parts)
    host = parts.netloc.rpartition("@")[2]
    return MachineIndex(
        url=parts._replace(netloc=host).geturl(),
        username=username,
        password=password,
        ca=_path(settings.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")),
        cert=_path(settings.get("client-cert")),
        proxy=_proxy(settings.get("proxy"), parts.scheme, host),
        verify=not _is_trusted(parts, settings.get("trusted-host", "").split()),
    )


def _ask_pip() -> tuple[Mapping[str, str], str]:
    """The settings of pip for `install`, and the index it ships with ("" where it is not needed)."""
    in_environment = _from_environment()
    pips = _pips()
    for pip in pips:
        with ThreadPoolExecutor(2) as both:
            listed = both.submit(_run, [*pip, "config", "list"], _asking(os.environ))
            # Asked at the same time, as most machines configure nothing.
            helped = (
                both.submit(_run, [*pip, "help", "install"], _unconfigured(os.environ)) if not in_environment else None
            )
            answer = listed.result()
            if answer is None:
                continue
            settings = _settings(pip, answer)
            shipped = _DEFAULT.search(" ".join((helped.result() or "").split())) if helped else None
        if settings.get("index-url") or settings.get("pypi-url"):
            return settings, ""
        if shipped is None:
            raise NoMachineIndex("pip on this machine does not tell which index it uses by default")
        return settings, shipped[1]
    if in_environment:
        # With no pip its files mean nothing, but what the environment says is plain.
        return in_environment, ""
    if pips:
        raise NoMachineIndex("pip on this machine fails: `pip config list` tells why")
    raise NoMachineIndex("there is no pip on this machine that could tell which index it uses")


def _pips() -> list[Sequence[str]]:
    """The commands that may be pip: our own environment's first, as its user installed us with it."""
    found: list[Sequence[str]] = []
    if importlib.util.find_spec("pip") is not None:
        found.append([sys.executable, "-m", "pip"])
    found += [[path] for name in ("pip", "pip3") if (path := shutil.which(name))]
    # -I: an interpreter before 3.11 would else take a folder `pip` below the one we stand in for pip.
    found += [[path, "-I", "-m", "pip"] for name in ("python3", "python") if (path := shutil.which(name))]
    return found


def _run(command: Sequence[str], env: Mapping[str, str]) -> str | None:
    """What the command prints; None where it fails. Its own words of complaint may quote a file with a password."""
    try:
        done = subprocess.run(  # noqa: S603 (no shell, and a pip found on PATH is the machine's own)
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=False
        )
    except OSError:
        return None
    except subprocess.TimeoutExpired:
        raise NoMachineIndex(f"pip on this machine gives no answer within {_TIMEOUT:.0f} s") from None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None


def _asking(env: Mapping[str, str]) -> dict[str, str]:
    """The environment, less what would make pip silent or chatty, or take code from the folder we stand in."""
    return {
        **env,
        "PIP_QUIET": "0",
        "PIP_VERBOSE": "0",
        "PIP_NO_INPUT": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONIOENCODING": "utf-8",
    }


def _unconfigured(env: Mapping[str, str]) -> dict[str, str]:
    """An environment in which pip's help shows what it ships, not what is configured, and in lines that never wrap."""
    asking = {name: value for name, value in _asking(env).items() if not name.upper().startswith("PIP_")}
    return {**asking, "PIP_CONFIG_FILE": os.devnull, "COLUMNS": "2000"}


def _settings(pip: Sequence[str], listed: str) -> dict[str, str]:
    """The settings that hold for `pip install`: those for every command, then its own, then the environment."""
    given: dict[tuple[str, str], list[str]] = {}
    for line in listed.splitlines():
        match = _LISTED.match(line)
        if match is not None and match[1] in _SECTIONS and match[2] in _WANTED:
            given.setdefault((match[1], match[2]), []).append(str(ast.literal_eval(match[3])))
    values = {key: several[-1] for key, several in given.items()}
    # pip 26 lists a key once for each file that has it, in the order of the files' names.
    if unclear := {key: several for key, several in given.items() if len(set(several)) > 1}:
        values |= _preferred(pip, unclear)
    settings: dict[str, str] = {}
    for section in _SECTIONS:
        # "" counts as not set, as it does for pip.
        settings |= {name: value for (where, name), value in values.items() if where == section and value}
    return settings


def _preferred(pip: Sequence[str], unclear: Mapping[tuple[str, str], Sequence[str]]) -> dict[tuple[str, str], str]:
    """Of the values that several files give a key, the one that holds: `pip config debug` shows them file by file."""
    shown = _run([*pip, "config", "debug"], _asking(os.environ)) or ""
    parts = dict(_FILES_OF.findall(shown.replace("\r\n", "\n")))
    values = {}
    for (section, name), several in unclear.items():
        lines = {value: textwrap.indent(f"{section}.{name}: {value}\n", "    ") for value in several}
        for kind in _KINDS:
            # The last file of a kind holds. Where one value begins with the whole of another, the longer one is meant.
            places = {value: (parts.get(kind, "").rfind(line), len(line)) for value, line in lines.items()}
            values[section, name] = max(places, key=places.__getitem__)
            if places[values[section, name]][0] >= 0:
                break
        else:
            raise NoMachineIndex(f"several of pip's files name {section}.{name}, and pip does not tell which one holds")
    return values


def _from_environment() -> dict[str, str]:
    """The settings of pip by environment alone; none where they leave the index to its files."""
    if not os.environ.get("PIP_INDEX_URL"):
        return {}
    named = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and value}
    return {name.removeprefix("PIP_").lower().replace("_", "-"): value for name, value in named.items()}


def _split(url: str) -> SplitResult:
    refused = "pip on this machine uses an index that is no http:// or https:// URL"
    try:
        parts = urlsplit(url)
    except ValueError:
        raise NoMachineIndex(refused) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise NoMachineIndex(refused if "@" in url else f"{refused}: {printable(url)}")
    return parts


def _credentials(parts: SplitResult) -> tuple[Secret | None, Secret | None]:
    """From the URL, else from the user's netrc file, as pip does."""
    if parts.username is not None or parts.password is not None:
        return (
            Secret(unquote(parts.username)) if parts.username else None,
            Secret(unquote(parts.password)) if parts.password else None,
        )
    named = os.environ.get("NETRC")
    for path in [named] if named else ["~/.netrc", "~/_netrc"]:
        # pip too goes without a file that it cannot read.
        with contextlib.suppress(OSError, netrc.NetrcParseError, UnicodeDecodeError):
            found = netrc.netrc(str(Path(path).expanduser())).authenticators(parts.hostname or "")
            if found:
                return (Secret(found[0]) if found[0] else None, Secret(found[2]) if found[2] else None)
            return None, None
    return None, None


def _path(raw: str | None) -> Path | None:
    return Path(os.path.abspath(Path(raw).expanduser())) if raw else None  # noqa: PTH100 (resolve() would follow links)


def _proxy(configured: str | None, scheme: str, host: str) -> Secret | None:
    """The one pip is given, which no exception lifts; else the environment's, if it is meant for this host."""
    if configured:
        return Secret(configured)
    proxies = getproxies()
    standard = proxies.get(scheme) or proxies.get("all")
    return Secret(standard) if standard and not proxy_bypass(host) else None


def _is_trusted(parts: SplitResult, trusted: Sequence[str]) -> bool:
    """Whether pip would take any certificate from the host: it is named, with its port or without one."""
    for named in trusted:
        with contextlib.suppress(ValueError):  # no host at all, so not this one
            it = urlsplit(f"//{named}")
            if it.hostname == parts.hostname and it.port in {None, parts.port}:
                return True
    return False

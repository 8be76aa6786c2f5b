"""What holds for every test: nothing leaves the machine, and nothing of the machine's settings leaks in.

Subprocesses are out of the guard's reach: they get the clean environment, and a loopback index from their test.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import settings

from tests import forking

# A slow machine is no bug, so examples have no deadline; in CI a run fails for what changed, never by a new dice roll.
_EXAMPLES = int(os.environ.get("PYPROXY_EXAMPLES", "50"))
settings.register_profile("pyproxy", deadline=None, max_examples=_EXAMPLES)
settings.register_profile("ci", deadline=None, max_examples=_EXAMPLES, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "pyproxy")

_LEAKING_PREFIXES = ("PIP_", "UV_", "PYPROXY_", "PDM_", "POETRY_", "PIPENV_", "TWINE_", "XDG_")
_LEAKING_NAMES = {"ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "NETRC", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"}

# RFC 6761: these never resolve. They fail here at once, without asking a resolver that may wait for the outside.
_NEVER_RESOLVE = (".example", ".invalid", ".test")

_MACHINE = MappingProxyType(dict(os.environ))


class BeyondLoopback(AssertionError):
    """A test tried to reach another machine."""


class _Guard:
    """Hears of every connection and look-up in this process; an audit hook cannot be removed, so it is switched."""

    def __init__(self) -> None:
        self.active = False  # written by the fixture alone
        self.seen: list[str] = []  # appended to by whatever thread reaches out

    def hear(self, event: str, args: tuple[Any, ...]) -> None:  # Any: an audit event's arguments are of all kinds
        if not self.active:
            return
        if event in {"socket.connect", "socket.sendto"}:
            endpoint, address = args
            if endpoint.family in {socket.AF_INET, socket.AF_INET6}:
                self._judge(event, address[0])
        elif event == "socket.getaddrinfo":
            self._judge(event, args[0])

    def _judge(self, event: str, host: str | bytes | None) -> None:
        name = host.decode() if isinstance(host, bytes) else host
        if name is None or is_loopback(name):
            return
        if event == "socket.getaddrinfo":
            if name.rstrip(".").endswith(_NEVER_RESOLVE):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            if _is_address(name):
                return  # turned into an address structure; nothing is sent until somebody connects
        self.seen.append(f"{event} {name}")
        raise BeyondLoopback(self.seen[-1])


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by the loopback interface."""
    if host in {"", "localhost"}:
        return True
    return _is_address(host) and ipaddress.ip_address(host.partition("%")[0]).is_loopback


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


_LONG = ("process", "clients", "storage")
"""The folders of tests that take seconds each: they begin first, so that no core has them alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name not in _LONG)


_guard = _Guard()
sys.addaudithook(_guard.hear)


@pytest.fixture(autouse=True)
def loopback_only(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Fails the test that reaches beyond loopback, also where the code under test swallowed the refusal.

    Yields what was refused. Tests marked `network` are let through.
    """
    _guard.seen.clear()
    _guard.active = request.node.get_closest_marker("network") is None
    yield _guard.seen
    _guard.active = False
    if _guard.seen:
        pytest.fail(f"reached beyond loopback: {', '.join(_guard.seen)}", pytrace=False)


def clean_environment(machine: Mapping[str, str], home: Path) -> dict[str, str]:
    """The machine's environment less all that configures a client, a proxy or a daemon, with an empty home."""
    clean = {
        name: value
        for name, value in machine.items()
        if not name.startswith(_LEAKING_PREFIXES) and name.upper() not in _LEAKING_NAMES
    }
    clean["HOME"] = str(home)
    clean["PIP_CONFIG_FILE"] = os.devnull  # pip then reads no file at all, the system's own included
    clean["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    clean["UV_NO_CONFIG"] = "1"
    return clean


def _become(environment: Mapping[str, str]) -> None:
    own = {name: value for name, value in os.environ.items() if name.startswith("PYTEST_")}  # pytest's notes to itself
    os.environ.clear()
    os.environ.update({**environment, **own})


def _same(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether both are one environment, but for what pytest writes into its own with each test."""
    left, right = ({name: of[name] for name in of if not name.startswith("PYTEST_")} for of in (one, other))
    return left == right


@pytest.fixture(scope="session")
def machine_environment() -> Mapping[str, str]:
    """The environment as it was before the tests cleaned it."""
    return _MACHINE


@pytest.fixture(scope="session", autouse=True)
def _clean_session() -> Iterator[None]:
    with tempfile.TemporaryDirectory(prefix="pyproxy-home-") as home:
        _become(clean_environment(_MACHINE, Path(home)))
        yield
        forking.end()
        _become(_MACHINE)


@pytest.fixture(autouse=True)
def environment(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leaves the environment as the test found it; a test marked `network` sees the machine's own."""
    before = dict(os.environ)
    if request.node.get_closest_marker("network") is not None:
        _become(_MACHINE)
    yield
    if not _same(os.environ, before):  # to write it anew for each of some thousand tests takes seconds
        _become(before)

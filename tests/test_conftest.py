"""The guard and the clean environment that tests/conftest.py gives to every test."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tests.conftest import BeyondLoopback, clean_environment, is_loopback

_DOCUMENTATION = "192.0.2.1"  # RFC 5737: no machine has it


def test_guard__connection_beyond_loopback__is_refused_and_kept(loopback_only: list[str]) -> None:
    with socket.socket() as reaching, pytest.raises(BeyondLoopback):
        reaching.connect((_DOCUMENTATION, 80))

    assert loopback_only == [f"socket.connect {_DOCUMENTATION}"]
    loopback_only.clear()


def test_guard__datagram_beyond_loopback__is_refused(loopback_only: list[str]) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as reaching, pytest.raises(BeyondLoopback):
        reaching.sendto(b"?", (_DOCUMENTATION, 53))

    assert len(loopback_only) == 1
    loopback_only.clear()


def test_guard__look_up_of_a_real_name__is_refused(loopback_only: list[str]) -> None:
    with pytest.raises(BeyondLoopback):
        socket.getaddrinfo("python.org", 443)

    assert len(loopback_only) == 1
    loopback_only.clear()


def test_guard__reserved_name__does_not_resolve_and_asks_nobody(loopback_only: list[str]) -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("index.example", 443)

    assert loopback_only == []


def test_guard__loopback__is_let_through() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        assert client.getpeername() == server.getsockname()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("::1", True),
        ("localhost", True),
        ("10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("localhost.index.example", False),
    ],
)
def test_is_loopback(host: str, expected: bool) -> None:  # noqa: FBT001 (a column of the table)
    assert is_loopback(host) is expected


def test_environment__settings_of_clients_and_daemon__are_gone() -> None:
    machine = {"PATH": "/bin", "PIP_INDEX_URL": "x", "UV_DEFAULT_INDEX": "x", "PYPROXY_DATA": "x", "https_proxy": "x"}

    clean = clean_environment(machine, Path("empty"))

    assert clean["PATH"] == "/bin"
    assert not set(clean) & {"PIP_INDEX_URL", "UV_DEFAULT_INDEX", "PYPROXY_DATA", "https_proxy"}


def test_environment__in_a_test__has_an_empty_home() -> None:
    assert os.environ["PIP_CONFIG_FILE"] == os.devnull
    assert list(Path.home().iterdir()) == []

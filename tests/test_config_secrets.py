"""Secrets and certificates: taken from where the file says, and never repeated."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pyproxy import config
from pyproxy.config import Config
from pyproxy.errors import ConfigError
from pyproxy.secret import Secret

# Made for these tests, for remote.example; they open nothing.
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQggfbrEkn7CM8JMvqR
qCWKwEaM7xtradAq7pJeM1ShdNKhRANCAARvbHUaM0TmAPds9ryyNHm0CpXkwW+x
Z9w7ipZ5AFJTMRpY6YpbdEMTPpbhguHpqDXX6emAqcgpcwmdGY1rXFp6
-----END PRIVATE KEY-----
"""
CERT = """\
-----BEGIN CERTIFICATE-----
MIIBiDCCAS+gAwIBAgIUT0zDxEYoRxLYWfbRxzsrhv3wnuowCgYIKoZIzj0EAwIw
GTEXMBUGA1UEAwwOcmVtb3RlLmV4YW1wbGUwIBcNMjYxMTIxMjIzNDExWhgPMjEy
NjEwMjgyMjM0MTFaMBkxFzAVBgNVBAMMDnJlbW90ZS5leGFtcGxlMFkwEwYHKoZI
zj0CAQYIKoZIzj0DAQcDQgAEb2x1GjNE5gD3bPa8sjR5tAqV5MFvsWfcO4qWeQBS
UzEaWOmKW3RDEz6W4YLh6ag11+npgKnIKXMJnRmNa1xaeqNTMFEwHQYDVR0OBBYE
FIzolxYCA5DuTXGjxXRX6uueD57LMB8GA1UdIwQYMBaAFIzolxYCA5DuTXGjxXRX
6uueD57LMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgBWwNnJDS
b+GYQTjuMfEO+cNEy74yL99GWgTInuMnbAwCIH50v7EOBx/7MNx/rYcgYCJsr2rp
OlZligbTFI2aYdq/
-----END CERTIFICATE-----
"""
ENCRYPTED_KEY = """\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgYmGK4STViBgICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEEJQZBn0iIz5gx0QSZu/LfXAEgZDl
BomJBtjkVPH+S8O/S+T/Mn9RDVGXzU1fkKWrt72VCNeqQB35UbdqCIY4+l1dubcy
TbpABHPdQayOgB4ryVPlvfv4HhJUBip5jLrMYWKYvGnlMgcZ8/zp/GP3QEcQugrD
5qFAzE7/AcnzkG7LdesTNpoeZ40Adi4TtPNQ1UvuXueQOrt9JwqLfIY32uNig2M=
-----END ENCRYPTED PRIVATE KEY-----
"""

Remote = Callable[..., Config]


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    """Loads a configuration with one remote that has the keys given."""

    def with_keys(keys: str, **env: str) -> Config:
        path = tmp_path / "pyproxy.yaml"
        path.write_text(
            "remotes:\n  r:\n    url: https://index.example/\n" + "".join(f"    {it}\n" for it in keys.splitlines())
        )
        return config.load(path, env={"HOME": str(tmp_path), **env})

    return with_keys


def wrong(remote: Remote, keys: str, **env: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        remote(keys, **env)
    return [line.partition("remotes.r.")[2] for line in caught.value.mistakes]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_file_secret__is_read_beside_the_configuration_less_one_newline(
    remote: Remote, tmp_path: Path, ending: bytes
) -> None:
    (tmp_path / "secret").write_bytes(b" hunter2 " + ending)
    found = remote("username: bob\npassword: file:secret")
    assert found.remotes["r"].password == Secret(" hunter2 ")
    assert list(found.files) == [tmp_path / "pyproxy.yaml", tmp_path / "secret"]


def test_file_secret__in_the_home_folder(remote: Remote, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text("t")
    assert remote("username: file:~/token").remotes["r"].username == Secret("t")


def test_username__alone__is_enough(remote: Remote) -> None:
    found = remote("username: token").remotes["r"]
    assert (found.username, found.password) == (Secret("token"), None)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("password: env:NOPE\nusername: u", "password: environment variable NOPE is not set"),
        ("password: env:EMPTY\nusername: u", "password: environment variable EMPTY is empty"),
        ("password: file:nope\nusername: u", "password: cannot read {folder}/nope: No such file or directory"),
        ("password: file:.\nusername: u", "password: cannot read {folder}: Is a directory"),
        ("password: file:empty\nusername: u", "password: {folder}/empty is empty"),
        ("password: file:lines\nusername: u", "password: {folder}/lines holds more than one line"),
        ("password: file:binary\nusername: u", "password: {folder}/binary does not hold UTF-8 text"),
        ("password: file:large\nusername: u", "password: {folder}/large is larger than 65536 bytes"),
        ("password: 'file:'\nusername: u", "password: must be a path"),
        ("password: ''\nusername: u", "password: must not be empty"),
        ("password: 123456\nusername: u", "password: must be text: env:NAME, file:PATH, or the text itself in quotes"),
        ('password: "a\\x7fb"\nusername: u', "password: must not hold control characters"),
        ("password: p", "password: needs a username beside it"),
        ("username: env:COLON", "username: must not hold a colon: Basic authentication ends the user name there"),
        ("headers: {X-A: env:LINES}", "headers.X-A: must be printable ASCII in one line, not beginning or ending with"),
        ("proxy: env:COLON", "proxy: must be an http:// or https:// URL with a host"),
    ],
)
def test_secret__wrong__is_told_without_it(remote: Remote, tmp_path: Path, keys: str, message: str) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "lines").write_text("hunter2\nhunter2\n")
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    (tmp_path / "large").write_text("hunter2" * 10_000)
    [line] = wrong(remote, keys, EMPTY="", COLON="hunter2:hunter2", LINES="hunter2\nhunter2")
    assert line.startswith(message.format(folder=tmp_path))
    assert "hunter2" not in line
    assert "123456" not in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_file_secret__unreadable__is_told(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "secret").touch(mode=0)
    assert wrong(remote, "username: file:secret") == [f"username: cannot read {tmp_path}/secret: Permission denied"]


def test_wrong_config__still_tells_which_files_to_watch(remote: Remote, tmp_path: Path) -> None:
    with pytest.raises(config.WrongConfig) as caught:
        remote("username: file:nope")
    assert caught.value.files[tmp_path / "pyproxy.yaml"] == config.stamp_of(tmp_path / "pyproxy.yaml")
    assert caught.value.files[tmp_path / "nope"] is None


def test_describe__holds_no_secret(remote: Remote) -> None:
    found = remote(
        "username: hunter2\npassword: hunter2\nheaders: {X-A: hunter2}\nproxy: http://hunter2:hunter2@proxy.example/"
    )
    shown = config.describe(found)
    assert "hunter2" not in shown + repr(found)
    assert shown.count("***") == 4
    assert "http://***@proxy.example:80" in shown


def test_tls__all_files__are_checked_and_watched(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERT)
    (tmp_path / "cert.pem").write_text(CERT)
    (tmp_path / "key.pem").write_text(KEY)
    found = remote("tls: {ca: ca.pem, cert: cert.pem, key: key.pem}")
    tls = found.remotes["r"].tls
    assert (tls.ca, tls.cert, tls.key) == (tmp_path / "ca.pem", tmp_path / "cert.pem", tmp_path / "key.pem")
    assert set(found.files) == {tmp_path / name for name in ("pyproxy.yaml", "ca.pem", "cert.pem", "key.pem")}


def test_tls__certificate_and_key_in_one_file(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "both.pem").write_text(KEY + CERT)
    assert remote("tls: {cert: both.pem}").remotes["r"].tls.key is None


def test_tls__renewed_file__makes_another_remote(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CERT)
    before = remote("tls: {ca: ca.pem}").remotes["r"]
    (tmp_path / "ca.pem").write_text("# renewed\n" + CERT)
    assert remote("tls: {ca: ca.pem}").remotes["r"] != before


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("ca: nope.pem", "ca: cannot read {folder}/nope.pem: No such file or directory"),
        ("ca: junk.pem", "ca: {folder}/junk.pem holds no certificate in PEM"),
        ("cert: cert.pem", "cert: {folder}/cert.pem holds no certificate with its key, unencrypted and in PEM"),
        ("cert: cert.pem, key: nope.pem", "cert: cannot read {folder}/nope.pem: No such file or directory"),
        (
            "cert: cert.pem, key: junk.pem",
            "cert: {folder}/cert.pem and {folder}/junk.pem hold no certificate with its key, unencrypted and in PEM",
        ),
        ("key: key.pem", "key: needs a cert beside it"),
        ("ca: 1", "ca: must be a path"),
    ],
)
def test_tls__wrong(remote: Remote, tmp_path: Path, keys: str, message: str) -> None:
    (tmp_path / "cert.pem").write_text(CERT)
    (tmp_path / "key.pem").write_text(KEY)
    (tmp_path / "junk.pem").write_text("junk")
    [line] = wrong(remote, f"tls: {{{keys}}}")
    assert line.removesuffix(" form") == f"tls.{message.format(folder=tmp_path)}"


def test_tls__encrypted_key__is_refused_without_asking_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text(CERT)
    (tmp_path / "key.pem").write_text(ENCRYPTED_KEY)
    (tmp_path / "pyproxy.yaml").write_text(
        "remotes: {r: {url: 'https://index.example/', tls: {cert: cert.pem, key: key.pem}}}\n"
    )
    code = (
        f"from pathlib import Path; from pyproxy import config; config.load(Path({str(tmp_path / 'pyproxy.yaml')!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        start_new_session=True,
    )
    assert "unencrypted" in done.stderr
    assert "phrase" not in done.stdout + done.stderr

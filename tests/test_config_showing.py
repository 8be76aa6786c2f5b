from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pyproxy import config
from pyproxy.machine_index import MachineIndex


def load(folder: Path, text: str) -> config.Config:
    path = folder / "pyproxy.yaml"
    path.write_text(text)
    return config.load(
        path, env={"HOME": str(folder)}, machine=lambda: MachineIndex(url="http://m.example/", verify=False)
    )


EVERYTHING = """
server: {listen: '[::1]:1', public_url: 'https://p.example', request_timeout: 90s, watch_config: false}
storage: {path: /d, max_cache_size: 1000}
remotes:
  a: {url: 'https://a.example/x', policy: streamed, ttl: 0s, stale_after: 500ms, file_hosts: [], retries: 0}
  b: {url: 'https://b.example/', missing_status: [403, 404], connect_timeout: 90s, file_hosts: [f.example]}
distributions:
  one: {base_path: x/one, remote: [b, a], labels: {tier: 'yes'}}
  two: {remote: a, hidden: true, default: true}
"""


@pytest.mark.parametrize("text", [EVERYTHING, "remotes: {a: {url: 'https://a.example/'}}"])
def test_describe__read_again__means_the_same(tmp_path: Path, text: str) -> None:
    once = load(tmp_path, text)
    assert load(tmp_path, config.describe(once)) == once


def test_describe__writes_every_key_out(tmp_path: Path) -> None:
    tree = yaml.safe_load(config.describe(load(tmp_path, EVERYTHING)))
    assert set(tree) == {"server", "storage", "remotes", "distributions"}
    assert len(tree["server"]) == 6
    assert len(tree["remotes"]["a"]) == 17
    assert len(tree["distributions"]["one"]) == 5


def test_describe__says_where_it_was_read_and_what_pip_gave(tmp_path: Path) -> None:
    assert config.describe(load(tmp_path, "")).splitlines()[:2] == [
        f"# {tmp_path}/pyproxy.yaml",
        "# public: the index that pip on this machine uses",
    ]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("server: {listen: '0.0.0.0:80'}", "1: server.listen: 0.0.0.0:80 is open to other machines: whoever"),
        ("server: {listen: 'host.example:80'}", "1: server.listen: host.example:80 is open to other machines"),
        (
            "remotes: {a: {url: 'http://a.example', username: u, password: p}}",
            "1: remotes.a.password: is sent to a.example unencrypted",
        ),
        ("remotes: {a: {url: 'http://a.example', headers: {X: p}}}", "1: remotes.a.headers: is sent to a.example"),
        (
            "remotes: {a: {url: 'https://a.example', tls: {verify: false}}}",
            "1: remotes.a.tls.verify: whoever stands between here and a.example can change every file",
        ),
        (
            "remotes: {a: {url: 'https://a.example'}, b: {url: 'https://b.example'}}\ndistributions: {x: {remote: a}}",
            "1: remotes.b: no distribution asks this remote",
        ),
        (
            "remotes: {a: {url: 'https://a.example'}}\ndistributions: {x: {remote: a}, y: {remote: a}}",
            "2: distributions: none has default: true, so that nothing is served at /simple/",
        ),
    ],
)
def test_warnings__are_located(tmp_path: Path, text: str, warning: str) -> None:
    [line] = config.warnings(load(tmp_path, text))
    assert line.startswith(f"{tmp_path}/pyproxy.yaml:{warning}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "server: {listen: 'unix:/run/s'}",
        "server: {listen: 'localhost:80'}",
        "server: {listen: '127.0.0.2:80'}",
        "remotes: {a: {url: 'http://127.0.0.1:1', username: u, tls: {verify: false}}}",
    ],
)
def test_warnings__nothing_to_warn_of(tmp_path: Path, text: str) -> None:
    assert config.warnings(load(tmp_path, text)) == []

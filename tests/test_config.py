from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pyproxy import config
from pyproxy.config import (
    Config,
    DistributionConfig,
    Flags,
    GuardConfig,
    Listen,
    RemoteConfig,
    ServerConfig,
    UnixListen,
)
from pyproxy.errors import ConfigError
from pyproxy.machine_index import MachineIndex, NoMachineIndex
from pyproxy.secret import Secret

# What the documentation shows, less the keys of later versions.
FULL = """\
server:
  listen: 127.0.0.1:7974          # also unix:/run/pyproxy.sock
  workers: 1
  public_url: null
  request_timeout: 60s
  max_upload_size: 1GiB
  watch_config: true

storage:
  path: /var/lib/pyproxy
  max_cache_size: 50GiB

remotes:
  public: {}
  torch:
    url: https://index.example/whl/cpu/
    policy: on_demand
    ttl: 10m
    negative_ttl: 1m
    stale_if_error: 7d
    stale_after: 2s
    headers: {}
    username: null
    password: null
    proxy: null
    tls: {ca: null, cert: null, key: null, verify: true}
    connect_timeout: 5s
    read_timeout: 30s
    max_connections: 50
    retries: 3
    file_hosts: null
    missing_status: [404, 410]

repositories:
  team: {}

guards:
  staff:
    read: [ci-token]
    upload: [release-token]
    tokens:
      ci-token: "sha256:c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1c1"
      release-token: "sha256:4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e"
    htpasswd: null

distributions:
  team:
    base_path: team
    remote: [public, torch]
    repository: team
    repository_version: null
    allow_uploads: false
    merge: ahead
    private: ["acme-*"]
    content_guard: null
    hidden: false
    labels: {}
    default: false
"""

MACHINE = MachineIndex(url="https://machine.example/simple")

Load = Callable[..., Config]


class Pip:
    """Stands for the machine's pip, and counts how often it is asked."""

    def __init__(self, answer: MachineIndex | Exception = MACHINE) -> None:
        self.answer = answer
        self.asked = 0

    def __call__(self) -> MachineIndex:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def pip() -> Pip:
    return Pip()


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pip: Pip) -> Load:
    """Loads a text as ./pyproxy.yaml, with a home and an environment of its own."""
    monkeypatch.chdir(tmp_path)

    def from_text(text: str, *, flags: Flags | None = None, **env: str) -> Config:
        Path("pyproxy.yaml").write_text(text)
        path = Path("pyproxy.yaml")
        return config.load(path, flags=flags or Flags(), env={"HOME": str(tmp_path), **env}, machine=pip)

    return from_text


def mistakes(load: Load, text: str, **more: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(text, **more)
    return caught.value.mistakes


# ------------------------------------------------------------------------------------------------------ right ones


def test_load__full_example__means_the_defaults(load: Load, tmp_path: Path) -> None:
    found = load(FULL)
    assert found.server == ServerConfig()
    assert found.storage.path == Path("/var/lib/pyproxy")
    assert found.storage.max_cache_size == 50 * 1024**3
    assert found.remotes == {
        "public": RemoteConfig(name="public", url="https://machine.example/simple/", machine=True),
        "torch": RemoteConfig(name="torch", url="https://index.example/whl/cpu/"),
    }
    assert found.repositories == ("team",)
    tokens = {"ci-token": "c1" * 32, "release-token": "4e" * 32}
    staff = GuardConfig(name="staff", read=frozenset({"ci-token"}), upload=frozenset({"release-token"}), tokens=tokens)
    assert found.guards == {"staff": staff}
    assert found.distributions == {
        "team": DistributionConfig(
            name="team",
            base_path="team",
            remotes=("public", "torch"),
            repository="team",
            private=("acme-*",),
            default=True,
        )
    }
    assert found.source == "pyproxy.yaml"
    assert list(found.files) == [tmp_path / "pyproxy.yaml"]


def test_defaults__are_those_of_the_contract() -> None:
    remote = RemoteConfig(name="a", url="https://index.example/")
    assert (remote.ttl, remote.negative_ttl, remote.stale_if_error, remote.stale_after) == (600, 60, 604800, 2)
    assert (remote.connect_timeout, remote.read_timeout, remote.max_connections, remote.retries) == (5, 30, 50, 3)
    assert (remote.policy, remote.missing_status, remote.file_hosts) == ("on_demand", frozenset({404, 410}), None)
    server = ServerConfig()
    assert (server.listen, server.workers, server.public_url) == (Listen("127.0.0.1", 7974), 1, None)
    assert (server.request_timeout, server.max_upload_size, server.watch_config) == (60, 1024**3, True)
    guard = GuardConfig(name="a")
    assert (guard.read, guard.upload, guard.tokens, guard.htpasswd) == (None, frozenset(), {}, None)
    local = DistributionConfig(name="a", base_path="a", remotes=())
    assert (local.repository, local.repository_version, local.content_guard) == (None, None, None)
    assert (local.allow_uploads, local.merge, local.private) == (False, "ahead", ())


def test_load__every_key_given__is_taken(load: Load, tmp_path: Path) -> None:
    found = load(
        """
        server:
          listen: "[::1]:8080"
          public_url: https://Packages.example:443/proxy/
          request_timeout: 1m
          max_upload_size: 10MB
          watch_config: no
        storage: {path: data, max_cache_size: 1.5GiB}
        remotes:
          a:
            url: HTTP://Index.example:80/base
            policy: offline
            ttl: 0
            negative_ttl: 500ms
            stale_if_error: 1.5h
            stale_after: 0s
            headers: {X-Token: abc, X-Env: "env:TOKEN"}
            username: bob
            password: "env:TOKEN"
            proxy: proxy.example:3128
            tls: {verify: false}
            connect_timeout: 1s
            read_timeout: 2s
            max_connections: 1
            retries: 0
            file_hosts: [Files.example, "files.example:8443", "[::1]:80"]
            missing_status: 403
        repositories: {r: {}, s: null}
        guards: {g: {}}
        distributions:
          one: {base_path: domain/team, remote: a, hidden: true, labels: {tier: gold}}
          two: {remote: [a], repository: r, repository_version: 3, merge: shadow, private: Acme_*, default: true}
          three: {repository: s, allow_uploads: true, private: [b, "[c-e]x.?"], content_guard: g}
        """,
        TOKEN="s3cret",
    )
    assert found.server == ServerConfig(
        listen=Listen("::1", 8080),
        public_url="https://packages.example/proxy",
        request_timeout=60,
        max_upload_size=10**7,
        watch_config=False,
    )
    assert found.storage.path == tmp_path / "data"
    assert found.storage.max_cache_size == 3 * 2**29
    assert found.remotes["a"] == RemoteConfig(
        name="a",
        url="http://index.example/base/",
        policy="offline",
        ttl=0,
        negative_ttl=0.5,
        stale_if_error=5400,
        stale_after=0,
        headers={"X-Token": Secret("abc"), "X-Env": Secret("s3cret")},
        username=Secret("bob"),
        password=Secret("s3cret"),
        proxy=Secret("http://proxy.example:3128"),
        tls=replace(RemoteConfig(name="", url="").tls, verify=False),
        connect_timeout=1,
        read_timeout=2,
        max_connections=1,
        retries=0,
        file_hosts=("files.example", "files.example:8443", "[::1]:80"),
        missing_status=frozenset({403}),
    )
    assert found.distributions == {
        "one": DistributionConfig(
            name="one", base_path="domain/team", remotes=("a",), hidden=True, labels={"tier": "gold"}
        ),
        "two": DistributionConfig(
            name="two",
            base_path="two",
            remotes=("a",),
            repository="r",
            repository_version=3,
            merge="shadow",
            private=("acme-*",),
            default=True,
        ),
        "three": DistributionConfig(
            name="three",
            base_path="three",
            remotes=(),
            repository="s",
            allow_uploads=True,
            private=("b", "[c-e]x-?"),
            content_guard="g",
        ),
    }
    assert found.repositories == ("r", "s")


def test_load__no_file__is_the_embedded_default(tmp_path: Path, pip: Pip) -> None:
    found = config.load(None, env={"HOME": str(tmp_path)}, machine=pip)
    assert found.source == config.EMBEDDED
    assert list(found.remotes) == ["public"]
    assert found.repositories == ("main",)
    main = DistributionConfig(name="main", base_path="main", remotes=("public",), repository="main", default=True)
    assert found.distributions == {"main": main}
    assert found.storage.path == tmp_path / ".local/share/pyproxy"
    assert found.files == {}


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "server:\nremotes:\ndistributions: {}\n"])
def test_load__nothing_declared__means_the_embedded_default(load: Load, pip: Pip, tmp_path: Path, text: str) -> None:
    assert load(text) == config.load(None, env={"HOME": str(tmp_path)}, machine=pip)


def test_load__remotes_without_distributions__are_served_as_main_in_their_order(load: Load, pip: Pip) -> None:
    found = load("remotes:\n  b: {url: https://b.example/}\n  a: {url: https://a.example/}\n")
    assert found.distributions["main"].remotes == ("b", "a")
    assert pip.asked == 0


@pytest.mark.parametrize(
    ("repositories", "expected", "served"),
    [
        ("{}", ("main",), "main"),
        ("{main: {}}", ("main",), "main"),
        ("{team: {}}", ("team",), "team"),
        ("{team: {}, main: {}}", ("team", "main"), "main"),
        ("{team: {}, other: {}}", ("team", "other"), None),
    ],
)
def test_load__no_distributions__main_has_the_repository_that_is_meant(
    load: Load, repositories: str, expected: tuple[str, ...], served: str | None
) -> None:
    found = load(f"repositories: {repositories}")
    main = found.distributions["main"]
    assert (found.repositories, main.repository, main.allow_uploads) == (expected, served, False)
    assert main.remotes == ("public",)


def test_load__distributions_declared__get_no_repository_by_themselves(load: Load) -> None:
    found = load("remotes: {a: {url: 'https://a.example/'}}\ndistributions: {main: {remote: a}}")
    assert (found.repositories, found.distributions["main"].repository) == ((), None)


@pytest.mark.parametrize("remote", ["", "remote: null, ", "remote: [], "])
def test_load__local_content_alone__needs_no_remote(load: Load, pip: Pip, remote: str) -> None:
    found = load(f"repositories: {{r: {{}}}}\ndistributions: {{d: {{{remote}repository: r}}}}")
    assert (found.remotes, found.distributions["d"].remotes) == ({}, ())
    assert pip.asked == 0


def test_load__same_meaning__is_equal_wherever_it_was_read(load: Load) -> None:
    assert load(FULL) == load("# a comment more\n" + FULL.replace("60s", "1m"))
    assert load(FULL) != load(FULL.replace("ttl: 10m", "ttl: 11m"))


def test_remote__is_hashable() -> None:
    one, two = (RemoteConfig(name="a", url="https://index.example/", headers={"X": Secret("y")}) for _ in range(2))
    assert len({one, two}) == 1


@pytest.mark.parametrize(
    ("text", "listen"),
    [
        ("127.0.0.1:0", Listen("127.0.0.1", 0)),
        ("LocalHost:80", Listen("localhost", 80)),
        ('"[::]:7974"', Listen("::", 7974)),
        ("unix:/run/pyproxy.sock", UnixListen(Path("/run/pyproxy.sock"))),
    ],
)
def test_listen__forms(load: Load, text: str, listen: Listen | UnixListen) -> None:
    assert load(f"server: {{listen: {text}}}").server.listen == listen


def test_listen__relative_socket__lies_beside_the_file(load: Load, tmp_path: Path) -> None:
    assert load("server: {listen: 'unix:run/s.sock'}").server.listen == UnixListen(tmp_path / "run/s.sock")


def test_storage__without_path__follows_xdg(load: Load) -> None:
    assert load("", XDG_DATA_HOME="/srv/data").storage.path == Path("/srv/data/pyproxy")


def test_storage__relative_xdg_folder__is_ignored(load: Load, tmp_path: Path) -> None:
    assert load("", XDG_DATA_HOME="data").storage.path == tmp_path / ".local/share/pyproxy"


def test_where__names_the_line_of_a_key_or_of_what_holds_it(load: Load) -> None:
    found = load("remotes:\n  a:\n    url: https://index.example/\n")
    assert found.where("remotes.a.url") == "pyproxy.yaml:3"
    assert found.where("remotes.a.tls.verify") == "pyproxy.yaml:2"
    assert found.where("server.listen") == "pyproxy.yaml"
    assert found.where("distributions.main.remote") == "pyproxy.yaml"


# ---------------------------------------------------------------------------------------------------------- flags


def test_flags__win_over_the_file(load: Load, tmp_path: Path, pip: Pip) -> None:
    flags = Flags(listen="127.0.0.1:1", data=Path("d"), upstream="https://up.example/simple", workers="1")
    found = load(FULL, flags=flags)
    assert found.server.listen == Listen("127.0.0.1", 1)
    assert found.storage.path == tmp_path / "d"
    assert found.remotes["public"] == RemoteConfig(name="public", url="https://up.example/simple/")
    assert found.remotes["torch"].url == "https://index.example/whl/cpu/"
    assert pip.asked == 0


def test_upstream__userinfo__becomes_credentials(load: Load) -> None:
    remote = load("", flags=Flags(upstream="https://bob:p%40ss@up.example/")).remotes["public"]
    assert remote.url == "https://up.example/"
    assert remote.username == Secret("bob")
    assert remote.password == Secret("p@ss")


def test_flags__wrong__are_told_with_the_rest(load: Load) -> None:
    flags = Flags(listen="7974", upstream="ftp://index.example/", workers="0", data=Path("\0"))
    assert mistakes(load, "remotes: {a: {retries: 11}, b: {}}", flags=flags) == [
        "--listen: must be HOST:PORT such as 127.0.0.1:7974, [::1]:7974, or unix:/path, not '7974'",
        "--workers: must be a whole number from 1 to 1024, not 0",
        "--data: must be a path",
        "--upstream: must be an http:// or https:// URL with a host",
        "pyproxy.yaml:1: remotes.a.retries: must be a whole number from 0 to 10, not 11",
    ]


# ----------------------------------------------------------------------------------------------- the machine's index


def test_machine__several_remotes_without_url__is_asked_once(load: Load, pip: Pip) -> None:
    found = load("remotes: {a: {}, b: {ttl: 1m}, c: {url: https://index.example/}}")
    assert pip.asked == 1
    assert [remote.machine for remote in found.remotes.values()] == [True, True, False]


def test_machine__what_pip_says__is_taken_and_the_file_wins(load: Load, pip: Pip) -> None:
    pip.answer = replace(
        MACHINE, username=Secret("u"), password=Secret("p"), proxy=Secret("proxy.example:1"), verify=False
    )
    found = load("remotes: {a: {}, b: {username: me, proxy: 'http://mine.example', tls: {verify: true}}}").remotes
    assert (found["a"].username, found["a"].password) == (Secret("u"), Secret("p"))
    assert found["a"].proxy == Secret("http://proxy.example:1")
    assert not found["a"].tls.verify
    assert (found["b"].username, found["b"].password) == (Secret("me"), None)
    assert found["b"].proxy == Secret("http://mine.example:80")
    assert found["b"].tls.verify


def test_machine__unknown__is_one_mistake_beside_the_others(load: Load, pip: Pip) -> None:
    pip.answer = NoMachineIndex("there is no pip")
    assert mistakes(load, "remotes:\n  a: {}\n  b: {}\n  c: {ttl: x}\n") == [
        "pyproxy.yaml:2: remotes.a: there is no pip; give a url here, or --upstream URL",
        "pyproxy.yaml:4: remotes.c.ttl: must be a duration such as 30s, 10m, 2h or 7d, not 'x'",
    ]


def test_machine__unknown_and_no_file__is_told(pip: Pip) -> None:
    pip.answer = NoMachineIndex("there is no pip")
    with pytest.raises(ConfigError) as caught:
        config.load(None, machine=pip)
    assert caught.value.mistakes == [
        "embedded default: remotes.public: there is no pip; give a url here, or --upstream URL"
    ]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (replace(MACHINE, url="https://machine.example/?a"), "the index that pip on this machine uses must be the URL"),
        (replace(MACHINE, proxy=Secret("socks5://h:1")), "the proxy that pip on this machine uses must be an http://"),
        (replace(MACHINE, ca=Path("/nowhere/ca.pem")), "cannot read /nowhere/ca.pem: No such file or directory"),
    ],
)
def test_machine__what_cannot_be_used__is_told(load: Load, pip: Pip, answer: MachineIndex, why: str) -> None:
    pip.answer = answer
    [line] = mistakes(load, "")
    assert line.startswith("pyproxy.yaml: remotes.public: ")
    assert why in line


# -------------------------------------------------------------------------------------------------------- own address


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:7974", "http://127.0.0.1:7974/simple/"),
        ("127.0.0.1:7974", "http://localhost:7974/pypi/main/simple/"),
        ("127.0.0.1:7974", "http://0.0.0.0:7974/"),
        ("127.0.0.1:80", "http://127.0.0.1/"),
        ("127.0.0.1:443", "https://127.0.0.1/"),
        ("localhost:7974", "http://[::1]:7974/"),
        ("0.0.0.0:7974", "http://127.0.0.1:7974/"),
        ("0.0.0.0:7974", "http://127.4.5.6:7974/"),
        ("[::]:7974", "http://localhost:7974/"),
        ("[::]:7974", "http://127.0.0.1:7974/"),
        ("127.0.0.1:7974", "http://[::ffff:127.0.0.1]:7974/"),
        ("myhost.example:7974", "http://MyHost.example:7974/"),
    ],
)
def test_own_address__as_a_remote__is_refused(load: Load, listen: str, url: str) -> None:
    shown = url.lower().replace("::ffff:127.0.0.1", "::ffff:7f00:1").replace(":80/", "/")
    [line] = mistakes(load, f"server: {{listen: '{listen}'}}\nremotes:\n  a:\n    url: '{url}'\n")
    start, _, end = line.partition(" http")
    assert start == "pyproxy.yaml:4: remotes.a.url:"
    assert end.endswith(" is pyproxy's own address")
    assert shown in f"http{end}" or "ffff" in end


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:7974", "http://127.0.0.1:7975/simple/"),
        ("127.0.0.1:7974", "http://127.0.0.2:7974/simple/"),
        ("127.0.0.1:0", "http://127.0.0.1:7974/"),
        ("unix:/run/s", "http://127.0.0.1:7974/"),
        ("0.0.0.0:7974", "http://203.0.113.7:7974/"),
        ("0.0.0.0:7974", "http://nowhere.invalid:7974/"),
        ("127.0.0.1:7974", "https://127.0.0.1/"),
    ],
)
def test_own_address__another_daemon__is_let_be(load: Load, listen: str, url: str) -> None:
    assert load(f"server: {{listen: '{listen}'}}\nremotes:\n  a:\n    url: '{url}'\n").remotes["a"].url == url


def test_own_address__through_public_url__is_refused(load: Load) -> None:
    text = "server: {public_url: 'https://p.example/proxy'}\nremotes:\n  a: {url: 'https://p.example/proxy/pypi/x/'}\n"
    assert mistakes(load, text) == [
        "pyproxy.yaml:3: remotes.a.url: https://p.example/proxy/pypi/x/ is pyproxy's own address"
    ]
    assert load(text.replace("proxy/pypi", "other/pypi")).remotes["a"].url == "https://p.example/other/pypi/x/"


def test_own_address__as_the_machines_index__is_told_once(load: Load, pip: Pip) -> None:
    pip.answer = MachineIndex(url="http://localhost:7974/simple")
    [line] = mistakes(load, "remotes:\n  a: {}\n  b: {}\n")
    why = "the index that pip on this machine uses, http://localhost:7974/simple/, is pyproxy's own address"
    assert line == f"pyproxy.yaml:2: remotes.a: {why}: give a url here, or --upstream URL"


def test_own_address__as_upstream_flag__is_refused(load: Load) -> None:
    flags = Flags(upstream="http://127.0.0.1:8080/simple", listen="127.0.0.1:8080")
    assert mistakes(load, "remotes: {a: {}, b: {}}", flags=flags) == [
        "--upstream: http://127.0.0.1:8080/simple/ is pyproxy's own address"
    ]


# ------------------------------------------------------------------------------------------------------- search order


def test_find__takes_the_first_of_the_search_order(tmp_path: Path) -> None:
    here, home, system = tmp_path / "here", tmp_path / "home", tmp_path / "etc"
    env = {"HOME": str(home)}
    assert config.find(here, env, system=system) is None
    for path in (system, home / ".config/pyproxy", here / "config"):
        path.mkdir(parents=True)
        (path / "pyproxy.yaml").touch()
        assert config.find(here, env, system=system) == path / "pyproxy.yaml"


def test_find__xdg_config_home__is_where_the_users_file_is(tmp_path: Path) -> None:
    (tmp_path / "xdg/pyproxy").mkdir(parents=True)
    (tmp_path / "xdg/pyproxy/pyproxy.yaml").touch()
    env = {"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    assert config.find(tmp_path, env, system=tmp_path) == tmp_path / "xdg/pyproxy/pyproxy.yaml"


def test_find__dangling_link__is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/pyproxy.yaml").symlink_to("nowhere")
    found = config.find(tmp_path, {"HOME": str(tmp_path)}, system=tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        config.load(found)

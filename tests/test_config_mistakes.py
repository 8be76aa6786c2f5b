"""Every way to be wrong, and the exact line it gets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyproxy import config
from pyproxy.errors import ConfigError
from pyproxy.machine_index import MachineIndex

NOT_SUPPORTED = "not supported by this version of pyproxy"
DURATION = "must be a duration such as 30s, 10m, 2h or 7d"
SIZE = "must be a size such as 10MiB, 2GiB or a number of bytes"
LISTEN = "must be HOST:PORT such as 127.0.0.1:7974, [::1]:7974, or unix:/path"
URL = "must be an http:// or https:// URL with a host"
BASE_PATH = (
    "must be one or several segments of letters, digits, dots, dashes and underscores, such as domain/team, not {}"
)
NAME = "a name must be of letters, digits, dots, dashes and underscores"
FILE_HOST = "must be a host such as files.index.example or files.index.example:8443"
GLOB = "must be a project's name, or a glob of names such as acme-*"
DASH = "has {}, which matches nothing: no project's name begins or ends with a dash, a dot or an underscore"
NO_REMOTE = "must name a remote, or several in a list, where there is no repository"
LOCAL = "repositories: {team: {}}\nguards: {staff: {}}\n"
ONE_REMOTE = "remotes: {r: {url: 'https://index.example/'}}\n"


def wrong(folder: Path, text: str | bytes, **env: str) -> list[str]:
    path = folder / "pyproxy.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        config.load(path, env={"HOME": str(folder), **env}, machine=lambda: MachineIndex(url="https://m.example/"))
    return [line.removeprefix(f"{folder}/") for line in caught.value.mistakes]


def test_five_mistakes__are_five_lines_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = """\
server:
  listen: 7974
remotes:
  torch:
    url: https://index.example/whl/cpu/
    ttl: 600
    polcy: on_demand
distributions:
  team:
    remote: toch
    base_path: /team
"""
    assert wrong(tmp_path, text) == [
        f"pyproxy.yaml:2: server.listen: {LISTEN}, not 7974",
        f"pyproxy.yaml:6: remotes.torch.ttl: {DURATION}, not 600",
        "pyproxy.yaml:7: remotes.torch.polcy: unknown key; did you mean policy?",
        "pyproxy.yaml:10: distributions.team.remote: no remote is called toch; did you mean torch?",
        f"pyproxy.yaml:11: distributions.team.base_path: {BASE_PATH.format(chr(39) + '/team' + chr(39))}",
    ]


SERVER = [
    ("listn: x", "listn", "unknown key; did you mean listen?"),
    ("port: 80", "port", "unknown key; did you mean listen?"),
    ("path: /x", "path", "unknown key; did you mean storage.path?"),
    (
        "qqq: 80",
        "qqq",
        (
            "unknown key; here may stand "
            "hot_path, listen, max_upload_size, public_url, request_timeout, watch_config, workers"
        ),
    ),
    ("'a\\nb': 1", "'a\\\\nb'", None),
    ("listen: ':7974'", "listen", f"{LISTEN}, not ':7974'"),
    ("listen: localhost", "listen", f"{LISTEN}, not 'localhost'"),
    ("listen: localhost:70000", "listen", f"{LISTEN}, not 'localhost:70000'"),
    ("listen: localhost:x", "listen", f"{LISTEN}, not 'localhost:x'"),
    ("listen: 'a b:80'", "listen", f"{LISTEN}, not 'a b:80'"),
    ("listen: [a]", "listen", f"{LISTEN}, not a list"),
    ("listen: '::1:80'", "listen", "must have an IPv6 address in brackets, such as [::1]:7974, not '::1:80'"),
    ("listen: '[nope]:80'", "listen", f"{LISTEN}, not '[nope]:80'"),
    ("listen: 'unix:'", "listen", "must be a path"),
    ("listen: 'unix:~nobody-there/x'", "listen", "must be a path without ~, as there is no such home folder"),
    ("workers: 1025", "workers", "must be a whole number from 1 to 1024, not 1025"),
    ("workers: true", "workers", "must be a whole number from 1 to 1024, not true"),
    ("workers: 0", "workers", "must be a whole number from 1 to 1024, not 0"),
    ("workers: many", "workers", "must be a whole number from 1 to 1024, not 'many'"),
    ("public_url: ftp://p.example", "public_url", URL),
    ("public_url: https://p.example/?a=b", "public_url", "must be the URL of an index without ? and #"),
    ("request_timeout: 0", "request_timeout", "must be more than 0, not 0"),
    ("request_timeout: 60", "request_timeout", f"{DURATION}, not 60"),
    ("request_timeout: true", "request_timeout", f"{DURATION}, not true"),
    ("request_timeout: -1s", "request_timeout", f"{DURATION}, not '-1s'"),
    ("request_timeout: 1h30m", "request_timeout", f"{DURATION}, not '1h30m'"),
    ("request_timeout: .inf", "request_timeout", f"{DURATION}, not inf"),
    ("request_timeout: 40000d", "request_timeout", "must be at most 36500d, not '40000d'"),
    ("max_upload_size: 10M", "max_upload_size", f"{SIZE}, not '10M'"),
    ("max_upload_size: -1", "max_upload_size", f"{SIZE}, not -1"),
    ("max_upload_size: true", "max_upload_size", f"{SIZE}, not true"),
    ("max_upload_size: 0", "max_upload_size", "must be a size from 1 byte up to 4194304TiB, not 0"),
    ("watch_config: 1", "watch_config", "must be true or false, not 1"),
    ("hot_path: 1", "hot_path", "must be true or false, not 1"),
]


@pytest.mark.parametrize(("given", "key", "message"), SERVER)
def test_server__wrong(tmp_path: Path, given: str, key: str, message: str | None) -> None:
    [line] = wrong(tmp_path, f"server:\n  {given}\n")
    assert line.startswith(f"pyproxy.yaml:2: server.{key}: ")
    if message is not None:
        assert line == f"pyproxy.yaml:2: server.{key}: {message}"


SELECTOR = "is no requirement specifier such as torch>=2, and no glob of names"
INSTANT = "must be an RFC 3339 instant such as 2026-01-31T00:00:00Z, or a date"

FILTERS = [
    ("includes: [7]", "must be a requirement specifier such as torch>=2, or a glob of names, not 7"),
    ("includes: {torch: null}", "must be a list, not a mapping"),
    ("includes: ['torch=2']", f"'torch=2' {SELECTOR}"),
    ("includes: ['']", f"'' {SELECTOR}"),
    ("excludes: ['torch>=']", f"'torch>=' {SELECTOR}"),
    ("excludes: ['a b']", f"'a b' {SELECTOR}"),
    ("excludes: ['a @ https://files.example/a.whl']", None),
    ("exempt: ['acme_']", DASH.format("'acme_'")),
    ("exempt: ['acme-*>=x']", f"'acme-*>=x' {SELECTOR}"),
    ("prereleases: 1", "must be true or false, not 1"),
    ("package_types: [wheel]", None),
    ("exclude_platforms: [win32]", "must be windows, macos, freebsd or linux, not 'win32'"),
    ("keep_latest_packages: -1", "must be a whole number from 0 to 1000000, not -1"),
    ("min_age: 7", "must be a duration such as 30s, 10m, 2h or 7d, not 7"),
    ("exclude_newer: 20260131", f"{INSTANT}, not 20260131"),
    ("exclude_newer: 2026-02-31T00:00:00Z", f"{INSTANT}, not '2026-02-31T00:00:00Z'"),
    ("exclude_newer: '2026-01-31T00:00:00'", f"{INSTANT}, not '2026-01-31T00:00:00'"),
    ("unknown_age: guess", "must be hide or show, not 'guess'"),
    ("block: ['sha256:12']", "must be sha256: and 64 hexadecimal digits, not 'sha256:12'"),
    ("block: ['file:/nowhere/blocked.txt']", "cannot read /nowhere/blocked.txt: No such file or directory"),
    ("block: ['evil=1']", f"'evil=1' {SELECTOR}"),
    ("require_provenance: maybe", "must be true or false, not 'maybe'"),
    ("max_file_size: 0", "must be a size from 1 byte up to 4194304TiB, not 0"),
]

REMOTE = [
    ("url: index.example", "url", URL),
    ("url: 'file:///srv/index'", "url", URL),
    ("url: 'https:///simple'", "url", URL),
    ("url: 'https://a b/'", "url", URL),
    ("url: 'https://index.example:99999/'", "url", URL),
    ("url: 'https://[::1/'", "url", URL),
    ("url: 'https://index.example\\@evil.example/'", "url", URL),
    ("url: 'https://index.exämple/'", "url", URL),
    ("url: 'https://index.example:0/'", "url", "must have a port from 1 to 65535, or none"),
    ("url: 'https://index.example:/'", "url", "must have a port from 1 to 65535, or none"),
    ("url: 'https://a..b/'", "url", "must name a host: letters, digits, dots and dashes"),
    ("url: 'https://h/?'", "url", "must be the URL of an index without ? and #"),
    ("url: 'https://h/#x'", "url", "must be the URL of an index without ? and #"),
    ("url: 7", "url", URL),
    ("index_url: https://h/", "index_url", "unknown key; did you mean url?"),
    ("verify: false", "verify", "unknown key; did you mean tls.verify?"),
    ("policy: cache", "policy", "must be on_demand, streamed or offline, not 'cache'"),
    ("policy: 3", "policy", "must be on_demand, streamed or offline, not 3"),
    ("ttl: [1s]", "ttl", f"{DURATION}, not a list"),
    ("ttl: {a: 1s}", "ttl", f"{DURATION}, not a mapping"),
    ("connect_timeout: 0s", "connect_timeout", "must be more than 0, not '0s'"),
    ("max_connections: 0", "max_connections", "must be a whole number from 1 to 10000, not 0"),
    ("max_connections: 1.5", "max_connections", "must be a whole number from 1 to 10000, not 1.5"),
    ("retries: true", "retries", "must be a whole number from 0 to 10, not true"),
    ("missing_status: [404, 500]", "missing_status", "must be a whole number from 400 to 499, not 500"),
    ("missing_status: ['404']", "missing_status", "must be a whole number from 400 to 499, not '404'"),
    ("file_hosts: files.example", "file_hosts", "must be a list, not 'files.example'"),
    ("file_hosts: ['https://files.example']", "file_hosts", f"{FILE_HOST}, not 'https://files.example'"),
    ("file_hosts: ['files.example:0']", "file_hosts", f"{FILE_HOST}, not 'files.example:0'"),
    ("file_hosts: [null]", "file_hosts", f"{FILE_HOST}, not null"),
    ("headers: [a]", "headers", "must be a mapping of keys to values, not a list"),
    ("headers: {'a b': c}", "headers.'a b'", "is not the name of a header"),
    ("headers: {Host: c}", "headers.Host", "is a header that pyproxy sets itself"),
    ("headers: {X-A: b, x-a: c}", "headers.x-a", "is the same header as X-A"),
    ("headers: {X-A: 1}", "headers.X-A", "must be text: env:NAME, file:PATH, or the text itself in quotes"),
    ('headers: {X-A: "a\\r\\nb"}', "headers.X-A", None),
    ("{username: u, headers: {authorization: c}}", "headers.authorization", None),
    ("proxy: 'socks5://proxy.example:1'", "proxy", URL),
    ("proxy: 'http://proxy.example/path'", "proxy", None),
    ("tls: {verfy: true}", "tls.verfy", "unknown key; did you mean verify?"),
    ("tls: {key: nowhere.pem}", "tls.key", "needs a cert beside it"),
    *[(filters, filters.partition(":")[0], message) for filters, message in FILTERS],
]


@pytest.mark.parametrize(("given", "key", "message"), REMOTE)
def test_remote__wrong(tmp_path: Path, given: str, key: str, message: str | None) -> None:
    given = given if given.startswith("{") else "{" + given + "}"
    [line] = wrong(tmp_path, f"remotes:\n  r:\n    {given}\n")
    assert line.startswith(f"pyproxy.yaml:3: remotes.r.{key}: ")
    if message is not None:
        assert line == f"pyproxy.yaml:3: remotes.r.{key}: {message}"


DISTRIBUTION = [
    ("base_path: ''", "base_path", BASE_PATH.format("''")),
    ("base_path: a//b", "base_path", BASE_PATH.format("'a//b'")),
    ("base_path: a/", "base_path", BASE_PATH.format("'a/'")),
    ("base_path: a/../b", "base_path", BASE_PATH.format("'a/../b'")),
    ("base_path: .", "base_path", BASE_PATH.format("'.'")),
    ("base_path: a~b", "base_path", BASE_PATH.format("'a~b'")),
    ("base_path: 2024", "base_path", BASE_PATH.format("2024")),
    ("hidden: maybe", "hidden", "must be true or false, not 'maybe'"),
    ("labels: {a: 1}", "labels.a", "must be text: put it in quotes"),
    ("labels: {a: [b]}", "labels.a", "must be text, not a list"),
    ("remotes: r", "remotes", "unknown key; did you mean remote?"),
    ("guard: g", "guard", "unknown key; did you mean content_guard?"),
    ("filters: []", "filters", "must be a mapping of keys to values, not a list"),
    ("filters: {include: []}", "filters.include", "unknown key; did you mean includes?"),
    ("includes: []", "includes", "unknown key; did you mean filters.includes?"),
    *[(f"filters: {{{given}}}", f"filters.{given.partition(':')[0]}", message) for given, message in FILTERS],
    ("repository: tean", "repository", "no repository is called tean; did you mean team?"),
    ("repository: [team]", "repository", "must be text, not a list"),
    ("repository_version: 1", "repository_version", "needs a repository beside it"),
    ("allow_uploads: true", "allow_uploads", "needs a repository beside it, to keep what is uploaded"),
    ("allow_uploads: 1", "allow_uploads", "must be true or false, not 1"),
    ("merge: behind", "merge", "must be ahead or shadow, not 'behind'"),
    ("content_guard: stuff", "content_guard", "no guard is called stuff; did you mean staff?"),
    ("content_guard: true", "content_guard", "must be text: put it in quotes"),
    ("private: {a: b}", "private", "must be a list, not a mapping"),
    ("private: ['acme>=1']", "private", f"{GLOB}, not 'acme>=1'"),
    ("private: ['acme/*']", "private", f"{GLOB}, not 'acme/*'"),
    ("private: ['[acme']", "private", f"{GLOB}, not '[acme'"),
    ("private: ['']", "private", f"{GLOB}, not ''"),
    ("private: [7]", "private", f"{GLOB}, not 7"),
    ("private: [acme_]", "private", DASH.format("'acme_'")),
    ("private: ['.*']", "private", DASH.format("'.*'")),
]

PINNED = [
    ("0", "must be a whole number from 1 to 2147483647, not 0"),
    ("-1", "must be a whole number from 1 to 2147483647, not -1"),
    ("latest", "must be a whole number from 1 to 2147483647, not 'latest'"),
]


@pytest.mark.parametrize(("given", "key", "message"), DISTRIBUTION)
def test_distribution__wrong(tmp_path: Path, given: str, key: str, message: str | None) -> None:
    [line] = wrong(tmp_path, f"{ONE_REMOTE}{LOCAL}distributions:\n  d:\n    remote: r\n    {given}\n")
    assert line.startswith(f"pyproxy.yaml:7: distributions.d.{key}: ")
    if message is not None:
        assert line == f"pyproxy.yaml:7: distributions.d.{key}: {message}"


@pytest.mark.parametrize(("given", "message"), PINNED)
def test_repository_version__wrong(tmp_path: Path, given: str, message: str) -> None:
    [line] = wrong(tmp_path, f"{LOCAL}distributions:\n  d: {{repository: team, repository_version: {given}}}\n")
    assert line == f"pyproxy.yaml:4: distributions.d.repository_version: {message}"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{}", NO_REMOTE),
        ("{remote: null}", NO_REMOTE),
        ("{remote: []}", NO_REMOTE),
        ("{remote: rr}", "no remote is called rr; did you mean r?"),
        ("{remote: other}", "no remote is called other; there is r"),
        ("{remote: [r, r]}", "names r twice"),
        ("{remote: [], labels: {}}", NO_REMOTE),
        ("{remote: 1}", "must be text: put it in quotes"),
        ("{remote: {a: b}}", "must be a list, not a mapping"),
    ],
)
def test_distribution__remote_wrong(tmp_path: Path, given: str, message: str) -> None:
    [line] = wrong(tmp_path, f"{ONE_REMOTE}distributions:\n  d: {given}\n")
    assert line == f"pyproxy.yaml:3: distributions.d.remote: {message}"


def test_list__a_wrong_item__is_told_with_its_own_line(tmp_path: Path) -> None:
    text = f"{ONE_REMOTE}distributions:\n  d:\n    remote:\n      - r\n      - nope\n      - r\n"
    assert wrong(tmp_path, text) == [
        "pyproxy.yaml:6: distributions.d.remote: no remote is called nope; there is r",
        "pyproxy.yaml:7: distributions.d.remote: names r twice",
    ]


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ("team", "team", "team is also the base path"),
        ("team", "team/x", "team/x lies below team, the base path"),
        ("team/x", "team", "team is a leading part of team/x, the base path"),
        ("a/b", "a/b/c/d", "a/b/c/d lies below a/b, the base path"),
    ],
)
def test_base_paths__overlapping__are_told_with_both_lines(
    tmp_path: Path, first: str, second: str, message: str
) -> None:
    text = f"{ONE_REMOTE}distributions:\n  a:\n    remote: r\n    base_path: {first}\n  b:\n    remote: r\n"
    [line] = wrong(tmp_path, f"{text}    base_path: {second}\n")
    assert line == f"pyproxy.yaml:8: distributions.b.base_path: {message} of distributions.a on line 5"


def test_base_paths__alike_but_for_the_segment__are_fine(tmp_path: Path) -> None:
    path = tmp_path / "pyproxy.yaml"
    path.write_text(
        f"{ONE_REMOTE}distributions: {{team: {{remote: r}}, teams: {{remote: r}}, team.x: {{remote: r}}}}\n"
    )
    assert len(config.load(path).distributions) == 3


def test_default__on_two__is_told_with_both_lines(tmp_path: Path) -> None:
    text = (
        f"{ONE_REMOTE}distributions:\n  a:\n    {{remote: r, default: true}}\n  b:\n    {{remote: r, default: true}}\n"
    )
    assert wrong(tmp_path, text) == [
        "pyproxy.yaml:6: distributions.b.default: only one distribution can be the default, and a is (line 4)"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("remotes: {local: {}}", "remotes.local: no remote can be called local: links to local files are"),
        ("remotes: {a~b: {}}", f"remotes.'a~b': {NAME}"),
        ("remotes: {a/b: {}}", f"remotes.'a/b': {NAME}"),
        ("remotes: {'..': {}}", f"remotes...: {NAME}"),
        ("remotes: {'': {}}", f"remotes.'': {NAME}"),
        ("remotes: {1: {}}", "remotes: a key must be text: put 1 in quotes"),
        ("remotes: {[a]: {}}", "remotes: a key must be text"),
        ("remotes: [a]", "remotes: must be a mapping of keys to values, not a list"),
        ("remotes: {a: 'https://index.example/'}", "remotes.a: must be a mapping of keys to values, not 'https"),
        ("repositories: {a: {path: /x}}", "repositories.a.path: unknown key; here may stand none so far"),
        ("repositories: {a/b: {}}", f"repositories.'a/b': {NAME}"),
        ("repositories: [a]", "repositories: must be a mapping of keys to values, not a list"),
        ("guards: {a b: {}}", f"guards.'a b': {NAME}"),
        ("guards: {a: [b]}", "guards.a: must be a mapping of keys to values, not a list"),
        ("repository: {}", "repository: unknown key; did you mean repositories?"),
        ("guard: {}", "guard: unknown key; did you mean guards?"),
        ("tokens: {}", "tokens: unknown key; did you mean guards.NAME.tokens?"),
        ("allow_uploads: true", "allow_uploads: unknown key; did you mean distributions.NAME.allow_uploads?"),
        ("remote: {}", "remote: unknown key; did you mean remotes?"),
        ("listen: x", "listen: unknown key; did you mean server.listen?"),
        ("[]", "must be a mapping of keys to values, not a list"),
        ("yes", "must be a mapping of keys to values, not true"),
    ],
)
def test_names_and_sections__wrong(tmp_path: Path, text: str, message: str) -> None:
    [line] = wrong(tmp_path, text)
    assert line.startswith(f"pyproxy.yaml:1: {message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server:\n  listen: [", "2: is not YAML: expected the node content, but found '<stream end>'"),
        ("server:\n\tlisten: a", "2: is not YAML: found character '\\t' that cannot start any token"),
        ("a: 1\n---\nb: 2", "2: is not YAML: expected a single document in the stream, but found another document"),
        ("server: {listen: a:1}\nremotes: {}\nserver: {}", "3: server: stands here twice, first on line 1"),
        ("server:\n  x: !!python/name:os.system a", "2: server.x: unknown tag: text that begins with ! needs quotes"),
        ("remotes:\n  password: *hunter2", "2: is not YAML: found undefined alias ..."),
        ("server: &a\n  x: *a", "1: has an alias inside of what it stands for"),
        ("server:\n  <<: 3", "2: server: << must name a mapping, or a list of mappings"),
        ("x: " + "[" * 5000, "1: is nested too deeply"),
        ("x: " + "[" * 40 + "]" * 40, "1: is nested too deeply"),
        (b"server:\n  \xff: 1", "2: is not UTF-8 text"),
        (b"server:\n  a: \x01", "2: is not YAML: special characters are not allowed"),
        ("#" + "x" * (1 << 20), None),
    ],
)
def test_yaml__wrong(tmp_path: Path, text: str | bytes, message: str | None) -> None:
    line = wrong(tmp_path, text)[0]
    if message is None:
        assert line.endswith("is larger than 1048576 bytes")
    else:
        assert line == f"pyproxy.yaml:{message}"


def test_yaml__alias_bomb__is_refused_without_being_unfolded(tmp_path: Path) -> None:
    layers = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30))
    assert wrong(tmp_path, f"a0: &a0 [x]\n{layers}\n") == [
        "pyproxy.yaml:1: holds more than 100000 values, aliases included"
    ]


def test_yaml__merge_bomb__stays_small(tmp_path: Path) -> None:
    layers = "\n".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 30))
    assert len(wrong(tmp_path, f"a0: &a0 {{x: 1}}\n{layers}\n")) == 30  # one for each unknown key


def test_yaml__merge_keys__fill_in_what_is_not_given(tmp_path: Path) -> None:
    path = tmp_path / "pyproxy.yaml"
    path.write_text(
        "remotes:\n"
        "  a: &common {url: 'https://a.example/', ttl: 1m, retries: 1}\n"
        "  b: {<<: [{retries: 2}, *common], url: 'https://b.example/'}\n"
        "  c: *common\n"
    )
    remotes = config.load(path).remotes
    assert (remotes["b"].url, remotes["b"].ttl, remotes["b"].retries) == ("https://b.example/", 60, 2)
    assert (remotes["c"].name, remotes["c"].url) == ("c", "https://a.example/")


def test_file__missing__is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "nope.yaml")
    assert caught.value.mistakes == [f"cannot read {tmp_path}/nope.yaml: No such file or directory"]


def test_file__a_pipe__is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "pipe")
    assert caught.value.mistakes == [f"{tmp_path}/pipe is not a file"]


def test_file__byte_order_mark__is_no_part_of_it(tmp_path: Path) -> None:
    path = tmp_path / "pyproxy.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + ONE_REMOTE.encode())
    assert list(config.load(path).remotes) == ["r"]


KEYS = ["server", "remotes", "guards", "distributions", "a", "url", "tls", "tokens", "read", "private", "x"]
YAML_TEXT = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("abz:/.~*&![]{}'\"-#\n <", max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
).map(repr) | st.text(max_size=60)


@given(YAML_TEXT)
def test_load__anything__is_right_or_has_mistakes_on_one_line_each(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    found: list[str] | None = None
    try:
        config.load(path, machine=lambda: MachineIndex(url="https://m.example/"))
    except ConfigError as exc:
        found = exc.mistakes
    assert found is None or (found and all(line.isprintable() for line in found))

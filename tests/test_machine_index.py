"""What pip would use, asked of the real pip with a home of its own, and of commands that only look like pip."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from pyproxy import machine_index as module
from pyproxy.machine_index import MachineIndex, NoMachineIndex, machine_index
from pyproxy.secret import Secret


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder in which pip looks for its files."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    return tmp_path


@pytest.fixture(autouse=True)
def no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No pip, so that the environment alone tells: what is looked at is what we make of it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")


Write = Callable[[str], None]


@pytest.fixture
def pip_conf(home: Path) -> Write:
    def write(text: str) -> None:
        (home / "pip.conf").write_text(textwrap.dedent(text))

    return write


@pytest.fixture
def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A `pip` on PATH made of the shell lines given, in an interpreter that has none itself."""

    def make(lines: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "pip").write_text(f"#!/bin/sh\n{lines}\n")
        (folder / "pip").chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)

    return make


# ---------------------------------------------------------------------------------------------------- the real pip


def test_machine_index__nothing_configured__is_what_pip_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")  # a terminal on which pip's help would break the URL apart
    # No host name is written here, so pip's own constant has to tell.
    code = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    shipped = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    ).stdout
    assert machine_index() == MachineIndex(url=shipped.strip())


def test_machine_index__environment_without_any_file__needs_no_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://env.example/simple")
    assert machine_index() == MachineIndex(url="https://env.example/simple")


def test_machine_index__file__is_read_by_pip(pip_conf: Write) -> None:
    pip_conf("""
        [global]
        index_url = https://global.example/simple
    """)
    assert machine_index().url == "https://global.example/simple"


def test_machine_index__install_section__wins_over_global(pip_conf: Write) -> None:
    pip_conf("""
        [install]
        index-url = https://install.example/simple
        [global]
        index-url = https://global.example/simple
        [download]
        index-url = https://download.example/simple
    """)
    assert machine_index().url == "https://install.example/simple"


def test_machine_index__environment__wins_over_the_file(pip_conf: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_conf("""
        [install]
        index-url = https://install.example/simple
        cert = /etc/ca.pem
    """)
    monkeypatch.setenv("PIP_INDEX_URL", "https://env.example/simple")
    assert machine_index() == MachineIndex(url="https://env.example/simple", ca=Path("/etc/ca.pem"))


@pytest.fixture
def two_files(home: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Writes the system's file, whose name comes later, and the one that PIP_CONFIG_FILE names, which holds."""

    def write(system: str, named: str) -> None:
        monkeypatch.setenv("XDG_CONFIG_DIRS", str(home / "z"))
        monkeypatch.setenv("PIP_CONFIG_FILE", str(home / "a.conf"))
        (home / "z/pip").mkdir(parents=True)
        (home / "z/pip/pip.conf").write_text(f"[global]\n{system}")
        (home / "a.conf").write_text(f"[global]\n{named}")

    return write


def test_machine_index__key_in_two_files__is_the_one_that_pip_prefers(two_files: Callable[[str, str], None]) -> None:
    two_files("index-url = https://system.example/simple\n", "index-url = https://named.example/simple\n")
    assert machine_index().url == "https://named.example/simple"


def test_machine_index__hosts_trusted_in_two_files__are_those_that_pip_prefers(
    two_files: Callable[[str, str], None],
) -> None:
    hosts = "trusted-host =\n  other.example\n"
    two_files(hosts, f"index-url = https://named.example/simple\n{hosts}  named.example\n")
    assert machine_index().verify is False


def test_machine_index__empty_environment__counts_as_not_set(pip_conf: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_conf("[global]\nindex-url = https://global.example/simple\n")
    monkeypatch.setenv("PIP_INDEX_URL", "")
    assert machine_index().url == "https://global.example/simple"


def test_machine_index__silent_pip__is_heard_all_the_same(pip_conf: Write) -> None:
    pip_conf("[global]\nindex-url = https://global.example/simple\nquiet = 3\n")
    assert machine_index().url == "https://global.example/simple"


def test_machine_index__how_it_is_reached__comes_along(pip_conf: Write, home: Path) -> None:
    pip_conf("""
        [global]
        index-url = https://bob:p%40ss@index.example:8443/simple
        cert = ~/ca.pem
        client-cert = /etc/client.pem
        proxy = http://u:p@proxy.example:3128
        trusted-host = other.example
            index.example:8443
    """)
    assert machine_index() == MachineIndex(
        url="https://index.example:8443/simple",
        username=Secret("bob"),
        password=Secret("p@ss"),
        ca=home / "ca.pem",
        cert=Path("/etc/client.pem"),
        proxy=Secret("http://u:p@proxy.example:3128"),
        verify=False,
    )


@pytest.mark.usefixtures("by_environment")
@pytest.mark.parametrize(
    ("trusted", "verify"),
    [
        ("index.example", False),
        ("Index.example", False),
        ("index.example:1", True),
        ("x.index.example", True),
        ("a:b", True),
    ],
)
def test_trusted_host__only_where_it_is_this_one(monkeypatch: pytest.MonkeyPatch, trusted: str, verify: bool) -> None:  # noqa: FBT001
    monkeypatch.setenv("PIP_TRUSTED_HOST", trusted)
    assert machine_index().verify is verify


@pytest.mark.usefixtures("by_environment")
@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({"HTTPS_PROXY": "http://a.example:1"}, "http://a.example:1"),
        ({"https_proxy": "http://a.example:1", "NO_PROXY": "other.example"}, "http://a.example:1"),
        ({"HTTPS_PROXY": "http://a.example:1", "NO_PROXY": "example"}, None),
        ({"HTTP_PROXY": "http://a.example:1"}, None),
        ({"ALL_PROXY": "http://a.example:1"}, "http://a.example:1"),
        ({"PIP_PROXY": "b.example:2", "HTTPS_PROXY": "http://a.example:1", "NO_PROXY": "*"}, "b.example:2"),
    ],
)
def test_proxy__as_pip_would_choose_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert machine_index().proxy == (None if proxy is None else Secret(proxy))


@pytest.mark.usefixtures("by_environment")
def test_bundle__of_requests__is_pips_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/bundle.pem")
    assert machine_index().ca == Path("/etc/bundle.pem")
    monkeypatch.setenv("PIP_CERT", "/etc/pip.pem")
    assert machine_index().ca == Path("/etc/pip.pem")


@pytest.mark.usefixtures("by_environment")
def test_netrc__holds_credentials_where_the_url_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine index.example login bob password hunter2\n")
    (tmp_path / ".netrc").chmod(0o600)
    assert (machine_index().username, machine_index().password) == (Secret("bob"), Secret("hunter2"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://token@index.example/simple")
    assert (machine_index().username, machine_index().password) == (Secret("token"), None)
    monkeypatch.setenv("PIP_INDEX_URL", "https://other.example/simple")
    assert machine_index().username is None


@pytest.mark.usefixtures("by_environment")
def test_netrc__unreadable__is_passed_over(tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("what is this")
    assert machine_index().username is None


def test_no_index__without_an_index__is_told(pip_conf: Write) -> None:
    pip_conf("[global]\nno-index = true\n")
    with pytest.raises(NoMachineIndex, match="told to use no index"):
        machine_index()


@pytest.mark.usefixtures("by_environment")
@pytest.mark.parametrize("url", ["/srv/packages", "file:///srv/packages", "https:///simple", "https://[::1/"])
def test_index__that_is_no_http_url__is_told(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", url)
    with pytest.raises(NoMachineIndex, match="no http:// or https:// URL"):
        machine_index()


@pytest.mark.usefixtures("by_environment")
def test_index__that_is_no_http_url__is_told_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "ftp://bob:hunter2@index.example/")
    with pytest.raises(NoMachineIndex) as caught:
        machine_index()
    assert "hunter2" not in str(caught.value)


def test_broken_file__is_told_without_its_content(home: Path, pip_conf: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_conf("hunter2")
    (home / "bin").mkdir()
    (home / "bin" / "pip").symlink_to(Path(sys.executable).with_name("pip"))
    monkeypatch.setenv("PATH", str(home / "bin"))
    with pytest.raises(NoMachineIndex) as caught:
        machine_index()
    assert str(caught.value) == "pip on this machine fails: `pip config list` tells why"


def test_pip__in_the_folder_we_stand_in__is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip/__init__.py").touch()
    (tmp_path / "pip/__main__.py").write_text("print(\":env:.index-url='https://evil.example/'\")")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    assert machine_index().url == "https://index.example/simple"


# --------------------------------------------------------------------------------------------- commands named pip

LISTS = "global.index-url='https://a.example/'"


def test_path_pip__stands_in_where_the_interpreter_has_none(fake_pip: Callable[[str], None]) -> None:
    fake_pip(f'[ "$1 $2" = "config list" ] && echo "{LISTS}"; exit 0')
    assert machine_index().url == "https://a.example/"


# As pip 26 lists them: a line for each file, in the order of their names.
TWICE = f"""echo "{LISTS}"; echo "global.index-url='https://b.example/'\""""


@pytest.mark.parametrize(
    ("shown", "holds"),
    [
        ("global:\n  /1, exists: True\n    {b}\nuser:\n  /2, exists: True\n    {a}", "a"),
        ("env:\n  /1, exists: True\n    {b}\nuser:\n  /2, exists: True\n    {a}", "b"),
        ("site:\n  /1, exists: True\n    {a}\nuser:\n  /2, exists: True\n    {b}", "a"),
        ("env:\nuser:\n  /1, exists: True\n    {b}\n  /2, exists: True\n    {a}\n    global.timeout: 3", "a"),
        ("user:\n  /1, exists: True\n    {a}\n    global.timeout: 3\n  /2, exists: True\n    {b}", "b"),
        ("env_var:\n  PIP_A='1'\nglobal:\n  /1, exists: True\n    {a}\n  /2, exists: True\n    {b}x", "a"),
    ],
)
def test_path_pip__one_key_in_two_files__is_that_of_the_file_that_holds(
    fake_pip: Callable[[str], None], shown: str, holds: str
) -> None:
    a, b = (f"global.index-url: https://{name}.example/" for name in "ab")
    fake_pip(f"""case "$1 $2" in "config list") {TWICE};; "config debug") echo "{shown.format(a=a, b=b)}";; esac""")
    assert machine_index().url == f"https://{holds}.example/"


def test_path_pip__one_key_in_two_files_and_no_word_which_holds__is_told(fake_pip: Callable[[str], None]) -> None:
    fake_pip(f"""case "$1 $2" in "config list") {TWICE};; *) exit 1;; esac""")
    with pytest.raises(NoMachineIndex, match=r"several of pip's files name global\.index-url"):
        machine_index()


def test_path_pip__help__is_read_with_nothing_configured(
    fake_pip: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "https://extra.example/")
    fake_pip("""
        if [ "$1 $2" = "config list" ]; then echo "global.timeout='3'"; exit 0; fi
        [ -z "$PIP_EXTRA_INDEX_URL" ] && [ "$PIP_CONFIG_FILE" = /dev/null ] || exit 1
        echo "  -i, --index-url <url>   Base URL of the index (default"
        echo "                          https://shipped.example/simple). This should point"
        echo "  --other <url>           Another (default https://other.example)." """)
    assert machine_index().url == "https://shipped.example/simple"


def test_path_pip__help_without_a_default__is_told(fake_pip: Callable[[str], None]) -> None:
    fake_pip("echo nothing to see")
    with pytest.raises(NoMachineIndex, match="does not tell which index it uses by default"):
        machine_index()


def test_path_pip__that_never_answers__is_given_up(
    fake_pip: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip("exec /bin/sleep 60")
    monkeypatch.setattr(module, "_TIMEOUT", 0.2)
    with pytest.raises(NoMachineIndex, match="gives no answer within"):
        machine_index()


def test_no_pip__is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(NoMachineIndex, match="there is no pip on this machine"):
        machine_index()


@pytest.mark.usefixtures("by_environment")
def test_no_pip__environment_alone__is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CERT", "/etc/ca.pem")
    assert machine_index() == MachineIndex(url="https://index.example/simple", ca=Path("/etc/ca.pem"))

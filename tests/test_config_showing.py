from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pyproxy import config
from pyproxy.machine_index import MachineIndex


def load(folder: Path, text: str) -> config.Config:
    path = folder / "pyproxy.yaml"
    path.write_text(text)
    (folder / "blocked.txt").write_text("worse  # since Monday\n")
    return config.load(
        path, env={"HOME": str(folder)}, machine=lambda: MachineIndex(url="http://m.example/", verify=False)
    )


EVERYTHING = """
server: {listen: '[::1]:1', public_url: 'https://p.example', request_timeout: 90s, watch_config: false}
storage: {path: /d, max_cache_size: 1000}
remotes:
  a: {url: 'https://a.example/x', policy: streamed, ttl: 0s, stale_after: 500ms, file_hosts: [], retries: 0}
  b: {url: 'https://b.example/', missing_status: [403, 404], connect_timeout: 90s, file_hosts: [f.example]}
  c:
    url: 'https://c.example/'
    includes: [Torch, 'torchvision>=0.15', 'nvidia-*', 'n*>=1,<2']
    excludes: torch==2.0.0
    prereleases: false
    package_types: [bdist_wheel]
    exclude_platforms: [windows, linux]
    keep_latest_packages: 3
    min_age: 7d
    exclude_newer: 2026-01-31T01:00:00.5+01:00
    exempt: ['acme-*']
    unknown_age: show
    block: [evil, 'sha256:00000000000000000000000000000000000000000000000000000000000000AA', 'file:blocked.txt']
    require_provenance: true
    max_file_size: 2GiB
repositories: {r: {}, s: {}}
guards:
  g: {read: [], upload: []}
  h: {}
distributions:
  one: {base_path: x/one, remote: [b, a], labels: {tier: 'yes'}, repository: r, merge: shadow, private: ['a-*', b]}
  two: {remote: a, hidden: true, default: true, content_guard: h}
  three: {repository: s, repository_version: 2, content_guard: g}
  four: {repository: s, allow_uploads: true}
  five: {remote: c, filters: {excludes: [a], block: 'b<2'}}
"""


@pytest.mark.parametrize("text", [EVERYTHING, "remotes: {a: {url: 'https://a.example/'}}"])
def test_describe__read_again__means_the_same(tmp_path: Path, text: str) -> None:
    once = load(tmp_path, text)
    assert load(tmp_path, config.describe(once)) == once


def test_describe__writes_every_key_out(tmp_path: Path) -> None:
    tree = yaml.safe_load(config.describe(load(tmp_path, EVERYTHING)))
    assert list(tree) == ["server", "storage", "remotes", "repositories", "guards", "distributions"]
    assert len(tree["server"]) == 7
    assert len(tree["remotes"]["a"]) == 17 + 13
    assert tree["repositories"] == {"r": {}, "s": {}}
    assert len(tree["guards"]["g"]) == 4
    assert len(tree["distributions"]["one"]) == 12
    assert len(tree["distributions"]["one"]["filters"]) == 13


def test_describe__says_where_it_was_read_and_what_pip_gave(tmp_path: Path) -> None:
    assert config.describe(load(tmp_path, "")).splitlines()[:2] == [
        f"# {tmp_path}/pyproxy.yaml",
        "# public: the index that pip on this machine uses",
    ]


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("server: {listen: '0.0.0.0:80'}", "1: server.listen: 0.0.0.0:80 is open to other machines: whoever"),
        (
            "remotes: {a: {url: 'https://a.example', exempt: [b]}}",
            "1: remotes.a.exempt: means nothing without min_age or exclude_newer",
        ),
        (
            "remotes: {a: {url: 'https://a.example', includes: ['b>=1', c], excludes: [b, c<2]}}",
            "1: remotes.a.includes: names b>=1, which excludes leaves nothing of",
        ),
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


ONE = "remotes: {a: {url: 'https://a.example'}}\n"
LOCAL = "repositories: {r: {}}\n"
UPLOADS = LOCAL + "distributions: {x: {repository: r, allow_uploads: true}}"
GUARDED = (
    LOCAL
    + f"guards: {{g: {{read: [t], upload: [t], tokens: {{t: 'sha256:{'1a' * 32}'}}}}}}\n"
    + "distributions: {x: {repository: r, allow_uploads: true, content_guard: g}}\n"
)
BEHIND_TLS = "server: {listen: '0.0.0.0:80', public_url: 'https://p.example'}\n"


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            UPLOADS + "\nserver: {public_url: 'https://p.example'}",
            "2: distributions.x.allow_uploads: without a content_guard, a reverse proxy that adds no X-Forwarded-For",
        ),
        (
            GUARDED + "server: {listen: '0.0.0.0:80'}",
            "2: guards.g: tokens and passwords come to 0.0.0.0:80 unencrypted: public_url is no https:// one",
        ),
        (
            GUARDED.replace("upload: [t], ", ""),
            "3: distributions.x.allow_uploads: guards.g names nobody who may upload",
        ),
        (
            GUARDED.replace("allow_uploads", "repository_version: 1, allow_uploads"),
            "3: distributions.x.allow_uploads: no upload is taken while repository_version pins what is served",
        ),
        (
            GUARDED.replace("[t]", "[]").replace("allow_uploads: true", "allow_uploads: false"),
            "2: guards.g.tokens.t: stands neither in read nor in upload, and so opens nothing",
        ),
        (
            GUARDED.replace(", allow_uploads: true, content_guard: g", ""),
            "2: guards.g: no distribution stands behind this guard",
        ),
        (
            GUARDED.replace("{x:", "{y: {repository: r, default: true}, x:"),
            "3: distributions.y.repository: everybody may read r here, though a guard stands before it in x",
        ),
        (
            BEHIND_TLS
            + GUARDED.replace("r: {}", "r: {}, s: {}").replace("{x:", "{y: {repository: s, default: true}, x:"),
            "1: server.listen: 0.0.0.0:80 is open to other machines: whoever reaches it can read y",
        ),
        (
            LOCAL + ONE + "distributions: {x: {remote: a}}",
            "1: repositories.r: no distribution serves this repository",
        ),
        (
            LOCAL + "distributions: {x: {repository: r, merge: shadow}}",
            "2: distributions.x.merge: means nothing without both a remote and a repository",
        ),
        (
            LOCAL + "distributions: {x: {repository: r, private: [a]}}",
            "2: distributions.x.private: means nothing without a remote",
        ),
    ],
)
def test_warnings__of_local_content_and_guards(tmp_path: Path, text: str, warning: str) -> None:
    [line] = config.warnings(load(tmp_path, text))
    assert line.startswith(f"{tmp_path}/pyproxy.yaml:{warning}")


def test_warnings__uploads_without_a_guard_where_others_reach(tmp_path: Path) -> None:
    first, second = config.warnings(load(tmp_path, UPLOADS + "\nserver: {listen: '[::]:80'}"))
    assert ":3: server.listen: [::]:80 is open to other machines: whoever reaches it can read all that" in first
    why = "without a content_guard only this machine may, though [::]:80 is open to others"
    assert second.endswith(f":2: distributions.x.allow_uploads: {why}")


def test_warnings__several_repositories_and_none_is_main__are_told_to_be_unserved(tmp_path: Path) -> None:
    found = config.warnings(load(tmp_path, "repositories: {a: {}, b: {}}"))
    assert [line.partition(".yaml:")[2] for line in found] == [
        "1: repositories.a: no distribution serves this repository",
        "1: repositories.b: no distribution serves this repository",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        UPLOADS,
        GUARDED,
        BEHIND_TLS + GUARDED,
        UPLOADS + "\nserver: {listen: 'unix:/run/s'}",
        "guards: {g: {}}",
        ONE + LOCAL + "distributions: {x: {remote: a, repository: r, merge: shadow, private: [b]}}",
        "server: {listen: 'unix:/run/s'}",
        "server: {listen: 'localhost:80'}",
        "server: {listen: '127.0.0.2:80'}",
        "remotes: {a: {url: 'http://127.0.0.1:1', username: u, tls: {verify: false}}}",
    ],
)
def test_warnings__nothing_to_warn_of(tmp_path: Path, text: str) -> None:
    assert config.warnings(load(tmp_path, text)) == []

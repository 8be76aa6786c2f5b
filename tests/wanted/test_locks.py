from __future__ import annotations

from pathlib import Path

import pytest

from pyproxy.wanted import Unreadable, Wishes, gathered

SHA = "a" * 64

UV = f"""\
version = 1
revision = 3
requires-python = ">=3.11"

[[package]]
name = "errand"
version = "0"
source = {{ virtual = "." }}
dependencies = [{{ name = "shop" }}]

[[package]]
name = "Shop_Keeper"
version = "1.0"
source = {{ registry = "https://index.example/simple" }}
sdist = {{ url = "https://files.index.example/a/shop_keeper-1.0.tar.gz", hash = "sha256:{SHA}", size = 1 }}
wheels = [
    {{ url = "https://files.index.example/b/shop_keeper-1.0%2Bcpu-py3-none-any.whl#sha256=0", hash = "sha256:{SHA}" }},
]

[[package]]
name = "fork"
version = "2"
source = {{ git = "https://index.example/fork?rev=1#1" }}

[[package]]
name = "shelf"
version = "2"
source = {{ registry = "../links" }}
wheels = [{{ path = "shelf-2-py3-none-any.whl" }}]
"""

PYLOCK = f"""\
lock-version = "1.0"
created-by = "somebody"

[[packages]]
name = "shop"
version = "1.0"
marker = "sys_platform == 'win32'"
index = "https://index.example/simple/"

[[packages.wheels]]
name = "shop-1.0-py3-none-any.whl"
url = "https://files.index.example/0123"
hashes = {{ sha256 = "{SHA.upper()}", md5 = "0" }}

[[packages.wheels]]
url = "https://files.index.example/x/shop-1.0-cp312-cp312-win_amd64.whl?sig=1"
hashes = {{ sha256 = "{SHA}" }}

[packages.sdist]
path = "./shop-1.0.tar.gz"
hashes = {{ sha256 = "{SHA}" }}

[[packages]]
name = "fork"
vcs = {{ type = "git", url = "https://index.example/fork", commit-id = "1" }}

[[packages]]
name = "archived"
archive = {{ url = "https://index.example/a.zip", hashes = {{ sha256 = "{SHA}" }} }}
"""


def read(folder: Path, name: str, text: str) -> Wishes:
    path = folder / name
    path.write_text(text)
    return gathered((), [path])


def test_uv_lock__files_of_indexes__are_named(tmp_path: Path) -> None:
    wishes = read(tmp_path, "uv.lock", UV)
    assert [(n.project, n.filename, dict(n.hashes), n.index) for n in wishes.named] == [
        ("shop-keeper", "shop_keeper-1.0.tar.gz", {"sha256": SHA}, "https://index.example/simple"),
        ("shop-keeper", "shop_keeper-1.0+cpu-py3-none-any.whl", {"sha256": SHA}, "https://index.example/simple"),
    ]
    assert wishes.asks == ()


def test_uv_lock__what_comes_from_elsewhere__is_noted_but_for_the_project_itself(tmp_path: Path) -> None:
    notes = read(tmp_path, "uv.lock", UV).notes
    assert [note.removeprefix(f"{tmp_path}/uv.lock: ") for note in notes] == [
        "fork comes from no index; passed over",
        "shelf comes from no index; passed over",
    ]


def test_pylock__files_by_name_url_or_path__are_named_whatever_their_marker(tmp_path: Path) -> None:
    wishes = read(tmp_path, "pylock.ci.toml", PYLOCK)
    assert [(n.filename, dict(n.hashes), n.index) for n in wishes.named] == [
        ("shop-1.0.tar.gz", {"sha256": SHA}, "https://index.example/simple/"),
        ("shop-1.0-py3-none-any.whl", {"sha256": SHA, "md5": "0"}, "https://index.example/simple/"),
        ("shop-1.0-cp312-cp312-win_amd64.whl", {"sha256": SHA}, "https://index.example/simple/"),
    ]
    assert [note.removeprefix(f"{tmp_path}/pylock.ci.toml: ") for note in wishes.notes] == [
        "fork comes from no index; passed over",
        "archived comes from no index; passed over",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[[package]]\nname = 'a'\n", "neither a pylock.toml nor a uv.lock"),
        ("[tool.x]\n", "neither a pylock.toml nor a uv.lock"),
        ("a = [", "is not TOML: "),
        ("lock-version = '2.0'\npackages = []\n", "lock-version '2.0' is not understood, only 1"),
        ("lock-version = 10\npackages = []\n", "lock-version '10' is not understood, only 1"),
        ("version = 2\nrequires-python = '>=3.11'\n", "version '2' is not understood, only 1"),
        ("lock-version = '1.0'\npackages = 1\n", "packages is no array of tables"),
        ("lock-version = '1.0'\n[[packages]]\nversion = '1'\n", "a package without a name"),
        ("lock-version = '1.0'\n[[packages]]\nname = 'a'\nsdist = {url = 'x/'}\n", "a: not a file name: ''"),
        ("lock-version = '1.0'\n[[packages]]\nname = 'a b'\nsdist = {name = 'x.zip'}\n", "not a project name"),
    ],
)
def test_lock__that_is_none__is_told(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(Unreadable) as caught:
        read(tmp_path, "some.lock", text)
    assert len(caught.value.mistakes) == 1
    assert caught.value.mistakes[0].startswith(f"{tmp_path}/some.lock: ")
    assert why in caught.value.mistakes[0]
